"""What following an answer comes to, and a row that sums many of them up.

Regret is accuracy below the best recipe of the study at the problem; an abstention is followed
by its fallback, so it is not free. The best is the best of the truth that was held back, which
is lucky by a little: regrets are too large by the same amount for everybody, and differences
between the advisor and a rule are not.

A verdict is judged against the recipes that the advisor gave figures of and the two pure ones. It
is right if it loses no more than the tolerance against the best of them, wrong if it loses more
and that is shown (one-sided 5%), and unclear otherwise.

An abstention is right if the two pure recipes differ by no more than the tolerance, if what was
held back does not tell their sign, or if what the advisor was shown does not tell it: no pair is
among it, the pairs' signs are within their own 90% interval of 0, or they point the wrong way. It
is wrong if what was shown tells the sign that is true.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ...inference import Z
from ._asking import Range, Reply
from ._figures import Figure, mean_figure, ratio_figure, share_figure
from ._held import Arm, Held

__all__ = ["RULES", "Judged", "Outcome", "Row", "covers", "is_right_to_abstain", "judge", "row_of"]

Outcome: TypeAlias = Literal["right", "wrong", "unclear"]

RULES = {
    "always IFT": "ift",
    "always reasoning": "reasoning",
    "always mixed 50%": "mixed@0.5",
    "always sequential 50%": "ift_then_reasoning@0.5",
}
"""What needs no advice, by recipe label."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer and what following it comes to.

    Attributes:
        problem: What was asked, the unit of intervals.
        reply: The answer.
        regret: Accuracy lost against the best recipe; `None` where it names a recipe that was not
            trained, or none.
        claim_regret: The same against the recipes that it gave figures of, and the pure ones.
        outcome: Whether a recommendation is right; `None` for abstentions.
        is_right_to_abstain: Whether an abstention is; `None` for recommendations.
        train_ratio: Log of its training FLOPs / those of the cheapest recipe within the tolerance
            of the best; `None` with `regret`.
        inference_ratio: The same of an answer's FLOPs.
        gain_covered: Whether its interval of the gain holds the truth; `None` without one.
        accuracies_covered: Whether its intervals of accuracies do.
        rules: Regret of following each rule instead, where its recipe was trained.
    """

    problem: str
    reply: Reply
    regret: float | None
    claim_regret: float | None
    outcome: Outcome | None
    is_right_to_abstain: bool | None
    train_ratio: float | None
    inference_ratio: float | None
    gain_covered: bool | None
    accuracies_covered: tuple[bool, ...]
    rules: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """One condition of a trial, summed up; accuracies are shares of 1.

    Attributes:
        leave_out: What the advisor did not see.
        given: What it did see.
        evidence: `prior`: published figures alone; `cells`: measured cells alone; `both`.
        regret: Accuracy lost by following it.
        decided: Share of answers that recommend.
        regret_decided: Accuracy lost by those.
        right: Share of right ones among the recommendations that are right or wrong.
        n_unclear: Recommendations that are neither.
        abstained_rightly: Share of abstentions that are right.
        gain_coverage: Share of 90% intervals of the gain that hold the truth.
        accuracy_coverage: The same of accuracies.
        train_ratio: Training FLOPs / those of the cheapest recipe within the tolerance of the
            best, geometric mean.
        inference_ratio: The same of an answer's FLOPs.
        saved: Accuracy gained over each rule, by rule; negative where the rule is better.
    """

    leave_out: str
    given: str
    evidence: str
    regret: Figure
    decided: Figure
    regret_decided: Figure
    right: Figure
    n_unclear: int
    abstained_rightly: Figure
    gain_coverage: Figure
    accuracy_coverage: Figure
    train_ratio: Figure
    inference_ratio: Figure
    saved: Mapping[str, Figure]


def judge(
    problem: str,
    reply: Reply,
    held: Held,
    arms: Mapping[str, Arm],
    *,
    tolerance: float,
    shown_sign: int,
) -> Judged:
    """Judge an answer by what was held back.

    Args:
        problem: Name of the problem.
        reply: The answer.
        held: What was held back.
        arms: The recipes of the problem.
        tolerance: Accuracy that may be lost.
        shown_sign: Sign of the gain that the shown cells tell, 0 where they tell none.
    """
    label = reply.label if reply.label in arms else None
    regret = claim_regret = outcome = train_ratio = inference_ratio = None
    if label is not None:
        regret = held.gap(held.best(), label)[0]
        rivals = {"ift", "reasoning", label, *(set(reply.accuracies) & set(arms))}
        claim_regret, error = held.gap(held.best(sorted(rivals)), label)
        if reply.is_decided:
            outcome = _outcome(claim_regret, error, tolerance)
        train_ratio, inference_ratio = _ratios(label, held, arms, tolerance)
    gain, gain_error = held.gap("reasoning", "ift")
    return Judged(
        problem=problem,
        reply=reply,
        regret=regret,
        claim_regret=claim_regret,
        outcome=outcome,
        is_right_to_abstain=None
        if reply.is_decided
        else is_right_to_abstain(gain, gain_error, shown_sign, tolerance),
        train_ratio=train_ratio,
        inference_ratio=inference_ratio,
        gain_covered=None if reply.gain is None else covers(reply.gain, gain, gain_error),
        accuracies_covered=tuple(
            covers(one, held.mean(name), held.stderr(name))
            for name, one in reply.accuracies.items()
            if name in arms
        ),
        rules={
            rule: held.gap(held.best(), name)[0] for rule, name in RULES.items() if name in arms
        },
    )


def covers(claimed: Range, truth: float, stderr: float = 0.0) -> bool:
    """Return whether a 90% interval holds a truth that is itself only known with an error.

    The interval is widened by the truth's own error, in squares, so that an interval that is
    right holds it in 90% of cases.
    """
    side = claimed.value - claimed.low if truth < claimed.value else claimed.high - claimed.value
    return abs(truth - claimed.value) <= math.hypot(side, Z * stderr) + 1e-9


def is_right_to_abstain(gain: float, stderr: float, shown_sign: int, tolerance: float) -> bool:
    """Return whether an abstention is right, by the rule of this module.

    Args:
        gain: True gain of reasoning.
        stderr: Its standard error, 0 where it is exact.
        shown_sign: Sign that the shown cells tell, 0 for none.
        tolerance: Accuracy that may be lost.
    """
    return abs(gain) <= max(tolerance, Z * stderr) or shown_sign * gain <= 0


def row_of(judged: Sequence[Judged], *, leave_out: str, given: str, evidence: str) -> Row:
    """Return the summary of the answers of one condition."""

    def mean(pairs: Sequence[tuple[str, float]]) -> Figure:
        return mean_figure([value for _, value in pairs], [name for name, _ in pairs])

    def share(pairs: Sequence[tuple[str, bool]]) -> Figure:
        return share_figure([value for _, value in pairs], [name for name, _ in pairs])

    def ratio(pairs: Sequence[tuple[str, float]]) -> Figure:
        return ratio_figure([value for _, value in pairs], [name for name, _ in pairs])

    saved: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for one in judged:
        for rule, regret in one.rules.items():
            if one.regret is not None:
                saved[rule].append((one.problem, regret - one.regret))
    clear = [one for one in judged if one.outcome in {"right", "wrong"}]
    return Row(
        leave_out=leave_out,
        given=given,
        evidence=evidence,
        regret=mean([(one.problem, one.regret) for one in judged if one.regret is not None]),
        decided=share([(one.problem, one.reply.is_decided) for one in judged]),
        regret_decided=mean(
            [
                (one.problem, one.regret)
                for one in judged
                if one.reply.is_decided and one.regret is not None
            ]
        ),
        right=share([(one.problem, one.outcome == "right") for one in clear]),
        n_unclear=sum(one.outcome == "unclear" for one in judged),
        abstained_rightly=share(
            [
                (one.problem, one.is_right_to_abstain)
                for one in judged
                if one.is_right_to_abstain is not None
            ]
        ),
        gain_coverage=share(
            [(one.problem, one.gain_covered) for one in judged if one.gain_covered is not None]
        ),
        accuracy_coverage=share(
            [(one.problem, hit) for one in judged for hit in one.accuracies_covered]
        ),
        train_ratio=ratio(
            [(one.problem, one.train_ratio) for one in judged if one.train_ratio is not None]
        ),
        inference_ratio=ratio(
            [
                (one.problem, one.inference_ratio)
                for one in judged
                if one.inference_ratio is not None
            ]
        ),
        saved={rule: mean(pairs) for rule, pairs in saved.items()},
    )


def _outcome(regret: float, stderr: float, tolerance: float) -> Outcome:
    if regret <= tolerance:
        return "right"
    return "wrong" if regret - Z * stderr > tolerance else "unclear"


def _ratios(
    label: str, held: Held, arms: Mapping[str, Arm], tolerance: float
) -> tuple[float, float]:
    """Return log FLOPs over those of the cheapest recipe within the tolerance of the best."""
    top = held.mean(held.best())
    near = [arms[name] for name in arms if top - held.mean(name) <= tolerance]
    train = min(arm.train_flops for arm in near)
    answer = min(arm.mean_flops for arm in near)
    return math.log(arms[label].train_flops / train), math.log(arms[label].mean_flops / answer)
