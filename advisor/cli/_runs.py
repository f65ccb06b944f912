"""Outcomes of a run folder, or of a file, for the commands that learn from them or compare."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ._arms import split_policies
from ._output import note
from ._prices import recorded_prices

if TYPE_CHECKING:
    from calibration import OutcomeRecord
    from calibration.cost.prices import Price
    from policies import DecodingOptions
    from router import Finding

__all__ = [
    "ArmsOption",
    "CheckedRun",
    "LoadedRun",
    "ModelsOption",
    "RunArgument",
    "TasksOption",
    "load_checked",
    "load_run",
]

_SQLITE = b"SQLite format 3\x00"
_PANEL = "Which outcomes (all by default)"

RunArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RUN|FILE",
        help="Run folder written by advisor calibrate, or a file that advisor tables import reads.",
    ),
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="Only this model, such as 'qwen*'; give it again for more. Names the model of a file"
        " that does not say.",
        rich_help_panel=_PANEL,
    ),
]
ArmsOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Only these policies or arms: direct,reasoning@1000 or 'qwen:reasoning@*'.",
        rich_help_panel=_PANEL,
    ),
]
TasksOption = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        help="Only this task, such as 'mgsm_*'; give it again for more.",
        rich_help_panel=_PANEL,
    ),
]


class LoadedRun(NamedTuple):
    """What a run has to say to those who learn from it.

    Attributes:
        records: The wanted outcomes.
        backends: Per model how its backend is built again, without secrets.
        options: How the run decoded; a router must decode the same way.
    """

    records: "list[OutcomeRecord]"
    backends: dict[str, dict[str, Any]]
    options: "DecodingOptions"


@dataclass(frozen=True, slots=True)
class CheckedRun:
    """What a run, or a file, has to say, checked.

    Attributes:
        records: The outcomes to learn from.
        backends: Per model how its backend is built again; empty for a file.
        options: How a run decoded, `None` if it is not known, as for a file.
        source: Where the outcomes come from: the folder of a run; name, format and hash of a file.
        findings: What the checks found, the worst first; none of them is fatal.
        prices: Per model the prices that a run was measured with; none for a file.
    """

    records: "list[OutcomeRecord]"
    backends: dict[str, dict[str, Any]]
    options: "DecodingOptions | None"
    source: dict[str, Any]
    findings: "tuple[Finding, ...]"
    prices: "dict[str, Price]" = field(default_factory=dict[str, "Price"])

    def to_json(self) -> dict[str, Any]:
        """Return source and findings as a JSON object."""
        return {"source": self.source, "findings": [one.to_json() for one in self.findings]}


def load_run(
    path: Path,
    model: str | Sequence[str] | None = None,
    *,
    arms: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
) -> LoadedRun:
    """Return the outcomes of a run folder or of a file, and how they were obtained.

    What was made of a file is told on stderr: how its questions are grouped, rows that were
    skipped. Nothing is written.

    Args:
        path: The folder, or the file.
        model: Models to keep, names or wildcards; all by default.
        arms: Policies or arms to keep, each text possibly several between commas.
        tasks: Tasks to keep.

    Raises:
        StoreError: There is no run, or its store cannot be read.
        DataFileError: The file is of no known format, damaged, or without a usable row.
        UnknownNameError: There is no such model, arm or task.
        MissingPrerequisiteError: pyarrow is needed and not installed.
    """
    loaded = _load(path, model, arms, tasks)
    from policies import DecodingOptions

    return LoadedRun(loaded.records, loaded.backends, loaded.options or DecodingOptions())


def load_checked(
    path: Path,
    model: str | Sequence[str] | None = None,
    *,
    arms: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
) -> CheckedRun:
    """Return what `load_run` does after the checks, whose warnings are told on stderr.

    Raises:
        InvalidInputError: Nothing can be learned from the outcomes, or they contradict each other.
        StoreError: There is no run, or its store cannot be read.
        DataFileError: The file is of no known format, damaged, or without a usable row.
        UnknownNameError: There is no such model, arm or task.
        MissingPrerequisiteError: pyarrow is needed and not installed.
    """
    from router import check_outcomes

    loaded = _load(path, model, arms, tasks)
    checked = check_outcomes(loaded.records)
    records = checked.require_usable()
    for one in checked.findings:
        note(f"{one.severity}[{one.code}]: {one.message}")
        if one.severity == "warning":
            note(f"  hint: {one.hint}")
    return replace(loaded, records=records, findings=checked.findings)


def _load(
    path: Path,
    model: str | Sequence[str] | None,
    arms: Sequence[str] | None,
    tasks: Sequence[str] | None,
) -> CheckedRun:
    models = [model] if isinstance(model, str) else list(model or ())
    wanted = [policy for text in arms or () for policy in split_policies(text)]
    is_table = path.is_file() and path.suffix != ".sqlite" and not _is_store(path)
    load = _from_file if is_table else _from_store
    return load(path, models, wanted, list(tasks or ()))


def _is_store(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:  # who reads it says so
        return False


def _from_store(run: Path, models: list[str], arms: list[str], tasks: list[str]) -> CheckedRun:
    from calibration import RunStore, select_outcomes, store_path
    from policies import DecodingOptions, StoreError

    if not run.exists():
        raise StoreError(
            f"{run} is neither a run folder nor a file",
            hint=f"advisor calibrate --out {run} makes a run",
            code="no-run",
        )
    database = run if run.is_file() else store_path(run)
    if run.is_dir() and not database.exists():
        tables = sorted(run.glob("*.parquet")) or sorted(run.glob("*.jsonl"))
        if tables:
            raise StoreError(
                f"{run} is no run folder", hint=f"give the file itself: {tables[0]}", code="no-run"
            )
    with RunStore.open(database) as store:
        records = list(store.records())
        provenance: dict[str, Any] = store.get_meta("provenance") or {}
    if not records:
        raise StoreError(
            f"{run} holds no finished samples", hint="run the same advisor calibrate command again"
        )
    records = select_outcomes(records, models=models, arms=arms, tasks=tasks)
    options = DecodingOptions(**provenance["options"]) if "options" in provenance else None
    return CheckedRun(
        records=records,
        backends=provenance.get("backends", {}),
        options=options,
        source={"run": str(run)},
        findings=(),
        prices=recorded_prices(provenance),
    )


def _from_file(path: Path, models: list[str], arms: list[str], tasks: list[str]) -> CheckedRun:
    from calibration import load_outcomes
    from calibration.importers import ImportHints

    # A file that does not name its model or its task belongs to the one that is given.
    hints = ImportHints(model=_only(models), task=_only(tasks))
    with _busy(f"reading {path.name}"):
        loaded = load_outcomes(path, hints, models=models, arms=arms, tasks=tasks)
    is_part = len(loaded.records) < loaded.n_outcomes
    note(
        f"{path.name}: {loaded.n_outcomes:,} outcomes"
        + f", {len(loaded.records):,} of them wanted" * is_part
    )
    for text in loaded.notes:
        note(f"note: {text}")
    for one in loaded.skipped:
        note(f"skipped: {one.count:,} rows, {one.reason} (first {one.example})")
    return CheckedRun(loaded.records, {}, None, {**loaded.source}, ())


def _only(names: list[str]) -> str | None:
    is_name = len(names) == 1 and not set(names[0]) & set("*?")
    return names[0] if is_name else None


def _busy(text: str) -> Any:
    """Return a context that turns a wheel on stderr, where it is a terminal."""
    from rich.console import Console

    return Console(stderr=True).status(text)
