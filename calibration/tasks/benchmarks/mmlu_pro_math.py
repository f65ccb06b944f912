"""MMLU-Pro, category `math`: up to ten options."""

from collections.abc import Iterator

from .._reading import RowFilter
from .._row import Row
from ._benchmark import Benchmark, Draft, HubDataset, multiple_choice

__all__ = ["MMLU_PRO_MATH"]


def _read(row: Row) -> Iterator[Draft]:
    options = row.options("options")
    gold = row.letter(row.text("gold" if "gold" in row.cells else "answer"), options)
    yield Draft(multiple_choice(row.text("question"), options), gold)


MMLU_PRO_MATH = Benchmark(
    name="mmlu-pro-math",
    task_type="math-mc",
    grader="choice",
    version=1,
    source="Wang et al. 2024, arXiv 2406.01574, github.com/TIGER-AI-Lab/MMLU-Pro, test split;"
    " category math",
    licence="MIT (data), Apache-2.0 (repository)",
    hub=(HubDataset("TIGER-Lab/MMLU-Pro", "test"),),
    stems=(("mmlu_pro_test", "mmlu_pro", "mmlu-pro"),),
    read=_read,
    keep=(
        RowFilter("category", frozenset({"math"})),
        RowFilter("split", frozenset({"test"}), is_optional=True),
    ),
)
