"""Training files other than mixtures: prompts with answers, plain answers, preferences."""

import hashlib
import json
import math
import os
import re
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

from policies import DataFileError

from ..data import (
    BrokenLine,
    Pairs,
    TokenCounter,
    describe_lines,
    nearest_rank,
    prompt_hash,
    read_objects,
    row_tokens,
)
from ._request import DataFile
from ._reward import is_right

__all__ = ["PromptRows", "write_answers", "write_preferences", "write_prompts"]

_Row: TypeAlias = dict[str, object]
_HALF = re.compile(r"[\ud800-\udfff]")
_MIN_READABLE = 0.5
"""Share of the data's own reasoning answers that the reward must find right."""


class PromptRows(NamedTuple):
    """Prompts for GRPO."""

    file: DataFile
    """The file; its longest row is the longest prompt."""
    p99_completion_tokens: int
    """99th percentile of the reasoning answers in the data, 0 without any."""
    n_readable: int
    """Reasoning answers of the data that the reward finds right."""
    n_answers: int
    """Reasoning answers of the data."""


class _Sizes:
    """Lengths of the rows of one file."""

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter
        self.rows: array[int] = array("Q")
        self.n_prompt = 0
        self.n_answer = 0

    def add(self, prompt: str, answer: str) -> None:
        n_prompt, n_answer = self._counter.count(prompt), self._counter.count(answer)
        self.n_prompt += n_prompt
        self.n_answer += n_answer
        self.rows.append(row_tokens(n_prompt + n_answer, self._counter))

    def file(self, name: str, kind: str, sha256: str) -> DataFile:
        return DataFile(
            name=name,
            kind=kind,
            n_rows=len(self.rows),
            n_prompt_tokens=self.n_prompt,
            n_answer_tokens=self.n_answer,
            p99_tokens=nearest_rank(sorted(self.rows), 0.99),
            max_tokens=max(self.rows),
            sha256=sha256,
        )


def write_prompts(pairs: Pairs, folder: Path, name: str, counter: TokenCounter) -> PromptRows:
    """Write prompts with their right answers, for rewards that check the answer.

    The right answer is the text `solution` of a line, else `answer`.

    Args:
        pairs: The pairs whose prompts are taken.
        folder: Export folder.
        name: File to write, relative to it.
        counter: Counts tokens.

    Raises:
        DataFileError: A line has no right answer, or the reward finds less than half of the
            reasoning answers right, so that it would punish what it should teach.
    """
    solutions = _solutions(pairs.path)
    sizes, completions, missing = _Sizes(counter), array("Q"), list[BrokenLine]()
    n_missing = n_readable = 0

    def lines() -> Iterator[str]:
        nonlocal n_missing, n_readable
        for pair in pairs:
            solution = solutions.get(pair.line)
            if solution is None:
                n_missing += 1
                if len(missing) < 3:
                    missing.append(BrokenLine(pair.line, "no 'solution' or 'answer'"))
                continue
            sizes.add(pair.prompt, "")
            if pair.reasoning:
                completions.append(math.ceil(counter.count(pair.reasoning) * counter.upper_factor))
                n_readable += is_right(pair.reasoning, solution)
            yield _line(
                {"prompt": [{"role": "user", "content": pair.prompt}], "solution": solution}
            )

    sha256 = _write(folder / name, lines())
    if n_missing:
        raise DataFileError(
            f"GRPO needs the right answer of every prompt: {describe_lines(missing, n_missing)}",
            path=pairs.path,
            hint='give each line a "solution" (or "answer") that can be compared, such as "42"',
        )
    if n_readable < _MIN_READABLE * len(completions):
        raise DataFileError(
            f"the reward finds only {n_readable:,} of {len(completions):,} reasoning answers right,"
            " so it would punish what it should teach",
            path=pairs.path,
            hint=r"end answers with \boxed{...} or 'Answer: ...', and check the solutions",
        )
    found = sizes.file(name, "prompts", sha256)
    p99 = nearest_rank(sorted(completions), 0.99) if completions else 0
    return PromptRows(found, p99, n_readable, len(completions))


def write_answers(
    source: Path, folder: Path, name: str, counter: TokenCounter, excluded: Collection[str]
) -> tuple[DataFile, int]:
    """Write conversations that end in an answer, as TOPS and iterated SFT train on them.

    Args:
        source: JSONL file of `messages`, or of `prompt` and `completion`.
        folder: Export folder.
        name: File to write, relative to it.
        counter: Counts tokens.
        excluded: `prompt_hash` of prompts to leave out.

    Returns:
        The file, and how many rows were left out as excluded.

    Raises:
        DataFileError: A line is no such row, or none is left.
    """

    def convert(row: Mapping[str, object]) -> tuple[str, str, _Row] | str:
        messages = row.get("messages", _joined(row.get("prompt"), row.get("completion")))
        turns = _turns(messages)
        if turns is None or turns[-1]["role"] != "assistant" or len(turns) < 2:
            return "expected 'messages' that end in an answer, or 'prompt' and 'completion'"
        prompt = "\n".join(turn["content"] for turn in turns[:-1])
        return prompt, turns[-1]["content"], {"messages": turns}

    return _convert(source, folder / name, (name, "answers"), counter, excluded, convert)


