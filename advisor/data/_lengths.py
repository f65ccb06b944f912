"""How long traces are: means, the ratio of reasoning to direct answers, and quantiles of rows."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

from calibration.statistics import Interval, clustered_mean_interval
from policies import DataFileError

from ._lines import BrokenLine, check_file, describe_lines, read_objects, remember
from ._pair import Pair, Unfit, read_count, read_reasoning, read_text
from ._pairs import Pairs
from ._quantiles import nearest_rank, row_tokens
from ._thought import strip_empty_thought
from ._tokens import TokenCounter

__all__ = ["TraceLengths", "measure_lengths"]

_CONFIDENCE = 0.90
_EXPECTED = (
    'one object per line with a text "reasoning" or a count "tokens" (or "reasoning_tokens"),'
    ' and, for the ratio, "ift" (or "ift_tokens")'
)


@dataclass(frozen=True, slots=True)
class TraceLengths:
    """Lengths of the traces of a file, in tokens.

    Attributes:
        path: The file.
        n: Traces measured.
        n_broken: Lines left out because they hold no trace.
        n_cut: Lines left out because the thought has no end: their length is not known.
        n_paired: Traces with a direct answer to the same prompt.
        n_given: Traces whose length the file gives; the others were counted.
        mean_prompt_tokens: Mean prompt; `None` if a prompt is missing.
        mean_ift_tokens: Mean direct answer of the pairs; `None` without pairs.
        mean_reasoning_tokens: Mean trace with its answer, of all traces.
        trace_ratio: Mean trace / mean direct answer over the pairs, with a 90% interval; `None`
            without pairs, unbounded above with one pair.
        p50_tokens: Median length of a whole row: prompt, trace, answer and what a chat template
            adds, on the long side (see `TokenCounter.upper_factor`), by nearest rank.
        p90_tokens: 90th percentile of whole rows.
        p99_tokens: 99th percentile of whole rows; below 100 traces the longest.
        max_tokens: Longest row.
        counter_name: What counted.
        is_exact: Whether a tokenizer counted.
        broken: The first broken lines.
        cut: The first lines whose thought has no end.
    """

    path: Path
    n: int
    n_broken: int
    n_cut: int
    n_paired: int
    n_given: int
    mean_prompt_tokens: float | None
    mean_ift_tokens: float | None
    mean_reasoning_tokens: float
    trace_ratio: Interval | None
    p50_tokens: int
    p90_tokens: int
    p99_tokens: int
    max_tokens: int
    counter_name: str
    is_exact: bool
    broken: tuple[BrokenLine, ...]
    cut: tuple[BrokenLine, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know about these lengths, a sentence each."""
        notes: list[str] = []
        if self.n_broken:
            notes.append(
                f"broken lines left out, {self.n_broken:,}:"
                f" {describe_lines(self.broken, self.n_broken)}; expected {_EXPECTED}"
            )
        if self.n_cut:
            notes.append(
                f"traces without an end left out, {self.n_cut:,}, so that the longest may be"
                f" missing: {describe_lines(self.cut, self.n_cut)}"
            )
        if self.n < 100:
            notes.append(f"p99 is the longest row: {self.n:,} traces, 100 are needed for another")
        if self.n_paired == 0:
            notes.append("no direct answers in the file, so that the trace ratio is not known")
        elif self.n_paired < self.n:
            notes.append(f"the trace ratio is of the {self.n_paired:,} traces with a direct answer")
        if self.mean_prompt_tokens is None:
            notes.append("prompts are missing, so that row lengths leave them out")
        if not self.is_exact and self.n_given < self.n:
            notes.append(
                f"token counts are approximate ({self.counter_name}); row lengths are on the long"
                " side"
            )
        return tuple(notes)


@dataclass(frozen=True, slots=True)
class _Row:
    """Token counts of one line; `None` where the line does not say."""

    reasoning: int
    prompt: int | None
    ift: int | None
    is_given: bool
    """Whether the file gives the length of the trace."""
    n_given_tokens: int
    """Tokens of trace and prompt that the file gives: nothing about them is approximate."""

    def n_row_tokens(self, counter: TokenCounter) -> int:
        """Return the length of the row as a sequence, on the long side."""
        n_tokens = self.reasoning + (self.prompt or 0)
        return row_tokens(n_tokens - self.n_given_tokens, counter) + self.n_given_tokens


