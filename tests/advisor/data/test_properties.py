"""Readers never fail on any bytes other than with their own error, and lose nothing silently."""

import contextlib
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from advisor.data import load_counter, measure_lengths, prompt_hash, read_pairs
from policies import DataFileError

COUNTER = load_counter()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
fields = st.sampled_from(
    ["prompt", "ift", "reasoning", "answer", "tokens", "ift_tokens", "reasoning_tokens", "x"]
)
texts = st.sampled_from(
    ["a", "<think>a</think>b", "<think>a", "a</think>b", "</think>", " ", "\ud800", "2"]
)
objects = st.dictionaries(fields, texts | json_values, max_size=6).map(
    lambda value: json.dumps(value).encode()
)
lines = st.lists(objects | st.binary(max_size=60), max_size=8)


@settings(max_examples=200, deadline=None)
@given(lines=lines, end=st.sampled_from([b"\n", b"\r\n", b"\n\n"]), cut=st.integers(0, 30))
@example(lines=[b"\xef\xbb\xbf", b"{}"], end=b"\n", cut=0)
@example(lines=[b'{"tokens": 1e400}'], end=b"\n", cut=0)
def test_any_bytes_are_read_or_refused_and_every_line_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], end: bytes, cut: int
):
    path = tmp_path_factory.mktemp("any") / "pairs.jsonl"
    content = end.join(lines) + end
    path.write_bytes(content[: len(content) - cut])

    with contextlib.suppress(DataFileError):
        pairs = read_pairs(path)
        kept = list(pairs)
        assert len(kept) == len(pairs) > 0
        left_out = pairs.n_broken + pairs.n_cut + pairs.n_duplicates + pairs.n_excluded
        assert len(pairs) + left_out == pairs.n_lines
        assert len(pairs.broken) == min(20, pairs.n_broken)
        assert len({prompt_hash(pair.prompt) for pair in kept}) == len(kept)
        for pair in kept:
            (pair.prompt + pair.ift + pair.reasoning).encode()
            assert all(map(str.strip, (pair.prompt, pair.ift, pair.reasoning)))
    with contextlib.suppress(DataFileError):
        lengths = measure_lengths(path, COUNTER)
        assert 0 < lengths.p50_tokens <= lengths.p90_tokens <= lengths.p99_tokens
        assert lengths.p99_tokens <= lengths.max_tokens
        assert lengths.n_paired <= lengths.n


@given(st.text())
def test_a_count_is_at_least_one_and_grows_with_the_text(text: str):
    assert COUNTER.count(text) >= 1
    assert COUNTER.count(text + "\n" + text) >= COUNTER.count(text)


@given(st.text(), st.sampled_from([" ", "\n", "\t ", "\u00a0"]))
def test_white_space_does_not_make_another_prompt(prompt: str, space: str):
    padded = space + space.join(prompt.split()) + space

    assert prompt_hash(prompt) == prompt_hash(padded)


@given(st.text(st.characters(max_codepoint=127)))
def test_letter_case_does_not_make_another_prompt(prompt: str):
    assert prompt_hash(prompt) == prompt_hash(prompt.swapcase())


def test_hashes_are_those_that_files_were_written_with():
    """A change would silently change every mixture and let evaluations leak into training."""
    assert prompt_hash("What is 2 + 2?") == "ea65a7510da833cf91c9a9d398f31771"
