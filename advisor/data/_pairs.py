"""Paired training data: the same prompt with a direct answer and with a reasoning trace."""

import contextlib
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from policies import DataFileError

from ._lines import (
    BrokenLine,
    FileState,
    check_file,
    describe_lines,
    file_state,
    hash_file,
    open_seekable,
    parse_line,
    read_line_at,
    read_objects,
    remember,
)
from ._pair import ANSWERS, Pair, Unfit, as_pair
from ._prompts import KEY_BYTES, prompt_key, prompt_keys
from ._thought import OPEN

__all__ = ["Pairs", "read_pairs"]

_WRITTEN = "the file was written to while it was read"


@dataclass(frozen=True, slots=True)
class _Index:
    """Where each usable pair lies: byte offset, line, and the key of its prompt."""

    offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    lines: "array[int]" = field(default_factory=lambda: array("Q"))
    keys: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The usable pairs of a file, and what was left out.

    Only where each pair lies is held, about 32 bytes each; texts are read again from the file
    when they are asked for. Iterating yields every `Pair` in the order of lines.

    Attributes:
        path: The file.
        sha256: Of the file's bytes.
        n_lines: Lines that are not blank.
        n_broken: Lines left out because they are no objects with three texts.
        n_cut: Lines left out, unless `keep_cut`, because the thought is not closed, is empty, has
            no answer after it or is not the only one: such rows teach thinking without an end.
        n_duplicates: Lines left out because an earlier line has the same prompt by `prompt_hash`;
            the first is kept.
        n_excluded: Lines left out because the prompt is one of an evaluation.
        n_untagged: Pairs kept whose reasoning text has no tags; it is trained on as it is.
        n_apart: Pairs kept whose thought and answer came apart, in `reasoning` and `answer`.
        broken: The first broken lines.
        cut: The first lines with such a thought.
    """

    path: Path
    sha256: str
    n_lines: int
    n_broken: int
    n_cut: int
    n_duplicates: int
    n_excluded: int
    n_untagged: int
    n_apart: int
    broken: tuple[BrokenLine, ...]
    cut: tuple[BrokenLine, ...]
    _n_exclude: int = field(repr=False)
    _keep_cut: bool = field(repr=False)
    _needs: frozenset[str] = field(repr=False)
    _state: FileState = field(repr=False)
    _index: _Index = field(repr=False)

    def __len__(self) -> int:
        """Return the number of usable pairs."""
        return len(self._index.offsets)

    def __iter__(self) -> Iterator[Pair]:
        """Yield the pairs in the order of lines.

        Raises:
            DataFileError: The file was written to since it was read.
        """
        with self.open() as read:
            for position in range(len(self)):
                yield read(position)

    def hash_at(self, position: int) -> bytes:
        """Return the prompt's hash of one pair as bytes, without reading the file."""
        return bytes(self._index.keys[position * KEY_BYTES : (position + 1) * KEY_BYTES])

    def prompt_hashes(self) -> frozenset[str]:
        """Return the `prompt_hash` of every pair, such as to keep them out of another file."""
        return frozenset(self.hash_at(position).hex() for position in range(len(self)))

    @property
    def is_stale(self) -> bool:
        """Whether the file was written to since it was read."""
        return file_state(self.path) != self._state

    @contextlib.contextmanager
    def open(self) -> Generator[Callable[[int], Pair]]:
        """Open the file and give a function that reads the pair at a position, in any order.

        Raises:
            DataFileError: The file was written to since it was read.
        """
        if self.is_stale:
            raise self._changed()
        with open_seekable(self.path) as file:
            yield lambda position: self._read(file, position)

    def _read(self, file: IO[bytes], position: int) -> Pair:
        found = parse_line(read_line_at(self.path, file, self._index.offsets[position]))
        if isinstance(found, str):
            raise self._changed()
        pair = as_pair(found, self._index.lines[position], self._needs)
        if isinstance(pair, Unfit):
            pair = pair.pair if self._keep_cut else None
        if pair is None or prompt_key(pair.prompt) != self.hash_at(position):
            raise self._changed()
        return pair

    def _changed(self) -> DataFileError:
        return DataFileError(_WRITTEN, path=self.path, hint="read it again")

    @property
    def expected(self) -> str:
        """What a line has to be, in words."""
        names = [name for name in ("prompt", *ANSWERS) if name == "prompt" or name in self._needs]
        texts = " and ".join(
            part for part in (", ".join(f'"{n}"' for n in names[:-1]), f'"{names[-1]}"') if part
        )
        return f"one object per line with the {'text' if len(names) == 1 else 'texts'} {texts}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know about the file, a sentence each; empty if all is well."""
        of = f"of {self.n_lines:,} lines"
        notes: list[str] = []
        if self.n_broken:
            notes.append(
                f"{self.n_broken:,} {of} {_is(self.n_broken)} broken and left out:"
                f" {describe_lines(self.broken, self.n_broken)}; expected {self.expected}"
            )
        if self.n_cut:
            fate = "kept as given" if self._keep_cut else "left out"
            notes.append(
                f"{self.n_cut:,} {of} {_is(self.n_cut)} {fate}, because the thought does not lead to"
                f" one answer, which teaches thinking without an end:"
                f" {describe_lines(self.cut, self.n_cut)}"
            )
        if self.n_duplicates:
            notes.append(
                f"{self.n_duplicates:,} {of} {_is(self.n_duplicates)} left out, because an earlier"
                " line has the same prompt"
            )
        if self.n_excluded:
            notes.append(
                f"{self.n_excluded:,} {of} {_is(self.n_excluded)} left out, because the prompt is"
                " one of the evaluation"
            )
        elif self._n_exclude:
            notes.append(
                f"none of the {self._n_exclude:,} prompts to keep out was found: only the same text"
                " is recognised, up to letter case and white space, not another wording of it"
            )
        if self.n_untagged:
            notes.append(
                f"{self.n_untagged:,} of {len(self):,} reasoning texts {_is(self.n_untagged)} trained"
                f" on as given: without {OPEN} tags nothing tells the thought from the answer"
            )
        if self.n_apart:
            notes.append(
                f"{self.n_apart:,} of {len(self):,} pairs {_is(self.n_apart)} joined from a thought"
                f" in 'reasoning' and an answer in 'answer', with {OPEN} tags"
            )
        return tuple(notes)


