"""A study as evidence for a recommendation: recipes as trained, and their paired differences."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from policies import PolicySpec, UnknownNameError

from .._recipe import read_label
from ..evidence import StudyArm, TrainedRecipe
from ._pooled import matrix_of, pooled_cells
from ._results import StudentResult, StudyCell
from ._student import TWO_STAGE_CORPUS
from ._table import StudyTable

if TYPE_CHECKING:
    from calibration import Cell

__all__ = ["AS_TRAINED", "CorpusEvidence", "StudyEvidence"]

AS_TRAINED = "reasoning@max"
"""The policy under which a student may think and decides by itself: how recipes are compared.

Source: arXiv 2509.22193v2 asks its students plainly; they have no thinking switch.
"""

_DIRECT = "direct"
_CONFIDENCE = 0.90
"""Level of the advisor's intervals."""


class StudyEvidence:
    """A study as `recommend(study=...)` reads it. Keeps what it has computed; not thread-safe."""

    def __init__(self, table: StudyTable, *, source: str | None = None) -> None:
        """Read a study.

        Args:
            table: The study.
            source: What ids of its cells begin with: name or folder; its own name by default.
        """
        self.table = table
        self.source = table.name if source is None else source
        self._views: dict[str, CorpusEvidence] = {}

    @property
    def sizes(self) -> Mapping[str, int]:
        """Return the parameters of each size by its name, smallest first."""
        return self.table.sizes

    @property
    def corpora(self) -> tuple[str, ...]:
        """Return the corpora that a question may be about; `general` first, else as designed."""
        found = [one for one in self.table.corpora if one != TWO_STAGE_CORPUS]
        return tuple(sorted(found, key=lambda one: one != "general"))

    @property
    def task_types(self) -> tuple[str, ...]:
        """Return the task types that it measured, in the order of its cells."""
        cells = (cell for one in self.table.results for cell in one.cells)
        return tuple(dict.fromkeys(cell.task_type for cell in cells))

    def on(self, corpus: str) -> "CorpusEvidence":
        """Return the students of a corpus, under the study's name of it or the paper's.

        Raises:
            UnknownNameError: The study has no such corpus.
        """
        name = corpus
        if corpus == "math-centric" and corpus not in self.corpora:
            name = "math"
        if name not in self.corpora:
            raise UnknownNameError("corpus", name, self.corpora)
        if name not in self._views:
            self._views[name] = CorpusEvidence(self.table, self.source, name)
        return self._views[name]


_Gap = tuple[float, float, float] | None


