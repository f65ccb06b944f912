"""How an evaluation looks in a notebook."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from policies.html_tables import (
    Entry,
    amount,
    bullets,
    definitions,
    figure,
    interval,
    paragraph,
    rate,
    table,
    view,
)

if TYPE_CHECKING:
    from ._evaluation_result import Evaluation
    from ._headline import Headline
    from ._realised import EvaluationRow

__all__ = ["evaluation_html"]

_OF_PAIR = frozenset({"headroom", "apgr", "apgr_calls", "cpt50", "cpt80"})


def evaluation_html(result: "Evaluation") -> str:
    """Return an evaluation as HTML: what is certified, every way of answering, the metrics."""
    return view(
        paragraph(_sentence(result.headline), is_strong=True),
        definitions(_headlines(result)),
        table(f"{result.n:,} held-out questions", _ROW_HEADS, map(_row, result.rows)),
        table("metrics", ("metric", "value [95%]", "n"), _metrics(result)),
        table("calibration", ("arm", "ECE", "of pure noise", "95% of noise", "n"), _ece(result)),
        table("what each hint is worth", _HINT_HEADS, _hints(result)),
        bullets(_remarks(result)),
    )


def _sentence(main: "Headline") -> str:
    level = f"{100 * main.confidence:g}%"
    if not main.is_certified:
        return f"nothing cheaper than {main.reference} is certified at {level}, n = {main.n:,}"
    unit = "point" if main.margin == 0.01 else "points"
    return (
        f"{main.tokens_saved:.0%} of tokens saved at non-inferior accuracy against"
        f" {main.reference}, certified at {level}, margin {100 * main.margin:g} {unit},"
        f" n = {main.n:,}"
    )


def _headlines(result: "Evaluation") -> "Iterable[tuple[str, Entry]]":
    shown = (
        ("tokens saved, certified", result.headline),
        ("best fixed cap, certified", result.headline_fixed_cap),
        ("at the objective each fold chose itself", result.headline_own_objective),
        ("read off the curve, so optimistic", result.headline_point),
        ("best fixed cap, read off", result.headline_fixed_cap_point),
        ("looking at first answers where that pays", result.headline_cascade),
    )
    for name, one in shown:
        if one is not None:
            ends = (one.tokens_saved_low, one.tokens_saved_high)
            yield f"{name} ({one.choice})", rate(one.tokens_saved, *ends, one.n)


_ROW_HEADS = (
    "choice",
    "n",
    "accuracy [95%]",
    "against the reference [95%]",
    "mean tokens",
    "mean FLOPs",
    "tokens saved",
)


def _row(row: "EvaluationRow") -> Sequence[Entry]:
    return (
        row.name,
        figure(row.n, ",d"),
        interval(row.accuracy, row.ci_low, row.ci_high),
        interval(row.accuracy_difference, row.difference_low, row.difference_high, "+.3f"),
        figure(row.mean_tokens, ",.1f"),
        amount(row.mean_flops),
        figure(row.tokens_saved, ".1%"),
    )


def _metrics(result: "Evaluation") -> Iterable[Sequence[Entry]]:
    metrics = result.metrics
    for name, words in metrics.titles.items():
        value: float | None = getattr(metrics, name)
        ends = metrics.intervals.get(name) or (None, None)
        n = metrics.n_pair if name in _OF_PAIR else metrics.n
        yield words, interval(value, *ends, title=metrics.notes.get(name, "")), figure(n, ",d")


def _ece(result: "Evaluation") -> Iterable[Sequence[Entry]]:
    for one in result.reliability:
        numbers = (one.ece, one.ece_of_noise, one.ece_of_noise_high)
        yield one.arm, *(figure(number, ".3f") for number in numbers), figure(one.n, ",d")


_HINT_HEADS = ("what is known", "n", "log loss", "gained [95%]", "headroom", "saved, read off")


def _hints(result: "Evaluation") -> Iterable[Sequence[Entry]]:
    for layer in result.hints:
        yield (
            layer.name,
            figure(layer.n, ",d"),
            figure(layer.log_loss, ".4f"),
            interval(layer.log_loss_gain, layer.gain_low, layer.gain_high, "+.4f"),
            figure(layer.headroom, ".3f"),
            figure(layer.tokens_saved, ".1%"),
        )


def _remarks(result: "Evaluation") -> Iterable[str]:
    for name, why in result.metrics.notes.items():
        yield f"{name}: {why}"
    if result.is_oracle_inflated:
        yield "the oracle picks among single samples: their noise flatters it"
    if result.left_out:
        yield f"left out, hardly a question has an answer of all: {', '.join(result.left_out)}"
    if result.n_seen:
        yield f"not held out: the router was fitted on {result.n_seen:,} of the questions"
    if result.n_incomplete or result.n_errors:
        yield (
            f"not judged: {result.n_incomplete:,} questions without an answer of every arm,"
            f" {result.n_errors:,} infrastructure errors"
        )
