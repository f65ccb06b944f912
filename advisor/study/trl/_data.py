"""The pairs that students are trained on and the questions they are asked, kept apart."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from calibration import Task, load_tasks
from policies import DataFileError, InvalidInputError

from ...data import (
    TEMPLATE_TOKENS,
    BrokenLine,
    Pairs,
    hash_file,
    prompt_hash,
    read_objects,
    read_pairs,
)
from ._bases import Base
from ._settings import TrlData

__all__ = ["Lengths", "StudyData"]

_PROMPTS = ("prompt", "question", "problem", "input", "query")
_HELD_OUT = "heldout.jsonl"


class Lengths(NamedTuple):
    """Longest texts of the pairs that are trained on, in tokens of one base.

    Attributes:
        direct: Longest direct answer.
        reasoning: Longest reasoning answer, thought and tags included.
        row: Longest row, prompt and room for the template included.
    """

    direct: int
    reasoning: int
    row: int


class _Place(NamedTuple):
    """A line of a file."""

    path: Path
    line: int


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """One held-out question of the pairs."""

    key: str
    prompt: str
    solution: str


class StudyData:
    """Pairs and held-out questions, read once and checked.

    No held-out question is among the pairs, by `prompt_hash`. Texts are read again from the files
    whenever they are needed; what is held is small.
    """

    def __init__(self, data: TrlData) -> None:
        """Read the files.

        Args:
            data: Which.

        Raises:
            DataFileError: A file cannot be read, a pair lacks a side, or a held-out question is
                among the pairs.
            InvalidInputError: There is no right answer to measure with.
        """
        self._data = data
        self._pairs: dict[str, Pairs] = {
            corpus: read_pairs(path, strict=True) for corpus, path in data.pairs.items()
        }
        self._places = self._trained_places()
        self._held: tuple[_HeldOut, ...] = ()
        if data.questions:
            self._check_apart()
        else:
            self._held = self._hold_out()
        self._dropped = frozenset[str]()
        for task in self.tasks():
            self._check_task(task)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know about the data, a sentence each."""
        found = [note for pairs in self._pairs.values() for note in pairs.notes]
        if self._held:
            found.append(f"{len(self._held):,} questions were held out of the pairs by their hash")
        if self._dropped:
            found.append(
                f"{len(self._dropped):,} pairs have a row that is too long and are left out of all"
                " recipes, so that all are trained on the same questions"
            )
        return tuple(found)

    @property
    def corpora(self) -> tuple[str, ...]:
        """The corpora there are."""
        return tuple(self._pairs)

    def n_pairs(self, corpus: str) -> int:
        """Return the pairs of a corpus that can be trained on."""
        kept = self._pairs[corpus].prompt_hashes() - self._dropped
        return len(kept - {one.key for one in self._held})

    def hashes(self) -> dict[str, str]:
        """Return the hash of each file."""
        found = {f"pairs/{corpus}": pairs.sha256 for corpus, pairs in self._pairs.items()}
        return found | {f"questions/{path.name}": hash_file(path) for path in self._data.questions}

    def drop_long(self, bases: Sequence[Base], max_length: int | None) -> dict[str, Lengths]:
        """Leave out pairs that are too long for any base, of all recipes.

        Args:
            bases: All base models of the study.
            max_length: Longest row in tokens, `None` for what the bases take.

        Returns:
            The longest texts of what is kept, by base.

        Raises:
            InvalidInputError: More than one pair in a hundred is too long, or too few are left.
        """
        limits = [
            min(length for length in (max_length, base.context) if length is not None)
            if max_length is not None or base.context is not None
            else None
            for base in bases
        ]
        measured = {base.name: self._measure(base) for base in bases}
        long: set[str] = set()
        for base, limit in zip(bases, limits, strict=True):
            if limit is not None:
                long |= {key for key, found in measured[base.name].items() if found.row > limit}
        n_all = len(self._places)
        if len(long) * 100 > n_all:
            raise InvalidInputError(
                f"{len(long):,} of {n_all:,} pairs are longer than"
                f" {min(limit for limit in limits if limit is not None):,} tokens: their answers"
                " would be cut off",
                hint="raise --max-length, choose bases with a longer context, or write shorter"
                " traces",
                code="rows-too-long",
            )
        self._dropped = frozenset(long)
        self.check_counts()
        return {name: _longest(found, self._dropped) for name, found in measured.items()}

    def write_training(self, corpus: str, path: Path) -> None:
        """Write the pairs of a corpus that may be trained on, in the order of the file.

        Raises:
            DataFileError: The file was written to since it was read.
            OSError: It cannot be written.
        """
        out = self._dropped | {one.key for one in self._held}
        with path.open("w", encoding="utf-8") as file:
            for pair in self._pairs[corpus]:
                if prompt_hash(pair.prompt) not in out:
                    row = {"prompt": pair.prompt, "ift": pair.ift, "reasoning": pair.reasoning}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def tasks(self, n_questions: int | None = None) -> list[Task]:
        """Return the held-out questions, each file a task; the same ones whenever it is asked.

        Args:
            n_questions: Most questions per task; `None` takes what the study was set up with.
        """
        limit = min(n_questions or self._data.n_questions, self._data.n_questions)
        columns = self._data.columns
        if self._data.questions:
            names = [str(path) for path in self._data.questions]
            return load_tasks(names, limit=limit, seed=0, columns=columns)
        with TemporaryDirectory() as room:
            file = Path(room) / _HELD_OUT
            rows = [{"prompt": one.prompt, "solution": one.solution} for one in self._held]
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
            return load_tasks([str(file)], limit=limit, seed=0, columns=columns)

    def _trained_places(self) -> dict[str, _Place]:
        """Return the line of every prompt, the first file that has it."""
        places: dict[str, _Place] = {}
        for pairs in self._pairs.values():
            for pair in pairs:
                places.setdefault(prompt_hash(pair.prompt), _Place(pairs.path, pair.line))
        return places

    def _check_apart(self) -> None:
        """Refuse a held-out question that is trained on, and name both lines."""
        wanted = self._data.columns.prompt
        names = _PROMPTS if wanted is None else (wanted,)
        for path in self._data.questions:
            for line in read_objects(path):
                if isinstance(line, BrokenLine):
                    raise DataFileError(line.problem, path=path, line=line.line)
                text = next((v for n in names if isinstance(v := line.value.get(n), str)), "")
                if text.strip():
                    self._refuse_trained(text, path, line.line)

    def _check_task(self, task: Task) -> None:
        """Refuse a question that is trained on in the wording in which it is asked."""
        if self._held:
            return
        path = next(one for one in self._data.questions if one.stem == task.name)
        for question in task.questions:
            self._refuse_trained(question.prompt, path, None)

    def _refuse_trained(self, prompt: str, path: Path, line: int | None) -> None:
        place = self._places.get(prompt_hash(prompt))
        if place is not None:
            shown = " ".join(prompt.split())[:60]
            raise DataFileError(
                f"a held-out question is also trained on, at {place.path}:{place.line}: {shown!r}",
                path=path,
                line=line,
                hint="take it out of one of the two files",
            )

    def _hold_out(self) -> tuple[_HeldOut, ...]:
        """Choose questions with a right answer by a hash of their prompts."""
        found: dict[bytes, _HeldOut] = {}
        for pairs in self._pairs.values():
            for line in read_objects(pairs.path):
                if isinstance(line, BrokenLine):
                    continue  # `read_pairs` has refused those that matter.
                prompt, solution = line.value.get("prompt"), line.value.get("solution")
                if isinstance(solution, bool) or not isinstance(solution, str | int | float):
                    continue
                if isinstance(prompt, str) and str(solution).strip():
                    key = prompt_hash(prompt)
                    order = hashlib.blake2b(f"held out/{key}".encode(), digest_size=16).digest()
                    found.setdefault(order, _HeldOut(key, prompt, str(solution).strip()))
        if not found:
            paths = ", ".join(str(pairs.path) for pairs in self._pairs.values())
            raise InvalidInputError(
                f"there is nothing to measure with: no --heldout, and no 'solution' in {paths}",
                hint="give --heldout QUESTIONS.jsonl, or write the right answer of each pair as"
                " 'solution'",
                code="no-questions",
            )
        chosen = sorted(found)[: self._data.n_questions]
        return tuple(found[order] for order in chosen)

    def check_counts(self) -> None:
        """Refuse fewer pairs than the rows that every student is trained on.

        Raises:
            InvalidInputError: There are.
        """
        for corpus, pairs in self._pairs.items():
            n = self.n_pairs(corpus)
            if n < self._data.n_rows:
                held = f" besides {len(self._held):,} held-out questions" if self._held else ""
                raise InvalidInputError(
                    f"{pairs.path} has {n:,} pairs to train on{held}, but every student is to be"
                    f" trained on {self._data.n_rows:,} rows",
                    hint=f"lower --rows to {n:,} or less, or write more pairs"
                    if n
                    else "lower --questions, or give --heldout QUESTIONS.jsonl",
                    code="too-few-pairs",
                )

    def _measure(self, base: Base) -> Mapping[str, Lengths]:
        """Return the lengths of every pair by its prompt's hash."""
        found: dict[str, Lengths] = {}
        held = {one.key for one in self._held}
        for pairs in self._pairs.values():
            for pair in pairs:
                key = prompt_hash(pair.prompt)
                if key not in held:
                    direct, reasoning = base.count(pair.ift), base.count(pair.reasoning)
                    # As the exporter measures rows, which leaves out what it finds too long.
                    row = base.count(pair.prompt) + max(direct, reasoning) + TEMPLATE_TOKENS
                    found[key] = Lengths(direct, reasoning, row)
        return found


def _longest(found: Mapping[str, Lengths], dropped: frozenset[str]) -> Lengths:
    kept = [lengths for key, lengths in found.items() if key not in dropped]
    return Lengths(
        max(one.direct for one in kept),
        max(one.reasoning for one in kept),
        max(one.row for one in kept),
    )
