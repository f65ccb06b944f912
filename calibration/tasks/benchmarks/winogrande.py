"""WinoGrande: which of two words fills the blank of a sentence."""

import re
from collections.abc import Iterator

from .._row import Row
from ._benchmark import Benchmark, Draft, HubDataset, letter_of_number, multiple_choice

__all__ = ["WINOGRANDE"]

_REQUEST = "Which option belongs in the place of the blank (_) in this sentence?"
# Flat files hold the sentence inside another prompt.
_FLAT = re.compile(
    r"[^:\n]*given sentence:\s*(?P<sentence>.*?)\s*Option1:\s*(?P<first>.*?)\s*"
    r"Option2:\s*(?P<second>.*?)\s*Answer format:",
    re.DOTALL,
)


def _read(row: Row) -> Iterator[Draft]:
    if "gold" in row.cells:
        match = _FLAT.match(row.text("question"))
        if match is None:
            raise row.problem(
                "the question does not read 'given sentence: ... Option1: ... Option2: ...'",
                "use the hub's columns: sentence, option1, option2, answer",
            )
        sentence, options = match["sentence"], [match["first"], match["second"]]
        gold = row.text("gold").lower()
        if gold not in ("option1", "option2"):
            raise row.problem(
                f"the gold answer {gold!r} is no option", "expected option1 or option2"
            )
        letter = "AB"[int(gold[-1]) - 1]
    else:
        sentence = row.text("sentence")
        options = [row.text("option1"), row.text("option2")]
        letter = letter_of_number(row, "answer", options, first=1)
    yield Draft(multiple_choice(f"{_REQUEST}\n{sentence}", options), letter)


WINOGRANDE = Benchmark(
    name="winogrande",
    task_type="general-mc",
    grader="choice",
    version=1,
    source="Sakaguchi et al. 2019, arXiv 1907.10641, github.com/allenai/winogrande; the 1,267"
    " validation sentences, since the answers of the test split are not public",
    licence="Apache-2.0 (repository), CC-BY (data)",
    hub=(HubDataset("allenai/winogrande", "validation", config="winogrande_xl"),),
    stems=(("winogrande", "winogrande_validation"),),
    read=_read,
)
