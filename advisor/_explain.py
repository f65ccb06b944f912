"""Words: reasons, warnings and what to measure next. Every number here is printed or measured."""

from collections.abc import Sequence

from calibration.published import PublishedTable
from policies import Mode

from ._evidence import OwnEvidence, PublishedEvidence
from ._inference import Estimate, gain_at, nominal_size, questions_needed, within_range
from ._options import Candidate, Comparison
from ._recipe import Recipe
from ._recommendation import (
    NextMeasurement,
    Reason,
    RecommendationRequest,
    RecommendationWarning,
)

__all__ = [
    "PAPER",
    "calibrate_command",
    "cells_of",
    "describe_larger_ift",
    "gain_reason",
    "general_loss_warning",
    "next_measurements",
    "own_warnings",
    "percent",
    "points",
    "published_warnings",
]

PAPER = "arXiv 2509.22193v2"
_SEEN_GAIN = 0.05
"""Smallest gain that a proposed measurement can show."""


def percent(estimate: Estimate) -> str:
    """Return an accuracy as text, such as `55.4%` or `about 52.1%` if interpolated."""
    if estimate.value is None:
        return "no figure"
    about = "about " if estimate.basis == "interpolated" else ""
    return f"{about}{100 * estimate.value:.1f}%"


def points(estimate: Estimate) -> str:
    """Return a difference with its interval as text, in percentage points."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "no figure"
    about = "about " if estimate.basis == "interpolated" else ""
    interval = f"{100 * estimate.low:+.1f} to {100 * estimate.high:+.1f}"
    return f"{about}{100 * estimate.value:+.1f} points, 95% interval {interval}"


def place(corpus: str) -> str:
    """Return where figures of a corpus come from, as text."""
    return "your measurements" if corpus == "own" else f"{corpus} corpus, {PAPER}"


def gain_reason(request: RecommendationRequest, comparison: Comparison) -> Reason:
    """Return the reason that states both accuracies and whether their difference is real."""
    if comparison.gain.is_above(0.0):
        code, meaning = "reasoning-gains", "reasoning is more accurate"
    elif comparison.gain.is_below(0.0):
        code, meaning = "reasoning-hurts", "reasoning is less accurate"
    else:
        code, meaning = "gain-not-supported", "the difference is within the uncertainty"
    return Reason(
        code=code,
        text=(
            f"{request.size} on {request.task_type} ({place(comparison.corpus)}): "
            f"IFT {percent(comparison.ift.accuracy)}, "
            f"reasoning {percent(comparison.reasoning.accuracy)} "
            f"({points(comparison.gain)}): {meaning}"
        ),
        cells=cells_of(comparison.gain),
    )


def cells_of(*estimates: Estimate) -> tuple[str, ...]:
    """Return the cells that estimates refer to, each once."""
    return tuple(dict.fromkeys(ref.cell for estimate in estimates for ref in estimate.refs))


def describe_larger_ift(
    target: Candidate, reached: Candidate | None, tied: Candidate | None, *, table: PublishedTable
) -> tuple[Reason, RecommendationWarning]:
    """Say whether a larger model on direct answers can stand in for reasoning.

    Args:
        target: The reasoning candidate.
        reached: A larger IFT that reaches it at less cost.
        tied: A larger IFT at less cost that cannot be told apart from it.
        table: Where larger models were looked for.
    """
    larger = reached or tied
    if larger is None:
        largest = table.sizes[-1]
        code = "no-larger-ift-measured"
        text = (
            f"no printed IFT model up to {largest} is known to reach the "
            f"{percent(target.accuracy)} of {target.recipe.size} reasoning at less cost; "
            f"none above {largest} was measured"
        )
        cells = cells_of(target.accuracy)
    else:
        name = f"{larger.recipe.size} IFT ({larger.recipe.corpus} corpus)"
        verb = "reaches" if reached is not None else "cannot be told apart from"
        code = "larger-ift-reaches" if reached is not None else "larger-ift-ties"
        text = (
            f"{name} has {percent(larger.accuracy)} and {verb} the "
            f"{percent(target.accuracy)} of {target.recipe.size} reasoning, at "
            f"{larger.train_flops / target.train_flops:.2f}x its training FLOPs"
        )
        if larger.inference_flops is not None and target.inference_flops is not None:
            ratio = larger.inference_flops / target.inference_flops
            text += f" and {ratio:.2f}x its inference FLOPs"
        cells = cells_of(larger.accuracy, target.accuracy)
    warning = text if larger is None else f"{text}: is {target.recipe.size} really the limit?"
    return Reason(code=code, text=text, cells=cells), RecommendationWarning(code=code, text=warning)


def published_warnings(
    request: RecommendationRequest,
    evidence: PublishedEvidence,
    comparisons: Sequence[Comparison],
    recipes: Sequence[Recipe],
) -> tuple[list[RecommendationWarning], list[Estimate]]:
    """Return warnings about published figures, and the estimates whose figures they quote."""
    warnings = [_ift_after_reasoning()]
    quoted: list[Estimate] = []
    table = evidence.table
    known = request.task_type in table.task_types
    if not known:
        names = ", ".join(table.task_types)
        warnings.append(
            RecommendationWarning(
                code="unknown-task-type",
                text=f"no published figure is about {request.task_type!r}; published: {names}",
            )
        )
    if not within_range(table, request.size):
        warnings.append(
            RecommendationWarning(
                code="outside-published-range",
                text=(
                    f"{request.size} is outside the published sizes {table.sizes[0]} to "
                    f"{table.sizes[-1]}; figures are not extrapolated"
                ),
            )
        )
    nominal = nominal_size(table, request.size)
    if nominal != request.size:
        warnings.append(
            RecommendationWarning(
                code="nominal-size",
                text=f"{request.size.n_params:,} parameters are read as the student printed "
                f"as {nominal}",
            )
        )
    if any(recipe.corpus == "math-centric" and recipe.reasoning_ratio > 0 for recipe in recipes):
        warning, estimates = general_loss_warning(request, evidence)
        warnings.append(warning)
        quoted += estimates
    published = [comparison for comparison in comparisons if not comparison.is_own]
    signs = {comparison.gain.is_above(0.0) for comparison in published}
    against = any(comparison.gain.is_below(0.0) for comparison in published)
    if len(published) > 1 and len(signs) > 1 and against:
        gains = "; ".join(f"{c.corpus} {points(c.gain)}" for c in published)
        warnings.append(
            RecommendationWarning(
                code="corpora-disagree",
                text=f"the two published corpora point in opposite directions ({gains}): "
                "which one resembles yours decides; measure",
            )
        )
    if published:
        warnings.append(
            RecommendationWarning(
                code="no-printed-error-bars",
                text=f"{PAPER} prints no seeds, error bars or numbers of questions; intervals "
                "assume the usual test sets asked once, and your data will differ by more",
            )
        )
        warnings.append(
            RecommendationWarning(
                code="weak-inference-fit",
                text=f"inference FLOPs are from fits printed in {PAPER}, Figure 14, whose panels "
                "were identified by inference: a weak prior",
            )
        )
    return warnings, quoted


def general_loss_warning(
    request: RecommendationRequest, evidence: PublishedEvidence
) -> tuple[RecommendationWarning, list[Estimate]]:
    """Return the warning that math-centric reasoning costs general ability, with its figures.

    Source: arXiv 2509.22193v2, Table 1.
    """
    table = evidence.table
    inside = within_range(table, request.size)
    sizes = [request.size] if inside else [table.sizes[0], table.sizes[-1]]
    estimates: list[Estimate] = []
    parts: list[str] = []
    for size in sizes:
        for task_type in ("general-oe", "general-mc"):
            change = gain_at(table, "math-centric", task_type, size)
            if change.value is None or (task_type == "general-mc" and change.value >= 0):
                continue
            estimates.append(change)
            about = "about " if change.basis == "interpolated" else ""
            doubt = "" if change.is_below(0.0) else " (within the uncertainty)"
            figure = f"{100 * change.value:+.1f} points"
            parts.append(f"{about}{figure} on {task_type} at {size}{doubt}")
    text = (
        "reasoning data of a math-centric corpus cost general accuracy against direct answers "
        f"of the same corpus: {', '.join(parts)}"
    )
    return RecommendationWarning(code="general-accuracy-loss", text=text), estimates


def own_warnings(
    request: RecommendationRequest,
    own: OwnEvidence,
    gain: Estimate,
    published: Sequence[Comparison],
) -> list[RecommendationWarning]:
    """Return warnings about the user's cells.

    Args:
        request: The request.
        own: The user's evidence.
        gain: Measured gain of reasoning, without a value if it was not measured.
        published: Published comparisons at the same size.
    """
    found: dict[str, str] = {}
    if own.arms and not own.is_comparable:
        have = " and ".join(sorted({_mode_of(arm.reasoning_ratio) for arm in own.arms}))
        found["measured-incomplete"] = (
            f"your cells for {request.task_type} at {request.size} measure {have} alone, or "
            "on tasks the other side did not answer: no comparison"
        )
    if own.by_decoding and own.is_comparable:
        found["decoding-not-training"] = (
            "your cells name no training recipe, so they compare two ways of asking one trained "
            "model, not two trained models; pass --recipe to advisor calibrate"
        )
    if not own.arms and own.other_sizes:
        sizes = ", ".join(map(str, own.other_sizes))
        found["measured-other-size"] = (
            f"your cells for {request.task_type} are at {sizes}; they are not carried over to "
            f"{request.size}"
        )
    if own.n_unused or own.n_unsized:
        found["cells-not-used"] = (
            f"{own.n_unused} cells at this size were not used (other budgets, policies, models or "
            f"tasks than those compared), {own.n_unsized} name no size"
        )
    opposite = [c for c in published if _opposite(gain, c.gain)]
    if opposite:
        theirs = "; ".join(f"{c.corpus} corpus {points(c.gain)}" for c in opposite)
        found["measured-disagrees"] = (
            f"your measurement ({points(gain)}) points the other way than {PAPER} ({theirs}); "
            "yours decides"
        )
    return [RecommendationWarning(code=code, text=text) for code, text in found.items()]


def next_measurements(
    request: RecommendationRequest, action: str, own: OwnEvidence, gain: Estimate
) -> list[NextMeasurement]:
    """Return what to measure to be surer, most useful first."""
    arguments = request.task_type, str(request.size)
    if action == "abstain" or (own.arms and not own.is_comparable):
        n = questions_needed(_SEEN_GAIN)
        return [
            NextMeasurement(
                text=(
                    f"direct answers and reasoning at {request.size} on your own "
                    f"{request.task_type} questions: {n} questions show a difference of "
                    f"{100 * _SEEN_GAIN:.0f} points"
                ),
                commands=_pair_commands(*arguments, n),
                n_questions=n,
            )
        ]
    found: list[NextMeasurement] = []
    if own.is_comparable and not gain.is_above(0.0) and not gain.is_below(0.0):
        n = questions_needed(max(abs(gain.value or 0.0), 0.02))
        found.append(
            NextMeasurement(
                text=f"more questions: your interval contains 0; about {n} would decide a "
                "difference of the size you saw",
                commands=_pair_commands(*arguments, n),
                n_questions=n,
            )
        )
    n = questions_needed(_SEEN_GAIN)
    if not own.is_comparable:
        small = "0.5B" if request.size.n_params > 500_000_000 else str(request.size)
        found.append(
            NextMeasurement(
                text=(
                    f"a {small} pair trained on your data, one on direct answers and one on "
                    "reasoning: the cheapest check of the direction before the large run"
                ),
                commands=_pair_commands(request.task_type, small, n),
                n_questions=n,
            )
        )
    if action in {"sequential", "mixed"}:
        label = "ift_then_reasoning@0.25" if action == "sequential" else "mixed@0.25"
        found.append(
            NextMeasurement(
                text=f"the trained {label} model against an IFT model of its size: the paper "
                "prints no accuracy for mixtures",
                commands=(
                    calibrate_command(*arguments, "ift", Mode.IFT, n),
                    calibrate_command(*arguments, label, Mode.REASONING, n),
                    _recommend_command(*arguments, ["ift", label]),
                ),
                n_questions=n,
            )
        )
    return found


def calibrate_command(task_type: str, size: str, recipe: str, mode: Mode, n: int) -> str:
    """Return the `advisor calibrate` command that measures one trained model."""
    policy = "direct" if mode is Mode.IFT else "reasoning@max"
    return (
        f"advisor calibrate --backend openai --base-url URL --model YOUR-MODEL --size {size} "
        f"--recipe {recipe} --tasks YOUR-QUESTIONS.jsonl --task-type {task_type} "
        f"--policies {policy} --limit {n} --out {_folder(task_type, size, recipe)}"
    )


def _pair_commands(task_type: str, size: str, n: int) -> tuple[str, ...]:
    return (
        calibrate_command(task_type, size, "ift", Mode.IFT, n),
        calibrate_command(task_type, size, "reasoning", Mode.REASONING, n),
        _recommend_command(task_type, size, ["ift", "reasoning"]),
    )


def _recommend_command(task_type: str, size: str, recipes: Sequence[str]) -> str:
    tables = " ".join(f"--table {_folder(task_type, size, recipe)}" for recipe in recipes)
    return f"advisor recommend --size {size} --task {task_type} {tables}"


def _folder(task_type: str, size: str, recipe: str) -> str:
    return f"runs/{task_type}-{size}-{recipe.replace('@', '-')}"


def _ift_after_reasoning() -> RecommendationWarning:
    """Return the rule that is always shown.

    Source: arXiv 2509.22193 v1, qualitative; its figures could not be checked and v2 does not
    repeat them, so none are quoted.
    """
    return RecommendationWarning(
        code="ift-after-reasoning",
        text="do not put IFT training after reasoning training: it brings no gain (a qualitative "
        "rule of arXiv 2509.22193 v1, whose figures could not be checked)",
    )


def _mode_of(ratio: float) -> str:
    return "direct answers" if ratio == 0 else "reasoning"


def _opposite(a: Estimate, b: Estimate) -> bool:
    if b.value is None:
        return False
    return (a.is_above(0.0) and b.value < 0) or (a.is_below(0.0) and b.value > 0)
