"""What a router's decisions on the questions of its fit bring: as expected and as measured."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from calibration.statistics import clustered_mean_interval, wilson_interval

from ._blocks import Block, Chart, Column, Prose, Table
from ._charts import xy_chart
from ._figures import ACCURACY, amount, figure, ranged, unit_words
from ._points import Axis, Point

if TYPE_CHECKING:
    from router import Replay, Router

__all__ = ["gain_blocks", "lead_words"]

_EXPECTED = "router, expected"
_MEASURED = "router, measured"
_FIXED_EXPECTED = "fixed arms, expected"
_FIXED_MEASURED = "fixed arms, measured"
_OWN = "router, default objective"
_ALONE = f"{_OWN}: by a single call"
_DEFAULT = "the default objective"


class _Way(NamedTuple):
    """One way of choosing arms on some questions; NaN for what is not known."""

    name: str
    n: int
    p: float
    tokens_expected: float
    cost: float
    n_measured: int
    accuracy: float
    low: float
    high: float
    tokens: float


def lead_words(router: "Router", replay: "Replay") -> tuple[str, ...]:
    """Return what the default objective is expected to bring, and what was measured of it."""
    ways = {way.name: way for way in _own_ways(router, replay, _places(replay))}
    if not ways:
        return ()
    own = ways[_OWN]
    expected = f"At the default objective an accuracy of {own.p:.3f} is expected"
    if figure(own.tokens_expected):
        expected += f" at {amount(own.tokens_expected)} tokens a question"
    expected += f", on n = {own.n:,} questions of its fit."
    alone = ways.get(_ALONE, own)
    if not figure(alone.accuracy):
        return (expected, "What would have been measured at it is not known.")
    measured = ranged(alone.accuracy, alone.low, alone.high)
    which = " that are decided by a single call" if alone is not own else ""
    return (expected, f"Measured on n = {alone.n_measured:,} of them{which}: {measured}.")


def gain_blocks(router: "Router", replay: "Replay") -> list[Block]:
    """Return curves and a table of the router against each fixed arm, expected and measured.

    Args:
        router: The router.
        replay: What it decides on the questions of its fit.
    """
    places = _places(replay)
    is_complete = _is_complete(replay)
    if not places:
        return [Prose(("The artifact remembers no question.",), is_warning=True)]
    names = [arm.name for arm in router.arms]
    fixed = [_way(replay, name, places, [arm] * len(places)) for arm, name in enumerate(names)]
    curve = _curve(replay, places)
    blocks: list[Block] = [Prose(tuple(_how(router, replay, len(places), is_complete=is_complete)))]
    if not is_complete:
        blocks.append(
            Prose(
                (
                    "No question was measured with every arm: what was measured is not of the "
                    "same questions for all, so that rows must not be compared.",
                ),
                is_warning=True,
            )
        )
    if len(names) > 1:
        blocks.append(_token_chart(router, fixed, curve, is_complete=is_complete))
        if router.objective.unit != "tokens":
            blocks.append(_cost_chart(router, fixed, curve, is_complete=is_complete))
    ways = [*fixed, *_own_ways(router, replay, places)]
    if len(names) > 1:
        most = replay.p_correct.argmax(axis=1)
        ways.append(_way(replay, "router, most likely right", places, most[places].tolist()))
    return [*blocks, _way_table(router, ways, len(fixed))]


def _how(router: "Router", replay: "Replay", n: int, *, is_complete: bool) -> list[str]:
    which = "on which every arm was measured" if is_complete else "that it remembers"
    n_all = len(replay.question_ids)
    lines = [
        f"On n = {n:,} of {n_all:,} questions of the fit {which}. Expected: by the router's own "
        "p and tokens, without interval. Measured: by the recorded outcomes of the arms it "
        "chooses, with 95% intervals.",
        "The default objective may have been chosen on these very questions, so that what was "
        "measured at it is somewhat optimistic; the command advisor evaluate judges on others.",
    ]
    if router.guarantee is not None:
        lines.append(
            "The guarantee was tested on other questions, and of the model that was fitted on all "
            "of these; what is expected here comes from models of four fifths of them."
        )
    if router.cascade is not None:
        lines.append(
            "Curves are of single calls: what a second call brings is expected only, as answers' "
            "evidence is not in the artifact."
        )
    return lines


def _places(replay: "Replay") -> list[int]:
    """Return the questions to show: those measured with every arm, all if there are none."""
    import numpy as np

    complete = ~np.isnan(replay.correct + replay.tokens).any(axis=1)
    if not complete.any():
        return list(range(len(replay.question_ids)))
    return np.flatnonzero(complete).tolist()


def _is_complete(replay: "Replay") -> bool:
    import numpy as np

    return bool((~np.isnan(replay.correct + replay.tokens).any(axis=1)).any())


def _way(replay: "Replay", name: str, places: Sequence[int], choice: Sequence[int]) -> _Way:
    """Return what the chosen columns of some questions are expected to do, and did."""
    import numpy as np

    at = (np.array(places), np.array(choice))
    correct, tokens = replay.correct[at], replay.tokens[at]
    known = correct[~np.isnan(correct)]
    low, high = _ends(known.tolist())
    spent = tokens[~np.isnan(tokens)]
    return _Way(
        name,
        len(places),
        float(replay.p_correct[at].mean()),
        float(replay.tokens_expected[at].mean()),
        float(replay.cost_expected[at].mean()),
        len(known),
        float(known.mean()) if len(known) else float("nan"),
        low,
        high,
        float(spent.mean()) if len(spent) else float("nan"),
    )


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Return a 95% interval of a mean of shares: Wilson for 0 and 1, else a t interval."""
    if all(value in {0.0, 1.0} for value in values):
        low, high = wilson_interval(sum(values), len(values))
    else:
        low, high = clustered_mean_interval(values, range(len(values)))
    return max(low, 0.0), min(high, 1.0)


