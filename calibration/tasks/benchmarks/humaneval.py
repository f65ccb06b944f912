"""HumanEval: complete a Python function from its signature and docstring."""

import json
import re
from collections.abc import Iterator

from .._row import Row
from ._benchmark import Benchmark, Draft, HubDataset

__all__ = ["HUMANEVAL"]

_REQUEST = (
    "Complete this Python function. Answer with the whole function, its imports included, in one"
    " fenced block that begins with ```python; nothing in the block may read input or print."
)
_FUNCTION = re.compile(r"^def (\w+)\(", re.MULTILINE)
_CHECK = re.compile(r"^def check\(", re.MULTILINE)


def _read(row: Row) -> Iterator[Draft]:
    # In flat files `gold` is the reference solution, which nobody needs: the tests judge.
    prefix = row.raw_text("question" if "question" in row.cells else "prompt")
    test = row.raw_text("test")
    if not _CHECK.search(test):
        raise row.problem("the test defines no function check(candidate)", "correct the row")
    entry_point = row.text("entry_point") if row.has("entry_point") else _last_function(row, prefix)
    # Some copies call `check` themselves at the end; the grader does.
    test = re.sub(rf"^check\({re.escape(entry_point)}\)\s*\Z", "", test, flags=re.MULTILINE)
    gold = {"prompt": prefix, "test": test.rstrip() + "\n", "entry_point": entry_point}
    prompt = f"{_REQUEST}\n\n```python\n{prefix.strip()}\n```"
    yield Draft(prompt, json.dumps(gold, ensure_ascii=False))


def _last_function(row: Row, prefix: str) -> str:
    names = _FUNCTION.findall(prefix)
    if not names:
        raise row.problem("the prompt defines no function", "correct the row")
    return names[-1]


HUMANEVAL = Benchmark(
    name="humaneval",
    task_type="code-oe",
    grader="code",
    version=1,
    source="Chen et al. 2021, arXiv 2107.03374, github.com/openai/human-eval",
    licence="MIT",
    hub=(HubDataset("openai/openai_humaneval", "test"),),
    stems=(("humaneval", "human_eval"),),
    read=_read,
)
