"""The files of a mixture: which prompt is answered directly and which with reasoning, in order."""

import hashlib
import itertools
import json
import math
import os
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, TypeAlias

from policies import InvalidInputError

from .._recipe import Order, Recipe
from ._folder import fresh_folder
from ._pair import Pair
from ._pairs import Pairs
from ._quantiles import nearest_rank, row_tokens
from ._tokens import TokenCounter

__all__ = ["FileKind", "Mixture", "MixtureFile", "ThinkingStyle", "write_mixture"]

FileKind: TypeAlias = Literal["ift", "reasoning", "mixed"]
"""What a file holds: direct answers, reasoning answers, or both shuffled."""

ThinkingStyle: TypeAlias = Literal["literal", "hybrid"]
"""How thinking is written.

`literal`: `{"messages": [user, assistant]}`; a reasoning answer has its thought in literal
`<think>` tags, a direct answer is the answer alone. For base models without a thinking template,
such as Qwen2.5.

`hybrid`: `{"prompt": [user], "completion": [assistant], "chat_template_kwargs":
{"enable_thinking": ...}}`, for base models whose template has that switch, such as Qwen3. The
template then writes the empty thought of a direct answer into the prompt, outside the loss: an
empty thought inside the loss teaches the model to close its thought at once, also when it should
think.
"""


@dataclass(frozen=True, slots=True)
class MixtureFile:
    """One written file.

    Attributes:
        name: Path relative to the folder, such as `mix/00_ift.jsonl`.
        kind: What it holds.
        n_rows: Rows, each with a prompt of its own.
        n_reasoning_rows: Those with a reasoning answer.
        n_prompt_tokens: Tokens of all prompts.
        n_answer_tokens: Tokens of all answers, thoughts and tags included.
        n_reasoning_tokens: Those of reasoning answers.
        p99_tokens: 99th percentile of row lengths by nearest rank, template and all, on the long
            side where the counter is approximate; below 100 rows the longest.
        max_tokens: Longest row, by the same measure.
        sha256: Of the file.
    """

    name: str
    kind: FileKind
    n_rows: int
    n_reasoning_rows: int
    n_prompt_tokens: int
    n_answer_tokens: int
    n_reasoning_tokens: int
    p99_tokens: int
    max_tokens: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Mixture:
    """What was written, in training order.

    Attributes:
        files: The files in the order they are trained on.
        reasoning_ratio: Share of rows with a reasoning answer.
        reasoning_token_share: Share of answer tokens, those in the loss, that are in them.
        n_prompts: Prompts, each in exactly one row.
        n_available: Usable pairs that there were.
        p99_tokens: 99th percentile of the lengths of all rows; the maximum length of training
            should be at least this.
        max_tokens: Longest row.
        counter_name: What counted tokens.
        is_exact: Whether it is a tokenizer.
        thinking: How thinking is written.
        seed: Of the choice of prompts and of the order of rows.
        pairs_sha256: Of the file of pairs.
    """

    files: tuple[MixtureFile, ...]
    reasoning_ratio: float
    reasoning_token_share: float
    n_prompts: int
    n_available: int
    p99_tokens: int
    max_tokens: int
    counter_name: str
    is_exact: bool
    thinking: ThinkingStyle
    seed: int
    pairs_sha256: str


