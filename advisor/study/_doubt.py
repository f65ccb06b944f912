"""How unsure the advisor is of a student's accuracy, before it is trained."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from ._student import Student

if TYPE_CHECKING:
    from .._recipe import Corpus

__all__ = ["NOTHING_KNOWN", "Doubt", "doubt_of"]

Doubt: TypeAlias = Callable[[Student], float]
"""The width of what is known of a student's accuracy, in [0, 1]."""

NOTHING_KNOWN = 1.0
"""An accuracy lies between 0 and 1: that is all where the advisor has no figure."""

_PUBLISHED: "Mapping[str, Corpus]" = {"general": "general", "math": "math-centric"}
"""The corpora of arXiv 2509.22193v2 by their names in a study."""


def doubt_of(n_params: Callable[[str], int], task_types: Sequence[str]) -> Doubt:
    """Return how unsure the advisor is of students: 0 for certain, 1 where nothing is known.

    The width of the 90% interval that `recommend` gives the accuracy of a student's recipe, in
    the mean over task types. It gives none, and the width is 1, outside the published sizes,
    corpora and task types, for mixtures and for two stages.

    Args:
        n_params: Returns the parameters of a base size.
        task_types: Task types that students are measured on.
    """
    known: dict[tuple[str, str], Mapping[str, float]] = {}

    def width(student: Student) -> float:
        key = (student.size, student.corpus)
        if key not in known:
            known[key] = _widths(n_params(student.size), student.corpus, task_types)
        return known[key].get(student.label, NOTHING_KNOWN)

    return width


def _widths(n_params: int, corpus: str, task_types: Sequence[str]) -> Mapping[str, float]:
    """Return the mean width by recipe label, for recipes that the advisor has figures of."""
    from policies import ModelSize

    from .._request import RecommendationRequest
    from ..evidence import PublishedEvidence
    from ..inference import within_range
    from ..verdict import recommend

    size, published = ModelSize(n_params), _PUBLISHED.get(corpus)
    evidence = PublishedEvidence.shipped()
    if published is None or not within_range(evidence.table, size):
        return {}
    widths: dict[str, float] = {}
    for task_type in task_types:
        if task_type not in evidence.table.task_types:
            continue
        asked = RecommendationRequest(size=size, task_type=task_type, corpus=published)
        for option in recommend(asked, evidence=evidence).options:
            low, high = option.accuracy.low, option.accuracy.high
            if option.size == size and low is not None and high is not None:
                # Task types without an interval count as ones of which nothing is known.
                before = widths.get(option.recipe.label, NOTHING_KNOWN * len(task_types))
                widths[option.recipe.label] = before - NOTHING_KNOWN + high - low
    return {label: width / len(task_types) for label, width in widths.items()}
