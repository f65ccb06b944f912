"""The numbers that sum a router up, with bootstrap intervals over groups."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from calibration.statistics import clustered_mean_interval

from ._curves import average_quality, weighted_gain_curves
from ._reliability import Binned
from ._resampling import GroupBootstrap, group_sums

__all__ = ["Curves", "Metrics", "Pair", "measure"]

_CPT = (0.5, 0.8)
_NEAR_BEST = 0.005
_MIN_DEFINED = 0.9
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Ends = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Metrics:
    """The numbers that sum a router up; `None` where one is undefined, and `notes` say why.

    Attributes:
        titles: What short tables call those that they show, in their order.
        aiq: Mean accuracy of the hull of the router's curve with the cheapest and the best arm,
            from the cheapest arm's tokens to the dearest arm's.
        aiq_fixed: The same of the hull of the fixed arms: what random mixing can have.
        apgr: Area under the recovered share of the accuracy gap between cheapest and reference
            arm, over the share of extra tokens; 0.5 is random, and more than 1 is possible.
        apgr_calls: The same over the share of questions sent to the reference arm.
        cpt50: Smallest share of extra tokens that recovers half of the gap.
        cpt80: The same for four fifths.
        cpt50_calls: Smallest share of questions that recovers half of the gap.
        cpt80_calls: The same for four fifths.
        headroom: Share of the oracle's gain over random mixing of cheapest and reference arm.
        headroom_hull: Share of the oracle's gain over the hull of all fixed arms (by AIQ).
        tokens_to_best: Share of the best fixed arm's tokens at which the router's curve first
            reaches its accuracy minus half a point.
        ece: Expected calibration error of all arms together.
        ece_of_noise: What perfect probabilities would show on average.
        headroom_arms: Cheapest and reference arm.
        intervals: 95% bootstrap intervals over groups, by name of the metric: percentile, and
            basic for the calibration error.
        notes: Why a metric is undefined, by its name.
        n: Questions on which all arms were measured.
        n_pair: Questions on which cheapest and reference arm were measured.
    """

    titles: ClassVar[Mapping[str, str]] = {
        "aiq": "AIQ (mean accuracy over tokens)",
        "aiq_fixed": "AIQ of the fixed arms' hull",
        "headroom": "headroom, cheapest against reference",
        "headroom_hull": "headroom over the hull of all arms",
        "apgr": "APGR over tokens",
        "apgr_calls": "APGR over calls",
        "cpt50": "CPT(50%), share of extra tokens",
        "cpt80": "CPT(80%), share of extra tokens",
        "tokens_to_best": "tokens for the best arm - 0.5 points",
    }

    aiq: float | None
    aiq_fixed: float | None
    apgr: float | None
    apgr_calls: float | None
    cpt50: float | None
    cpt80: float | None
    cpt50_calls: float | None
    cpt80_calls: float | None
    headroom: float | None
    headroom_hull: float | None
    tokens_to_best: float | None
    ece: float | None
    ece_of_noise: float
    headroom_arms: tuple[str, str]
    intervals: Mapping[str, Ends | None]
    notes: Mapping[str, str]
    n: int
    n_pair: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Cheapest and reference arm on the questions on which both were measured.

    Attributes:
        names: Cheapest and reference arm; the same if that is one arm.
        gain: Expected accuracy gained by the reference arm, shape `(n_pair,)`.
        extra: Expected extra tokens, at least 1, same shape.
        correct: Share correct, shape `(n_pair, 2)`.
        tokens: Generated tokens, same shape.
        index: Group number of each question, shape `(n_pair,)`.
    """

    names: tuple[str, str]
    gain: Floats
    extra: Floats
    correct: Floats
    tokens: Floats
    index: Ints

    @property
    def measured_score(self) -> Floats:
        """Gain per extra token as measured: the order of the oracle, shape `(n_pair,)`."""
        extra = np.maximum(self.tokens[:, 1] - self.tokens[:, 0], 1.0)
        return (self.correct[:, 1] - self.correct[:, 0]) / extra

    def measures(self, weights: Floats) -> dict[str, Floats]:
        """Return the two-arm metrics under weights of the questions, by name.

        Source: Ong et al., RouteLLM, arXiv 2406.18665, section 2.2 (PGR, APGR, CPT), here by the
        trapezoid rule over all questions, and also with tokens in place of calls.

        Args:
            weights: Shape `(n_rows, n_pair)`.
        """
        total = np.maximum(weights.sum(axis=1), 1e-12)
        cheap, dear = (weights @ self.correct / total[:, np.newaxis]).T
        by_tokens = weighted_gain_curves(self.gain / self.extra, self.correct, self.tokens, weights)
        by_calls = weighted_gain_curves(self.gain, self.correct, self.tokens, weights)
        oracle = weighted_gain_curves(self.measured_score, self.correct, self.tokens, weights)
        area = np.trapezoid(by_tokens.accuracy, by_tokens.extra_share, axis=1)
        area_calls = np.trapezoid(by_calls.accuracy, by_calls.call_share, axis=1)
        area_oracle = np.trapezoid(oracle.accuracy, oracle.extra_share, axis=1)
        random, gap = (cheap + dear) / 2.0, dear - cheap
        found = {
            "headroom": _ratio(area - random, area_oracle - random),
            "apgr": _ratio(area - cheap, gap),
            "apgr_calls": _ratio(area_calls - cheap, gap),
        }
        for share in _CPT:
            needed = (cheap + share * gap)[:, np.newaxis] - 1e-12
            name = f"cpt{round(100 * share)}"
            found[name] = _first(by_tokens.accuracy >= needed, by_tokens.extra_share, gap)
            found[f"{name}_calls"] = _first(by_calls.accuracy >= needed, by_calls.call_share, gap)
        return found


