"""From a file straight to outcomes in memory, for those who learn from them or compare."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from policies import DataFileError

from .._outcomes import ImportedOutcome, Outcome, OutcomeRecord
from ._detect import AUTO, read_with_notes
from ._import import SkippedRows, SkippedTally, check_hints, refuse_empty, source_of
from ._record import FileNote, ImportHints, SkippedRow
from ._select import select_outcomes

__all__ = ["LoadedOutcomes", "load_outcomes"]

_NO_HINTS = ImportHints()
_LOG = logging.getLogger("thinkroute.calibration")
_LOG.addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class LoadedOutcomes:
    """Outcomes of a file, and what was made of it.

    Attributes:
        records: The wanted outcomes, errors included, in the order of the file.
        source: Name, format, hash and hints, as a run keeps them of an imported file.
        n_outcomes: Outcomes in the file, the ones not wanted included.
        notes: What was made of the file as a whole: how questions are grouped, what was dropped
            or resolved. Worth showing to whoever gave the file.
        skipped: Rows that gave no outcome.
    """

    records: list[OutcomeRecord]
    source: dict[str, str]
    n_outcomes: int
    notes: tuple[str, ...]
    skipped: tuple[SkippedRows, ...]


def load_outcomes(
    path: str | Path,
    hints: ImportHints = _NO_HINTS,
    *,
    wanted: str = AUTO,
    models: Sequence[str] = (),
    arms: Sequence[str] = (),
    tasks: Sequence[str] = (),
) -> LoadedOutcomes:
    """Read the outcomes of a file into memory; nothing is written.

    Means of tokens over several answers are shared out among them, so that means stay right.
    Rows of the same model, policy, question and repeat are one answer that was written down
    twice: all but one are dropped. Where such rows contradict each other, the file either numbers
    its repeats, and is refused, or it does not, and then its rows are repeats, all of them, since
    to drop the equal ones alone would move every mean. A question with several texts keeps the
    most frequent one. What was done is in `notes`, and in the log.

    Args:
        path: A file of any format that can be imported.
        hints: What the file does not say of itself.
        wanted: Name of the format; `auto` tells it from the content.
        models: Models to keep, names or wildcards such as `qwen*`; all if empty.
        arms: Policies or arms to keep, such as `direct` and `reasoning@*`.
        tasks: Tasks to keep.

    Raises:
        DataFileError: The file is of no known format, damaged, without a usable row, or
            contradicts itself.
        InvalidInputError: A hint is malformed or means nothing for the format.
        UnknownNameError: There is no such format or metric, or nothing of a wanted name.
        MissingPrerequisiteError: pyarrow is needed and not installed.
    """
    path = Path(path)
    name = check_hints(path, replace(hints, share_means=True), wanted)
    reading = _Reading(path)
    for row in read_with_notes(path, replace(hints, share_means=True), wanted=name):
        reading.add(row)
    skipped = reading.skipped.of_file(path)
    if not reading.records:
        refuse_empty(path, skipped)
    everything = reading.finish()
    kept = select_outcomes(everything, models=models, arms=arms, tasks=tasks)
    for text in reading.notes:
        _LOG.info("%s: %s", path.name, text)
    for one in skipped:
        _LOG.warning("%s: %d rows skipped: %s", path.name, one.count, one.reason)
    source = source_of(path, name, hints)
    return LoadedOutcomes(kept, source, len(everything), tuple(reading.notes), skipped)


class _Reading:
    """Turns the rows of one file into outcomes, and sorts out what is there twice."""

    def __init__(self, path: Path) -> None:
        self.records: list[OutcomeRecord] = []
        self.skipped = SkippedTally()
        self.notes: list[str] = []
        self._path = path
        self._first: dict[tuple[int, str, str, int], int] = {}
        self._arms: dict[tuple[str, str, str], int] = {}
        self._equal: list[int] = []
        self._contradicting: list[int] = []
        self._has_repeats = False
        self._texts: dict[tuple[str, str], Counter[str]] = {}
        self._text: dict[tuple[str, str], str] = {}
        self._has_grouping = False

    def add(self, row: ImportedOutcome | SkippedRow | FileNote) -> None:
        """Take the next row of the file."""
        if isinstance(row, SkippedRow):
            self.skipped.add(row.reason, row.where)
        elif isinstance(row, FileNote):
            self.notes.append(row.text)
            self._has_grouping |= row.about == "grouping"
        else:
            self._add(row)

    def _add(self, row: ImportedOutcome) -> None:
        record = _record_of(row)
        position = len(self.records)
        self.records.append(record)
        self._has_repeats |= row.repeat > 0
        arm = self._arms.setdefault((row.model, row.policy, row.recipe), len(self._arms))
        key = (arm, row.task, row.question_id, row.repeat)
        first = self._first.setdefault(key, position)
        if first != position:
            is_equal = self.records[first] == record
            (self._equal if is_equal else self._contradicting).append(position)
        question = (row.task, row.question_id)
        text = self._text.setdefault(question, row.prompt)
        if text != row.prompt:
            self._texts.setdefault(question, Counter())

    def finish(self) -> list[OutcomeRecord]:
        """Return the outcomes, each once, every question with one text.

        Raises:
            DataFileError: The file numbers repeats, and two rows of one contradict each other.
        """
        if not self._has_grouping:
            self.notes.append("every question id is a group of its own")
        self._tell_recipes()
        records = self._without_duplicates()
        return self._with_one_text(records) if self._texts else records

    def _without_duplicates(self) -> list[OutcomeRecord]:
        if self._contradicting:
            one = self.records[self._contradicting[0]]
            if self._has_repeats:
                raise DataFileError(
                    f"{len(self._contradicting):,} rows contradict an earlier one of the same"
                    f" model, policy, question and repeat: first question {one.question_id!r} of"
                    f" {one.arm!r}",
                    path=self._path,
                    hint="number the answers in the column sample_idx, or drop the wrong rows",
                )
            n_more = len(self._contradicting) + len(self._equal)
            self.notes.append(
                f"{n_more:,} rows have the model, policy and question of an earlier one and the"
                f" file does not number repeats: taken as repeats (such as question"
                f" {one.question_id!r} of {one.arm!r})"
            )
            return self.records
        if not self._equal:
            return self.records
        one = self.records[self._equal[0]]
        self.notes.append(
            f"{len(self._equal):,} rows are written twice and were dropped (such as question"
            f" {one.question_id!r} of {one.arm!r})"
        )
        dropped = set(self._equal)
        return [record for i, record in enumerate(self.records) if i not in dropped]

    def _with_one_text(self, records: list[OutcomeRecord]) -> list[OutcomeRecord]:
        """Give every question its most frequent text, the smallest one of equally frequent ones.

        Some tools put the arm's instruction, or an answer, into what they log as the question.
        """
        for record in records:
            counts = self._texts.get((record.task, record.question_id))
            if counts is not None:
                counts[record.prompt] += 1
        chosen = {
            question: min(counts, key=lambda text: (-counts[text], text))
            for question, counts in self._texts.items()
        }
        n_changed, example = 0, ""
        unified: list[OutcomeRecord] = []
        for record in records:
            text = chosen.get((record.task, record.question_id), record.prompt)
            if text != record.prompt:
                n_changed, example = n_changed + 1, example or record.question_id
                record = replace(record, prompt=text)  # noqa: PLW2901 - the same outcome
            unified.append(record)
        if n_changed:
            self.notes.append(
                f"{len(chosen):,} questions have several texts (such as {example!r}):"
                f" {n_changed:,} rows were given the most frequent one"
            )
        return unified

    def _tell_recipes(self) -> None:
        recipes = Counter((model, policy) for model, policy, _ in self._arms)
        mixed = [f"{model}:{policy}" for (model, policy), n in recipes.items() if n > 1]
        if mixed:
            self.notes.append(
                f"{len(mixed):,} arms were trained by several recipes that share a model's name"
                f" (such as {mixed[0]!r}): their answers count as repeats"
            )


def _record_of(row: ImportedOutcome) -> OutcomeRecord:
    """Return what routers are fitted from; an error has no tokens, as in a run."""
    is_error = row.outcome is Outcome.ERROR
    return OutcomeRecord(
        question_id=row.question_id,
        group=row.group,
        task=row.task,
        task_type=row.task_type,
        prompt=row.prompt,
        model=row.model,
        size=row.size,
        policy=row.policy,
        outcome=row.outcome,
        prompt_tokens=0 if is_error else row.prompt_tokens,
        completion_tokens=0 if is_error else row.completion_tokens,
        flops=None,
        seconds=0.0 if is_error else row.seconds,
    )
