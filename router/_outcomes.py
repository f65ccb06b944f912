"""Recorded outcomes as arrays: questions x arms, with gaps."""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calibration import Outcome, OutcomeRecord
from policies import Evidence, InvalidInputError

from ._arms import Arm

__all__ = ["EVIDENCE", "OutcomeMatrix", "evidence_row"]

_OUTCOMES = tuple(Outcome)
Floats = NDArray[np.float64]

EVIDENCE = ("mean_logprob", "min_logprob", "margin", "agreement", "log_tokens")
"""What an answer says about itself, in the order of the evidence's last axis: the fields of
`policies.Evidence`, and ln(1 + generated tokens)."""


@dataclass(frozen=True, slots=True)
class OutcomeMatrix:
    """Outcomes of every arm on every question.

    Repeated samples of one cell are averaged. A cell without a graded sample (never run, or
    infrastructure errors only) is NaN in every array; an error is never a wrong answer. An
    answer that was cut counts as not correct.

    Attributes:
        arms: Arms in the order of the columns, small and direct first.
        question_ids: Question identifiers in the order of the rows.
        groups: Group of each question; a group is never split between fitting and testing.
        tasks: Task name of each question.
        task_types: Task type of each question.
        prompts: Text of each question.
        correct: Share of correct samples in [0, 1], shape `(n_questions, n_arms)`.
        prompt_tokens: Mean prompt tokens, same shape.
        tokens: Mean generated tokens, thinking included, same shape.
        flops: Mean inference FLOPs, same shape; NaN where unknown.
        seconds: Mean wall seconds, same shape.
        evidence: What one answer of each cell says about itself, by the kinds in `EVIDENCE`,
            shape `(n_questions, n_arms, len(EVIDENCE))`; NaN where a kind, or all evidence, was
            not recorded. Of several graded answers with evidence the one whose record has the
            smallest hash is taken, so that neither the order of the records nor the outcome
            has a say.
        evidence_correct: Whether that same answer was right, 0 or 1, shape
            `(n_questions, n_arms)`; NaN without evidence.
        n_samples: Graded samples behind each cell, same shape.
        n_errors: Records left out because the infrastructure failed.
    """

    arms: tuple[Arm, ...]
    question_ids: tuple[str, ...]
    groups: tuple[str, ...]
    tasks: tuple[str, ...]
    task_types: tuple[str, ...]
    prompts: tuple[str, ...]
    correct: Floats
    prompt_tokens: Floats
    tokens: Floats
    flops: Floats
    seconds: Floats
    n_samples: NDArray[np.int64]
    n_errors: int
    evidence: Floats = field(default_factory=lambda: np.empty(0))
    evidence_correct: Floats = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        """Fill in that no evidence was recorded, where none was given."""
        if not self.evidence.size and not self.evidence_correct.size:
            shape = self.correct.shape
            object.__setattr__(self, "evidence", np.full((*shape, len(EVIDENCE)), np.nan))
            object.__setattr__(self, "evidence_correct", np.full(shape, np.nan))

    @classmethod
    def from_records(cls, records: Iterable[OutcomeRecord]) -> "OutcomeMatrix":
        """Build from records in any order; the result does not depend on it.

        Args:
            records: Graded outcomes; questions are told apart by task and question id.

        Raises:
            InvalidInputError: There is no graded record, one question has two prompts, task
                types or groups, one model has two sizes, or a number is negative.
            InvalidPolicyError: A policy string does not parse.
        """
        return _Builder(records).build()

    @property
    def n_questions(self) -> int:
        """Number of rows."""
        return len(self.question_ids)

    @property
    def is_measured(self) -> NDArray[np.bool_]:
        """Cells with a graded outcome, shape `(n_questions, n_arms)`."""
        return ~np.isnan(self.correct)

    @property
    def is_complete(self) -> NDArray[np.bool_]:
        """Questions on which every arm was measured, shape `(n_questions,)`."""
        return np.logical_and.reduce(self.is_measured, axis=1)

    @property
    def has_evidence(self) -> NDArray[np.bool_]:
        """Cells with an answer that tells something about itself, `(n_questions, n_arms)`."""
        return ~np.isnan(self.evidence_correct)

    def digest(self) -> str:
        """Return the SHA-256 of everything in here, equal for equal outcomes in any order."""
        texts = [
            [arm.to_json() for arm in self.arms],
            *zip(
                self.question_ids,
                self.groups,
                self.tasks,
                self.task_types,
                self.prompts,
                strict=True,
            ),
        ]
        digest = hashlib.sha256(json.dumps(texts).encode())
        for array in (self.correct, self.prompt_tokens, self.tokens, self.flops, self.seconds):
            digest.update(array.astype("<f8").tobytes())
        if self.has_evidence.any():  # Outcomes without any keep the hash they always had.
            digest.update(json.dumps(EVIDENCE).encode())
            for array in (self.evidence, self.evidence_correct):
                digest.update(array.astype("<f8").tobytes())
        return digest.hexdigest()

    def rows(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "OutcomeMatrix":
        """Return the questions at `index` (positions or a mask), arms unchanged."""
        positions: list[int] = np.arange(self.n_questions)[index].tolist()

        def pick(values: Sequence[str]) -> tuple[str, ...]:
            return tuple(values[position] for position in positions)

        return OutcomeMatrix(
            arms=self.arms,
            question_ids=pick(self.question_ids),
            groups=pick(self.groups),
            tasks=pick(self.tasks),
            task_types=pick(self.task_types),
            prompts=pick(self.prompts),
            correct=self.correct[positions],
            prompt_tokens=self.prompt_tokens[positions],
            tokens=self.tokens[positions],
            flops=self.flops[positions],
            seconds=self.seconds[positions],
            n_samples=self.n_samples[positions],
            n_errors=self.n_errors,
            evidence=self.evidence[positions],
            evidence_correct=self.evidence_correct[positions],
        )


def evidence_row(evidence: Evidence, completion_tokens: int | None) -> list[float]:
    """Return an answer's evidence by the kinds in `EVIDENCE`, NaN where it is unknown.

    Args:
        evidence: What the answer says about itself.
        completion_tokens: Generated tokens, thinking included.
    """
    length = None if completion_tokens is None else math.log1p(completion_tokens)
    known = {"log_tokens": length}
    values = [known[kind] if kind in known else getattr(evidence, kind) for kind in EVIDENCE]
    return [math.nan if value is None else float(value) for value in values]


def _is_sound(evidence: Evidence) -> bool:
    logprobs = (evidence.mean_logprob, evidence.min_logprob)
    margin, agreement = evidence.margin, evidence.agreement
    return (
        all(one is None or -math.inf < one <= 0.0 for one in logprobs)
        and (margin is None or 0.0 <= margin < math.inf)
        and (agreement is None or 0.0 <= agreement <= 1.0)
    )


class _Builder:
    """Collects records, checks that they agree, and averages them."""

    def __init__(self, records: Iterable[OutcomeRecord]) -> None:
        self._sizes: dict[str, int | None] = {}
        self._questions: dict[tuple[str, str], OutcomeRecord] = {}
        self._graded: list[OutcomeRecord] = []
        self._n_errors = 0
        for record in records:
            self._add(record)
        if not self._graded:
            raise InvalidInputError(
                f"there is no graded outcome ({self._n_errors} errors)",
                hint="a router needs at least one outcome that is correct, wrong or cut",
            )

    def _add(self, record: OutcomeRecord) -> None:
        if record.outcome not in _OUTCOMES:
            raise InvalidInputError(
                f"question {record.question_id!r} of {record.arm!r} has the outcome "
                f"{record.outcome!r}",
                hint=f"an outcome is one of {', '.join(_OUTCOMES)}",
            )
        if record.outcome == Outcome.ERROR:
            self._n_errors += 1
            return
        numbers = (record.prompt_tokens, record.completion_tokens, record.seconds, record.flops)
        if not all(0 <= number < float("inf") for number in numbers if number is not None):
            raise InvalidInputError(
                f"question {record.question_id!r} of {record.arm!r} has a negative or infinite "
                f"token count, FLOPs or seconds"
            )
        if not isinstance(record.prompt, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidInputError(
                f"the prompt of question {record.question_id!r} is a "
                f"{type(record.prompt).__name__}, expected a text"
            )
        first = self._questions.setdefault((record.task, record.question_id), record)
        for name in ("prompt", "task_type", "group"):
            if getattr(first, name) != getattr(record, name):
                raise InvalidInputError(
                    f"question {record.question_id!r} of task {record.task!r} has two values of "
                    f"{name!r}",
                    hint="one question id stands for one prompt, task type and group",
                )
        if self._sizes.setdefault(record.model, record.size) != record.size:
            raise InvalidInputError(f"model {record.model!r} has two sizes in the outcomes")
        if record.evidence is not None and not _is_sound(record.evidence):
            raise InvalidInputError(
                f"question {record.question_id!r} of {record.arm!r} has impossible evidence: "
                f"{record.evidence}",
                hint="log-probabilities are finite and at most 0, margins at least 0, and an "
                "agreement is a share",
            )
        self._graded.append(record)

    def build(self) -> OutcomeMatrix:
        pairs = {(record.model, record.policy) for record in self._graded}
        parsed = {pair: Arm.parse(*pair, self._sizes[pair[0]]) for pair in pairs}
        arms = sorted(set(parsed.values()), key=lambda arm: arm.order)
        questions = sorted(self._questions)
        row_of = {key: row for row, key in enumerate(questions)}
        column_of = {pair: arms.index(arm) for pair, arm in parsed.items()}
        rows = np.array([row_of[r.task, r.question_id] for r in self._graded], dtype=np.int64)
        columns = np.array([column_of[r.model, r.policy] for r in self._graded], dtype=np.int64)
        shape = (len(questions), len(arms))

        def mean(values: Sequence[float | None]) -> Floats:
            given = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
            # Sorted, so that a sum of floats does not depend on the order of the records.
            known = np.lexsort((given, columns, rows))
            known = known[~np.isnan(given[known])]
            place = (rows[known], columns[known])
            totals, counts = np.zeros(shape), np.zeros(shape)
            np.add.at(totals, place, given[known])
            np.add.at(counts, place, 1.0)
            return np.divide(totals, counts, out=np.full(shape, np.nan), where=counts > 0)

        evidence = np.full((*shape, len(EVIDENCE)), np.nan)
        evidence_correct = np.full(shape, np.nan)
        for (row, column), record in self._told(rows.tolist(), columns.tolist()).items():
            if record.evidence is not None:
                evidence[row, column] = evidence_row(record.evidence, record.completion_tokens)
                evidence_correct[row, column] = float(record.outcome == Outcome.CORRECT)
        n_samples = np.zeros(shape, dtype=np.int64)
        np.add.at(n_samples, (rows, columns), 1)
        heads = [self._questions[key] for key in questions]
        return OutcomeMatrix(
            arms=tuple(arms),
            question_ids=tuple(head.question_id for head in heads),
            groups=tuple(head.group for head in heads),
            tasks=tuple(head.task for head in heads),
            task_types=tuple(head.task_type for head in heads),
            prompts=tuple(head.prompt for head in heads),
            correct=mean([float(r.outcome == Outcome.CORRECT) for r in self._graded]),
            prompt_tokens=mean([r.prompt_tokens for r in self._graded]),
            tokens=mean([r.completion_tokens for r in self._graded]),
            flops=mean([r.flops for r in self._graded]),
            seconds=mean([r.seconds for r in self._graded]),
            n_samples=n_samples,
            n_errors=self._n_errors,
            evidence=evidence,
            evidence_correct=evidence_correct,
        )

    def _told(
        self, rows: Sequence[int], columns: Sequence[int]
    ) -> dict[tuple[int, int], OutcomeRecord]:
        """Return the one record of each cell whose evidence is kept."""
        kept: dict[tuple[int, int], OutcomeRecord] = {}
        for row, column, record in zip(rows, columns, self._graded, strict=True):
            if record.evidence is None:
                continue
            other = kept.setdefault((row, column), record)
            if other is not record and _hash(record) < _hash(other):
                kept[row, column] = record
        return kept


def _hash(record: OutcomeRecord) -> bytes:
    """Return a number that is as good as drawn at random, and the same in every run."""
    return hashlib.sha256(repr(record).encode()).digest()
