"""The grid of a study: which students are trained, and on how much."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import BaseModel, Field, field_validator

from policies import InvalidInputError

from ._student import TWO_STAGE_CORPUS, Student, StudyOrder

__all__ = ["StudyDesign"]


class StudyDesign(BaseModel, frozen=True, extra="forbid"):
    """A grid of recipes; the same questions, epochs and hyper-parameters for all of a size.

    Raises:
        ValidationError: A value is out of range.
    """

    sizes: tuple[str, ...]
    """Names of base sizes, smallest first."""
    ratios: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Shares of reasoning rows."""
    orders: tuple[StudyOrder, ...] = (StudyOrder.MIXED, StudyOrder.IFT_THEN_REASONING)
    """Orders of the rows, for ratios between 0 and 1; two-stage ones are students of their own."""
    corpora: tuple[str, ...] = ("general", "math")
    """Training corpora."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Each draws training questions and their order anew."""
    n_rows: Annotated[int, Field(ge=32)] = 4096
    """Training rows, one per question, of each stage."""
    n_questions: Annotated[int, Field(ge=1)] = 1000
    """Held-out questions per task type that every student is asked."""
    policies: tuple[str, ...] = ("direct", "reasoning@max")
    """How every student is asked; the first is the mode `ift`."""

    @field_validator("sizes", "ratios", "orders", "corpora", "seeds", "policies")
    @classmethod
    def _check_unique(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if not values or len(set(values)) < len(values):
            raise InvalidInputError(
                f"{list(map(str, values))} is empty or holds a value twice",
                hint="give each value once",
                code="invalid-design",
            )
        return values

    def students(self) -> list[Student]:
        """Return every student of the grid, in a fixed order: by size, corpus, seed and recipe."""
        found: list[Student] = []
        for size in self.sizes:
            for seed in self.seeds:
                for corpus in self.corpora:
                    found += [Student(size, corpus, *one, seed) for one in self._recipes()]
                found += [
                    Student(size, TWO_STAGE_CORPUS, _two_stage_ratio(order), order, seed)
                    for order in self.orders
                    if order.is_two_stage
                ]
        return found

    def _recipes(self) -> Iterator[tuple[float, StudyOrder]]:
        for ratio in self.ratios:
            if ratio in {0.0, 1.0}:
                yield ratio, StudyOrder.MIXED
                continue
            for order in self.orders:
                if order.is_two_stage:
                    continue
                if order is StudyOrder.REASONING_THEN_HYBRID and ratio <= 0.5:
                    continue
                yield ratio, order


def _two_stage_ratio(order: StudyOrder) -> float:
    kinds: Sequence[str] = order.value.removeprefix("general_").split("_then_math_")
    return sum(kind == "reasoning" for kind in kinds) / 2
