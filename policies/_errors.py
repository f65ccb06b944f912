"""Every error the product raises on purpose.

    ThinkrouteError
    ├── InvalidInputError (ValueError)         a value the caller gave cannot be used
    │   ├── InvalidPolicyError                 a policy string or its parameters
    │   ├── InvalidSizeError                   a model size such as "3X"
    │   └── DataFileError                      a data file: `path` and `line` say where
    ├── UnknownNameError (LookupError)         no such policy, task, model, table, backend
    ├── ConfigError (ValueError)               configuration file or environment
    ├── ArtifactError (ValueError)             something we wrote cannot be read back
    │   ├── ArtifactCorruptError               missing member, wrong checksum, bad JSON
    │   └── ArtifactTooNewError                written by a newer version
    ├── StoreError (RuntimeError)              a run store: locked, full, of another plan
    ├── MissingPrerequisiteError (ImportError) an extra, a key or a device is not there
    ├── NoAdmissibleArmError (ValueError)      nothing satisfies the constraints
    │   └── NoGuaranteeError                   the outcomes do not support the bound asked for
    └── BackendError (RuntimeError)            the model could not be asked
        ├── BackendConnectionError (ConnectionError)
        ├── BackendTimeoutError (TimeoutError)
        ├── BackendRateLimitError
        ├── BackendRequestError                the server refused the request
        ├── BackendResponseError               the server answered nonsense
        ├── VerifierError                      a verifier gave no usable scores
        └── CapabilityError                    the backend cannot do what the policy needs

`code` is stable and machine-readable; texts may change. `hint` says what to do next.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "CONTEXT_EXCEEDED",
    "ArtifactCorruptError",
    "ArtifactError",
    "ArtifactTooNewError",
    "BackendConnectionError",
    "BackendError",
    "BackendRateLimitError",
    "BackendRequestError",
    "BackendResponseError",
    "BackendTimeoutError",
    "CapabilityError",
    "ConfigError",
    "DataFileError",
    "InvalidInputError",
    "InvalidPolicyError",
    "InvalidSizeError",
    "MissingPrerequisiteError",
    "NoAdmissibleArmError",
    "NoGuaranteeError",
    "StoreError",
    "ThinkrouteError",
    "UnknownNameError",
    "VerifierError",
]

CONTEXT_EXCEEDED = "context-exceeded"
"""Code of a request whose prompt and `max_tokens` do not fit the model's context."""


class ThinkrouteError(Exception):
    """Root of all errors raised on purpose.

    Attributes:
        code: Stable identifier, such as `unknown-policy`.
        hint: What the reader can do about it; may be empty.
    """

    code = "thinkroute-error"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        """Keep the message and the hint apart, so that a CLI can show them apart."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        """Return message and hint as one line of plain text."""
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Let an error cross from a worker process to its parent, whatever made it."""
        return _restored, (type(self), self.args, dict(self.__dict__))


