"""Which arm was measured on what: gaps, selections, arms that are always right, failures."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._findings import Finding, FindingCode, Severity

__all__ = ["Coverage", "coverage_findings"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FEW_QUESTIONS = 50
_FEW_GROUPS = 10
_MANY_ERRORS = 0.01
_MIN_PER_SIDE = 20
_MIN_DIFFERENCE = 0.2
_MIN_Z = 6.0


@dataclass(frozen=True, slots=True)
class Coverage:
    """Counts of outcomes per question and arm.

    Attributes:
        arms: Names of the arms.
        question_ids: Ids of the questions.
        tasks: Task of each question.
        groups: Group of each question.
        n_samples: Graded outcomes, shape `(n_questions, n_arms)`.
        n_correct: Correct ones, same shape.
        n_errors: Failed requests per arm, `None` if not known by arm.
        n_without_tokens: Graded outcomes per arm without a token count.
    """

    arms: tuple[str, ...]
    question_ids: tuple[str, ...]
    tasks: tuple[str, ...]
    groups: tuple[str, ...]
    n_samples: NDArray[np.int64]
    n_correct: Floats
    n_errors: Ints | None
    n_without_tokens: NDArray[np.int64]


def coverage_findings(coverage: Coverage) -> list[Finding]:
    """Return what the counts tell: classes, gaps, repeats, selections, errors, tokens."""
    return [
        *_classes(coverage),
        *_gaps(coverage),
        *_repeats(coverage),
        *_selections(coverage),
        *_errors(coverage),
        *_tokens(coverage),
    ]


def _classes(coverage: Coverage) -> Iterable[Finding]:
    """Every outcome of one class: for all arms there is nothing to learn but means."""
    n, n_correct = coverage.n_samples.sum(axis=0), coverage.n_correct.sum(axis=0)
    total, total_correct = int(n.sum()), float(n_correct.sum())
    if total_correct in {0.0, float(total)}:
        word = "correct" if total_correct else "not correct"
        yield Finding(
            FindingCode.ONE_CLASS,
            Severity.WARNING,
            total,
            total,
            coverage.arms[0],
            f"all {total:,} outcomes are {word}: only the cost can tell arms apart",
            "measure harder or easier questions, and check the grader",
        )
        return
    measured = np.flatnonzero(n)
    same = [int(i) for i in measured if n_correct[i] in {0.0, float(n[i])}]
    if same:
        names = sorted(coverage.arms[i] for i in same)
        yield Finding(
            FindingCode.ONE_CLASS_ARM,
            Severity.WARNING,
            len(same),
            len(coverage.arms),
            names[0],
            f"{_named(names)}: every outcome correct, or none",
            "check how its answers are graded; it is judged by its mean",
        )


def _gaps(coverage: Coverage) -> Iterable[Finding]:
    is_measured = coverage.n_samples > 0
    n_questions, n_arms = is_measured.shape
    per_arm = is_measured.sum(axis=0)
    few = sorted(coverage.arms[i] for i in np.flatnonzero(per_arm < _FEW_QUESTIONS))
    if few:
        yield Finding(
            FindingCode.FEW_QUESTIONS,
            Severity.WARNING,
            len(few),
            n_arms,
            few[0],
            f"{_named(few)}: measured on fewer than {_FEW_QUESTIONS} questions",
            "measure more questions, or leave it out with --arms",
        )
    n_groups = len(set(coverage.groups))
    if n_groups < _FEW_GROUPS:
        yield Finding(
            FindingCode.FEW_GROUPS,
            Severity.WARNING,
            n_groups,
            n_questions,
            coverage.groups[0],
            f"{n_questions:,} questions are {n_groups:,} groups: too few to hold some back",
            "measure questions of more documents or sources",
        )
    n_shared = int(is_measured.all(axis=1).sum())
    if n_arms > 1 and n_shared == 0:
        thinnest = coverage.arms[int(per_arm.argmin())]
        yield Finding(
            FindingCode.NO_SHARED_QUESTIONS,
            Severity.WARNING,
            n_questions,
            n_questions,
            thinnest,
            "no question was answered by all arms: arms cannot be compared on equal questions",
            f"measure them on the same questions, or leave arms out with --arms; {thinnest!r} has"
            " the fewest",
        )
    elif n_shared < n_questions:
        yield Finding(
            FindingCode.GAPS,
            Severity.NOTE,
            n_questions - n_shared,
            n_questions,
            coverage.question_ids[int(np.flatnonzero(~is_measured.all(axis=1))[0])],
            f"{n_questions - n_shared:,} of {n_questions:,} questions lack an answer of some arm",
            "fitting uses them, comparisons do not",
        )


def _repeats(coverage: Coverage) -> Iterable[Finding]:
    counts = coverage.n_samples
    most = counts.max(axis=1)
    least = np.where(counts > 0, counts, most[:, np.newaxis]).min(axis=1)
    uneven = np.flatnonzero(most != least)
    if len(uneven):
        yield Finding(
            FindingCode.UNEVEN_REPEATS,
            Severity.NOTE,
            len(uneven),
            len(counts),
            coverage.question_ids[int(uneven[0])],
            f"{len(uneven):,} of {len(counts):,} questions have more answers of some arms than of"
            " others",
            "means are over the answers that are there; check that none was written twice",
        )


def _selections(coverage: Coverage) -> Iterable[Finding]:
    """Arms whose questions were chosen by how another arm did, such as a second try after a miss.

    Source:
        Cochran (1954), combining 2x2 tables: within each task, the accuracy of arm `i` on the
        questions that arm `j` was measured on against its accuracy on the others. The bounds are
        ours: far beyond chance, and large enough to matter.
    """
    is_measured = (coverage.n_samples > 0).astype(np.float64)
    accuracy = np.divide(
        coverage.n_correct,
        coverage.n_samples,
        out=np.zeros_like(coverage.n_correct),
        where=coverage.n_samples > 0,
    )
    tasks = np.unique(np.array(coverage.tasks, dtype=object), return_inverse=True)[1]
    n_arms = len(coverage.arms)
    weights, differences, variances = (np.zeros((n_arms, n_arms)) for _ in range(3))
    n_in, n_out = (np.zeros((n_arms, n_arms)) for _ in range(2))
    for task in range(int(tasks.max()) + 1):
        rows = tasks == task
        known, right = is_measured[rows], accuracy[rows]
        inside, outside = known.T @ known, known.T @ (1.0 - known)
        p_inside = _share(right.T @ known, inside)
        p_outside = _share(right.T @ (1.0 - known), outside)
        weight = _share(inside * outside, inside + outside)
        p = _share(right.sum(axis=0), known.sum(axis=0))[:, np.newaxis]
        weights += weight
        differences += weight * (p_inside - p_outside)
        variances += weight * p * (1.0 - p)
        n_in += inside
        n_out += outside
    z = _share(differences, np.sqrt(variances))
    difference = _share(differences, weights)
    is_selected = (np.abs(z) > _MIN_Z) & (np.abs(difference) > _MIN_DIFFERENCE)
    is_selected &= (n_in >= _MIN_PER_SIDE) & (n_out >= _MIN_PER_SIDE)
    np.fill_diagonal(is_selected, False)
    selected = sorted(np.flatnonzero(is_selected.any(axis=0)), key=lambda j: coverage.arms[j])
    if selected:
        j = int(selected[0])
        i = int(np.argmax(np.where(is_selected[:, j], np.abs(z[:, j]), -1.0)))
        names = [coverage.arms[int(k)] for k in selected]
        yield Finding(
            FindingCode.SELECTED_QUESTIONS,
            Severity.WARNING,
            len(selected),
            n_arms,
            names[0],
            f"{_named(names)}: measured on chosen questions; on those of {names[0]!r},"
            f" {coverage.arms[i]!r} differs by {difference[i, j]:+.2f} in accuracy from its others",
            "leave it out with --arms: an arm that was tried only where another one failed or did"
            " well cannot be compared",
        )


def _errors(coverage: Coverage) -> Iterable[Finding]:
    if coverage.n_errors is None:
        return
    n_errors = coverage.n_errors
    asked = n_errors + coverage.n_samples.sum(axis=0)
    many = np.flatnonzero(n_errors > _MANY_ERRORS * asked)
    if len(many):
        worst = int(many[np.argmax(n_errors[many] / asked[many])])
        yield Finding(
            FindingCode.ERRORS,
            Severity.WARNING,
            int(n_errors.sum()),
            int(asked.sum()),
            coverage.arms[worst],
            f"{_named(sorted(coverage.arms[int(i)] for i in many))}: more than"
            f" {_MANY_ERRORS:.0%} of requests failed, {n_errors[worst] / asked[worst]:.0%} at"
            f" worst ({coverage.arms[worst]!r})",
            "they count as nothing, not as wrong; if long answers fail, accuracies are biased: run"
            " the same advisor calibrate command again",
        )


def _tokens(coverage: Coverage) -> Iterable[Finding]:
    n = coverage.n_without_tokens
    without = np.flatnonzero(n)
    if len(without):
        names = sorted(coverage.arms[int(i)] for i in without)
        yield Finding(
            FindingCode.UNKNOWN_TOKENS,
            Severity.WARNING,
            int(n.sum()),
            int(coverage.n_samples.sum()),
            names[0],
            f"{_named(names)}: token counts of {int(n.sum()):,} outcomes are unknown",
            "without them the cost of an arm cannot be told: record completion_tokens",
        )


def _share(above: Floats, below: Floats) -> Floats:
    """Return the quotient, 0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)


def _named(names: list[str]) -> str:
    if len(names) == 1:
        return f"arm {names[0]!r}"
    return f"{len(names)} arms ({', '.join(names[:3])}{', ...' * (len(names) > 3)})"
