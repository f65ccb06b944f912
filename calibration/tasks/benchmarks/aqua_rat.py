"""AQuA-RAT: algebra word problems with five options."""

from collections.abc import Iterator

from .._row import Row
from ._benchmark import Benchmark, Draft, HubDataset, multiple_choice

__all__ = ["AQUA_RAT"]


def _read(row: Row) -> Iterator[Draft]:
    options = row.options("options")
    gold = row.letter(row.text("gold" if "gold" in row.cells else "correct"), options)
    yield Draft(multiple_choice(row.text("question"), options), gold)


AQUA_RAT = Benchmark(
    name="aqua-rat",
    task_type="math-mc",
    grader="choice",
    version=1,
    source="Ling et al. 2017, arXiv 1705.04146, github.com/google-deepmind/AQuA, test split",
    licence="Apache-2.0",
    hub=(HubDataset("deepmind/aqua_rat", "test", config="raw"),),
    stems=(("aqua_test", "aqua-rat", "aqua_rat", "aqua"),),
    read=_read,
)
