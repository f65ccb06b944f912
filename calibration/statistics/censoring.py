"""What is known when answers are cut off: bounds of accuracy, and lengths up to the cap."""

import math
import warnings
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from policies import InvalidInputError

from .intervals import Interval, check_confidence, wilson_interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AccuracyBounds", "LengthCurve", "accuracy_bounds", "length_curve"]


@dataclass(frozen=True, slots=True)
class AccuracyBounds:
    """How accurate an arm would be without its cap, as far as the data tell.

    Attributes:
        all_cut_wrong: Every cut answer taken as wrong; the accuracy at this cap.
        all_cut_right: Every cut answer taken as right.
        n: Graded answers, cut ones included.
        n_cut: Cut ones.
    """

    all_cut_wrong: Interval
    all_cut_right: Interval
    n: int
    n_cut: int

    @property
    def low(self) -> float:
        """Lower confidence end of the lower bound."""
        return self.all_cut_wrong.low

    @property
    def high(self) -> float:
        """Upper confidence end of the upper bound."""
        return self.all_cut_right.high


def accuracy_bounds(
    n_correct: int, n_wrong: int, n_cut: int, confidence: float = 0.95
) -> AccuracyBounds:
    """Return the bounds between which the accuracy without a cap lies, whatever was cut.

    No assumption is made about cut answers. Accuracy on the finished ones alone is not between
    sound bounds: finishing selects easy questions. Infrastructure errors belong in no count.

    Source: worst-case bounds, Manski, American Economic Review 80 (1990), 319-323; Wilson
    intervals of both ends.

    Args:
        n_correct: Correct answers.
        n_wrong: Wrong answers.
        n_cut: Answers that ran out of tokens.
        confidence: Nominal coverage in (0, 1) of each end's interval, and hence of
            `low` to `high` for the accuracy in between.

    Raises:
        InvalidInputError: A count is negative, or not `0 < confidence < 1`.

    Example:
        >>> bounds = accuracy_bounds(70, 20, 10)
        >>> bounds.all_cut_wrong.estimate, bounds.all_cut_right.estimate
        (0.7, 0.8)
    """
    counts = (n_correct, n_wrong, n_cut)
    if min(counts) < 0:
        raise InvalidInputError(f"counts {counts!r}: expected numbers >= 0")
    n = sum(counts)
    return AccuracyBounds(
        wilson_interval(n_correct, n, confidence),
        wilson_interval(n_correct + n_cut, n, confidence),
        n,
        n_cut,
    )


@dataclass(frozen=True, slots=True)
class LengthCurve:
    """The share of answers that end by themselves within B tokens, up to the largest cap.

    Attributes:
        lengths: 0, every length at which an answer ended, and every cap, ascending.
        shares: P(length <= B) at each of them.
        low: Pointwise interval's lower ends.
        high: Its upper ends.
        band_low: Lower ends of the band that holds the whole curve at once.
        band_high: Its upper ends.
        n: Answers.
        n_cut: Cut ones.
        confidence: Nominal coverage of the intervals, and of the band.
    """

    lengths: tuple[int, ...]
    shares: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    band_low: tuple[float, ...]
    band_high: tuple[float, ...]
    n: int
    n_cut: int
    confidence: float

    @property
    def largest_cap(self) -> int:
        """Length beyond which nothing is known."""
        return self.lengths[-1]

    def at(self, budget: int) -> Interval:
        """Return P(length <= budget) with its pointwise interval.

        Raises:
            InvalidInputError: The budget is negative or beyond the largest cap, where nothing is
                known.
        """
        if not 0 <= budget <= self.largest_cap:
            raise InvalidInputError(
                f"budget={budget!r} is outside of 0 to {self.largest_cap}, where lengths are known",
                hint="measure with a larger cap",
            )
        place = bisect_right(self.lengths, budget) - 1
        return Interval(self.shares[place], self.low[place], self.high[place], self.confidence)

    def quantile(self, share: float) -> Interval | None:
        """Return the length within which `share` of all answers end, by the simultaneous band.

        Args:
            share: In (0, 1).

        Returns:
            The length with an interval, infinite above where the cap hides it; `None` if fewer
            answers than `share` were seen to end, so that the quantile lies beyond the cap.

        Raises:
            InvalidInputError: The share is not between 0 and 1.
        """
        if not 0 < share < 1:
            raise InvalidInputError(f"share={share!r} is not between 0 and 1")

        def first(values: Sequence[float]) -> float:
            # Equal fractions may differ in the last digit.
            reached = (b for b, v in zip(self.lengths, values, strict=True) if v >= share - 1e-12)
            return float(next(reached, math.inf))

        estimate = first(self.shares)
        if math.isinf(estimate):
            return None
        return Interval(estimate, first(self.band_high), first(self.band_low), self.confidence)