def _own_ways(router: "Router", replay: "Replay", places: Sequence[int]) -> list[_Way]:
    """Return the decisions at the default objective, and their parts where some look first."""
    columns = {arm.name: place for place, arm in enumerate(router.arms)}
    alone: list[int] = []
    first: list[int] = []
    for place in places:
        decision = replay.decisions[place]
        if decision is not None:
            (alone if decision.escalation is None else first).append(place)
    chosen = {
        place: columns[decision.arm.name]
        for place, decision in enumerate(replay.decisions)
        if decision is not None
    }
    single = _way(replay, _OWN, alone, [chosen[place] for place in alone]) if alone else None
    if not first:
        return [single] if single is not None else []
    looked = _looked(router, replay, first)
    parts = [looked] if single is None else [single, looked]
    n = sum(part.n for part in parts)
    together = _Way(
        _OWN,
        n,
        sum(part.n * part.p for part in parts) / n,
        sum(part.n * part.tokens_expected for part in parts) / n,
        sum(part.n * part.cost for part in parts) / n,
        0,
        *[float("nan")] * 4,
    )
    named = [] if single is None else [single._replace(name=_ALONE)]
    return [together, *named, looked]


def _looked(router: "Router", replay: "Replay", places: Sequence[int]) -> _Way:
    found = [replay.decisions[place] for place in places]
    plans = [one.escalation for one in found if one is not None and one.escalation is not None]
    n = len(plans)
    cost = sum(plan.cost for plan in plans) / n
    tokens = cost if router.objective.unit == "tokens" else float("nan")
    p = sum(plan.p for plan in plans) / n
    name = f"{_OWN}: looks first"
    return _Way(name, n, p, tokens, cost, 0, *[float("nan")] * 4)


def _curve(replay: "Replay", places: Sequence[int]) -> list[_Way]:
    """Return the router at each trade-off, without those that choose as the one before."""
    choices = replay.choices[list(places)]
    tradeoffs: list[float] = replay.tradeoffs.tolist()
    columns = [tuple(choices[:, point].tolist()) for point in range(len(tradeoffs))]
    found: list[_Way] = []
    for choice, same in groupby(range(len(tradeoffs)), key=lambda point: columns[point]):
        points = list(same)
        own = [p for p in points if tradeoffs[p] == replay.tradeoff]
        name = f"router at {tradeoffs[points[0]]:.3g}" if not own else _OWN
        found.append(_way(replay, name, places, choice))
    return found


def _token_chart(
    router: "Router", fixed: Sequence[_Way], curve: Sequence[_Way], *, is_complete: bool
) -> Chart:
    points = _measured_points(
        [(one, one.tokens) for one in fixed], _FIXED_MEASURED, _labels(router)
    )
    if is_complete:
        points += _measured_points([(one, one.tokens) for one in curve], _MEASURED)
    points += _expected_points([(one, one.tokens_expected) for one in curve], _EXPECTED)
    points += _expected_points([(one, one.tokens_expected) for one in fixed], _FIXED_EXPECTED)
    return xy_chart(
        "Accuracy over generated tokens, expected and measured",
        _chart_words(curve, fixed, is_complete=is_complete),
        points,
        x=Axis("mean generated tokens per question", "count", is_log=True),
        y=ACCURACY,
        mark=_DEFAULT,
        curves=(_MEASURED, _EXPECTED) if is_complete else (_EXPECTED,),
    )


