"""Checks of outcomes before anything is learned from them: what is wrong, and what was done."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from calibration import Outcome, OutcomeRecord
from policies import InvalidInputError

from .._outcomes import OutcomeMatrix
from ._coverage import Coverage, coverage_findings
from ._findings import Finding, FindingCode, Severity
from ._texts import TextReport, merge_same_texts

__all__ = ["CheckedMatrix", "CheckedOutcomes", "check_matrix", "check_outcomes"]

_FINGERPRINT_SHARE = 0.9
_NUMBERS = ("prompt_tokens", "completion_tokens", "flops", "seconds")


@dataclass(frozen=True, slots=True)
class CheckedOutcomes:
    """Outcomes after the checks.

    Attributes:
        records: The outcomes to learn from, in the order they came in: outcomes written twice
            are gone, and questions of one text share a group.
        findings: What was found, the worst first; nothing for faultless outcomes.
    """

    records: list[OutcomeRecord]
    findings: tuple[Finding, ...]

    def require_usable(self) -> list[OutcomeRecord]:
        """Return the outcomes.

        Raises:
            InvalidInputError: Nothing can be learned from them; the message has every reason.
        """
        _refuse_fatal(self.findings)
        return self.records


@dataclass(frozen=True, slots=True)
class CheckedMatrix:
    """An outcome matrix after the checks.

    Attributes:
        matrix: The matrix; questions of one text share a group.
        findings: What was found, the worst first.
    """

    matrix: OutcomeMatrix
    findings: tuple[Finding, ...]

    def require_usable(self) -> OutcomeMatrix:
        """Return the matrix.

        Raises:
            InvalidInputError: Nothing can be learned from it; the message has every reason.
        """
        _refuse_fatal(self.findings)
        return self.matrix


def check_outcomes(records: Iterable[OutcomeRecord]) -> CheckedOutcomes:
    """Check outcomes before a router is fitted on them or judged by them.

    The findings do not depend on the order of the outcomes. A million outcomes take some seconds.

    - Fatal: no graded outcome; a token count, FLOPs or seconds that are negative, infinite or
      NaN; a question with two texts, task types or groups; a model with two sizes.
    - Put right: outcomes that equal another one in everything, measured time included, are
      dropped, where times differ otherwise; where they do not (rounded, or worked out) equal
      outcomes may be honest repeats, stay, and are told. Questions whose texts are equal but for
      case and white space are put into one group, so that no text is learned from and tested on.
    - Told: everything else that makes results weaker than they look.

    Args:
        records: Outcomes in any order.

    Example:
        >>> check_outcomes([]).findings[0].code
        <FindingCode.NO_OUTCOMES: 'no-outcomes'>
    """
    survey = _Survey(records)
    fatal = survey.fatal()
    if fatal:
        return CheckedOutcomes(survey.records, tuple(fatal))
    kept, findings = survey.without_duplicates()
    keys = sorted(survey.questions)
    heads = [survey.questions[key] for key in keys]
    texts = merge_same_texts(
        [head.prompt for head in heads],
        [head.group for head in heads],
        [head.question_id for head in heads],
    )
    findings += texts.findings
    findings += coverage_findings(_coverage(kept, keys, texts.groups))
    if texts.n_changed:
        group_of = dict(zip(keys, texts.groups, strict=True))
        kept = [_regrouped(record, group_of[record.task, record.question_id]) for record in kept]
    return CheckedOutcomes(kept, _worst_first(findings))


def check_matrix(matrix: OutcomeMatrix) -> CheckedMatrix:
    """Check an outcome matrix as `check_outcomes` checks outcomes, as far as it can tell.

    Means over repeats hide what was written twice.
    """
    fatal: list[Finding] = []
    if not matrix.is_measured.any():
        fatal.append(_no_outcomes(matrix.n_errors))
    correct = matrix.correct[matrix.is_measured]
    n_bad = int(np.count_nonzero((correct < 0.0) | (correct > 1.0)))
    for values in (matrix.prompt_tokens, matrix.tokens, matrix.flops, matrix.seconds):
        n_bad += int(np.count_nonzero((values < 0.0) | np.isinf(values)))
    if n_bad:
        fatal.append(_bad_numbers(n_bad, matrix.n_questions, "a cell of the matrix"))
    if fatal:
        return CheckedMatrix(matrix, tuple(fatal))
    texts: TextReport = merge_same_texts(matrix.prompts, matrix.groups, matrix.question_ids)
    coverage = Coverage(
        arms=tuple(arm.name for arm in matrix.arms),
        question_ids=matrix.question_ids,
        tasks=matrix.tasks,
        groups=texts.groups,
        n_samples=matrix.n_samples,
        n_correct=np.nan_to_num(matrix.correct) * matrix.n_samples,
        n_errors=None,
        n_without_tokens=np.count_nonzero(matrix.is_measured & np.isnan(matrix.tokens), axis=0),
    )
    findings = [*texts.findings, *coverage_findings(coverage)]
    if texts.n_changed:
        matrix = replace(matrix, groups=texts.groups)
    return CheckedMatrix(matrix, _worst_first(findings))


def _refuse_fatal(findings: Sequence[Finding]) -> None:
    fatal = [finding for finding in findings if finding.severity is Severity.FATAL]
    if fatal:
        raise InvalidInputError(
            "; ".join(finding.message for finding in fatal),
            hint="; ".join(dict.fromkeys(finding.hint for finding in fatal)),
            code=fatal[0].code,
        )


def _worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    order = list(Severity)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def _no_outcomes(n_errors: int) -> Finding:
    return Finding(
        FindingCode.NO_OUTCOMES,
        Severity.FATAL,
        n_errors,
        n_errors,
        "",
        f"there is no graded outcome ({n_errors:,} infrastructure errors)",
        "measure again: at least one outcome must be correct, wrong or cut",
    )


def _bad_numbers(count: int, n: int, example: str) -> Finding:
    return Finding(
        FindingCode.BAD_NUMBERS,
        Severity.FATAL,
        count,
        n,
        example,
        f"{count:,} numbers are negative, infinite or NaN: first {example}",
        "take them out of the outcomes; what is unknown is None",
    )


def _regrouped(record: OutcomeRecord, group: str) -> OutcomeRecord:
    return record if record.group == group else replace(record, group=group)


class _Clash(NamedTuple):
    """Two outcomes that cannot both be true."""

    what: str
    where: str


class _Survey:
    """One pass over the outcomes."""

    def __init__(self, records: Iterable[OutcomeRecord]) -> None:
        self.records: list[OutcomeRecord] = list(records)
        self.questions: dict[tuple[str, str], OutcomeRecord] = {}
        self._n_errors = 0
        self._bad: list[str] = []
        self._clashes: set[_Clash] = set()
        sizes: dict[str, int | None] = {}
        for record in self.records:
            if record.outcome == Outcome.ERROR:
                self._n_errors += 1
                continue
            self._check_numbers(record)
            first = self.questions.setdefault((record.task, record.question_id), record)
            if first is not record:
                self._check_question(first, record)
            if sizes.setdefault(record.model, record.size) != record.size:
                self._clashes.add(_Clash("size", f"model {record.model!r}"))

    def _check_numbers(self, record: OutcomeRecord) -> None:
        for name in _NUMBERS:
            value = getattr(record, name)
            # NaN is not greater than or equal to anything.
            if value is not None and not 0 <= value < math.inf:
                place = f"question {record.question_id!r} of {record.arm!r}"
                self._bad.append(f"{name} {value!r} of {place}")

    def _check_question(self, first: OutcomeRecord, record: OutcomeRecord) -> None:
        for name in ("prompt", "task_type", "group"):
            if getattr(first, name) != getattr(record, name):
                where = f"question {record.question_id!r} of task {record.task!r}"
                self._clashes.add(_Clash(name, where))

    def fatal(self) -> list[Finding]:
        """Return what forbids to learn from the outcomes."""
        found: list[Finding] = []
        n_graded = len(self.records) - self._n_errors
        if not n_graded:
            return [_no_outcomes(self._n_errors)]
        if self._bad:
            found.append(_bad_numbers(len(self._bad), n_graded, min(self._bad)))
        for name in ("prompt", "task_type", "group", "size"):
            places = [clash.where for clash in self._clashes if clash.what == name]
            if places:
                found.append(_contradiction(name, places, len(self.questions)))
        return found

    def without_duplicates(self) -> tuple[list[OutcomeRecord], list[Finding]]:
        """Return the outcomes without those written twice, and what was found of them."""
        seen: set[OutcomeRecord] = set()
        times: set[float] = set()
        equal: list[int] = []
        for index, record in enumerate(self.records):
            # A time of 0 is what tools write that did not measure it.
            if record.outcome == Outcome.ERROR or not record.seconds:
                continue
            n_before = len(seen)
            seen.add(record)
            if len(seen) == n_before:
                equal.append(index)
            times.add(record.seconds)
        if not equal:
            return self.records, []
        example = min(
            f"question {self.records[i].question_id!r} of {self.records[i].arm!r}" for i in equal
        )
        is_fingerprint = len(times) >= _FINGERPRINT_SHARE * len(seen)
        finding = Finding(
            FindingCode.DUPLICATES if is_fingerprint else FindingCode.EQUAL_REPEATS,
            Severity.WARNING,
            len(equal),
            len(self.records),
            example,
            f"{len(equal):,} outcomes equal another one in everything, the measured time included"
            + (": written twice, and dropped" if is_fingerprint else ": kept as repeats"),
            "write every outcome once",
        )
        if not is_fingerprint:
            return self.records, [finding]
        dropped = set(equal)
        return [r for i, r in enumerate(self.records) if i not in dropped], [finding]


def _contradiction(name: str, places: Sequence[str], n_questions: int) -> Finding:
    what = {"prompt": "texts", "task_type": "task types", "group": "groups", "size": "sizes"}[name]
    subject = "models" if name == "size" else "questions"
    return Finding(
        FindingCode.CONTRADICTIONS,
        Severity.FATAL,
        len(places),
        n_questions,
        min(places),
        f"{len(places):,} {subject} have two {what}: first {min(places)}",
        "one question id stands for one text, task type and group, one model name for one size",
    )


def _coverage(
    records: Sequence[OutcomeRecord],
    keys: Sequence[tuple[str, str]],
    groups: tuple[str, ...],
) -> Coverage:
    row_of = {key: row for row, key in enumerate(keys)}
    names = sorted({(record.model, record.policy) for record in records})
    column_of = {name: column for column, name in enumerate(names)}
    n_errors = np.zeros(len(names), dtype=np.int64)
    n_without_tokens = np.zeros(len(names), dtype=np.int64)
    shape = (len(keys), len(names))
    places: list[int] = []
    correct: list[bool] = []
    for record in records:
        column = column_of[record.model, record.policy]
        if record.outcome == Outcome.ERROR:
            n_errors[column] += 1
            continue
        places.append(row_of[record.task, record.question_id] * len(names) + column)
        correct.append(record.outcome == Outcome.CORRECT)
        n_without_tokens[column] += record.completion_tokens is None
    cells = np.array(places, dtype=np.int64)
    weights = np.array(correct, dtype=np.float64)
    size = shape[0] * shape[1]
    return Coverage(
        arms=tuple(f"{model}:{policy}" for model, policy in names),
        question_ids=tuple(question for _, question in keys),
        tasks=tuple(task for task, _ in keys),
        groups=groups,
        n_samples=np.bincount(cells, minlength=size).reshape(shape),
        n_correct=np.bincount(cells, weights, size).astype(np.float64).reshape(shape),
        n_errors=n_errors,
        n_without_tokens=n_without_tokens,
    )
