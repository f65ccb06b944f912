"""MATH-500: competition problems whose answers are expressions."""

from collections.abc import Iterator

from .._row import Row
from ._benchmark import Benchmark, Draft, HubDataset

__all__ = ["MATH_500"]

_REQUEST = (
    "Solve the problem. Give the final answer, exact and simplified, inside \\boxed{}; LaTeX is"
    " welcome."
)


def _read(row: Row) -> Iterator[Draft]:
    is_flat = "gold" in row.cells
    question = row.text("question" if is_flat else "problem")
    gold = row.text("gold" if is_flat else "answer")
    level = row.integer("level") if row.has("level") else None
    yield Draft(f"{question}\n\n{_REQUEST}", gold, level=level)


MATH_500 = Benchmark(
    name="math-500",
    task_type="math-oe",
    grader="math",
    version=1,
    source="Hendrycks et al. 2021, arXiv 2103.03874; the 500 test problems of Lightman et al. 2023,"
    " arXiv 2305.20050, github.com/openai/prm800k",
    licence="MIT",
    hub=(HubDataset("HuggingFaceH4/MATH-500", "test"),),
    stems=(("math500", "math-500", "math_500"),),
    read=_read,
)
