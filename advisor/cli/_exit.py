"""Exit codes and the one place where errors become text for people."""

from enum import IntEnum

from policies import (
    ArtifactError,
    BackendError,
    CapabilityError,
    ConfigError,
    DataFileError,
    MissingPrerequisiteError,
    NoAdmissibleArmError,
    StoreError,
    ThinkrouteError,
)

from ._output import note

__all__ = ["ExitCode", "exit_code_of", "show_error"]


class ExitCode(IntEnum):
    """What the process tells its caller; stable."""

    DONE = 0
    DEFECT = 1
    USAGE = 2
    BAD_FILE = 3
    PREREQUISITE = 4
    BACKEND = 5
    UNSATISFIED = 6
    INTERRUPTED = 130


_CODES: tuple[tuple[type[ThinkrouteError], ExitCode], ...] = (
    (DataFileError, ExitCode.BAD_FILE),
    (ConfigError, ExitCode.BAD_FILE),
    (ArtifactError, ExitCode.BAD_FILE),
    (StoreError, ExitCode.BAD_FILE),
    (MissingPrerequisiteError, ExitCode.PREREQUISITE),
    (NoAdmissibleArmError, ExitCode.UNSATISFIED),
    (CapabilityError, ExitCode.USAGE),
    (BackendError, ExitCode.BACKEND),
)


def exit_code_of(error: ThinkrouteError) -> ExitCode:
    """Return the exit code of an expected error; bad values of any other kind are usage."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.USAGE)


def show_error(error: ThinkrouteError) -> None:
    """Write an expected error to stderr: one line, and one with a hint if there is one."""
    note(f"error[{error.code}]: {' '.join(error.message.splitlines())}")
    if error.hint:
        note(f"  hint: {error.hint}")
