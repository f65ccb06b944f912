"""What a verdict needs of a study of recipes; `advisor.study` has one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from calibration import Cell

__all__ = ["MeasuredStudy", "StudyArm", "StudyCellRef", "StudyView", "TrainedRecipe"]


class StudyArm(NamedTuple):
    """A recipe of a study as one policy asked it.

    Attributes:
        model: Name of its base size.
        label: Label of the recipe.
        policy: Policy.
    """

    model: str
    label: str
    policy: str


class TrainedRecipe(NamedTuple):
    """What training a recipe took in a study, in the mean over its seeds.

    Attributes:
        n_tokens: Tokens that training computed.
        flops: FLOPs.
        n_rows: Rows trained on, over all stages.
    """

    n_tokens: float
    flops: float
    n_rows: int


class StudyView(Protocol):
    """The students of one corpus, the seeds of a recipe pooled."""

    @property
    def source(self) -> str:
        """Return the name or folder of the study."""
        ...

    @property
    def corpus(self) -> str:
        """Return the corpus as the study calls it."""
        ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """Return the parameters of each size of the study by its name."""
        ...

    @property
    def n_seeds(self) -> int:
        """Return the most seeds that a recipe was trained with."""
        ...

    @property
    def n_rows(self) -> int:
        """Return the rows of one stage of training."""
        ...

    def cells(self, task_type: str) -> "tuple[Cell, ...]":
        """Return the cells that tell how accurate recipes are, as trained."""
        ...

    def cell_id(self, arm: StudyArm, task_type: str) -> str:
        """Return the id under which a cell can be looked up."""
        ...

    def gap(
        self, first: StudyArm, second: StudyArm, task_type: str
    ) -> tuple[float, float, float] | None:
        """Return the accuracy of one arm minus another's with a 90% interval, paired.

        `None` if the study has not both arms, or no seed that both share.
        """
        ...

    def training(self, model: str, label: str) -> TrainedRecipe | None:
        """Return what training a recipe took, `None` if the study has none of it."""
        ...


class StudyCellRef(NamedTuple):
    """Where in a study an arm's accuracy was measured.

    Attributes:
        view: The study.
        arm: The arm.
        task_type: Task type.
    """

    view: StudyView
    arm: StudyArm
    task_type: str

    @property
    def id(self) -> str:
        """Return the id of its cell."""
        return self.view.cell_id(self.arm, self.task_type)

    def gap(self, other: "StudyCellRef") -> tuple[float, float, float] | None:
        """Return its accuracy minus another's with a 90% interval, `None` where not paired."""
        if other.view is not self.view or other.task_type != self.task_type:
            return None
        return self.view.gap(self.arm, other.arm, self.task_type)


class MeasuredStudy(Protocol):
    """A study of recipes: every recipe trained and measured, on one or more corpora."""

    @property
    def source(self) -> str:
        """Return the name or folder of the study."""
        ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """Return the parameters of each size by its name, smallest first."""
        ...

    @property
    def corpora(self) -> tuple[str, ...]:
        """Return the corpora that a question may be about; the first is the default."""
        ...

    @property
    def task_types(self) -> tuple[str, ...]:
        """Return the task types that it measured."""
        ...

    def on(self, corpus: str) -> StudyView:
        """Return the students of a corpus."""
        ...
