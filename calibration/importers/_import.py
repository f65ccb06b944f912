"""From a file into a run store: checked first, then written."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from policies import DataFileError, InvalidInputError, PolicySpec, check_task_type

from .._outcomes import ImportedOutcome, Outcome
from ._detect import AUTO, detect_format, read_outcomes, read_with_notes
from ._record import FileNote, ImportHints, SkippedRow

__all__ = [
    "ImportSummary",
    "OutcomeStore",
    "SkippedRows",
    "SkippedTally",
    "check_hints",
    "import_file",
    "refuse_empty",
    "source_of",
]

_NO_HINTS = ImportHints()
_WITH_METRIC = ("lm-eval", "inspect")


class OutcomeStore(Protocol):
    """What takes outcomes; a `RunStore` does."""

    def import_outcomes(
        self, outcomes: Iterable[ImportedOutcome], source: Mapping[str, str]
    ) -> int:
        """Write outcomes that are not there yet; return how many."""
        ...


@dataclass(frozen=True, slots=True)
class SkippedRows:
    """Rows that gave no outcome, of one reason.

    Attributes:
        reason: Why not.
        count: How many.
        example: Place of the first.
    """

    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import did.

    Attributes:
        format: Name of the file's format.
        rows: Outcomes that were written; 0 where all were there already.
        n_outcomes: Outcomes in the file, those included that were there already.
        questions: Questions in the file.
        arms: Arms (model and policy) in the file.
        tasks: Task names in the file, sorted.
        task_types: Task types in the file, sorted.
        policies: Policies in the file, sorted.
        models: Models in the file, sorted.
        share_with_tokens: Share of its answers, errors left out, whose generated tokens are
            known, in [0, 1].
        skipped: Rows that gave no outcome.
        notes: What was made of the file as a whole, such as how its questions are grouped.
    """

    format: str
    rows: int
    n_outcomes: int
    questions: int
    arms: int
    tasks: tuple[str, ...]
    task_types: tuple[str, ...]
    policies: tuple[str, ...]
    models: tuple[str, ...]
    share_with_tokens: float
    skipped: tuple[SkippedRows, ...]
    notes: tuple[str, ...] = ()


def import_file(
    path: Path, store: OutcomeStore, hints: ImportHints = _NO_HINTS, *, wanted: str = AUTO
) -> ImportSummary:
    """Read recorded outcomes of a file into a run store.

    The file is read twice, once to check all of it: a damaged file leaves the store as it was.
    Memory grows with about 100 bytes per outcome, to find rows that are there twice.

    Args:
        path: The file.
        store: Where the outcomes go; what is there already is not written again.
        hints: What the file does not say of itself.
        wanted: Name of the format; `auto` tells it from the content.

    Raises:
        DataFileError: The file is of no known format, damaged, or without a usable row.
        InvalidInputError: A hint is malformed or means nothing for the format.
        UnknownNameError: There is no such format or metric.
        StoreError: The store cannot be written.
        MissingPrerequisiteError: pyarrow is needed and not installed.
    """
    name = check_hints(path, hints, wanted)
    checked = _Tally()
    for _ in checked.accepted(read_with_notes(path, hints, wanted=name)):
        pass
    if not checked.n_outcomes:
        refuse_empty(path, checked.skipped(path))
    again = _Tally().accepted(read_outcomes(path, hints, wanted=name))
    rows = store.import_outcomes(again, source_of(path, name, hints))
    return checked.summary(path, name, rows)


def check_hints(path: Path, hints: ImportHints, wanted: str) -> str:
    """Return the name of a file's format, having checked the hints on their own and with it.

    Raises:
        DataFileError: The file is of no known format.
        InvalidInputError: A hint is malformed or means nothing for the format.
        UnknownNameError: There is no such format.
    """
    if hints.task_type is not None:
        check_task_type(hints.task_type)
    if hints.policy is not None:
        PolicySpec.parse(hints.policy)
    for what, value in (("model", hints.model), ("task", hints.task)):
        if value is not None and not value.strip():
            raise InvalidInputError(f"the {what} {value!r} is no name", hint=f"give a {what}")
    name = detect_format(path, hints, wanted=wanted)
    if hints.metric is not None and name not in _WITH_METRIC:
        raise InvalidInputError(
            f"metric {hints.metric!r}: files of the format {name} have one score only",
            hint="leave --metric out",
        )
    return name


