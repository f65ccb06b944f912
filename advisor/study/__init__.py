"""The controlled experiment: the same questions, trained by many recipes, measured alike.

`StudyDesign` is the grid of students, `StudyPlan` what it costs, `run_study` trains and measures
it in a lab (`PocketLab`, or `advisor.study.trl` for a model of one's own), and `StudyTable` is
what was measured. What a table shows is in `advisor.study.findings`; how well the advisor would
have advised, in `advisor.study.trial`.

Example:
    >>> from advisor.study import StudyDesign
    >>> design = StudyDesign(sizes=("pocket-xs",), ratios=(0.0, 0.5, 1.0), seeds=(1,))
    >>> len(design.students())
    8
"""

from ._catalog import is_study, load_study, shipped_studies
from ._design import StudyDesign
from ._evidence import StudyEvidence
from ._lab import Lab, StageCost, Step
from ._plan import PlannedStudent, StudyLimits, StudyPlan
from ._pocket_lab import PocketLab
from ._results import StudentResult, StudyCell
from ._run import (
    BaseStep,
    LabSpec,
    StudentDone,
    StudentFailed,
    StudentStarted,
    StudentStep,
    StudyEvent,
    run_study,
)
from ._student import Stage, Student, StudyOrder
from ._table import StudyTable

__all__ = [
    "BaseStep",
    "Lab",
    "LabSpec",
    "PlannedStudent",
    "PocketLab",
    "Stage",
    "StageCost",
    "Step",
    "Student",
    "StudentDone",
    "StudentFailed",
    "StudentResult",
    "StudentStarted",
    "StudentStep",
    "StudyCell",
    "StudyDesign",
    "StudyEvent",
    "StudyEvidence",
    "StudyLimits",
    "StudyOrder",
    "StudyPlan",
    "StudyTable",
    "is_study",
    "load_study",
    "run_study",
    "shipped_studies",
]
