"""AIME: the American Invitational Mathematics Examination, years 2024 and 2025."""

from collections.abc import Iterator

from .._row import Row
from ._benchmark import Benchmark, Draft, HubDataset

__all__ = ["AIME"]

_REQUEST = (
    "Solve the problem. The answer is a whole number from 0 to 999: give it, and only it, inside"
    " \\boxed{}."
)


def _read(row: Row) -> Iterator[Draft]:
    is_flat = "gold" in row.cells
    question = row.text("question" if is_flat else "problem")
    # Some copies write `033`.
    gold = row.integer("gold" if is_flat else "answer")
    yield Draft(f"{question}\n\n{_REQUEST}", str(gold))


AIME = Benchmark(
    name="aime",
    task_type="math-oe",
    grader="number",
    version=242501,  # years 24 and 25, wording 01
    source="American Invitational Mathematics Examination 2024 (I, II) and 2025 (I, II)",
    licence="problems (c) Mathematical Association of America; no licence stated",
    hub=(
        HubDataset("HuggingFaceH4/aime_2024", "train"),
        HubDataset("math-ai/aime25", "test", revision="563bb8404243c5f09de6ec262f2db674fe5bce9b"),
    ),
    stems=(("aime24", "aime_2024", "aime2024"), ("aime25", "aime_2025", "aime2025")),
    read=_read,
)
