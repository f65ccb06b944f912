"""Two arms of one run on the same questions: accuracy, tokens and FLOPs, over all and per task."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from policies import InvalidInputError, UnknownNameError

from ._outcomes import Outcome, OutcomeRecord
from .statistics import (
    Interval,
    benjamini_hochberg,
    clustered_stderr,
    holm,
    mcnemar_exact,
    paired_difference_interval,
    paired_proportions_interval,
)

__all__ = ["ArmComparison", "ComparisonRow", "CostDifference", "compare_arms", "find_arm"]


@dataclass(frozen=True, slots=True)
class CostDifference:
    """How much more the first arm takes per question than the second.

    Attributes:
        first_mean: Mean of the first arm over the paired questions.
        second_mean: Mean of the second.
        difference: First minus second.
        ci_low: Lower end of the BCa bootstrap interval over clusters; `None` below two clusters.
        ci_high: Upper end.
    """

    first_mean: float
    second_mean: float
    difference: float
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """Two arms on the questions that both answered.

    Attributes:
        task: Task name; "" for all tasks together.
        n: Questions that both arms answered.
        n_clusters: Independent clusters among them: questions, or the documents they share.
        first_accuracy: The first arm's accuracy on them, repeats averaged per question first; NaN
            without questions.
        second_accuracy: The second arm's.
        difference: First minus second accuracy.
        ci_low: Lower end of its interval: Newcombe's for independent questions asked once, the BCa
            bootstrap over clusters otherwise.
        ci_high: Upper end.
        n_first_better: Discordant questions that the first arm got right more often.
        n_second_better: Those that the second did.
        p_mcnemar: Exact McNemar p-value of these two counts (with repeats: the sign test); it takes
            questions as independent.
        p_value: The p-value that is adjusted: `p_mcnemar`, or a cluster-robust t test where
            questions share documents.
        p_holm: `p_value` adjusted over the tasks by Holm; equal to it for all tasks together.
        p_bh: The same by Benjamini and Hochberg.
        tokens: Generated tokens; `None` if some are unknown.
        flops: Inference FLOPs; `None` if some are unknown.
        n_unpaired: Questions left out because only one of the arms was asked.
        n_error: Questions left out because an arm that was asked gave only infrastructure errors.
    """

    task: str
    n: int
    n_clusters: int
    first_accuracy: float
    second_accuracy: float
    difference: float
    ci_low: float
    ci_high: float
    n_first_better: int
    n_second_better: int
    p_mcnemar: float
    p_value: float
    p_holm: float
    p_bh: float
    tokens: CostDifference | None
    flops: CostDifference | None
    n_unpaired: int
    n_error: int


@dataclass(frozen=True, slots=True)
class ArmComparison:
    """Two arms compared over all tasks and per task.

    Attributes:
        first: The first arm.
        second: The second.
        confidence: Nominal coverage of every interval.
        overall: All tasks' questions pooled.
        tasks: One row per task, by name.
    """

    first: str
    second: str
    confidence: float
    overall: ComparisonRow
    tasks: tuple[ComparisonRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the pooled row's fields beside the arms, and the tasks' rows as a list."""
        overall = {k: v for k, v in asdict(self.overall).items() if k != "task"}
        return {
            "arms": [self.first, self.second],
            "confidence": self.confidence,
            **overall,
            "tasks": [asdict(row) for row in self.tasks],
        }

    def _repr_html_(self) -> str:
        """Return the comparison as a notebook shows it."""
        from ._notebook import comparison_html

        return comparison_html(self)


def find_arm(name: str, arms: Iterable[str]) -> str:
    """Return the arm that a name means: `MODEL:POLICY`, or a policy that one model was asked with.

    Raises:
        UnknownNameError: No arm is meant.
        InvalidInputError: Several are.
    """
    known = sorted(set(arms))
    if name in known:
        return name
    meant = [arm for arm in known if arm.endswith(f":{name}")]
    if len(meant) > 1:
        raise InvalidInputError(
            f"{name!r} was measured with {len(meant)} models", hint=f"write {' or '.join(meant)}"
        )
    if not meant:
        policies = {arm.rpartition(":")[2] for arm in known}
        raise UnknownNameError("arm", name, {*known, *policies} if ":" not in name else known)
    return meant[0]