def read_pairs(
    path: Path,
    *,
    strict: bool = False,
    keep_cut: bool = False,
    exclude: Collection[str] = (),
    needs: Collection[str] = ANSWERS,
) -> Pairs:
    """Read a JSONL file of pairs: `prompt`, `ift` and `reasoning`, all texts.

    The file may be compressed with gzip or zstd. Other keys are ignored, except `answer`, which
    is taken as what follows the thought where `reasoning` is a thought alone, and the counts
    `prompt_tokens`, `ift_tokens` and `reasoning_tokens`. Blank lines are skipped.

    The file is read once here and once more by whoever asks for the texts; it is never held
    whole.

    Args:
        path: The file; not the standard input, which cannot be read twice.
        strict: Raise if a line is broken or its thought does not lead to one answer, instead of
            leaving it out.
        keep_cut: Keep texts whose thought does not lead to one answer, as they are.
        exclude: Prompts to leave out, as texts or as `prompt_hash` returns them: those of an
            evaluation that is to stay fair.
        needs: Which of `ift` and `reasoning` each line must have; another that is absent is empty.

    Raises:
        DataFileError: No pair is left, the file cannot be read, or `strict` and a line is unfit.
    """
    path = Path(path)
    check_file(path)
    state = file_state(path)
    excluded, wanted = prompt_keys(exclude), frozenset(needs)
    index = _Index()
    seen: set[bytes] = set()
    n: Counter[str] = Counter()
    named: dict[str, list[BrokenLine]] = {"broken": [], "cut": []}
    for line in read_objects(path):
        n["lines"] += 1
        if isinstance(line, BrokenLine):
            n["broken"] += 1
            remember(named["broken"], line)
            continue
        pair = as_pair(line.value, line.line, wanted)
        if isinstance(pair, Unfit):
            n[pair.kind] += 1
            remember(named[pair.kind], BrokenLine(line.line, pair.problem))
            if pair.pair is None or not keep_cut:
                continue
            pair = pair.pair
        key = prompt_key(pair.prompt)
        if key in excluded:
            n["excluded"] += 1
        elif key in seen:
            n["duplicates"] += 1
        else:
            seen.add(key)
            n["untagged"] += not pair.is_tagged
            n["apart"] += pair.is_apart
            index.offsets.append(line.offset)
            index.lines.append(line.line)
            index.keys.extend(key)
    found = Pairs(
        path=path,
        sha256=hash_file(path),
        n_lines=n["lines"],
        n_broken=n["broken"],
        n_cut=n["cut"],
        n_duplicates=n["duplicates"],
        n_excluded=n["excluded"],
        n_untagged=n["untagged"],
        n_apart=n["apart"],
        broken=tuple(named["broken"]),
        cut=tuple(named["cut"]),
        _n_exclude=len(excluded),
        _keep_cut=keep_cut,
        _needs=wanted,
        _state=state,
        _index=index,
    )
    _check(found, strict=strict)
    return found


def _is(n: int) -> str:
    return "is" if n == 1 else "are"


def _check(pairs: Pairs, *, strict: bool) -> None:
    """Refuse a file that was written to, that has no usable pair, or whose lines must be sound."""
    if pairs.is_stale:
        raise DataFileError(_WRITTEN, path=pairs.path, hint="read it again")
    unfit = (*pairs.broken, *pairs.cut)
    if strict and unfit:
        n_unfit = pairs.n_broken + pairs.n_cut
        raise DataFileError(
            f"{n_unfit:,} of {pairs.n_lines:,} lines are unfit: {describe_lines(unfit, n_unfit)}",
            path=pairs.path,
            line=unfit[0].line,
            hint=f"expected {pairs.expected}",
        )
    if not pairs:
        left_out = "; ".join(pairs.notes) or "all lines are blank"
        raise DataFileError(
            f"no usable pair: {left_out}", path=pairs.path, hint=f"expected {pairs.expected}"
        )