def write_mixture(
    pairs: Pairs,
    recipe: Recipe,
    folder: Path,
    *,
    counter: TokenCounter,
    seed: int = 0,
    n_rows: int | None = None,
    thinking: ThinkingStyle = "literal",
    subfolder: str = "mix",
    force: bool = False,
) -> Mixture:
    """Write the rows of a recipe as JSONL files, one prompt per row, in training order.

    round(ratio n) prompts get their reasoning answer, the others the direct one. Which ones, and
    the order within each file, follow from a hash of seed and prompt: they do not depend on the
    order of lines, and with the same seed a higher ratio keeps the reasoning prompts of a lower
    one. Frameworks' own mixing is not needed: libraries were seen to ignore weights or to take
    the first rows of each file.

    The files appear all at once: on an error the folder is as it was.

    Args:
        pairs: The data.
        recipe: Ratio and order; `mixed` and pure recipes are one file, `ift_then_reasoning` and
            `reasoning_then_ift` two.
        folder: Where `subfolder` is written, created if missing.
        counter: What counts tokens.
        seed: Of the choice and the order.
        n_rows: Rows to write; `None` is one for each pair.
        thinking: How thinking is written.
        subfolder: Name of the folder that holds the files; must be empty or missing.
        force: Replace the files of an earlier mixture there.

    Raises:
        InvalidInputError: There are too few pairs for the ratio or for `n_rows`, the order needs
            stages of different data, or `hybrid` and traces without tags.
        DataFileError: The file of pairs was written to since it was read.
        StoreError: The folder cannot be written, or holds something else.
    """
    plan = _plan(pairs, recipe, n_rows=n_rows, seed=seed)
    if thinking == "hybrid":
        _check_tagged(pairs, recipe)
    lengths = array("Q")
    files: list[MixtureFile] = []
    with pairs.open() as read, fresh_folder(folder, subfolder, force=force) as fresh:
        for number, (kind, rows) in enumerate(plan):
            name = f"{number:02d}_{kind}.jsonl"
            with (fresh / name).open("xb") as stream:
                tally = _Tally(counter)
                for position, is_reasoning in rows:
                    stream.write(tally.add(read(position), thinking, is_reasoning=is_reasoning))
                stream.flush()
                os.fsync(stream.fileno())
            files.append(tally.file(PurePosixPath(subfolder, name).as_posix(), kind))
            lengths += tally.lengths
        n_answer_tokens = sum(file.n_answer_tokens for file in files)
        if n_answer_tokens == 0:
            raise InvalidInputError(
                f"{counter.name} finds no token in any answer",
                hint="give the tokenizer of the base model",
            )
    ordered = sorted(lengths)
    return Mixture(
        files=tuple(files),
        reasoning_ratio=sum(file.n_reasoning_rows for file in files) / len(lengths),
        reasoning_token_share=sum(file.n_reasoning_tokens for file in files) / n_answer_tokens,
        n_prompts=len(lengths),
        n_available=len(pairs),
        p99_tokens=nearest_rank(ordered, 0.99),
        max_tokens=ordered[-1],
        counter_name=counter.name,
        is_exact=counter.is_exact,
        thinking=thinking,
        seed=seed,
        pairs_sha256=pairs.sha256,
    )


class _Choice(NamedTuple):
    """A pair by its position, and which of its answers is trained on."""

    position: int
    is_reasoning: bool


class _Planned(NamedTuple):
    """A file to write: its kind and its rows in order."""

    kind: FileKind
    rows: Sequence[_Choice]


def _plan(pairs: Pairs, recipe: Recipe, *, n_rows: int | None, seed: int) -> list[_Planned]:
    """Return which answer of which pair goes into which file."""
    n, n_reasoning = _row_counts(len(pairs), recipe.reasoning_ratio, n_rows)
    chosen = sorted(range(len(pairs)), key=_hashes(pairs, seed, b"choice"))[:n]
    place = _hashes(pairs, seed, b"place")
    reasoning = [_Choice(at, True) for at in sorted(chosen[:n_reasoning], key=place)]
    direct = [_Choice(at, False) for at in sorted(chosen[n_reasoning:], key=place)]
    if not reasoning:
        return [_Planned("ift", direct)]
    if not direct:
        return [_Planned("reasoning", reasoning)]
    stages = [_Planned("ift", direct), _Planned("reasoning", reasoning)]
    if recipe.order is Order.IFT_THEN_REASONING:
        return stages
    if recipe.order is Order.REASONING_THEN_IFT:
        return stages[::-1]
    if recipe.order is Order.MIXED:
        return [_Planned("mixed", sorted(direct + reasoning, key=lambda row: place(row.position)))]
    raise InvalidInputError(
        f"order {recipe.order.value!r} needs stages of different data",
        hint="write each stage as a mixture of its own, into a subfolder of its own",
        code="invalid-recipe",
    )