def compare_arms(
    records: Iterable[OutcomeRecord],
    first: str,
    second: str,
    *,
    task: str | None = None,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    seed: int = 0,
) -> ArmComparison:
    """Compare two arms question by question.

    A question counts where both arms have an answer that is no infrastructure error; cut answers
    count as not correct. Repeated answers are averaged per question first, and whole clusters
    (records of one `group`) are resampled. An arm compared with itself differs by exactly 0 with
    p = 1.

    Args:
        records: Outcomes of a run, of these arms and any others.
        first: One arm, as `find_arm` understands it.
        second: The other.
        task: Compare on this task only; by default on all of the run.
        confidence: Nominal coverage in (0, 1).
        n_resamples: Bootstrap samples.
        seed: Seed of the resampling.

    Raises:
        UnknownNameError: There is no such arm or task.
        InvalidInputError: A policy was measured with several models, or no question was answered by
            both arms.
    """
    held = list(records)
    arms = {record.arm for record in held}
    first, second = find_arm(first, arms), find_arm(second, arms)
    tasks = sorted({record.task for record in held})
    if task is not None:
        if task not in tasks:
            raise UnknownNameError("task", task, tasks)
        tasks = [task]
    sides = (_questions(held, first), _questions(held, second))
    how = _How(first == second, confidence, n_resamples, seed)
    rows = [_compare_task(name, sides, how) for name in tasks]
    rows = [row for row in rows if row.n or row.n_unpaired or row.n_error]
    judged = [row for row in rows if row.n]
    if not judged:
        raise InvalidInputError(
            f"{first!r} and {second!r} have no question that both answered",
            hint="measure both on the same tasks, or run the same command again to ask errors anew",
        )
    by_holm = holm([row.p_value for row in judged])
    by_bh = benjamini_hochberg([row.p_value for row in judged])
    adjusted = {
        row.task: replace(row, p_holm=strict, p_bh=loose)
        for row, strict, loose in zip(judged, by_holm, by_bh, strict=True)
    }
    return ArmComparison(
        first,
        second,
        confidence,
        replace(judged[0], task="") if len(rows) == 1 else _compare_task(None, sides, how),
        tuple(adjusted.get(row.task, row) for row in rows),
    )


class _How(NamedTuple):
    """How rows are computed."""

    is_same: bool
    confidence: float
    n_resamples: int
    seed: int


class _Answers(NamedTuple):
    """One arm's answers to one question, repeats averaged; NaN where a cost is not known."""

    group: str
    n: int
    accuracy: float
    tokens: float
    flops: float


_Questions = dict[tuple[str, str], _Answers]


def _questions(records: Iterable[OutcomeRecord], arm: str) -> _Questions:
    by_question: dict[tuple[str, str], list[OutcomeRecord]] = defaultdict(list)
    for record in records:
        if record.arm == arm:
            by_question[record.task, record.question_id].append(record)
    return {key: _average(found) for key, found in by_question.items()}


def _average(records: Sequence[OutcomeRecord]) -> _Answers:
    graded = [record for record in records if record.outcome is not Outcome.ERROR]
    n = len(graded)
    if n == 0:
        return _Answers(records[0].group, 0, math.nan, math.nan, math.nan)
    unknown = math.nan
    return _Answers(
        graded[0].group,
        n,
        sum(record.outcome is Outcome.CORRECT for record in graded) / n,
        sum(unknown if r.completion_tokens is None else r.completion_tokens for r in graded) / n,
        sum(unknown if r.flops is None else r.flops for r in graded) / n,
    )


def _compare_task(
    task: str | None, sides: tuple[_Questions, _Questions], how: _How
) -> ComparisonRow:
    """Compare on one task, or on all of them; p-values are adjusted later."""
    asked = [
        {key: answers for key, answers in side.items() if task is None or key[0] == task}
        for side in sides
    ]
    shared = sorted(asked[0].keys() & asked[1].keys())
    paired = [
        (asked[0][key], asked[1][key]) for key in shared if asked[0][key].n and asked[1][key].n
    ]
    # Documents of two tasks that happen to have one name are two documents.
    clusters = [
        (key[0], asked[0][key].group) for key in shared if asked[0][key].n and asked[1][key].n
    ]
    n_better = sum(one.accuracy > other.accuracy for one, other in paired)
    n_worse = sum(one.accuracy < other.accuracy for one, other in paired)
    is_plain = len(set(clusters)) == len(paired) and all(a.n == b.n == 1 for a, b in paired)
    interval = _accuracy_interval(paired, clusters, how, is_plain=is_plain)
    p_mcnemar = mcnemar_exact(n_better, n_worse)
    p_value = p_mcnemar if is_plain else _clustered_p(paired, clusters)
    return ComparisonRow(
        task=task or "",
        n=len(paired),
        n_clusters=len(set(clusters)),
        first_accuracy=_mean([one.accuracy for one, _ in paired]),
        second_accuracy=_mean([other.accuracy for _, other in paired]),
        difference=interval.estimate,
        ci_low=interval.low,
        ci_high=interval.high,
        n_first_better=n_better,
        n_second_better=n_worse,
        p_mcnemar=p_mcnemar,
        p_value=p_value,
        p_holm=p_value,
        p_bh=p_value,
        tokens=_cost([(one.tokens, other.tokens) for one, other in paired], clusters, how),
        flops=_cost([(one.flops, other.flops) for one, other in paired], clusters, how),
        n_unpaired=len(asked[0].keys() ^ asked[1].keys()),
        n_error=len(shared) - len(paired),
    )


