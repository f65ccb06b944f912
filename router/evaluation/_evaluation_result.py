"""What an evaluation says: the first line, rows, curves, and how far to believe them."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from .._objective import Objective
from ._headline import Headline
from ._hints import HintLayer
from ._metrics import Metrics
from ._noise import NoiseCeiling
from ._realised import EvaluationRow
from ._reliability import Reliability

__all__ = ["Comparison", "CurveRow", "Evaluation"]


@dataclass(frozen=True, slots=True)
class CurveRow:
    """The router at one trade-off.

    Attributes:
        tradeoff: Probability given up per unit of cost.
        accuracy: Share of correct answers.
        ci_low: Lower end of its 95% interval, clustered by group.
        ci_high: Upper end.
        mean_tokens: Mean generated tokens.
    """

    tradeoff: float
    accuracy: float
    ci_low: float
    ci_high: float
    mean_tokens: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Router, at the objective it chose itself, against the reference arm.

    Attributes:
        reference: The fixed arm.
        difference: Router's accuracy minus the arm's.
        ci_low: Lower end of its 95% bootstrap interval over groups.
        ci_high: Upper end.
        tokens_saved: Share of the arm's tokens that the router does not spend; may be negative.
        n_gained: Questions only the router got right; `None` for averaged samples.
        n_lost: Questions only the arm got right; `None` for averaged samples.
        p_value: Two-sided exact McNemar test; `None` for averaged samples.
    """

    reference: str
    difference: float
    ci_low: float
    ci_high: float
    tokens_saved: float
    n_gained: int | None
    n_lost: int | None
    p_value: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A router beside everything that could do its work, on questions it was not fitted on.

    Attributes:
        headline: Tokens saved at non-inferior accuracy, certified: the router at the cheapest
            trade-off that passes.
        headline_point: The same read off the measured curve; optimistic.
        headline_fixed_cap: The certified figure of the best fixed arm cheaper than the reference.
        headline_fixed_cap_point: Its optimistic sibling.
        headline_own_objective: The router at the objective that each fold chose without its
            test questions: nothing here was selected on the questions it is judged by.
        headline_cascade: The certified figure where the first answer's evidence may call for a
            second arm, both answers paid; `None` where no evidence was recorded, or none tells.
        rows: Fixed arms first, then what needs no router, router and oracles.
        metrics: Numbers that sum the router up.
        reliability: Calibration of all arms together, then of each.
        noise_ceiling: How much headroom can be reached at all.
        hints: What text, task type and task name add.
        curve: The router at trade-offs from free to prohibitive.
        hull: Mean tokens and accuracy of the corners of the fixed arms' convex hull.
        comparison: Router at its own objective against the reference, two-sided.
        reference: The reference arm.
        objectives: Objective of each fold's router, chosen without its test questions.
        n_arms: Fixed arms: that many rows come first.
        n: Questions evaluated: those on which every arm was measured, with its tokens.
        n_incomplete: Questions on which some arm was not measured: for fitting, for the
            probabilities, and for comparing two arms that were.
        n_errors: Records left out because the infrastructure failed.
        n_groups: Groups among the evaluated questions.
        n_folds: Folds.
        n_seen: Of a router that was given: questions it was fitted on; `None` if it was
            cross-validated, or cannot say.
        left_out: Arms that were not compared, because hardly a question has an answer of all.
        is_oracle_inflated: Whether the oracle picks among single samples, so that their noise
            inflates it (and deflates headroom).
    """

    headline: Headline
    headline_point: Headline
    headline_fixed_cap: Headline
    headline_fixed_cap_point: Headline
    headline_own_objective: Headline
    headline_cascade: Headline | None
    rows: tuple[EvaluationRow, ...]
    metrics: Metrics
    reliability: tuple[Reliability, ...]
    noise_ceiling: NoiseCeiling
    hints: tuple[HintLayer, ...]
    curve: tuple[CurveRow, ...]
    hull: tuple[tuple[float, float], ...]
    comparison: Comparison
    reference: str
    objectives: tuple[Objective, ...]
    n_arms: int
    n: int
    n_incomplete: int
    n_errors: int
    n_groups: int
    n_folds: int
    n_seen: int | None
    left_out: tuple[str, ...]
    is_oracle_inflated: bool

    @property
    def headroom(self) -> float | None:
        """Share of the oracle's headroom captured between `headroom_arms`."""
        return self.metrics.headroom

    @property
    def headroom_arms(self) -> tuple[str, str]:
        """Cheapest and reference arm."""
        return self.metrics.headroom_arms

    def row(self, name: str) -> EvaluationRow:
        """Return a row by name.

        Raises:
            KeyError: There is no such row.
        """
        return {row.name: row for row in self.rows}[name]

    def plot(self, path: Path | str) -> list[str]:
        """Draw accuracy over tokens into a file and return the picture in words.

        Args:
            path: Where to; the suffix chooses PNG, SVG or PDF.

        Raises:
            InvalidInputError: The suffix is another one, or the folder does not exist.
            MissingPrerequisiteError: matplotlib is not installed.
        """
        from ._picture import describe_picture, draw_evaluation

        draw_evaluation(self, Path(path))
        return describe_picture(self)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with the fields as keys; what is not finite becomes null."""
        document = {
            **asdict(self),
            "objectives": [objective.to_json() for objective in self.objectives],
        }
        return cast("dict[str, Any]", _finite(document))

    def _repr_html_(self) -> str:
        """Return the evaluation as a notebook shows it."""
        from ._evaluation_html import evaluation_html

        return evaluation_html(self)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value).items()
        return {key: _finite(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in cast("list[object]", value)]
    return value
