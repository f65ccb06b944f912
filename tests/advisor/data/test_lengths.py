"""How long traces are: quantiles, the ratio to direct answers and its interval."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from advisor.data import TEMPLATE_TOKENS, load_counter, measure_lengths, read_pairs
from advisor.data._quantiles import nearest_rank
from policies import DataFileError, InvalidInputError

WriteLines = Callable[..., Path]


class WordCounter:
    """Counts words, so that tests can say what they expect."""

    name = "words"
    is_exact = True
    upper_factor = 1.0

    def count(self, text: str) -> int:
        return len(text.split())


WORDS = WordCounter()


def counted(n_tokens: int, **fields: int) -> dict[str, int]:
    return {"tokens": n_tokens, **fields}


def test_traces_with_given_counts_are_measured_as_given(write_lines: WriteLines):
    found = measure_lengths(write_lines([counted(i) for i in range(1, 201)]), WORDS)

    assert (found.n, found.n_given, found.n_paired) == (200, 200, 0)
    assert found.mean_reasoning_tokens == 100.5
    assert found.trace_ratio is None
    assert found.mean_prompt_tokens is None
    rows = [found.p50_tokens, found.p90_tokens, found.p99_tokens, found.max_tokens]
    assert rows == [100 + TEMPLATE_TOKENS, 180 + TEMPLATE_TOKENS, 198 + TEMPLATE_TOKENS, 248]


def test_texts_are_counted_with_their_tags_and_prompt(write_lines: WriteLines):
    line = {"prompt": "one two three", "reasoning": "<think>a b c d</think>e f", "ift": "g h"}

    found = measure_lengths(write_lines([line]), WORDS)

    assert (found.mean_prompt_tokens, found.mean_ift_tokens) == (3, 2)
    assert found.mean_reasoning_tokens == 8  # four words, two tags, two words
    assert found.max_tokens == 11 + TEMPLATE_TOKENS
    assert found.trace_ratio is not None
    assert found.trace_ratio.estimate == 4
    assert found.trace_ratio.high == math.inf


def test_pairs_and_their_path_measure_the_same(make_pairs: Callable[..., Path]):
    path = make_pairs(150)

    by_path, by_pairs = measure_lengths(path, WORDS), measure_lengths(read_pairs(path), WORDS)

    assert by_path == by_pairs
    assert by_path.n == 150


def test_a_given_count_comes_before_the_text(write_lines: WriteLines):
    line: dict[str, Any] = {"prompt": "a b", "reasoning": "<think>a</think>b", "ift": "c"}
    counts = {"prompt_tokens": 10, "reasoning_tokens": 500, "ift_tokens": 50}

    by_path = measure_lengths(write_lines([line | counts]), WORDS)

    assert (by_path.mean_prompt_tokens, by_path.mean_ift_tokens) == (10, 50)
    assert (by_path.mean_reasoning_tokens, by_path.n_given) == (500, 1)


def test_broken_lines_and_cut_traces_are_named_and_counted(write_lines: WriteLines):
    path = write_lines(
        [
            {"reasoning": "<think>a</think>b"},
            "oops",
            {"tokens": 0},
            {"tokens": 2.5},
            {"text": "a"},
            {"reasoning": "<think>a b c"},
            {"tokens": True},
        ]
    )

    found = measure_lengths(path, WORDS)

    assert (found.n, found.n_broken, found.n_cut) == (1, 5, 1)
    assert [line.line for line in found.broken] == [2, 3, 4, 5, 7]
    assert [line.line for line in found.cut] == [6]
    assert "broken lines left out, 5: line 2 (not JSON" in found.notes[0]
    assert "and 2 more" in found.notes[0]
    assert "traces without an end left out, 1" in found.notes[1]
    assert "2.5, expected a whole number" in found.broken[2].problem


def test_few_traces_say_that_p99_is_the_longest(write_lines: WriteLines):
    few = measure_lengths(write_lines([counted(i) for i in range(1, 100)]), WORDS)
    enough = measure_lengths(write_lines([counted(i) for i in range(1, 101)]), WORDS)

    assert few.p99_tokens == few.max_tokens
    assert any("p99 is the longest row: 99 traces" in note for note in few.notes)
    assert enough.p99_tokens < enough.max_tokens
    assert not any("p99" in note for note in enough.notes)


def test_the_ratio_is_of_the_traces_with_a_direct_answer(write_lines: WriteLines):
    found = measure_lengths(
        write_lines([counted(100, ift_tokens=10), counted(300, ift_tokens=30), counted(10_000)]),
        WORDS,
    )

    assert found.trace_ratio is not None
    assert found.trace_ratio.estimate == 10
    assert (found.n, found.n_paired) == (3, 2)
    assert any("the trace ratio is of the 2 traces" in note for note in found.notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n", "all lines are blank"),
        ("oops\n", "line 1 (not JSON"),
        ('{"a": 1}\n', "no 'reasoning'"),
    ],
)
def test_a_file_without_traces_is_refused(tmp_path: Path, content: str, message: str):
    path = tmp_path / "traces.jsonl"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(DataFileError, match=re.escape(message)):
        measure_lengths(path, WORDS)


def test_an_approximate_counter_errs_on_the_long_side_and_says_so(write_lines: WriteLines):
    path = write_lines([{"reasoning": "<think>add</think>2"}])
    counter = load_counter()

    found = measure_lengths(path, counter)

    assert found.max_tokens >= found.mean_reasoning_tokens * counter.upper_factor
    assert any("approximate" in note for note in found.notes)


def test_the_interval_of_the_ratio_covers_at_its_level(tmp_path: Path):
    """Log-normal lengths as skewed as real ones (sd of the log .8 and .6), correlated."""
    rng = np.random.default_rng(7)
    n, n_runs, covered = 60, 300, 0
    path = tmp_path / "traces.jsonl"
    truth = math.exp(6.5 + 0.8**2 / 2) / math.exp(4.5 + 0.6**2 / 2)
    for _ in range(n_runs):
        common = rng.normal(size=n)
        own = rng.normal(size=(2, n))
        long = np.exp(6.5 + 0.8 * (0.6 * common + 0.8 * own[0]))
        short = np.exp(4.5 + 0.6 * (0.6 * common + 0.8 * own[1]))
        path.write_text(
            "".join(
                json.dumps(counted(round(x), ift_tokens=round(y))) + "\n"
                for x, y in zip(long, short, strict=True)
            ),
            encoding="utf-8",
        )
        interval = measure_lengths(path, WORDS).trace_ratio
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    # The nominal level is .90; skewness costs a little. The bound is three standard errors off .87.
    assert covered / n_runs > 0.87 - 3 * math.sqrt(0.87 * 0.13 / n_runs)
    assert covered / n_runs < 0.96


def test_the_interval_of_the_ratio_agrees_with_a_paired_bootstrap(write_lines: WriteLines):
    rng = np.random.default_rng(3)
    short = rng.integers(20, 200, size=400)
    long = short * rng.integers(4, 16, size=400)
    path = write_lines(
        [counted(int(x), ift_tokens=int(y)) for x, y in zip(long, short, strict=True)]
    )

    interval = measure_lengths(path, WORDS).trace_ratio

    def ratio(x: Any, y: Any, axis: int = -1) -> Any:
        return np.mean(x, axis=axis) / np.mean(y, axis=axis)

    reference = stats.bootstrap(
        (long, short),
        ratio,
        paired=True,
        vectorized=True,
        confidence_level=0.9,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert interval is not None
    # Bootstrap quantiles of 4,000 resamples move by a few percent of the width.
    assert abs(interval.low - reference.low) < 0.08 * interval.width
    assert abs(interval.high - reference.high) < 0.08 * interval.width


def test_given_counts_are_not_stretched_as_approximate_ones_are(write_lines: WriteLines):
    found = measure_lengths(
        write_lines([{"tokens": 1000, "prompt_tokens": 100}], name="given.jsonl"), load_counter()
    )
    text = {"tokens": 1000, "prompt": "What is 1 + 1?"}
    counter = load_counter()
    with_text = measure_lengths(write_lines([text], name="text.jsonl"), counter)

    assert found.max_tokens == 1100 + TEMPLATE_TOKENS
    n_prompt = counter.count("What is 1 + 1?")
    assert with_text.max_tokens == 1000 + math.ceil(1.3 * n_prompt) + TEMPLATE_TOKENS


def test_a_text_that_a_tokenizer_drops_still_counts(write_lines: WriteLines):
    class Deaf(WordCounter):
        def count(self, text: str) -> int:
            return 0

    found = measure_lengths(write_lines([{"prompt": "a", "ift": "b", "reasoning": "c"}]), Deaf())

    assert (found.mean_reasoning_tokens, found.n_paired) == (1, 1)


@pytest.mark.parametrize("name", ["prompt", "ift", "reasoning"])
def test_a_field_that_is_no_text_breaks_the_line(write_lines: WriteLines, name: str):
    sound = {"prompt": "a", "ift": "b", "reasoning": "c"}

    found = measure_lengths(write_lines([sound, sound | {name: ["a"]}]), WORDS)

    assert (found.n, found.n_broken) == (1, 1)
    assert f"{name!r} is a list" in found.broken[0].problem


@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=300),
    st.integers(1, 100),
)
def test_a_quantile_is_the_smallest_value_that_enough_values_do_not_exceed(
    values: list[int], percent: int
):
    ordered = sorted(values)

    found = nearest_rank(ordered, percent / 100)

    def n_up_to(bound: int) -> int:
        return sum(value <= bound for value in ordered)

    assert found in ordered
    assert 100 * n_up_to(found) >= percent * len(ordered)
    below = [value for value in ordered if value < found]
    assert not below or 100 * n_up_to(below[-1]) < percent * len(ordered)


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1], 0.0), ([1], 1.1), ([1], math.nan)])
def test_a_quantile_of_nothing_or_at_no_share_is_refused(values: list[int], share: float):
    with pytest.raises(InvalidInputError):
        nearest_rank(values, share)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=40), st.randoms())
def test_measures_do_not_depend_on_the_order_of_lines(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], random: Any
):
    folder = tmp_path_factory.mktemp("order")

    def measured(values: list[int]) -> Any:
        path = folder / "traces.jsonl"
        path.write_text("".join(f'{{"tokens": {n}}}\n' for n in values), encoding="utf-8")
        return measure_lengths(path, WORDS)

    shuffled = lengths.copy()
    random.shuffle(shuffled)

    assert measured(lengths) == measured(shuffled)
