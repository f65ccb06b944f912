"""What a recommendation rests on: published tables and the user's own measured cells."""

from ._own import OwnArm, OwnEvidence, arm_gap, check_cells, own_evidence, own_pairs
from ._paired import RecordedArm, paired_gain
from ._published import PublishedEvidence
from ._study import MeasuredStudy, StudyArm, StudyCellRef, StudyView, TrainedRecipe

__all__ = [
    "MeasuredStudy",
    "OwnArm",
    "OwnEvidence",
    "PublishedEvidence",
    "RecordedArm",
    "StudyArm",
    "StudyCellRef",
    "StudyView",
    "TrainedRecipe",
    "arm_gap",
    "check_cells",
    "own_evidence",
    "own_pairs",
    "paired_gain",
]