def _row_counts(n_available: int, ratio: float, n_rows: int | None) -> tuple[int, int]:
    """Return how many rows there are and how many of them are reasoning answers."""
    n = n_available if n_rows is None else n_rows
    if not 1 <= n <= n_available:
        raise InvalidInputError(
            f"{n:,} rows were asked for, but there are {n_available:,} usable pairs, and each"
            " prompt is used once",
            hint=f"ask for 1 to {n_available:,} rows",
            code="too-few-pairs",
        )
    n_reasoning = round(ratio * n)
    if (ratio > 0) != (n_reasoning > 0) or (ratio < 1) != (n_reasoning < n):
        n_needed = next(
            enough
            for enough in itertools.count(math.floor(0.5 / min(ratio, 1 - ratio)) or 1)
            if 0 < round(ratio * enough) < enough
        )
        raise InvalidInputError(
            f"a reasoning ratio of {ratio:g} cannot be met with {n:,} rows: {n_reasoning:,} would"
            f" be reasoning and {n - n_reasoning:,} direct answers",
            hint=f"use at least {n_needed:,} pairs, or a ratio of {n_reasoning // n}",
            code="too-few-pairs",
        )
    return n, n_reasoning


def _hashes(pairs: Pairs, seed: int, purpose: bytes) -> Callable[[int], bytes]:
    """Return a function from the position of a pair to a hash of seed, purpose and prompt."""
    key = hashlib.blake2b(str(seed).encode(), digest_size=32).digest()
    start = hashlib.blake2b(key=key, person=purpose, digest_size=16)

    def place(position: int) -> bytes:
        made = start.copy()
        made.update(pairs.hash_at(position))
        return made.digest()

    return place


def _check_tagged(pairs: Pairs, recipe: Recipe) -> None:
    if recipe.reasoning_ratio and pairs.n_untagged:
        raise InvalidInputError(
            f"{pairs.n_untagged:,} of {len(pairs):,} reasoning texts of {pairs.path} have no"
            " <think> tags: a template with a thinking switch would train them as direct answers",
            hint="put the thought in tags, give 'reasoning' and 'answer' apart, or write thinking"
            " literally",
            code="untagged-traces",
        )


class _Tally:
    """Builds the rows of one file, and counts them."""

    def __init__(self, counter: TokenCounter) -> None:
        self.lengths = array("Q")
        self._counter = counter
        self._sha256 = hashlib.sha256()
        self._n: Counter[str] = Counter()

    def add(self, pair: Pair, thinking: ThinkingStyle, *, is_reasoning: bool) -> bytes:
        """Return the line of one row."""
        answer = pair.reasoning if is_reasoning else pair.ift
        n_prompt, n_answer = self._counter.count(pair.prompt), self._counter.count(answer)
        self.lengths.append(row_tokens(n_prompt + n_answer, self._counter))
        self._n["prompt"] += n_prompt
        self._n["answer"] += n_answer
        if is_reasoning:
            self._n["reasoning"] += n_answer
            self._n["rows"] += 1
        row = _row(pair.prompt, answer, thinking, is_reasoning=is_reasoning)
        line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self._sha256.update(line)
        return line

    def file(self, name: str, kind: FileKind) -> MixtureFile:
        """Return what was written."""
        ordered = sorted(self.lengths)
        return MixtureFile(
            name=name,
            kind=kind,
            n_rows=len(ordered),
            n_reasoning_rows=self._n["rows"],
            n_prompt_tokens=self._n["prompt"],
            n_answer_tokens=self._n["answer"],
            n_reasoning_tokens=self._n["reasoning"],
            p99_tokens=nearest_rank(ordered, 0.99),
            max_tokens=ordered[-1],
            sha256=self._sha256.hexdigest(),
        )


def _row(
    prompt: str, answer: str, thinking: ThinkingStyle, *, is_reasoning: bool
) -> dict[str, object]:
    question = {"role": "user", "content": prompt}
    reply = {"role": "assistant", "content": answer}
    if thinking == "literal":
        return {"messages": [question, reply]}
    return {
        "prompt": [question],
        "completion": [reply],
        "chat_template_kwargs": {"enable_thinking": is_reasoning},
    }