def write_preferences(
    source: Path,
    folder: Path,
    name: str,
    counter: TokenCounter,
    excluded: Collection[str],
    *,
    as_lists: bool,
) -> tuple[DataFile, int]:
    """Write prompts with a chosen and a rejected answer, as DPO trains on them.

    Args and returns are those of `write_answers`; the source has `prompt`, `chosen` and
    `rejected`, as texts, messages or lists of messages. With `as_lists` answers are written as
    lists of one message, as TRL reads them, else as messages.

    Raises:
        DataFileError: A line is no such row, both answers are the same, or no row is left.
    """

    def convert(row: Mapping[str, object]) -> tuple[str, str, _Row] | str:
        turns = {
            key: _turns(_as_turns(row.get(key), role))
            for key, role in (
                ("prompt", "user"),
                ("chosen", "assistant"),
                ("rejected", "assistant"),
            )
        }
        prompt, chosen, rejected = turns["prompt"], turns["chosen"], turns["rejected"]
        if prompt is None or chosen is None or rejected is None:
            return "expected 'prompt', 'chosen' and 'rejected', as texts or messages"
        if len(chosen) != 1 or len(rejected) != 1:
            return "expected one message in 'chosen' and one in 'rejected'"
        if chosen == rejected:
            return "the chosen and the rejected answer are the same"
        longer = max(chosen[-1]["content"], rejected[-1]["content"], key=len)
        asked = "\n".join(turn["content"] for turn in prompt)
        answers = (chosen, rejected) if as_lists else (chosen[0], rejected[0])
        return asked, longer, {"prompt": prompt, "chosen": answers[0], "rejected": answers[1]}

    return _convert(source, folder / name, (name, "preferences"), counter, excluded, convert)


_Convert: TypeAlias = Callable[[Mapping[str, object]], tuple[str, str, _Row] | str]


def _convert(
    source: Path,
    target: Path,
    label: tuple[str, str],
    counter: TokenCounter,
    excluded: Collection[str],
    convert: _Convert,
) -> tuple[DataFile, int]:
    sizes, broken = _Sizes(counter), list[BrokenLine]()
    n_broken = n_excluded = 0

    def lines() -> Iterator[str]:
        nonlocal n_broken, n_excluded
        for line in read_objects(source):
            found = line.problem if isinstance(line, BrokenLine) else convert(line.value)
            text = "" if isinstance(found, str) else _line(found[-1])
            if not _is_utf8(text):
                found = "a text holds half of a surrogate pair, which UTF-8 cannot write"
            if isinstance(found, str):
                n_broken += 1
                if len(broken) < 3:
                    broken.append(BrokenLine(line.line, found))
                continue
            prompt, answer, _ = found
            if prompt_hash(prompt) in excluded:
                n_excluded += 1
                continue
            sizes.add(prompt, answer)
            yield text

    sha256 = _write(target, lines())
    if n_broken or not sizes.rows:
        what = f"lines that are no rows, {n_broken:,}: {describe_lines(broken, n_broken)}"
        raise DataFileError(what if n_broken else "no row is left to train on", path=source)
    return sizes.file(*label, sha256), n_excluded


def _joined(prompt: object, completion: object) -> object:
    asked, answered = _as_turns(prompt, "user"), _as_turns(completion, "assistant")
    if isinstance(asked, list) and isinstance(answered, list):
        return [*cast("list[object]", asked), *cast("list[object]", answered)]
    return None


def _as_turns(value: object, role: str) -> object:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return [cast("dict[str, object]", value)] if isinstance(value, dict) else value


def _turns(value: object) -> list[dict[str, str]] | None:
    """Return messages with nothing but role and content, `None` if they are none."""
    if not isinstance(value, list) or not value:
        return None
    turns: list[dict[str, str]] = []
    for item in cast("list[object]", value):
        if not isinstance(item, dict):
            return None
        message = cast("dict[str, object]", item)
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str) or not content.strip():
            return None
        turns.append({"role": role, "content": content})
    return turns


def _solutions(path: Path) -> dict[int, str]:
    """Return the right answer by line."""
    found: dict[int, str] = {}
    for line in read_objects(path):
        if isinstance(line, BrokenLine):
            continue
        value = next((line.value[key] for key in ("solution", "answer") if key in line.value), None)
        if isinstance(value, bool):
            continue
        if isinstance(value, int | float | str) and _is_utf8(str(value)) and str(value).strip():
            found[line.line] = str(value).strip()
    return found


def _is_utf8(text: str) -> bool:
    """Return whether a text can be written: half of a surrogate pair cannot."""
    return _HALF.search(text) is None


def _line(row: _Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _write(path: Path, lines: Iterator[str]) -> str:
    """Write lines; return the sha256 of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for line in lines:
            data = line.encode("utf-8")
            digest.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()
