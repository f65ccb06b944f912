"""What a recommendation rests on: published tables and the user's own measured cells."""

from ._own import OwnArm, OwnEvidence, arm_gap, check_cells, own_evidence, own_pairs
from ._paired import RecordedArm, paired_gain
from ._published import PublishedEvidence

__all__ = [
    "OwnArm",
    "OwnEvidence",
    "PublishedEvidence",
    "RecordedArm",
    "arm_gap",
    "check_cells",
    "own_evidence",
    "own_pairs",
    "paired_gain",
]
