"""SQuAD 1.1: questions about a passage, answered in the passage's own words."""

import json
from collections.abc import Iterator

from .._row import Row
from ._benchmark import Benchmark, Draft, HubDataset

__all__ = ["SQUAD"]

_REQUEST = (
    "Answer the question about the passage with the shortest words of the passage that answer it,"
    " inside \\boxed{}."
)


def _read(row: Row) -> Iterator[Draft]:
    answers = row.texts("gold") if "gold" in row.cells else row.texts_in("answers", "text")
    passage = row.text("context")
    prompt = f"{_REQUEST}\n\nPassage: {passage}\n\nQuestion: {row.text('question')}"
    gold = json.dumps(list(dict.fromkeys(answers)), ensure_ascii=False)
    yield Draft(prompt, gold, source=passage)


SQUAD = Benchmark(
    name="squad",
    task_type="general-oe",
    grader="squad",
    version=1,
    source="Rajpurkar et al. 2016, arXiv 1606.05250, version 1.1, validation split; the English"
    " part of XQuAD (Artetxe et al. 2020, arXiv 1910.11856) is a subset of it",
    licence="CC-BY-SA-4.0",
    hub=(HubDataset("rajpurkar/squad", "validation"),),
    stems=(("squad", "squad_validation", "squad_dev", "xquad_en"),),
    read=_read,
)
