"""MBPP: short Python functions from a sentence and three tests."""

import json
import re
from collections.abc import Iterator

from .._row import Row
from ._benchmark import Benchmark, Draft, HubDataset

__all__ = ["MBPP"]

_REQUEST = (
    "Answer with the whole function, its imports included, in one fenced block that begins with"
    " ```python; nothing in the block may read input or print."
)
# The data set's own division: tasks 11 to 510 are its test split.
_FIRST_TEST, _LAST_TEST = 11, 510
_FLAT_ID = re.compile(r"(?:mbpp/)?(\d+)", re.IGNORECASE)


def _read(row: Row) -> Iterator[Draft]:
    """Yield the question with its tests: without them nobody could know the function's name."""
    if not _FIRST_TEST <= _task_number(row) <= _LAST_TEST:
        return
    is_flat = "question" in row.cells
    question = row.text("question" if is_flat else "text")
    tests = row.texts("test" if is_flat else "test_list")
    set_up = "" if is_flat else row.optional_text("test_setup_code")
    test = "\n".join([*([set_up] if set_up else []), *tests]).replace("\r\n", "\n") + "\n"
    prompt = (
        f"{question}\nThe function must pass these tests:\n\n```python\n{test}```\n\n{_REQUEST}"
    )
    gold = {"prompt": "", "test": test, "entry_point": None}
    yield Draft(prompt, json.dumps(gold, ensure_ascii=False))


def _task_number(row: Row) -> int:
    if row.has("task_id"):
        return row.integer("task_id")
    match = _FLAT_ID.fullmatch(row.text("question_id"))
    if match is None:
        raise row.problem(
            f"question_id is {row.text('question_id')!r}, expected mbpp/NUMBER", "correct the row"
        )
    return int(match[1])


MBPP = Benchmark(
    name="mbpp",
    task_type="code-oe",
    grader="code",
    version=1,
    source="Austin et al. 2021, arXiv 2108.07732,"
    " github.com/google-research/google-research/tree/master/mbpp, test split (tasks 11 to 510)",
    licence="CC-BY-4.0",
    hub=(HubDataset("google-research-datasets/mbpp", "test", config="full"),),
    stems=(("mbpp",),),
    read=_read,
)
