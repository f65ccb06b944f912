"""A student of a study: one base model trained by one recipe with one seed."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from policies import InvalidInputError

__all__ = ["TWO_STAGE_CORPUS", "Stage", "Student", "StudyOrder"]

TWO_STAGE_CORPUS = "general_then_math"
"""Corpus of students that are trained on one corpus after the other."""


class StudyOrder(StrEnum):
    """Order of the training rows of a student.

    The first four order direct (IFT) and reasoning rows of one corpus, in one run with one
    schedule: arXiv 2509.22193v2, section 2. The last four are two runs one after the other, each
    with one kind of rows: its v1.
    """

    MIXED = "mixed"
    IFT_THEN_REASONING = "ift_then_reasoning"
    REASONING_THEN_IFT = "reasoning_then_ift"
    REASONING_THEN_HYBRID = "reasoning_then_hybrid"
    GENERAL_IFT_MATH_IFT = "general_ift_then_math_ift"
    GENERAL_IFT_MATH_REASONING = "general_ift_then_math_reasoning"
    GENERAL_REASONING_MATH_IFT = "general_reasoning_then_math_ift"
    GENERAL_REASONING_MATH_REASONING = "general_reasoning_then_math_reasoning"

    @property
    def is_two_stage(self) -> bool:
        """Return whether students are trained on two corpora, one after the other."""
        return self.value.startswith("general_")


class Stage(NamedTuple):
    """One run of training.

    Attributes:
        corpus: `general`, `math`, or `own`.
        ratio: Share of reasoning rows.
        order: Order of the rows in this run, no two-stage one.
    """

    corpus: str
    ratio: float
    order: StudyOrder


@dataclass(frozen=True, slots=True, order=True)
class Student:
    """One student.

    Attributes:
        size: Name of the base size, such as `pocket-xs`.
        corpus: `general`, `math`, `own`, or `general_then_math`.
        ratio: Share of reasoning rows over all of its training, in [0, 1].
        order: Order of its rows; `mixed` where there is one kind of rows in one stage.
        seed: Of the choice and order of training questions.

    Raises:
        InvalidInputError: Ratio and order contradict each other.
    """

    size: str
    corpus: str
    ratio: float
    order: StudyOrder
    seed: int

    def __post_init__(self) -> None:
        """Refuse recipes that do not exist."""
        if self.order.is_two_stage:
            given = [stage.ratio for stage in self.stages]
            fits = self.ratio == sum(given) / 2 and self.corpus == TWO_STAGE_CORPUS
        elif self.order is StudyOrder.MIXED:
            fits = 0.0 <= self.ratio <= 1.0
        elif self.order is StudyOrder.REASONING_THEN_HYBRID:
            fits = 0.5 < self.ratio < 1.0
        else:
            fits = 0.0 < self.ratio < 1.0
        if not fits:
            raise InvalidInputError(
                f"order {self.order.value!r} with ratio {self.ratio:g} on {self.corpus!r} is no "
                "recipe",
                hint="pure recipes are 'mixed' with ratio 0 or 1; reasoning_then_hybrid needs a "
                "ratio above 0.5",
                code="invalid-recipe",
            )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Return its runs of training, first to last."""
        if not self.order.is_two_stage:
            return (Stage(self.corpus, self.ratio, self.order),)
        kinds = self.order.value.removeprefix("general_").split("_then_math_")
        ratios = [1.0 if kind == "reasoning" else 0.0 for kind in kinds]
        return (
            Stage("general", ratios[0], StudyOrder.MIXED),
            Stage("math", ratios[1], StudyOrder.MIXED),
        )

    @property
    def label(self) -> str:
        """Return the recipe as `advisor recommend` reads it, or the name of a two-stage order."""
        if self.order.is_two_stage:
            return self.order.value
        if self.ratio in {0.0, 1.0}:
            return "reasoning" if self.ratio else "ift"
        return f"{self.order.value}@{self.ratio:g}"

    @property
    def id(self) -> str:
        """Return a name that is also a folder name: `pocket-xs.general.mixed@0.5.seed1`."""
        return f"{self.size}.{self.corpus}.{self.label}.seed{self.seed}"

    @property
    def n_reasoning_first(self) -> float:
        """Return the share of rows of pure reasoning before a hybrid part, which is half and half.

        Only for `reasoning_then_hybrid`: with ratio r the hybrid part holds 1 - r direct rows and
        as many reasoning rows.
        """
        return 2.0 * self.ratio - 1.0