def _cost_chart(
    router: "Router", fixed: Sequence[_Way], curve: Sequence[_Way], *, is_complete: bool
) -> Chart:
    unit = unit_words(router.objective.unit)
    points = _measured_points([(one, one.cost) for one in fixed], _FIXED_MEASURED, _labels(router))
    if is_complete:
        points += _measured_points([(one, one.cost) for one in curve], _MEASURED)
    points += _expected_points([(one, one.cost) for one in curve], _EXPECTED)
    words = (
        f"The same over expected cost in {unit}, the unit of the default objective: accuracy is "
        "expected and measured, cost is expected, as the artifact keeps measured tokens alone."
    )
    return xy_chart(
        f"Accuracy over expected {unit}",
        words,
        points,
        x=Axis(f"expected {unit} per question", "count", is_log=True),
        y=ACCURACY,
        mark=_DEFAULT,
        curves=(_MEASURED, _EXPECTED) if is_complete else (_EXPECTED,),
    )


def _chart_words(curve: Sequence[_Way], fixed: Sequence[_Way], *, is_complete: bool) -> str:
    dear, cheap = curve[0], curve[-1]
    words = (
        f"From the most accurate choice to the cheapest the router is expected to go from "
        f"{dear.p:.3f} at {amount(dear.tokens_expected)} tokens to {cheap.p:.3f} at "
        f"{amount(cheap.tokens_expected)}"
    )
    if not is_complete:
        return f"{words}. No curve was measured."
    best = max(fixed, key=lambda one: one.accuracy)
    return (
        f"{words}; measured it goes from {ranged(dear.accuracy, dear.low, dear.high)} to "
        f"{ranged(cheap.accuracy, cheap.low, cheap.high)}. The most accurate fixed arm is "
        f"{best.name} with {ranged(best.accuracy, best.low, best.high)}; n = {dear.n:,}."
    )


def _labels(router: "Router") -> dict[str, str]:
    is_one_model = len({arm.model for arm in router.arms}) == 1
    return {arm.name: arm.policy if is_one_model else arm.name for arm in router.arms}


def _expected_points(ways: Sequence[tuple[_Way, float]], series: str) -> list[Point]:
    return [
        Point(one.name, series, cost, one.p, n=one.n, is_marked=one.name == _OWN)
        for one, cost in ways
    ]


def _measured_points(
    ways: Sequence[tuple[_Way, float]], series: str, labels: dict[str, str] | None = None
) -> list[Point]:
    return [
        Point(
            one.name,
            series,
            cost,
            one.accuracy,
            one.low,
            one.high,
            one.n_measured,
            one.name == _OWN and labels is None,
            label="" if labels is None else labels[one.name],
        )
        for one, cost in ways
    ]


def _way_table(router: "Router", ways: Sequence[_Way], n_fixed: int) -> Table:
    unit = router.objective.unit
    columns = [
        Column("choice"),
        Column("accuracy expected", is_number=True, hint="mean p of the arms chosen"),
        Column("n", is_number=True),
        Column("accuracy measured [95%]", is_number=True, hint="of the arms chosen"),
        Column("n measured", is_number=True),
        Column("tokens expected", is_number=True),
        Column("tokens measured", is_number=True),
    ]
    if unit != "tokens":
        columns.append(Column(f"{unit_words(unit)} expected", is_number=True))
    rows: list[tuple[str, ...]] = []
    for one in ways:
        row: list[Any] = [
            one.name,
            figure(one.p),
            f"{one.n:,}",
            ranged(one.accuracy, one.low, one.high),
            f"{one.n_measured:,}",
            figure(one.tokens_expected, ",.1f"),
            figure(one.tokens, ",.1f"),
        ]
        rows.append((*row, *([amount(one.cost)] if unit != "tokens" else [])))
    own = frozenset(i for i, one in enumerate(ways) if i >= n_fixed and one.name.startswith(_OWN))
    caption = "Each fixed arm and the router, a question each"
    return Table(caption, tuple(columns), tuple(rows), own, _DEFAULT)
