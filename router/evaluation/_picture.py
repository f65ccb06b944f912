"""The picture of an evaluation: accuracy over tokens, and the same in words."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policies import InvalidInputError, MissingPrerequisiteError

from ._evaluation_result import Evaluation
from ._realised import EvaluationRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["describe_picture", "draw_evaluation"]

_FORMATS = (".png", ".svg", ".pdf")
_MIN_TOKENS = 0.5
"""Where the logarithmic axis starts for arms that generate next to nothing."""

# Okabe and Ito's palette, told apart by all common kinds of colour vision; markers and dashes
# say the same again. Source: Okabe and Ito, "Color Universal Design" (2008).
_ROUTER, _HULL, _ARM, _ORACLE, _MARK = "#0072B2", "#E69F00", "#000000", "#009E73", "#D55E00"


def draw_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Write the picture to a file; equal evaluations give equal files.

    Args:
        evaluation: What to draw.
        path: Where to; the suffix chooses PNG, SVG or PDF.

    Raises:
        InvalidInputError: The suffix is another one, or the folder does not exist.
        MissingPrerequisiteError: matplotlib is not installed.
    """
    if path.suffix.lower() not in _FORMATS:
        raise InvalidInputError(
            f"{str(path)!r} is no picture", hint=f"known endings: {', '.join(_FORMATS)}"
        )
    if not path.parent.is_dir():
        raise InvalidInputError(f"there is no folder {str(path.parent)!r}", hint="create it first")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPrerequisiteError.extra("report", "matplotlib") from error

    # Names of arms are plain text, never mathematics.
    settings: dict[Any, Any] = {"svg.hashsalt": "thinkroute", "text.parse_math": False}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(7.5, 5.6), layout="constrained")
        axes = figure.add_subplot()
        _draw(axes, evaluation)
        # Beside the axes it hides nothing, wherever the curve runs.
        figure.legend(
            *axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9
        )
        # A date would make equal pictures differ.
        dateless = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        figure.savefig(path, dpi=160, metadata=dateless.get(path.suffix.lower()))


def _draw(axes: "Axes", evaluation: Evaluation) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    curve = sorted(evaluation.curve, key=lambda row: row.mean_tokens)
    tokens = [_shown(row.mean_tokens) for row in curve]
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.fill_between(
        tokens,
        [row.ci_low for row in curve],
        [row.ci_high for row in curve],
        color=_ROUTER,
        alpha=0.15,
        linewidth=0,
        label="router, 95% interval",
    )
    axes.plot(tokens, [row.accuracy for row in curve], color=_ROUTER, linewidth=2, label="router")
    mixed = _mixtures(evaluation.hull)
    axes.plot(
        [_shown(cost) for cost in mixed],
        [_on_hull(evaluation.hull, cost) for cost in mixed],
        color=_HULL,
        linestyle="--",
        label="hull of the fixed arms",
    )
    arms = evaluation.rows[: evaluation.n_arms]
    axes.plot(
        [_shown(row.mean_tokens) for row in arms],
        [row.accuracy for row in arms],
        linestyle="none",
        marker="o",
        color=_ARM,
        label="fixed arms",
    )
    _name_arms(axes, arms)
    points = (
        ("oracle", "oracle", "^", _ORACLE),
        ("oracle (noise-corrected)", "oracle, noise-corrected", "v", _ORACLE),
        ("router (certified)", _headline_label(evaluation), "*", _MARK),
    )
    rows = {row.name: row for row in evaluation.rows}
    for name, label, marker, color in points:
        if name in rows:
            axes.plot(
                [_shown(rows[name].mean_tokens)],
                [rows[name].accuracy],
                linestyle="none",
                marker=marker,
                markersize=13 if marker == "*" else 8,
                color=color,
                label=label,
            )
    axes.set_xlabel("mean generated tokens per question (logarithmic)")
    axes.set_ylabel("accuracy")
    axes.set_title(f"{evaluation.n:,} questions, against {evaluation.reference}", fontsize=10)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.margins(x=0.1, y=0.08)


def _name_arms(axes: "Axes", arms: Sequence[EvaluationRow]) -> None:
    """Write each arm's name so that it ends at its point; slanted, neighbours do not overlap."""
    # Where all arms are of one model the title names it.
    models = {row.name.partition(":")[0] for row in arms}
    for row in arms:
        axes.annotate(
            row.name.partition(":")[2] if len(models) == 1 else row.name,
            (_shown(row.mean_tokens), row.accuracy),
            xytext=(1, -6),
            textcoords="offset points",
            fontsize=8,
            rotation=40,
            rotation_mode="anchor",
            horizontalalignment="right",
            verticalalignment="top",
        )


def _mixtures(hull: tuple[tuple[float, float], ...]) -> list[float]:
    """Return costs along the hull, close enough that its lines look bent on the axis as they are."""
    low, high = _shown(hull[0][0]), _shown(hull[-1][0])
    between = [low * (high / low) ** (step / 60) for step in range(61)]
    return sorted({cost for cost, _ in hull} | set(between))


def _shown(tokens: float) -> float:
    return max(tokens, _MIN_TOKENS)


def _headline_label(evaluation: Evaluation) -> str:
    headline = evaluation.headline
    if not headline.is_certified:
        return "nothing certified: the reference"
    return f"certified: {headline.tokens_saved:.0%} of tokens saved"


def describe_picture(evaluation: Evaluation, n_points: int = 7) -> list[str]:
    """Return the picture in words, one line a statement.

    Args:
        evaluation: What was drawn.
        n_points: Points of the router's curve to tell.
    """
    curve = sorted(evaluation.curve, key=lambda row: row.mean_tokens)
    step = max((len(curve) - 1) / max(n_points - 1, 1), 1.0)
    told = dict.fromkeys(round(step * number) for number in range(n_points))
    points = [curve[position] for position in told if position < len(curve)]
    lines = ["accuracy over mean tokens per question (logarithmic), as tokens: accuracy"]
    lines.append(
        "router: " + ", ".join(f"{row.mean_tokens:.1f}: {row.accuracy:.3f}" for row in points)
    )
    lines.append(
        "hull of the fixed arms: "
        + ", ".join(f"{cost:.1f}: {accuracy:.3f}" for cost, accuracy in evaluation.hull)
    )
    above = sum(row.accuracy > _on_hull(evaluation.hull, row.mean_tokens) for row in curve)
    lines.append(f"the router is above the hull at {above} of {len(curve)} trade-offs")
    return lines


def _on_hull(hull: tuple[tuple[float, float], ...], tokens: float) -> float:
    """Return what random mixing of fixed arms has at these tokens."""
    before = hull[0]
    for corner in hull:
        if tokens < corner[0]:
            width = corner[0] - before[0]
            share = (tokens - before[0]) / width if width > 0 else 0.0
            return before[1] + max(share, 0.0) * (corner[1] - before[1])
        before = corner
    return before[1]
