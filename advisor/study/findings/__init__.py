"""What a study found: one pure function from a study's table to a finding, per question.

Importing this needs neither numpy nor scipy; calling a finding does.
"""

from collections.abc import Callable

from .._table import StudyTable
from ._after_reasoning import ift_after_reasoning
from ._budget_steps import larger_budgets
from ._finding import (
    Agreement,
    Check,
    Column,
    Finding,
    Measure,
    Row,
    Tally,
    Unit,
    settle,
    tally,
    write_measure,
    write_value,
)
from ._frontier import ift_on_the_frontier
from ._length_cut import cutting_by_length
from ._method_table import MethodCell, load_methods, shipped_methods
from ._methods import method_findings
from ._mixed import mixed_above_half
from ._sequential import sequential_is_enough
from ._students import AS_TRAINED, Contrast, Group, Term, accuracy, contrast, corpora, group
from ._where_it_helps import where_reasoning_helps
from ._wrong_length import wrong_answers_are_longer

__all__ = [
    "AS_TRAINED",
    "QUESTIONS",
    "Agreement",
    "Check",
    "Column",
    "Contrast",
    "Finding",
    "Group",
    "Measure",
    "MethodCell",
    "Row",
    "Tally",
    "Term",
    "Unit",
    "accuracy",
    "contrast",
    "corpora",
    "cutting_by_length",
    "find_all",
    "group",
    "ift_after_reasoning",
    "ift_on_the_frontier",
    "larger_budgets",
    "load_methods",
    "method_findings",
    "mixed_above_half",
    "sequential_is_enough",
    "settle",
    "shipped_methods",
    "tally",
    "where_reasoning_helps",
    "write_measure",
    "write_value",
    "wrong_answers_are_longer",
]

QUESTIONS: tuple[Callable[[StudyTable], Finding], ...] = (
    where_reasoning_helps,
    ift_on_the_frontier,
    sequential_is_enough,
    mixed_above_half,
    ift_after_reasoning,
    wrong_answers_are_longer,
    cutting_by_length,
    larger_budgets,
)
"""The questions of a study, in the order in which they are answered."""


def find_all(table: StudyTable) -> tuple[Finding, ...]:
    """Return the answers of a study to all questions; a function of the table alone."""
    return tuple(question(table) for question in QUESTIONS)