@dataclass(slots=True)
class CorpusEvidence:
    """The students of one corpus, the seeds of a recipe pooled.

    Attributes:
        table: The study.
        source: What ids of its cells begin with.
        corpus: The corpus.
    """

    table: StudyTable
    source: str
    corpus: str
    _by_recipe: dict[tuple[str, str], list[StudentResult]] = field(
        default_factory=dict[tuple[str, str], list[StudentResult]]
    )
    _cells: dict[str, "tuple[Cell, ...]"] = field(default_factory=dict[str, "tuple[Cell, ...]"])
    _gaps: dict[tuple[StudyArm, StudyArm, str], _Gap] = field(
        default_factory=dict[tuple[StudyArm, StudyArm, str], _Gap]
    )

    @property
    def sizes(self) -> Mapping[str, int]:
        """Return the parameters of each size of the study by its name."""
        return self.table.sizes

    @property
    def n_seeds(self) -> int:
        """Return the number of seeds."""
        return len({one.student.seed for one in self.table.select(corpus=self.corpus)})

    @property
    def n_rows(self) -> int:
        """Return the rows of one stage of training."""
        return self.table.design.n_rows

    def cells(self, task_type: str) -> "tuple[Cell, ...]":
        """Return the cells that tell how accurate recipes are, as trained.

        Of a recipe with reasoning that is `reasoning@max`, where the student may think and
        decides by itself; other budgets measure decoding, and count only where it is missing. Of
        `ift`, `direct`, or `reasoning@max` under that name where it is missing: such students
        never think. Recipes in two stages have no label, so that no question is about them.
        """
        if task_type not in self._cells:
            cells = pooled_cells(self.table, corpus=self.corpus, task_type=task_type)
            by_recipe: dict[tuple[str, str], list[Cell]] = {}
            for cell in cells:
                if read_label(cell.recipe) is not None:
                    by_recipe.setdefault((cell.model, cell.recipe), []).append(cell)
            self._cells[task_type] = tuple(
                cell for group in by_recipe.values() for cell in _as_trained(group)
            )
        return self._cells[task_type]

    def cell_id(self, arm: StudyArm, task_type: str) -> str:
        """Return the id under which `advisor tables show` finds a cell."""
        policy = self._asked(arm, task_type)
        return f"{self.source}/{self.corpus}/{task_type}/{arm.model}/{arm.label}/{policy}"

    def gap(self, first: StudyArm, second: StudyArm, task_type: str) -> _Gap:
        """Return the accuracy of one arm minus another's with a 90% interval.

        Paired by question and by seed, which draws the training questions; over the seeds that
        both have. `None` if an arm is not there, or no seed is shared.
        """
        key = (first, second, task_type)
        if key not in self._gaps:
            found = self._gap(*key)
            self._gaps[key] = found
            turned = None if found is None else (-found[0], -found[2], -found[1])
            self._gaps[second, first, task_type] = turned
        return self._gaps[key]

    def _gap(self, first: StudyArm, second: StudyArm, task_type: str) -> _Gap:
        from calibration.statistics import crossed_difference

        mine, theirs = self._seeds(first, task_type), self._seeds(second, task_type)
        shared = [seed for seed in mine if seed in theirs]
        if not shared or mine[shared[0]].n != theirs[shared[0]].n:
            return None
        first_matrix = matrix_of([mine[seed] for seed in shared])
        second_matrix = matrix_of([theirs[seed] for seed in shared])
        found = crossed_difference(first_matrix, second_matrix, _CONFIDENCE)
        value = found.estimate
        return round(value, 6), round(min(found.low, value), 6), round(max(found.high, value), 6)

    def training(self, model: str, label: str) -> TrainedRecipe | None:
        """Return what training a recipe took, in the mean over seeds."""
        found = self._students(model, label)
        if not found:
            return None
        n = len(found)
        return TrainedRecipe(
            sum(one.train_tokens for one in found) / n,
            sum(one.train_flops for one in found) / n,
            self.n_rows * len(found[0].student.stages),
        )

    def _students(self, model: str, label: str) -> list[StudentResult]:
        """Return the seeds of a recipe."""
        if not self._by_recipe:
            for one in self.table.select(corpus=self.corpus):
                key = (one.student.size, one.student.label)
                self._by_recipe.setdefault(key, []).append(one)
        return self._by_recipe.get((model, label), [])

    def _seeds(self, arm: StudyArm, task_type: str) -> dict[int, StudyCell]:
        """Return the cells of an arm by seed."""
        policy = self._asked(arm, task_type)
        return {
            one.student.seed: cell
            for one in self._students(arm.model, arm.label)
            for cell in one.cells
            if (cell.task_type, cell.policy) == (task_type, policy)
        }

    def _asked(self, arm: StudyArm, task_type: str) -> str:
        """Return the policy that an arm was asked by; see `cells` for direct answers."""
        if arm.label != "ift" or arm.policy != _DIRECT:
            return arm.policy
        policies = {
            cell.policy
            for one in self._students(arm.model, arm.label)
            for cell in one.cells
            if cell.task_type == task_type
        }
        return _DIRECT if _DIRECT in policies else AS_TRAINED


def _as_trained(group: "list[Cell]") -> "list[Cell]":
    """Return the cells of one recipe that tell its accuracy."""
    by_policy = {cell.policy: cell for cell in group}
    if group[0].recipe == "ift":
        if _DIRECT in by_policy:
            return [by_policy[_DIRECT]]
        return [replace(by_policy[AS_TRAINED], policy=_DIRECT)] if AS_TRAINED in by_policy else []
    if AS_TRAINED in by_policy:
        return [by_policy[AS_TRAINED]]
    return [cell for cell in group if PolicySpec.parse(cell.policy).name == "reasoning"]
