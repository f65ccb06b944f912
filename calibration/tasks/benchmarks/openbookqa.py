"""OpenBookQA: elementary science with four options."""

import re
from collections.abc import Iterator

from .._row import LETTERS, Row
from ._benchmark import Benchmark, Draft, HubDataset, multiple_choice

__all__ = ["OPENBOOKQA"]

# Flat files hold the question inside another prompt.
_FLAT = re.compile(
    r"[^:\n]*to the question:\s*(?P<stem>.*?)\s*(?P<options>Answer1:.*?)\s*Answer format:",
    re.DOTALL,
)
_NUMBERED = re.compile(r"\s*Answer\d+:\s*")
_GOLD = re.compile(r"answer([1-9])", re.IGNORECASE)


def _read(row: Row) -> Iterator[Draft]:
    stem, options, gold = _flat(row) if "gold" in row.cells else _hub(row)
    if not 2 <= len(options) <= len(LETTERS):
        raise row.problem(
            f"the question has {len(options)} options, expected 2 to {len(LETTERS)}",
            "correct the row",
        )
    yield Draft(multiple_choice(stem, options), LETTERS[gold])


def _flat(row: Row) -> tuple[str, list[str], int]:
    """Return the question's stem, its options and the place of the right one."""
    match = _FLAT.match(row.text("question"))
    if match is None:
        raise row.problem(
            "the question does not read 'to the question: ... Answer1: ... Answer2: ...'",
            "use the hub's columns: question_stem, choices, answerKey",
        )
    options = row.texts_of("question", _NUMBERED.split(match["options"])[1:])
    gold = _GOLD.fullmatch(row.text("gold"))
    if gold is None or int(gold[1]) > len(options):
        raise row.problem(
            f"the gold answer {row.text('gold')!r} is no option",
            f"expected answer1 to answer{len(options)}",
        )
    return match["stem"], options, int(gold[1]) - 1


def _hub(row: Row) -> tuple[str, list[str], int]:
    """Return the question's stem, its options and the place of the right one."""
    options, labels = row.texts_in("choices", "text"), row.texts_in("choices", "label")
    gold = row.text("answerKey")
    if len(labels) != len(options) or labels.count(gold) != 1:
        raise row.problem(
            f"the gold answer {gold!r} is no option", f"expected one of {', '.join(labels)}"
        )
    return row.text("question_stem"), options, labels.index(gold)


OPENBOOKQA = Benchmark(
    name="openbookqa",
    task_type="general-mc",
    grader="choice",
    version=1,
    source="Mihaylov et al. 2018, arXiv 1809.02789, github.com/allenai/OpenBookQA, test split",
    licence="Apache-2.0 (repository); the licence of the data is not stated",
    hub=(HubDataset("allenai/openbookqa", "test", config="main"),),
    stems=(("openbookqa_test", "openbookqa"),),
    read=_read,
)
