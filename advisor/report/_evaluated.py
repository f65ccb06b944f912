"""What a page shows of an evaluation: whether routing pays, and how far to believe it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ._blocks import Block, Column, Facts, Prose, Section, Table
from ._evaluation_charts import cost_blocks, reliability_blocks
from ._figures import amount, figure, objective_words, ranged, unit_words

if TYPE_CHECKING:
    from router import Evaluation, Headline, HintLayer

__all__ = ["evaluation_sections"]

_METRICS = {
    "aiq": "AIQ: mean accuracy over tokens",
    "aiq_fixed": "AIQ of the fixed arms, mixed at random",
    "headroom": "headroom captured, cheapest arm against the reference",
    "headroom_hull": "headroom captured over all fixed arms",
    "apgr": "APGR over tokens",
    "apgr_calls": "APGR over calls",
    "cpt50": "CPT(50%): share of extra tokens",
    "cpt80": "CPT(80%): share of extra tokens",
    "cpt50_calls": "CPT(50%): share of calls",
    "cpt80_calls": "CPT(80%): share of calls",
    "tokens_to_best": "share of the best arm's tokens for its accuracy less half a point",
    "ece": "calibration error (ECE), all arms",
}
_OF_PAIR = frozenset(
    {"headroom", "apgr", "apgr_calls", "cpt50", "cpt80", "cpt50_calls", "cpt80_calls"}
)


def evaluation_sections(evaluation: "Evaluation") -> list[Section]:
    """Return the sections of an evaluation: the claim, charts, every row, and what to doubt.

    Args:
        evaluation: What `router.evaluate` returned.
    """
    return [
        Section("Does routing pay?", tuple(_claim(evaluation))),
        Section("Accuracy over cost", tuple(cost_blocks(evaluation))),
        Section("Every way of answering", tuple(_row_blocks(evaluation))),
        Section("What sums it up", tuple(_metric_blocks(evaluation))),
        Section("Are the probabilities right?", tuple(reliability_blocks(evaluation))),
        Section("What is worth knowing of a question", tuple(_hint_blocks(evaluation))),
        Section("Remarks", tuple(_remarks(evaluation))),
    ]


def _claim(result: "Evaluation") -> list[Block]:
    main = result.headline
    blocks: list[Block] = [Prose(tuple(_headline_words(result)), is_warning=not main.is_certified)]
    if result.n_seen:
        blocks.append(
            Prose(
                (
                    f"The router was fitted on {result.n_seen:,} of these questions: for them "
                    "nothing here is a forecast, and all figures flatter it.",
                ),
                is_warning=True,
            )
        )
    words = dict.fromkeys(objective_words(one) for one in result.objectives)
    facts = (
        ("questions judged", f"{result.n:,} in {result.n_groups:,} groups"),
        ("folds", f"{result.n_folds:,}"),
        ("fixed arms", ", ".join(row.name for row in result.rows[: result.n_arms])),
        ("reference", result.reference),
        ("accuracy that may be lost", _margin(main)),
        ("confidence, one-sided", f"{main.confidence:.4g}"),
        ("objectives of the folds", "; ".join(words)),
    )
    return [*blocks, Facts(facts), _headline_table(result)]


def _headline_words(result: "Evaluation") -> list[str]:
    main = result.headline
    level, margin = f"{main.confidence:.4g}", _margin(main)
    on = f"n = {main.n:,} questions in {main.n_groups:,} groups"
    if not main.is_certified:
        return [
            f"No cheaper choice than {main.reference} is certified: none could be shown to lose "
            f"at most {margin} of accuracy at a confidence of {level}; {on}.",
            "That is not shown to be impossible either: more questions may certify what these "
            "cannot.",
        ]
    return [
        f"{_saved(main)} of the tokens of {main.reference} are saved at non-inferior accuracy by "
        f"{_choice(result)}; {on}.",
        f"Guarantee: at a confidence of {level} the accuracy lost against {main.reference} is at "
        f"most {margin} on questions like these; that the choice was made on the same questions "
        f"is allowed for. Measured: {_points(main.accuracy_difference)} points, one-sided lower "
        f"bound {_points(main.ci_low)}.",
        "The interval of the tokens saved is at that choice: that it was chosen is not in it.",
    ]


def _headline_table(result: "Evaluation") -> Table:
    level = f"{result.headline.confidence:.4g}"
    shown: tuple[tuple[str, Headline | None], ...] = (
        ("router, certified", result.headline),
        ("best fixed arm below the reference, certified", result.headline_fixed_cap),
        ("router at the objective each fold chose itself", result.headline_own_objective),
        ("router, read off the curve: optimistic", result.headline_point),
        ("best fixed arm, read off: optimistic", result.headline_fixed_cap_point),
        ("router that looks at first answers, certified", result.headline_cascade),
    )
    rows = tuple(
        (
            name,
            one.choice,
            _saved(one),
            _points(one.accuracy_difference),
            _points(one.ci_low),
            "yes" if one.is_certified else "no",
            f"{one.n:,}",
            f"{one.n_groups:,}",
        )
        for name, one in shown
        if one is not None
    )
    columns = (
        Column("what"),
        Column("choice"),
        Column("tokens saved", is_number=True, hint=f"with its two-sided interval at {level}"),
        Column("accuracy, points", is_number=True, hint="difference to the reference"),
        Column("lower bound", is_number=True, hint=f"of that difference, one-sided at {level}"),
        Column("certified", hint="whether the difference may be relied on to be above the margin"),
        Column("n", is_number=True),
        Column("groups", is_number=True),
    )
    caption = f"Tokens saved against {result.reference}, and the accuracy that costs"
    return Table(caption, columns, rows, frozenset({0}), "the claim")


def _row_blocks(result: "Evaluation") -> list[Block]:
    columns = (
        Column("choice"),
        Column("accuracy [95%]", is_number=True),
        Column("n", is_number=True),
        Column("against the reference [95%]", is_number=True, hint="paired difference in accuracy"),
        Column("tokens", is_number=True, hint="generated, mean"),
        Column("FLOPs", is_number=True, hint="mean"),
        Column("tokens saved", is_number=True, hint="share of the reference's"),
    )
    rows = tuple(
        (
            row.name,
            ranged(row.accuracy, row.ci_low, row.ci_high),
            f"{row.n:,}",
            ranged(row.accuracy_difference, row.difference_low, row.difference_high, "+.3f"),
            figure(row.mean_tokens, ",.1f"),
            amount(row.mean_flops),
            figure(row.tokens_saved, ".1%"),
        )
        for row in result.rows
    )
    ours = frozenset(
        place
        for place, row in enumerate(result.rows)
        if place >= result.n_arms and row.name.startswith("router")
    )
    blocks: list[Block] = [
        Table(
            "Fixed arms, then what chooses among them",
            columns,
            rows,
            ours,
            "the router",
        )
    ]
    if any(row.n != result.n for row in result.rows):
        blocks.append(
            Prose(
                (
                    "A fixed arm is judged on all questions on which it and the reference were "
                    f"measured, everything else on the {result.n:,} with all arms.",
                )
            )
        )
    return [*blocks, Facts(_compared(result))]


def _compared(result: "Evaluation") -> tuple[tuple[str, str], ...]:
    one = result.comparison
    difference = ranged(one.difference, one.ci_low, one.ci_high, "+.3f")
    counts = (
        "not counted: samples were averaged, so that no question is simply won or lost"
        if one.n_gained is None or one.n_lost is None or one.p_value is None
        else f"{one.n_gained:,} and {one.n_lost:,}; exact McNemar p = {one.p_value:.3g}"
    )
    return (
        ("router, own objectives", f"against {one.reference}, n = {result.n:,}"),
        ("accuracy difference [95%]", difference),
        ("tokens saved", figure(one.tokens_saved, ".1%") or "not known"),
        ("questions won and lost", counts),
    )


def _metric_blocks(result: "Evaluation") -> list[Block]:
    metrics = result.metrics
    cheap, reference = metrics.headroom_arms
    rows: list[tuple[str, ...]] = []
    for name, words in _METRICS.items():
        value: float | None = getattr(metrics, name)
        ends = metrics.intervals.get(name) or (None, None)
        n = metrics.n_pair if name in _OF_PAIR else metrics.n
        if name == "ece":
            n = result.reliability[0].n
        rows.append((words, ranged(value, *ends), f"{n:,}"))
    columns = (
        Column("metric"),
        Column("value [95%]", is_number=True, hint="bootstrap over groups of questions"),
        Column("n", is_number=True, hint="questions; for the calibration error, predictions"),
    )
    table = Table(f"Metrics; two-arm ones between {cheap} and {reference}", columns, tuple(rows))
    undefined = _undefined(metrics.notes)
    return [table, Prose(undefined, is_warning=True)] if undefined else [table]


def _undefined(notes: Mapping[str, str]) -> tuple[str, ...]:
    """Return why metrics are undefined, with those that share a reason in one line."""
    by_reason: dict[str, list[str]] = {}
    for name, why in notes.items():
        by_reason.setdefault(why, []).append(_METRICS.get(name, name))
    return tuple(f"Not defined, as {why}: {'; '.join(names)}." for why, names in by_reason.items())


def _hint_blocks(result: "Evaluation") -> list[Block]:
    columns = (
        Column("what is known"),
        Column("log loss", is_number=True, hint="mean, in nats; lower is better"),
        Column("gained [95%]", is_number=True, hint="against the row above; bootstrap over groups"),
        Column("headroom", is_number=True, hint="captured between cheapest arm and reference"),
        Column("tokens saved", is_number=True, hint="read off the curve, so optimistic"),
        Column("n", is_number=True, hint="outcomes"),
    )
    rows = tuple(_hint_row(layer) for layer in result.hints)
    return [
        Prose(
            (
                "A caller may name the task type or the task; each row knows what the one above "
                "it knows, and more.",
            )
        ),
        Table("What each hint is worth", columns, rows),
    ]


def _hint_row(layer: "HintLayer") -> tuple[str, ...]:
    return (
        layer.name,
        figure(layer.log_loss, ".4f"),
        ranged(layer.log_loss_gain, layer.gain_low, layer.gain_high, "+.4f"),
        figure(layer.headroom),
        figure(layer.tokens_saved, ".1%"),
        f"{layer.n:,}",
    )


def _remarks(result: "Evaluation") -> list[Block]:
    ceiling = result.noise_ceiling
    lines: list[str] = []
    if ceiling.headroom is not None and ceiling.captured is not None:
        lines.append(
            f"Noise ceiling: one who knew the true probabilities would capture at least "
            f"{ceiling.headroom:.3f} of the headroom, and the router captures "
            f"{ceiling.captured:.3f} of that; by splitting {ceiling.n_samples} samples or more of "
            f"n = {ceiling.n:,} questions, without an interval."
        )
    else:
        lines.append(f"Noise ceiling: not known, {ceiling.reason or 'there is no headroom'}.")
    if ceiling.headroom_if_p_is_all is not None:
        lines.append(
            f"If nothing but the router's probabilities could be known, "
            f"{ceiling.headroom_if_p_is_all:.3f} of the headroom could be captured."
        )
    if result.is_oracle_inflated:
        lines.append("The oracle picks among single samples: their noise flatters it.")
    if result.headline_cascade is None:
        lines.append(
            "Looking at first answers is not judged: no evidence was recorded, or none tells."
        )
    missing: list[str] = []
    if result.left_out:
        missing.append(
            "Left out, as hardly a question has an answer of all arms: "
            f"{', '.join(result.left_out)}."
        )
    if result.n_incomplete:
        missing.append(
            f"{result.n_incomplete:,} questions have no answer of some arm: they are in no row "
            "but those of arms that were measured."
        )
    if result.n_errors:
        missing.append(
            f"{result.n_errors:,} requests ended in errors of infrastructure; they are in no rate."
        )
    blocks: list[Block] = [Prose(tuple(lines))]
    return [*blocks, Prose(tuple(missing), is_warning=True)] if missing else blocks


def _choice(result: "Evaluation") -> str:
    """Return what saves the tokens of the claim, a trade-off in the router's words."""
    main = result.headline
    if not main.tradeoff:
        return main.choice
    unit = unit_words(result.objectives[0].unit)
    worth = f"one point of accuracy is worth {amount(0.01 / main.tradeoff)} {unit}"
    return f"{main.choice} ({worth})"


def _saved(one: "Headline") -> str:
    return ranged(one.tokens_saved, one.tokens_saved_low, one.tokens_saved_high, ".1%")


def _margin(one: "Headline") -> str:
    return "1 point" if one.margin == 0.01 else f"{100 * one.margin:g} points"


def _points(share: float) -> str:
    return figure(100.0 * share, "+.2f")
