"""What a benchmark is: data about it, and a function that reads one row."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .._reading import RowFilter
from .._row import LETTERS, Row, list_options

__all__ = [
    "BOXED_LETTER",
    "Benchmark",
    "Draft",
    "HubDataset",
    "letter_of_number",
    "multiple_choice",
]

BOXED_LETTER = "Give the letter of the right option, and only the letter, inside \\boxed{}."


class Draft(NamedTuple):
    """A question as a row gives it, before it gets its identifier.

    Attributes:
        prompt: The user's message as it is sent.
        gold: The right answer in the grader's form.
        source: What the question shares with others, such as a passage; `None` for nothing.
        level: Difficulty, where known.
    """

    prompt: str
    gold: str
    source: str | None = None
    level: int | None = None


@dataclass(frozen=True, slots=True)
class HubDataset:
    """A data set on the Hugging Face hub.

    Attributes:
        path: Its repository, such as `openai/gsm8k`.
        split: The part that is asked.
        config: The configuration, `None` if there is one only.
        revision: Commit it is pinned to, `None` for the newest.
    """

    path: str
    split: str
    config: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        """Return what error messages and provenance show."""
        config = f"{self.config}, " if self.config else ""
        revision = f" at {self.revision[:12]}" if self.revision else ""
        return f"{self.path} ({config}{self.split}){revision}"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A public benchmark as data.

    Attributes:
        name: Name in tables and on the command line.
        task_type: Its task type.
        grader: Name of the grader of its answers.
        version: Raised whenever prompt, gold or choice of questions change.
        source: Who published the questions, and where.
        licence: Licence of the questions.
        hub: Where the questions are on the hub; several are joined.
        stems: Names of local files without suffix; the first found counts, per entry of `hub`.
        read: Turns a row, in the hub's layout or in that of flat files, into questions.
        keep: Which rows belong to the benchmark.
    """

    name: str
    task_type: str
    grader: str
    version: int
    source: str
    licence: str
    hub: tuple[HubDataset, ...]
    stems: tuple[tuple[str, ...], ...]
    read: Callable[[Row], Iterator[Draft]]
    keep: tuple[RowFilter, ...] = ()


def multiple_choice(question: str, options: list[str]) -> str:
    """Return a multiple-choice prompt: the question, lettered options, the request."""
    return f"{question}\n\n{list_options(options)}\n\n{BOXED_LETTER}"


def letter_of_number(row: Row, column: str, options: list[str], *, first: int) -> str:
    """Return the letter of an option given by number.

    Args:
        row: The row.
        column: Column with the number.
        options: The options.
        first: Number of the first option, 0 or 1.

    Raises:
        DataFileError: There is no option of this number.
    """
    number = row.integer(column) - first
    if not 0 <= number < len(options):
        raise row.problem(
            f"column {column!r} holds {number + first}, expected {first} to"
            f" {len(options) - 1 + first}",
            "correct the row, or leave it out",
        )
    return LETTERS[number]
