"""From evidence to a verdict: which recipe to train, or to measure first.

The order of the argument: the user's own pair at the size decides alone; else the published
curve, moved by the user's pairs at smaller sizes; else the published figures of the corpus that
was named; else nothing does, and the verdict is to abstain. `docs/explanation/recommendations.md`
has the whole of it.
"""

from ._candidate import Builder, Candidate
from ._choice import decide
from ._comparison import Comparison, Facts
from ._draft import Draft
from ._question import DEFAULT_TOLERANCE
from ._recommend import recommend

__all__ = [
    "DEFAULT_TOLERANCE",
    "Builder",
    "Candidate",
    "Comparison",
    "Draft",
    "Facts",
    "decide",
    "recommend",
]
