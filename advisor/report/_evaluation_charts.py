"""The plots of an evaluation: accuracy over cost, and p against what happened."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from ._blocks import Block, Chart, Column, Prose, Table
from ._charts import xy_chart
from ._figures import ACCURACY, figure
from ._points import Axis, Point

if TYPE_CHECKING:
    from router import Evaluation, Reliability

__all__ = ["cost_blocks", "reliability_blocks"]

_TOKENS = Axis("mean generated tokens per question", "count", is_log=True)
_FLOPS = Axis("mean FLOPs per question", "count", is_log=True)
_CURVE = "router, every trade-off"
_HULL = "fixed arms, mixed at random"
_FIXED = "fixed arms"
_CERTIFIED = "the router at the cheapest trade-off that is certified"
_N_MIXTURES = 24
_ARMS_A_CHART = 4


def cost_blocks(result: "Evaluation") -> list[Block]:
    """Return accuracy over generated tokens, and over FLOPs where they are known.

    Args:
        result: The evaluation.
    """
    blocks: list[Block] = [_token_chart(result)]
    known = [row for row in result.rows if figure(row.mean_flops)]
    if len(known) < 2:
        text = "FLOPs are not known, so that cost is in generated tokens alone."
        return [*blocks, Prose((text,), is_warning=True)]
    words = (
        f"{len(known)} ways of answering whose FLOPs are known, with 95% intervals. The router at "
        "every trade-off is judged in tokens alone: its curve is in the plot above."
    )
    unknown = [row.name for row in result.rows if not figure(row.mean_flops)]
    if unknown:
        words += f" FLOPs of {', '.join(unknown)} are not known."
    points = [
        point
        for point, row in zip(_row_points(result), result.rows, strict=True)
        if figure(row.mean_flops)
    ]
    over = [
        replace(point, x=row.mean_flops or 0.0) for point, row in zip(points, known, strict=True)
    ]
    return [
        *blocks,
        xy_chart("Accuracy over FLOPs", words, over, x=_FLOPS, y=ACCURACY, mark=_CERTIFIED),
    ]


def _token_chart(result: "Evaluation") -> Chart:
    curve = [
        Point(
            f"router at {row.tradeoff:.3g}",
            _CURVE,
            row.mean_tokens,
            row.accuracy,
            row.ci_low,
            row.ci_high,
            result.n,
        )
        for row in sorted(result.curve, key=lambda row: (row.mean_tokens, row.accuracy))
    ]
    hull = [
        Point("mixture of fixed arms", _HULL, cost, _on_hull(result.hull, cost), n=result.n)
        for cost in _mixtures(result.hull)
    ]
    n_above = sum(one.accuracy > _on_hull(result.hull, one.mean_tokens) for one in result.curve)
    held_out = "some of which it was fitted on" if result.n_seen else "which it was not fitted on"
    words = (
        f"The router on n = {result.n:,} questions, {held_out}, with 95% intervals and bands. As "
        f"measured, it is above random mixing of the fixed arms at {n_above} of "
        f"{len(result.curve)} trade-offs."
    )
    return xy_chart(
        "Accuracy over generated tokens",
        words,
        [*_row_points(result), *_distinct(curve), *hull],
        x=_TOKENS,
        y=ACCURACY,
        mark=_CERTIFIED,
        curves=(_CURVE, _HULL),
    )


def _row_points(result: "Evaluation") -> list[Point]:
    """Return each row over its tokens."""
    is_one_model = len({row.name.partition(":")[0] for row in result.rows[: result.n_arms]}) == 1
    points: list[Point] = []
    for place, row in enumerate(result.rows):
        is_arm = place < result.n_arms
        short = row.name.partition(":")[2] if is_one_model else row.name
        is_claim = not is_arm and row.name == "router (certified)"
        points.append(
            Point(
                row.name,
                _FIXED if is_arm else _kind(row.name),
                row.mean_tokens,
                row.accuracy,
                row.ci_low,
                row.ci_high,
                row.n,
                is_marked=is_claim and result.headline.is_certified,
                label=short if is_arm else "",
            )
        )
    return points


def _kind(name: str) -> str:
    if name.startswith("router"):
        return "router, chosen trade-offs"
    return "oracles, which know the outcomes" if name.startswith("oracle") else "needs no router"


def _distinct(points: Sequence[Point]) -> list[Point]:
    """Return points without those that lie where the one before lies."""
    return [next(same) for _, same in groupby(points, key=lambda one: (one.x, one.y))]


def _mixtures(hull: Sequence[tuple[float, float]]) -> list[float]:
    """Return costs along the hull, close enough that its lines bend on the logarithmic axis."""
    known = [cost for cost, _ in hull if cost > 0]
    if len(known) < 2:
        return known
    low, high = known[0], known[-1]
    between = [low * (high / low) ** (step / _N_MIXTURES) for step in range(1, _N_MIXTURES)]
    return sorted({*known, *between})


def _on_hull(hull: Sequence[tuple[float, float]], cost: float) -> float:
    """Return the accuracy that random mixing of fixed arms has at this cost."""
    before = hull[0]
    for corner in hull:
        if cost < corner[0]:
            share = max(cost - before[0], 0.0) / max(corner[0] - before[0], 1e-12)
            return before[1] + share * (corner[1] - before[1])
        before = corner
    return before[1]


def reliability_blocks(result: "Evaluation") -> list[Block]:
    """Return p against what happened, for all arms and for each, and how far it is off.

    Args:
        result: The evaluation.
    """
    if not any(one.bins for one in result.reliability):
        return [Prose(("No probability has an outcome to be held against.",), is_warning=True)]
    together, arms = result.reliability[0], result.reliability[1:]
    blocks: list[Block] = [_reliability_chart("All arms together", [together])]
    # One arm alone is all arms; more than a few in one plot hide each other.
    for start in range(0, len(arms), _ARMS_A_CHART) if len(arms) > 1 else ():
        part = arms[start : start + _ARMS_A_CHART]
        last = start + len(part)
        blocks.append(_reliability_chart(f"Arms {start + 1} to {last} of {len(arms)}", part))
    columns = (
        Column("arm"),
        Column("ECE", is_number=True, hint="expected calibration error, bins of equal mass"),
        Column("of pure noise", is_number=True, hint="what perfect probabilities show on average"),
        Column("95% of noise", is_number=True, hint="what they exceed once in twenty"),
        Column("n", is_number=True, hint="predictions with an outcome"),
    )
    rows = tuple(
        (
            one.arm,
            figure(one.ece),
            figure(one.ece_of_noise),
            figure(one.ece_of_noise_high),
            f"{one.n:,}",
        )
        for one in result.reliability
    )
    above = frozenset(
        i for i, one in enumerate(result.reliability) if one.ece > one.ece_of_noise_high
    )
    mark = "farther off than noise explains" if above else ""
    return [*blocks, Table("Calibration error", columns, rows, above, mark)]


def _reliability_chart(title: str, parts: "Sequence[Reliability]") -> Chart:
    points = [
        Point(
            f"{one.arm}, bin {number}",
            one.arm,
            each.p,
            each.accuracy,
            each.ci_low,
            each.ci_high,
            each.n,
        )
        for one in parts
        for number, each in enumerate(one.bins, 1)
    ]
    n_off = sum(each.p < each.ci_low or each.p > each.ci_high for one in parts for each in one.bins)
    words = (
        f"Each point is a bin of predictions with similar p, with the 95% interval of the share "
        f"that was right; on the dashed line p is what happened. {n_off} of {len(points)} "
        f"intervals do not hold their p; of right probabilities about one in twenty would not."
    )
    return xy_chart(
        f"{title}: p against what happened",
        words,
        points,
        x=Axis("predicted p", "share"),
        y=Axis("share right", "share"),
        joins="series",
        has_diagonal=True,
    )
