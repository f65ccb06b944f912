"""What the MMLU benchmarks share: one file, of which each takes some subjects."""

from collections.abc import Iterator

from .._reading import RowFilter
from .._row import LETTERS, Row
from ._benchmark import Draft, HubDataset, letter_of_number, multiple_choice

__all__ = ["MMLU_HUB", "MMLU_LICENCE", "MMLU_SOURCE", "MMLU_STEMS", "read_mmlu", "test_subjects"]

MMLU_SOURCE = "Hendrycks et al. 2021, arXiv 2009.03300, github.com/hendrycks/test, test split"
MMLU_LICENCE = "MIT"
MMLU_HUB = (HubDataset("cais/mmlu", "test", config="all"),)
MMLU_STEMS = (("mmlu_test", "mmlu"),)


def test_subjects(*subjects: str) -> tuple[RowFilter, ...]:
    """Return the filters that keep the test questions of some subjects."""
    return (
        RowFilter("subject", frozenset(subjects)),
        # The hub keeps its splits apart and needs no such column.
        RowFilter("split", frozenset({"test"}), is_optional=True),
    )


def read_mmlu(row: Row) -> Iterator[Draft]:
    """Yield a row's question.

    Raises:
        DataFileError: A column is missing or cannot be read.
    """
    if "gold" in row.cells:
        options = row.options("options")
        gold = row.letter(row.text("gold"), options)
    else:
        options = row.options("choices")
        answer = row.text("answer")
        if answer in LETTERS:
            gold = row.letter(answer, options)
        else:
            gold = letter_of_number(row, "answer", options, first=0)
    yield Draft(multiple_choice(row.text("question"), options), gold)
