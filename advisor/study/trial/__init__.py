"""The advisor on trial: asked about what a study and a paper measured, with that left out.

Two trials, because they can say different things. On a study every recipe is there with its seeds
and answers, but pocket models lie far below the published sizes, so that the prior is out of
reach and only measured cells count. On the printed table of the paper the prior and its transfer
are judged, but only direct answers and reasoning, without seeds.
"""

from ._figures import Figure
from ._held import Arm, Fold, Held, HeldStudy, Problem, SeedVariance
from ._judging import RULES, Judged, Row, covers, is_right_to_abstain
from ._next_cells import Race
from ._page import page_lines
from ._report import TOLERANCE, TrialReport, run_trial
from ._signs import SignRule
from ._words import LEAST_RIGHT, WordCheck

__all__ = [
    "LEAST_RIGHT",
    "RULES",
    "TOLERANCE",
    "Arm",
    "Figure",
    "Fold",
    "Held",
    "HeldStudy",
    "Judged",
    "Problem",
    "Race",
    "Row",
    "SeedVariance",
    "SignRule",
    "TrialReport",
    "WordCheck",
    "covers",
    "is_right_to_abstain",
    "page_lines",
    "run_trial",
]