def length_curve(
    lengths: Sequence[int],
    is_cut: Sequence[bool],
    caps: int | Sequence[int],
    confidence: float = 0.95,
) -> LengthCurve:
    """Return how lengths are distributed, up to the cap.

    A cut answer says only that it is longer than its cap; caps must not depend on the answers
    (a fixed budget, or what the context leaves after the prompt for questions whose answers' length
    does not depend on the prompt's). With one cap the curve is the share of all answers and the
    intervals are Wilson's. With several it is Kaplan and Meier's with Greenwood's variance on the
    log-log scale. The mean length is not identified and not offered.

    The band is Dvoretzky, Kiefer and Wolfowitz's with Massart's constant, over all answers with
    one cap. With several caps each stretch between neighbouring ones takes the answers whose cap
    reaches that far, and the stretches share the error equally; it is exact for every n.

    Source: Kaplan and Meier, JASA 53 (1958), 457-481, as `scipy.stats.ecdf` has it; Massart,
    Annals of Probability 18 (1990), 1269-1283.

    Args:
        lengths: Generated tokens, shape `(n,)`, at least one.
        is_cut: Whether an answer was cut off, shape `(n,)`; its length is then its cap's.
        caps: Most tokens an answer could have, for all or one each, shape `(n,)`.
        confidence: Nominal coverage in (0, 1).

    Raises:
        InvalidInputError: Shapes differ, there is no answer, a length is negative or beyond its
            cap, or not `0 < confidence < 1`.

    Example:
        >>> curve = length_curve([3, 5, 5, 8, 8], [False, False, False, True, True], caps=8)
        >>> curve.at(5).estimate, curve.quantile(0.5).estimate, curve.quantile(0.9)
        (0.6, 5.0, None)
    """
    import numpy as np

    check_confidence(confidence)
    n = len(lengths)
    all_caps = [caps] * n if isinstance(caps, int) else list(caps)
    if not n or len(is_cut) != n or len(all_caps) != n:
        raise InvalidInputError(
            f"{n} lengths, {len(is_cut)} cut flags and {len(all_caps)} caps: expected one of each"
        )
    for length, cap in zip(lengths, all_caps, strict=True):
        if not 0 <= length <= cap:
            raise InvalidInputError(f"a length of {length!r} tokens under a cap of {cap!r}")
    limits = np.asarray(all_caps, dtype=np.int64)
    flags = np.asarray(is_cut, dtype=np.bool_)
    # A cut answer is longer than its cap, whatever its own count says.
    times = np.where(flags, limits, np.asarray(lengths, dtype=np.int64))
    grid = np.unique(np.concatenate([[0], times[~flags], limits]))
    if limits.min() == limits.max():
        shares, low, high = _by_share(times[~flags], grid, n, confidence)
    else:
        shares, low, high = _by_kaplan_meier(times, flags, limits, grid, confidence)
    band_low, band_high = _band(times, flags, limits, grid, 1 - confidence)
    # With several caps the curve rests on more answers than a stretch of the band: keep it inside.
    band_low, band_high = np.minimum(band_low, shares), np.maximum(band_high, shares)
    return LengthCurve(
        tuple(int(b) for b in grid),
        *(tuple(float(v) for v in values) for values in (shares, low, high, band_low, band_high)),
        n=n,
        n_cut=int(flags.sum()),
        confidence=confidence,
    )


def _by_share(
    ended: "NDArray[np.int64]", grid: "NDArray[np.int64]", n: int, confidence: float
) -> "tuple[NDArray[np.float64], ...]":
    import numpy as np

    counts = np.searchsorted(np.sort(ended), grid, side="right")
    intervals = [wilson_interval(int(k), n, confidence) for k in counts]
    return (
        counts / n,
        np.array([interval.low for interval in intervals]),
        np.array([interval.high for interval in intervals]),
    )


def _by_kaplan_meier(
    times: "NDArray[np.int64]",
    flags: "NDArray[np.bool_]",
    limits: "NDArray[np.int64]",
    grid: "NDArray[np.int64]",
    confidence: float,
) -> "tuple[NDArray[np.float64], ...]":
    import numpy as np
    from scipy import stats

    library = cast("Any", stats)
    data = library.CensoredData(uncensored=times[~flags], right=times[flags])
    survival = library.ecdf(data).sf
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # Said of shares of exactly 0 and 1, which are treated below.
        warnings.simplefilter("ignore", RuntimeWarning)
        ends = survival.confidence_interval(confidence, method="log-log")
    shares = 1 - survival.evaluate(grid)
    low, high = 1 - ends.high.evaluate(grid), 1 - ends.low.evaluate(grid)
    for i in np.flatnonzero((shares <= 0) | (shares >= 1)):
        # Greenwood's variance is 0 there; the answers whose cap reaches that far do tell.
        n = int((limits >= grid[i]).sum())
        low[i], high[i] = wilson_interval(n if shares[i] >= 1 else 0, n, confidence)
    return shares, low, high


def _band(
    times: "NDArray[np.int64]",
    flags: "NDArray[np.bool_]",
    limits: "NDArray[np.int64]",
    grid: "NDArray[np.int64]",
    alpha: float,
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    import numpy as np

    low, high = np.zeros(len(grid)), np.ones(len(grid))
    caps = np.unique(limits)
    previous = -1
    for cap in caps:
        reaches = limits >= cap
        ended = np.sort(times[reaches & ~flags])
        n = int(reaches.sum())
        half = math.sqrt(math.log(2 * len(caps) / alpha) / (2 * n))
        here = (grid > previous) & (grid <= cap)
        shares = np.searchsorted(ended, grid[here], side="right") / n
        low[here], high[here] = np.maximum(shares - half, 0), np.minimum(shares + half, 1)
        previous = int(cap)
    # The curve rises: a lower end holds to its right, an upper end to its left.
    return np.maximum.accumulate(low), np.minimum.accumulate(high[::-1])[::-1]
