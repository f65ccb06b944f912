"""The candidates of a recommendation: their accuracies over their costs, and both as tables."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ._advised_words import (
    accuracy_words,
    amount,
    chosen,
    difference_points,
    interval,
    kind_words,
    level,
    n_of,
    n_words,
    option_words,
    ranged,
)
from ._blocks import Block, Chart, Column, Prose, Table
from ._charts import xy_chart
from ._points import Axis, Point

if TYPE_CHECKING:
    from .._recommendation import Recommendation

__all__ = ["candidate_blocks"]


def candidate_blocks(answer: "Recommendation") -> Iterator[Block]:
    """Yield plots of accuracy over costs, the options, their costs, and what decides."""
    if not answer.options:
        yield Prose(("No option was compared.",), is_warning=True)
        return
    costs = {
        "training FLOPs": [one.train_flops for one in answer.options],
        "inference FLOPs per question": [one.inference_flops for one in answer.options],
    }
    for name, prices in costs.items():
        pairs = zip(answer.options, prices, strict=True)
        if any(one.accuracy.value is not None and price for one, price in pairs):
            yield _cost_chart(answer, name, prices)
    if all(one.accuracy.value is None for one in answer.options):
        yield Prose(
            ("No accuracy of any option is known: there is none to plot.",), is_warning=True
        )
    yield _options_table(answer)
    yield _costs_table(answer)
    letters: dict[str, list[str]] = {}
    for option in answer.options:
        for text in (*option.notes, *option.why_not):
            letters.setdefault(text, []).append(option.id)
    if letters:
        yield Prose(tuple(f"{', '.join(some)}: {text}" for text, some in letters.items()))
    if answer.differences:
        yield _differences_table(answer)


def _cost_chart(answer: "Recommendation", cost: str, costs: Sequence[float | None]) -> Block:
    trained = chosen(answer)
    points = [
        Point(
            f"{option.id}: {option_words(option)}",
            str(option.size),
            math.nan if price is None else price,
            math.nan if option.accuracy.value is None else option.accuracy.value,
            option.accuracy.low,
            option.accuracy.high,
            _n(answer, option.accuracy.cells),
            option is trained,
            kind_words(option),
            label=option.id,
        )
        for option, price in zip(answer.options, costs, strict=True)
    ]
    known = [option for option in answer.options if option.accuracy.value is not None]
    words = [f"{len(known)} of {len(answer.options)} options have a known accuracy."]
    if known:
        best = max(known, key=lambda option: option.accuracy.value or 0.0)
        words.append(
            f"The most accurate is {best.id}, {option_words(best)}: {accuracy_words(answer, best.accuracy)}."
        )
    if trained is not None:
        place = accuracy_words(answer, trained.accuracy)
        what = "Recommended" if answer.verdict.option else "What loses least"
        words.append(f"{what} is {trained.id}, {option_words(trained)}: {place}.")
    chart = xy_chart(
        f"Expected accuracy over {cost}",
        " ".join(words),
        points,
        x=Axis(cost, "count", is_log=True),
        y=Axis("expected accuracy", "share", level=level(answer)),
        mark=_mark(answer),
    )
    return _with_unknown(chart, points)


def _with_unknown(chart: Chart, points: Sequence[Point]) -> Chart:
    """Return a plot with a dashed line at the cost of each option whose accuracy is not known."""
    letters: dict[float, list[str]] = {}
    for point in points:
        if isinstance(point.x, float) and point.x > 0 and math.isnan(point.y):
            letters.setdefault(point.x, []).append(point.label)
    if not letters:
        return chart
    layers = chart.spec["layer"]
    across = {"x": layers[0]["encoding"]["x"]}
    told = {"text": {"field": "label"}, "y": {"value": 0}}
    marks = (
        ({"type": "rule", "strokeDash": [2, 3], "color": "#888888"}, across),
        ({"type": "text", "align": "left", "baseline": "top", "dx": 4}, {**across, **told}),
    )
    data = {"values": [{"x": x, "label": ", ".join(some)} for x, some in letters.items()]}
    added = [{"data": data, "mark": mark, "encoding": encoding} for mark, encoding in marks]
    named = "; ".join(", ".join(some) for some in letters.values())
    words = f"{chart.words} Dashed lines: what options of unknown accuracy cost ({named})."
    return replace(chart, words=words, spec={**chart.spec, "layer": [*added, *layers]})


def _options_table(answer: "Recommendation") -> Table:
    columns = (
        Column("option"),
        Column("recipe"),
        Column(f"expected accuracy [{level(answer)}]", is_number=True),
        Column("n", is_number=True, hint="questions behind it, as far as they are known"),
        Column("basis", hint="what the accuracy stands on"),
        Column("p on front", is_number=True, hint="probability that no other one beats it"),
        Column("feasible", hint="whether it keeps every cap and budget"),
    )
    rows = tuple(
        (
            option.id,
            option_words(option),
            interval(option.accuracy),
            n_words(n_of(answer, option.accuracy.cells)),
            option.accuracy.basis,
            "" if option.p_front is None else f"{option.p_front:.2f}",
            "yes" if option.is_feasible else "no",
        )
        for option in answer.options
    )
    return Table("What was compared", columns, rows, *_marked(answer))


def _costs_table(answer: "Recommendation") -> Table:
    columns = (
        Column("option"),
        Column("training FLOPs", is_number=True),
        Column("training tokens", is_number=True),
        Column("GPU-hours", is_number=True, hint="expected (best to worst)"),
        Column("USD", is_number=True, hint="expected (best to worst)"),
        Column("tokens of an answer", is_number=True),
        Column("FLOPs of an answer", is_number=True),
        Column("from", hint="where the FLOPs of an answer come from"),
        Column("in all", is_number=True, hint="FLOPs of training and serving over the horizon"),
    )
    rows = tuple(
        (
            option.id,
            amount(option.train_flops),
            amount(option.train_tokens),
            ranged(option.gpu_hours),
            "" if option.train_usd is None else ranged(option.train_usd),
            "" if option.answer_tokens is None else f"{option.answer_tokens:,.0f}",
            amount(option.inference_flops),
            option.inference_basis or "",
            amount(option.total_flops),
        )
        for option in answer.options
    )
    return Table(f"What it costs: {answer.cost_formula}", columns, rows, *_marked(answer))


def _differences_table(answer: "Recommendation") -> Table:
    columns = (
        Column("options"),
        Column(f"difference in points [{level(answer)}]", is_number=True),
        Column("n", is_number=True, hint="questions behind it, as far as they are known"),
        Column("result"),
        Column("basis"),
    )
    rows = tuple(
        (
            f"{one.first} minus {one.second}",
            difference_points(one),
            n_words(n_of(answer, one.cells)),
            "shown" if one.is_shown else "not shown",
            one.basis,
        )
        for one in answer.differences
    )
    return Table("The differences that decide", columns, rows)


def _n(answer: "Recommendation", cells: Sequence[str]) -> int | None:
    """Return the questions of the cell behind an accuracy; several cells have no one number."""
    counts = n_of(answer, cells)
    return counts[0] if len(counts) == 1 else None


def _marked(answer: "Recommendation") -> tuple[frozenset[int], str]:
    trained = chosen(answer)
    places = [place for place, option in enumerate(answer.options) if option is trained]
    return frozenset(places), _mark(answer) if places else ""


def _mark(answer: "Recommendation") -> str:
    return "recommended" if answer.recommended else "loses least if something must be trained"