def _restored(
    kind: type[ThinkrouteError], args: tuple[object, ...], state: dict[str, Any]
) -> ThinkrouteError:
    """Return an error as it was in another process; its constructor is not called again."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidInputError(ThinkrouteError, ValueError):
    """A value the caller gave cannot be used."""

    code = "invalid-input"


class InvalidPolicyError(InvalidInputError):
    """A policy string does not parse, or its parameters make no sense."""

    code = "invalid-policy"


class InvalidSizeError(InvalidInputError):
    """A model size does not parse."""

    code = "invalid-size"


class DataFileError(InvalidInputError):
    """A data file is empty, broken or lacks a column.

    Attributes:
        path: The file.
        line: One-based line or row number, where one is known.
    """

    code = "invalid-data-file"

    def __init__(
        self, message: str, *, path: Path | str, line: int | None = None, hint: str = ""
    ) -> None:
        """Prefix the message with the place in the file."""
        place = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{place}: {message}", hint=hint)
        self.path = Path(path)
        self.line = line


class UnknownNameError(ThinkrouteError, LookupError):
    """No policy, task, model, table or backend has the given name."""

    code = "unknown-name"

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        """Name what was asked for, its closest matches and the valid set.

        Args:
            kind: What was looked up, for example `policy`; `code` becomes `unknown-{kind}`.
            name: The name that was not found.
            known: All valid names.
        """
        names = sorted(known)
        shown = name if len(name) <= 100 else f"{name[:100]}..."
        close = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
        hint += f"known: {', '.join(names)}" if names else "none are known"
        super().__init__(
            f"unknown {kind} {shown!r}", hint=hint, code=f"unknown-{kind.replace(' ', '-')}"
        )
        self.kind = kind
        self.name = name


class ConfigError(ThinkrouteError, ValueError):
    """A configuration file or variable holds something that cannot be used."""

    code = "invalid-config"


class ArtifactError(ThinkrouteError, ValueError):
    """Something the product wrote cannot be read back."""

    code = "invalid-artifact"


class ArtifactCorruptError(ArtifactError):
    """A member is missing, fails its checksum, or does not parse."""

    code = "artifact-corrupt"


class ArtifactTooNewError(ArtifactError):
    """The artifact was written by a newer version of the product."""

    code = "artifact-too-new"


class StoreError(ThinkrouteError, RuntimeError):
    """A run store cannot be used: locked, read-only, full, or of another plan."""

    code = "store-error"


class MissingPrerequisiteError(ThinkrouteError, ImportError):
    """An optional dependency, a key or a device is not there."""

    code = "missing-prerequisite"

    @classmethod
    def extra(cls, extra: str, module: str) -> "MissingPrerequisiteError":
        """Return the error for a library that belongs to an extra of this distribution."""
        return cls(
            f"the module {module!r} is not installed",
            hint=f'pip install "thinkroute[{extra}]"',
            code="missing-extra",
        )


class NoAdmissibleArmError(ThinkrouteError, ValueError):
    """No arm satisfies the given constraints."""

    code = "no-admissible-arm"


class NoGuaranteeError(NoAdmissibleArmError):
    """The outcomes do not support the bound that was asked for.

    Attributes:
        guarantee: What was asked for and what was found, as a JSON object.
    """

    code = "no-guarantee"

    def __init__(self, guarantee: Mapping[str, Any]) -> None:
        """Say what was asked for, why it cannot be had, and how many questions would do.

        Args:
            guarantee: JSON object with `epsilon`, `confidence`, `reference`, `n_calibration`,
                `n_needed` (calibration questions that would probably do, `None` if no number
                would) and, where known, `reason`.
        """
        n, needed = guarantee["n_calibration"], guarantee["n_needed"]
        reason = guarantee.get("reason")
        super().__init__(
            f"at most {guarantee['epsilon']:g} less accurate than {guarantee['reference']} with"
            f" probability {guarantee['confidence']:g}: {n:,} calibration questions do not support"
            f" it{f': {reason}' if reason else ''}",
            hint="no number of questions would: allow a larger loss, or measure other arms"
            if needed is None
            else f"about {needed - n:,} more calibration questions ({needed:,} in all) would"
            " probably do; or allow a larger loss",
        )
        self.guarantee = dict(guarantee)


class BackendError(ThinkrouteError, RuntimeError):
    """The model could not be asked, or its answer could not be used.

    Attributes:
        backend: Name of the backend.
        model: Model that was asked.
        status_code: HTTP status, where there was one.
        request_id: The server's identifier of the request, where it gave one.
        retryable: Whether the same request may succeed later.
        retry_after_s: Seconds the server asked to wait.
    """

    code = "backend-error"
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        backend: str,
        model: str,
        status_code: int | None = None,
        request_id: str | None = None,
        retryable: bool | None = None,
        retry_after_s: float | None = None,
        hint: str = "",
    ) -> None:
        """Keep what a retry loop and a bug report need."""
        super().__init__(message, hint=hint)
        self.backend = backend
        self.model = model
        self.status_code = status_code
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        if retryable is not None:
            self.retryable = retryable


class BackendConnectionError(BackendError, ConnectionError):
    """The server could not be reached, or the connection broke."""

    code = "backend-unreachable"
    retryable = True


class BackendTimeoutError(BackendError, TimeoutError):
    """The server did not answer in time."""

    code = "backend-timeout"
    retryable = True


class BackendRateLimitError(BackendError):
    """The server asked to slow down."""

    code = "backend-rate-limit"
    retryable = True


class BackendRequestError(BackendError):
    """The server refused the request; sending it again will not help."""

    code = "backend-refused"


class BackendResponseError(BackendError):
    """The server answered something that is no completion."""

    code = "backend-nonsense"
    retryable = True


class VerifierError(BackendError):
    """A verifier gave no scores, or none that mean anything."""

    code = "verifier-failed"

    @classmethod
    def nonsense(cls, verifier: str, what: str, n_candidates: int) -> "VerifierError":
        """Return the error for scores that cannot be used.

        Args:
            verifier: Its name.
            what: What came.
            n_candidates: How many scores were asked for.
        """
        return cls(
            f"verifier {verifier!r} gave {what}, expected {n_candidates} numbers in [0, 1]",
            backend=verifier,
            model=verifier,
        )


class CapabilityError(BackendError):
    """The policy needs something that this backend cannot do."""

    code = "missing-capability"