def _accuracy_interval(
    paired: Sequence[tuple[_Answers, _Answers]],
    clusters: Sequence[Hashable],
    how: _How,
    *,
    is_plain: bool,
) -> Interval:
    if not paired:
        return Interval(math.nan, -1.0, 1.0, how.confidence)
    if how.is_same:
        # Not an estimate: an arm cannot differ from itself on any question.
        return Interval(0.0, 0.0, 0.0, how.confidence)
    if is_plain:
        wins = [(one.accuracy == 1, other.accuracy == 1) for one, other in paired]
        counts = [wins.count(c) for c in ((True, True), (True, False), (False, True))]
        n_both, n_first, n_second = counts
        return paired_proportions_interval(
            n_both, n_first, n_second, len(wins) - sum(counts), how.confidence
        )
    interval = _bootstrap([(a.accuracy, b.accuracy) for a, b in paired], clusters, how)
    low, high = max(-1.0, interval.low), min(1.0, interval.high)
    if low == high:
        low, high = _bounds_without_spread(paired, len(set(clusters)), how.confidence)
    return Interval(
        interval.estimate, min(low, interval.estimate), max(high, interval.estimate), how.confidence
    )


def _bounds_without_spread(
    paired: Sequence[tuple[_Answers, _Answers]], n_clusters: int, confidence: float
) -> tuple[float, float]:
    """Return bounds where all clusters differ by the same and resampling shows no spread.

    That tells little of clusters not seen: each counts as one question, as in
    `clustered_proportion_interval`.
    """
    first = round(_mean([one.accuracy for one, _ in paired]) * n_clusters)
    second = round(_mean([other.accuracy for _, other in paired]) * n_clusters)
    n_both = min(first, second)
    found = paired_proportions_interval(
        n_both, first - n_both, second - n_both, n_clusters - max(first, second), confidence
    )
    return found.low, found.high


def _clustered_p(
    paired: Sequence[tuple[_Answers, _Answers]], clusters: Sequence[Hashable]
) -> float:
    """Return the two-sided p-value of a cluster-robust t test of the mean difference."""
    differences = [one.accuracy - other.accuracy for one, other in paired]
    n_clusters = len(set(clusters))
    if n_clusters < 2 or not any(differences):
        return 1.0
    mean, stderr = _mean(differences), clustered_stderr(differences, clusters)
    if stderr == 0:
        # Every cluster differs by the same: as surprising as equal tosses of so many coins.
        return 2.0 ** (1 - n_clusters)
    from scipy import special

    return 2 * float(special.stdtr(n_clusters - 1, -abs(mean) / stderr))


def _cost(
    values: Sequence[tuple[float, float]], clusters: Sequence[Hashable], how: _How
) -> CostDifference | None:
    if not values or any(math.isnan(one) or math.isnan(other) for one, other in values):
        return None
    interval = _bootstrap(values, clusters, how)
    is_known = math.isfinite(interval.width)
    return CostDifference(
        _mean([one for one, _ in values]),
        _mean([other for _, other in values]),
        interval.estimate,
        interval.low if is_known else None,
        interval.high if is_known else None,
    )


def _bootstrap(
    values: Sequence[tuple[float, float]], clusters: Sequence[Hashable], how: _How
) -> Interval:
    return paired_difference_interval(
        [one for one, _ in values],
        [other for _, other in values],
        clusters=clusters,
        confidence=how.confidence,
        n_resamples=how.n_resamples,
        seed=how.seed,
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
