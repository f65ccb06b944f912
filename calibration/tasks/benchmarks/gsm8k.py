"""GSM8K: word problems of elementary school, answered by a number."""

from collections.abc import Iterator

from .._row import Row
from ._benchmark import Benchmark, Draft, HubDataset

__all__ = ["GSM8K"]

_REQUEST = (
    "Solve the problem. Give the final answer as a plain number, without unit, inside \\boxed{}."
)


def _read(row: Row) -> Iterator[Draft]:
    yield Draft(f"{row.text('question')}\n\n{_REQUEST}", _gold(row))


def _gold(row: Row) -> str:
    if "gold" in row.cells:
        return row.text("gold").replace(",", "")
    # The hub's answers end with the number: `...\n#### 1,200`.
    _, mark, number = row.text("answer").rpartition("####")
    if not mark or not number.strip():
        raise row.problem("the answer has no final '#### number'", "correct the row")
    return number.strip().replace(",", "")


GSM8K = Benchmark(
    name="gsm8k",
    task_type="math-oe",
    grader="number",
    version=1,
    source="Cobbe et al. 2021, arXiv 2110.14168, github.com/openai/grade-school-math, test split",
    licence="MIT",
    hub=(HubDataset("openai/gsm8k", "test", config="main"),),
    stems=(("gsm8k_test", "gsm8k"),),
    read=_read,
)
