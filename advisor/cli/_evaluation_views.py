"""How an evaluation is shown: the first line, then tables of at most 80 columns."""

from typing import TYPE_CHECKING

from ._output import format_interval, format_share, print_table, print_text, table

if TYPE_CHECKING:
    from router import Evaluation

__all__ = ["headline_sentence", "show_evaluation"]


def headline_sentence(result: "Evaluation") -> str:
    """Return the first line: what is certified, against what, and the fixed cap beside it."""
    main, cap = result.headline, result.headline_fixed_cap
    against = f"against {main.reference}"
    fixed = f"best fixed cap {cap.tokens_saved:.0%}"
    if cap.is_certified:
        fixed += f" ({cap.choice})"
    groups = f" in {main.n_groups:,} groups" * (main.n_groups < main.n)
    unit = "point" if main.margin == 0.01 else "points"
    tail = f"margin {100 * main.margin:g} {unit}, n = {main.n:,}{groups}; {fixed}"
    if not main.is_certified:
        return (
            f"0% of tokens saved at non-inferior accuracy {against}: nothing cheaper is certified "
            f"at {main.confidence:.0%}, {tail}"
        )
    return (
        f"{main.tokens_saved:.0%} [{main.tokens_saved_low:.0%}, {main.tokens_saved_high:.0%}] of "
        f"tokens saved at non-inferior accuracy {against}: {_points(main.accuracy_difference)} "
        f"points, one-sided {main.confidence:.0%} bound {_points(main.ci_low)}, {tail}"
    )


def show_evaluation(result: "Evaluation", *, is_drawn: bool = False) -> None:
    """Print the headline, the rows, the metrics and what each hint is worth.

    Args:
        result: The evaluation.
        is_drawn: Whether the router's curve is drawn under the rows.
    """
    print_text(headline_sentence(result))
    own, point, cap = (
        result.headline_own_objective,
        result.headline_point,
        result.headline_fixed_cap_point,
    )
    print_text(
        f"at the objective each fold chose itself: {own.tokens_saved:.0%} saved, "
        f"{_points(own.accuracy_difference)} points (bound {_points(own.ci_low)})"
    )
    print_text(
        f"read off the curve, so optimistic: {point.tokens_saved:.0%} saved at "
        f"{_points(point.accuracy_difference)} points; best fixed cap {cap.tokens_saved:.0%}"
    )
    looked = result.headline_cascade
    if looked is not None:
        print_text(
            f"looking at first answers where that pays: {looked.tokens_saved:.0%} saved, "
            f"{_points(looked.accuracy_difference)} points (bound {_points(looked.ci_low)})"
            if looked.is_certified
            else "looking at first answers: nothing is certified"
        )
    _show_rows(result)
    if is_drawn:
        from ._plots import evaluation_plot

        print_text("\n".join([*evaluation_plot(result), ""]))
    _show_metrics(result)
    _show_hints(result)
    for line in _remarks(result):
        print_text(line)


def _show_rows(result: "Evaluation") -> None:
    has_gaps = any(row.n != result.n for row in result.rows)
    columns = ("choice", "accuracy [95%]", "vs ref", "tokens", "saved")
    rows = [
        (
            row.name,
            format_interval(row.accuracy, row.ci_low, row.ci_high),
            f"{row.accuracy_difference:+.3f}",
            f"{row.mean_tokens:.1f}",
            f"{row.tokens_saved:.0%}",
        )
        for row in result.rows
    ]
    if has_gaps:
        columns = (*columns, "n")
        rows = [(*line, str(row.n)) for line, row in zip(rows, result.rows, strict=True)]
    print_table(table(f"{result.n:,} held-out questions", columns, rows))


def _show_metrics(result: "Evaluation") -> None:
    metrics = result.metrics
    rows: list[tuple[str, str]] = []
    for name, words in metrics.titles.items():
        value: float | None = getattr(metrics, name)
        ends = metrics.intervals.get(name)
        if value is None:
            rows.append((words, "-"))
        elif ends is None:
            rows.append((words, format_share(value)))
        else:
            rows.append((words, format_interval(value, *ends)))
    overall = result.reliability[0]
    rows.append(("calibration error (ECE), all arms", format_share(overall.ece)))
    noise = f"{format_share(overall.ece_of_noise)} (95%: {format_share(overall.ece_of_noise_high)})"
    rows.append(("ECE that pure noise would show", noise))
    print_table(table("metrics", ("metric", "value [95%]"), rows))


def _show_hints(result: "Evaluation") -> None:
    rows = [
        (
            layer.name,
            f"{layer.log_loss:.4f}",
            "-"
            if layer.log_loss_gain is None or layer.gain_low is None or layer.gain_high is None
            else f"{layer.log_loss_gain:+.4f} [{layer.gain_low:+.4f}, {layer.gain_high:+.4f}]",
            "-" if layer.headroom is None else format_share(layer.headroom),
            "-" if layer.tokens_saved is None else f"{layer.tokens_saved:.0%}",
        )
        for layer in result.hints
    ]
    columns = ("what is known", "log loss", "gained [95%]", "headroom", "saved*")
    print_table(table("what each hint is worth (*read off the curve)", columns, rows))


def _remarks(result: "Evaluation") -> list[str]:
    lines = [f"- {name}: {why}" for name, why in _grouped_notes(result).items()]
    ceiling = result.noise_ceiling
    if ceiling.headroom is not None and ceiling.captured is not None:
        lines.append(
            f"noise ceiling: one who knew the true probabilities would capture at least "
            f"{ceiling.headroom:.0%} of the headroom; the router captures {ceiling.captured:.0%} "
            f"of that"
        )
    elif ceiling.reason:
        lines.append(f"noise ceiling: unknown, {ceiling.reason}")
    if ceiling.headroom_if_p_is_all is not None:
        lines.append(
            f"if nothing but the router's probabilities could be known, headroom would be "
            f"{ceiling.headroom_if_p_is_all:.0%}"
        )
    if result.is_oracle_inflated:
        lines.append("the oracle picks among single samples: their noise flatters it")
    if result.left_out:
        lines.append(
            f"left out, as hardly a question has an answer of all arms: "
            f"{', '.join(result.left_out)}"
        )
    if result.n_seen:
        lines.append(f"not held out: the router was fitted on {result.n_seen:,} of the questions")
    if result.n_incomplete or result.n_errors:
        lines.append(
            f"not judged: {result.n_incomplete} questions without an answer of every arm, "
            f"{result.n_errors} infrastructure errors"
        )
    return lines


def _grouped_notes(result: "Evaluation") -> dict[str, str]:
    """Return the notes with the metrics that share one in one line."""
    by_reason: dict[str, list[str]] = {}
    for name, why in result.metrics.notes.items():
        by_reason.setdefault(why, []).append(name)
    return {", ".join(names): why for why, names in by_reason.items()}


def _points(share: float) -> str:
    return f"{100.0 * share:+.2f}"
