"""IFEval: instructions whose keeping a program can check."""

import json
from collections.abc import Iterator
from typing import Any, cast

from .._row import Row
from ._benchmark import Benchmark, Draft, HubDataset

__all__ = ["IFEVAL"]


def _read(row: Row) -> Iterator[Draft]:
    """Yield the prompt as it is: a word about the form of the answer would be an instruction."""
    # Flat files have a gold column with nothing in it.
    prompt = row.text("question" if "question" in row.cells else "prompt")
    instructions = row.texts("instruction_id_list")
    arguments = row.sequence("kwargs")
    if len(arguments) != len(instructions):
        raise row.problem(
            f"{len(instructions)} instructions have {len(arguments)} sets of arguments",
            "correct the row",
        )
    gold = {
        "prompt": prompt,
        "instruction_id_list": instructions,
        "kwargs": [_without_nulls(row, one) for one in arguments],
    }
    yield Draft(prompt, json.dumps(gold))


def _without_nulls(row: Row, arguments: object) -> dict[str, Any]:
    if arguments is None:
        return {}
    if not isinstance(arguments, dict):
        raise row.problem(
            f"column 'kwargs' holds {type(arguments).__name__}, expected named arguments",
            "correct the row",
        )
    named = cast("dict[str, Any]", arguments)
    return {name: value for name, value in named.items() if value is not None}


IFEVAL = Benchmark(
    name="ifeval",
    task_type="general-oe",
    grader="ifeval",
    version=1,
    source="Zhou et al. 2023, arXiv 2311.07911,"
    " github.com/google-research/google-research/tree/master/instruction_following_eval",
    licence="Apache-2.0",
    hub=(HubDataset("google/IFEval", "train"),),
    stems=(("ifeval",),),
    read=_read,
)