def measure_lengths(source: Pairs | Path, counter: TokenCounter) -> TraceLengths:
    """Measure the traces of a file of pairs or of traces.

    A line of a traces file holds `reasoning` (a text, read as in `read_pairs`) or the length of
    a trace with its answer as `tokens` or `reasoning_tokens`, and may hold `prompt` or
    `prompt_tokens`, and `ift` or `ift_tokens`. A length that the file gives counts before the
    text. The file is read once, line by line.

    Args:
        source: Pairs, or the path of a JSONL file, plain or compressed.
        counter: What counts the tokens of texts.

    Raises:
        DataFileError: No line holds a trace, or the file cannot be read.

    Source of the interval: the delta method for a ratio of paired means, the t interval of the
        residuals (x - R y) / mean(y); Cochran, Sampling Techniques (1977), section 2.11.
    """
    path = source.path if isinstance(source, Pairs) else Path(source)
    n: Counter[str] = Counter()
    named: dict[str, list[BrokenLine]] = {"broken": [], "cut": []}
    if isinstance(source, Pairs):
        rows = (_pair_row(pair, counter.count) for pair in source)
    else:
        check_file(path)
        rows = _trace_rows(path, counter.count, n, named)
    reasoning, prompt, ift, whole = array("Q"), array("Q"), array("Q"), array("Q")
    for row in rows:
        reasoning.append(row.reasoning)
        # A direct answer or a prompt has at least one token, so that 0 can stand for none.
        prompt.append(row.prompt or 0)
        ift.append(row.ift or 0)
        whole.append(row.n_row_tokens(counter))
        n["given"] += row.is_given
    if not reasoning:
        left_out = [
            describe_lines(named[kind], n[kind]) for kind in ("broken", "cut") if named[kind]
        ]
        raise DataFileError(
            f"no trace to measure: {'; '.join(left_out) or 'all lines are blank'}",
            path=path,
            hint=f"expected {_EXPECTED}",
        )
    paired = array("Q", compress(reasoning, ift))
    direct = array("Q", filter(None, ift))
    lengths = sorted(whole)
    return TraceLengths(
        path=path,
        n=len(reasoning),
        n_broken=n["broken"],
        n_cut=n["cut"],
        n_paired=len(paired),
        n_given=n["given"],
        mean_prompt_tokens=sum(prompt) / len(prompt) if all(prompt) else None,
        mean_ift_tokens=sum(direct) / len(direct) if direct else None,
        mean_reasoning_tokens=sum(reasoning) / len(reasoning),
        trace_ratio=ratio_of_means(paired, direct) if direct else None,
        p50_tokens=nearest_rank(lengths, 0.50),
        p90_tokens=nearest_rank(lengths, 0.90),
        p99_tokens=nearest_rank(lengths, 0.99),
        max_tokens=lengths[-1],
        counter_name=counter.name,
        is_exact=counter.is_exact,
        broken=tuple(named["broken"]),
        cut=tuple(named["cut"]),
    )


def ratio_of_means(numerators: "array[int]", denominators: "array[int]") -> Interval:
    """Return mean / mean of paired positive counts with its 90% interval."""
    n, total = len(numerators), sum(denominators)
    ratio = sum(numerators) / total
    residuals = [(x - ratio * y) * n / total for x, y in zip(numerators, denominators, strict=True)]
    low, high = clustered_mean_interval(residuals, range(n), _CONFIDENCE)
    return Interval(ratio, max(0.0, ratio + low), ratio + high, _CONFIDENCE)


def _pair_row(pair: Pair, count: Callable[[str], int]) -> _Row:
    return _Row(
        reasoning=pair.reasoning_tokens or _counted(count, pair.reasoning),
        prompt=pair.prompt_tokens or _counted(count, pair.prompt),
        ift=pair.ift_tokens or _counted(count, pair.ift),
        is_given=pair.reasoning_tokens is not None,
        n_given_tokens=(pair.reasoning_tokens or 0) + (pair.prompt_tokens or 0),
    )


def _counted(count: Callable[[str], int], text: str) -> int:
    """Return the number of tokens, at least 1: a tokenizer may drop words that it does not know."""
    return max(1, count(text))


def _trace_rows(
    path: Path,
    count: Callable[[str], int],
    n: Counter[str],
    named: Mapping[str, list[BrokenLine]],
) -> Iterator[_Row]:
    """Yield what can be measured; count and name what cannot in `n` and `named`."""
    for line in read_objects(path):
        if isinstance(line, BrokenLine):
            found: _Row | Unfit = Unfit(line.problem)
        else:
            found = _trace_row(line.value, count)
        if isinstance(found, _Row):
            yield found
        else:
            n[found.kind] += 1
            remember(named[found.kind], BrokenLine(line.line, found.problem))


def _trace_row(value: Mapping[str, object], count: Callable[[str], int]) -> _Row | Unfit:
    given: list[int | None] = []
    for name in ("tokens", "reasoning_tokens", "prompt_tokens", "ift_tokens"):
        number = read_count(value, name)
        if isinstance(number, Unfit):
            return number
        given.append(number)
    tokens, reasoning_tokens, prompt, ift = given
    reasoning = reasoning_tokens if reasoning_tokens is not None else tokens
    is_given = reasoning is not None
    n_given_tokens = (reasoning or 0) + (prompt or 0)
    if reasoning is None:
        text = read_text(value, "reasoning")
        if isinstance(text, Unfit):
            return text
        trace = read_reasoning(value, text)
        if isinstance(trace, Unfit):
            return trace
        if trace.cut is not None:
            return Unfit(trace.cut, "cut")
        reasoning = _counted(count, trace.text)
    if prompt is None and value.get("prompt") is not None:
        text = read_text(value, "prompt")
        if isinstance(text, Unfit):
            return text
        prompt = _counted(count, text)
    if ift is None and value.get("ift") is not None:
        text = read_text(value, "ift")
        if isinstance(text, Unfit):
            return text
        ift = _counted(count, strip_empty_thought(text) or text)
    return _Row(reasoning, prompt, ift, is_given, n_given_tokens)