@dataclass(frozen=True, slots=True)
class Curves:
    """Fixed arms, router and oracle on the questions on which all arms were measured.

    Each holds sums by group: of correct answers and of tokens, shape `(n_groups, n_points)`.
    """

    sizes: Floats
    arms: tuple[Floats, Floats]
    router: tuple[Floats, Floats]
    oracle: tuple[Floats, Floats]

    @classmethod
    def of(
        cls,
        index: Ints,
        n_groups: int,
        arms: tuple[Floats, Floats],
        router: tuple[Floats, Floats],
        oracle: tuple[Floats, Floats],
    ) -> "Curves":
        """Sum by group.

        Args:
            index: Group number of each question, shape `(n_questions,)`.
            n_groups: Number of groups.
            arms: Correct and tokens of each arm, shapes `(n_questions, n_arms)`.
            router: The same at each of the router's trade-offs.
            oracle: The same at each of the oracle's.
        """

        def summed(values: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
            return group_sums(values[0], index, n_groups), group_sums(values[1], index, n_groups)

        sizes = np.bincount(index, minlength=n_groups).astype(np.float64)
        return cls(sizes, summed(arms), summed(router), summed(oracle))

    def measures(self, weights: Floats) -> dict[str, Floats]:
        """Return the metrics over all arms under weights of the groups, by name.

        Args:
            weights: Shape `(n_rows, n_groups)`.
        """
        total = np.maximum(weights @ self.sizes, 1e-12)[:, np.newaxis]
        arms, router, oracle = (
            tuple(weights @ sums / total for sums in curve)
            for curve in (self.arms, self.router, self.oracle)
        )
        names = ("aiq", "aiq_fixed", "headroom_hull", "tokens_to_best")
        found = {name: np.full(len(weights), np.nan) for name in names}
        for row in range(len(weights)):
            quality, cost = arms[0][row], arms[1][row]
            low, high = float(cost.min()), float(cost.max())
            best = int(np.lexsort((cost, -quality))[0])
            # Whatever routes can also leave everything to the cheapest or to the best arm.
            ends = [int(cost.argmin()), best]
            areas = [
                average_quality(
                    np.concatenate([curve[1][row], cost[ends]]),
                    np.concatenate([curve[0][row], quality[ends]]),
                    low,
                    high,
                )
                for curve in (router, arms, oracle)
            ]
            found["aiq"][row], found["aiq_fixed"][row] = areas[:2]
            if areas[2] - areas[1] > 1e-9:
                found["headroom_hull"][row] = (areas[0] - areas[1]) / (areas[2] - areas[1])
            reached = router[0][row] >= quality[best] - _NEAR_BEST - 1e-12
            if reached.any() and cost[best] > 0:
                found["tokens_to_best"][row] = router[1][row][reached].min() / cost[best]
        return found


def measure(
    curves: Curves, pair: Pair, calibration: Binned, bootstrap: GroupBootstrap, noise: float
) -> Metrics:
    """Return all metrics.

    Args:
        curves: Sums over the questions with all arms.
        pair: The questions with both arms.
        calibration: Residuals of all probabilities.
        bootstrap: Groups of all questions.
        noise: Calibration error that perfect probabilities would show.
    """
    values = _at(curves, pair, calibration, np.ones((1, bootstrap.n_groups)))
    point = {name: float(found[0]) for name, found in values.items()}
    drawn = [_at(curves, pair, calibration, weights) for weights in bootstrap.batches()]
    ends = {name: _ends(np.concatenate([part[name] for part in drawn])) for name in point}
    if ends["ece"] is not None:
        # An absolute error grows with every resampling; the basic interval takes that back.
        low, high = ends["ece"]
        ends["ece"] = (max(2 * point["ece"] - high, 0.0), max(2 * point["ece"] - low, 0.0))
    notes: dict[str, str] = {}
    if pair.names[0] == pair.names[1]:
        notes = dict.fromkeys(pair_names(), "the reference is the cheapest arm")
    else:
        difference = (pair.correct[:, 1] - pair.correct[:, 0]).tolist()
        if clustered_mean_interval(difference, pair.index.tolist()).low <= 0.0:
            reason = (
                "the accuracy gap between cheapest and reference arm is not significantly above "
                "0, so that its recovered share is noise"
            )
            notes = {name: reason for name in pair_names() if name != "headroom"}
    for name, value in point.items():
        if name not in notes and np.isnan(value):
            notes[name] = _WHY_UNDEFINED.get(name, "no choice of the router reaches it")
    known = {name: None if name in notes else value for name, value in point.items()}
    return Metrics(
        **known,
        ece_of_noise=noise,
        headroom_arms=pair.names,
        intervals={name: None if name in notes else ends[name] for name in point},
        notes=notes,
        n=int(curves.sizes.sum()),
        n_pair=len(pair.gain),
    )


_WHY_UNDEFINED = {
    "aiq": "all arms cost the same",
    "aiq_fixed": "all arms cost the same",
    "headroom": "the oracle gains nothing over random mixing",
    "headroom_hull": "the oracle gains nothing over the hull of the fixed arms",
}


def pair_names() -> list[str]:
    """Return the names of the two-arm metrics."""
    names = [f"cpt{round(100 * share)}" for share in _CPT]
    return ["headroom", "apgr", "apgr_calls", *names, *(f"{name}_calls" for name in names)]


def _at(curves: Curves, pair: Pair, calibration: Binned, weights: Floats) -> dict[str, Floats]:
    if pair.names[0] == pair.names[1]:
        two_arm = {name: np.full(len(weights), np.nan) for name in pair_names()}
    else:
        two_arm = pair.measures(weights[:, pair.index])
    return {**curves.measures(weights), **two_arm, "ece": calibration.ece(weights)}


def _ratio(above: Floats, below: Floats) -> Floats:
    """Return a ratio whose denominator must be above 0; NaN elsewhere."""
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 1e-9)


def _first(is_reached: NDArray[np.bool_], share: Floats, gap: Floats) -> Floats:
    first = np.argmax(is_reached, axis=1)
    rows = np.arange(len(first))
    return np.where(is_reached[rows, first] & (gap > 1e-9), share[rows, first], np.nan)


def _ends(values: Floats) -> Ends | None:
    """Return the central 95%; `None` where too many resamples leave the metric undefined."""
    known = values[~np.isnan(values)]
    if len(known) < _MIN_DEFINED * len(values):
        return None
    low, high = np.quantile(known, [0.025, 0.975]).tolist()
    return low, high