def refuse_empty(path: Path, skipped: Sequence[SkippedRows]) -> NoReturn:
    """Raise the error of a file without a usable row.

    Raises:
        DataFileError: Always.
    """
    first = next(iter(skipped), None)
    reason = f"{first.reason} ({first.count} rows, first {first.example})" if first else "empty"
    raise DataFileError(
        f"no row gives an outcome: {reason}", path=path, hint="see docs/how-to/import.md"
    )


def source_of(path: Path, name: str, hints: ImportHints) -> dict[str, str]:
    """Return where outcomes come from; the folder is nobody's business."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    given = {field: getattr(hints, field) for field in ("model", "task", "task_type", "policy")}
    given["metric"] = hints.metric
    told = {field: value for field, value in given.items() if value is not None}
    return {"file": path.name, "format": name, "sha256": digest, **told}


class SkippedTally:
    """Counts skipped rows by reason."""

    def __init__(self) -> None:
        """Start without any."""
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, reason: str, where: str) -> None:
        """Count one row."""
        count, first = self._found.get(reason, (0, where))
        self._found[reason] = (count + 1, first)

    def of_file(self, path: Path) -> tuple[SkippedRows, ...]:
        """Return what was counted, the most frequent reason first."""
        ordered = sorted(self._found.items(), key=lambda item: -item[1][0])
        return tuple(SkippedRows(r, count, f"{path}:{where}") for r, (count, where) in ordered)


class _Tally:
    """Counts outcomes on their way, and lets none through twice."""

    def __init__(self) -> None:
        self.n_outcomes = 0
        self._n_answers = self._n_with_tokens = 0
        self._seen: set[int] = set()
        self._questions: set[int] = set()
        self._arms: set[tuple[str, str]] = set()
        self._task_of: dict[tuple[str, str], None] = {}
        self._skipped = SkippedTally()
        self._notes: list[str] = []

    def accepted(
        self, rows: Iterable[ImportedOutcome | SkippedRow | FileNote]
    ) -> Iterator[ImportedOutcome]:
        """Yield the outcomes among the rows, each one once."""
        for row in rows:
            if isinstance(row, FileNote):
                self._notes.append(row.text)
            elif isinstance(row, SkippedRow):
                self._skipped.add(row.reason, row.where)
            elif self._is_new(row):
                self._count(row)
                yield row
            else:
                self._skipped.add(
                    "the same model, policy, question and repeat once more",
                    f"question {row.question_id!r}",
                )

    def skipped(self, path: Path) -> tuple[SkippedRows, ...]:
        """Return the skipped rows by reason, the most frequent ones first."""
        return self._skipped.of_file(path)

    def summary(self, path: Path, name: str, rows: int) -> ImportSummary:
        """Return what was counted."""
        return ImportSummary(
            format=name,
            rows=rows,
            n_outcomes=self.n_outcomes,
            questions=len(self._questions),
            arms=len(self._arms),
            tasks=tuple(sorted({task for task, _ in self._task_of})),
            task_types=tuple(sorted({task_type for _, task_type in self._task_of})),
            policies=tuple(sorted({policy for _, policy in self._arms})),
            models=tuple(sorted({model for model, _ in self._arms})),
            share_with_tokens=self._n_with_tokens / max(self._n_answers, 1),
            skipped=self.skipped(path),
            notes=tuple(self._notes),
        )

    def _is_new(self, row: ImportedOutcome) -> bool:
        # 64 bits: two of ten million outcomes share a hash in one of a million files.
        key = hash((row.model, row.policy, row.recipe, row.question_id, row.repeat))
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _count(self, row: ImportedOutcome) -> None:
        self.n_outcomes += 1
        if row.outcome is not Outcome.ERROR:
            self._n_answers += 1
            self._n_with_tokens += row.completion_tokens is not None
        self._questions.add(hash(row.question_id))
        self._arms.add((row.model, row.policy))
        self._task_of[row.task, row.task_type] = None
