"""Answers split into pieces: whatever the tokens and however they come, they add up."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import BackendResponseError, Completion, Delta, FinishReason, ThoughtMarkers, Usage
from policies.backends._pieces import PieceSplitter
from policies.backends._thought_ids import split_ids
from policies.backends.pocket import pocket_directory, pocket_model_names
from policies.backends.pocket._backend import _Engine
from policies.backends.pocket._decoding import Row
from policies.backends.pocket._job import Job

# Ids below 256 are bytes; then come words, then special tokens that no text shows.
WORDS = ("hello", " world", "\n\n", " wörld", "\n", "🙂", "\N{REPLACEMENT CHARACTER}", " x\n")
THINK, END, OTHER = 300, 301, 302
SPECIAL = {THINK, END, OTHER}
MARKERS = (
    None,
    ThoughtMarkers((THINK,), (END,)),
    ThoughtMarkers((THINK, 258), (END,)),
    ThoughtMarkers((), (END,), 1),
    ThoughtMarkers((THINK,), (258, 256, 258, 257, END)),
    ThoughtMarkers((), (260, 260, END)),
)

Decode = Callable[[Sequence[int]], str]


def said_bytes(ids: Sequence[int]) -> bytes:
    return b"".join(
        bytes([i]) if i < 256 else WORDS[i - 256].encode() for i in ids if i not in SPECIAL
    )


def replacing(ids: Sequence[int]) -> str:
    """Decode as byte-level tokenizers of most libraries do."""
    return said_bytes(ids).decode("utf-8", "replace")


def swallowing(ids: Sequence[int]) -> str:
    """Decode as onnxruntime-genai does: after a wrong byte, or a zero, nothing is said any more."""
    first, *others = said_bytes(ids).split(b"\0")
    said = first or (b"\xff" if others else b"")
    try:
        return said.decode()
    except UnicodeDecodeError as error:
        return said[: error.start].decode() + "\N{REPLACEMENT CHARACTER}"


def stripping(ids: Sequence[int]) -> str:
    """Decode as sentencepiece does: the first token of a text loses its space."""
    return replacing(ids).removeprefix(" ")


text_ids = st.text(max_size=6).map(lambda text: list(text.encode("utf-8", "replace")))
token_ids = st.one_of(
    st.integers(0, 255).map(lambda i: [i]),
    st.sampled_from([*range(256, 256 + len(WORDS)), *SPECIAL]).map(lambda i: [i]),
    text_ids,
    st.sampled_from([[0], list("ö🙂".encode()), [258, 256, 258], [258, 256, 258, 257, END]]),
)
bodies = st.lists(token_ids, max_size=14).map(lambda parts: [i for part in parts for i in part])
answers = st.one_of(bodies, bodies.map(lambda ids: [THINK, *ids]))


def cut(ids: Sequence[int], places: Sequence[int]) -> list[Sequence[int]]:
    """Return the ids in parts that begin at some places."""
    bounds = sorted({0, len(ids), *(place % (len(ids) + 1) for place in places)})
    return [ids[first:after] for first, after in pairwise(bounds)]


def completion(thinking: str | None, text: str) -> Completion:
    return Completion(text, FinishReason.STOP, Usage(1, 1), 0.0, thinking)


def whole_answer(ids: Sequence[int], markers: ThoughtMarkers | None, decode: Decode) -> Completion:
    """Split as the in-process backends do when all tokens are there."""
    split = split_ids(ids, markers)
    thinking = None if split.thought is None else decode(split.thought).strip("\n")
    return completion(thinking, decode(ids[split.answer_start :]).lstrip("\n"))


def total(pieces: Sequence[Delta]) -> tuple[str, str]:
    return "".join(p.thinking for p in pieces), "".join(p.text for p in pieces)


def splits(
    splitter: PieceSplitter, parts: Sequence[Sequence[int]], whole: Completion
) -> tuple[list[Delta], Delta]:
    pieces = [splitter.feed(part) for part in parts]
    return pieces, splitter.rest(whole, backend="b", model="m")


@given(
    answers,
    st.lists(st.integers(0, 200), max_size=60),
    st.integers(0, 5),
    st.sampled_from(MARKERS),
    st.sampled_from((replacing, swallowing, stripping)),
)
def test_pieces_add_up_to_the_answer_for_any_tokens_in_any_parts(
    ids: list[int],
    places: list[int],
    n_given: int,
    markers: ThoughtMarkers | None,
    decode: Decode,
) -> None:
    given_ids, rest_ids = ids[:n_given], ids[n_given:]
    whole = whole_answer(ids, markers, decode)
    splitter = PieceSplitter(decode, markers, given_ids)
    pieces, rest = splits(splitter, cut(rest_ids, places), whole)
    assert total([*pieces, rest]) == (whole.thinking or "", whole.text)
    # Thoughts come before answers, within a piece and over all of them.
    has_answered = False
    for piece in pieces:
        assert not (has_answered and piece.thinking)
        has_answered = has_answered or bool(piece.text)


@given(
    st.lists(st.sampled_from("aä🙂\n x"), max_size=20).map("".join),
    st.lists(st.sampled_from("aä🙂\n x"), max_size=20).map("".join),
    st.booleans(),
)
def test_nothing_is_held_back_once_it_is_clear(thought: str, answer: str, forced: bool) -> None:
    markers = ThoughtMarkers((THINK,), (258, 259, END) if forced else (END,))
    splitter = PieceSplitter(replacing, markers)
    ids = [THINK, *thought.encode(), END, *answer.encode()]
    said_thinking = said_text = ""
    for n, token in enumerate(ids):
        piece = splitter.feed([token])
        said_thinking += piece.thinking
        said_text += piece.text
        whole = whole_answer(ids[: n + 1], markers, replacing)
        complete = (whole.thinking or "").rstrip("\N{REPLACEMENT CHARACTER}").rstrip("\n")
        assert said_thinking == complete
        assert said_text == whole.text.rstrip("\N{REPLACEMENT CHARACTER}")


def test_a_marker_that_is_begun_is_held_back_until_it_is_one_or_not() -> None:
    markers = ThoughtMarkers((THINK, 258), (257, 256, END))
    splitter = PieceSplitter(replacing, markers)
    said = [splitter.feed([i]) for i in (THINK, 258, 256, 257, 257, 256, 257, 256, END, END, 256)]
    assert said == [
        Delta(), Delta(), Delta("hello"), Delta(), Delta(" world"), Delta(), Delta(" worldhello"),
        Delta(), Delta(), Delta(), Delta("", "hello"),
    ]  # fmt: skip


def test_the_start_of_a_start_marker_is_an_answer_when_it_stays_one() -> None:
    splitter = PieceSplitter(replacing, ThoughtMarkers((256, 257), (END,)))
    assert splitter.feed([256]) == Delta()
    assert splitter.rest(completion(None, "hello"), backend="b", model="m") == Delta("", "hello")


def test_what_was_said_wrong_is_an_error_and_no_garbled_answer() -> None:
    splitter = PieceSplitter(replacing, None)
    splitter.feed([256])
    with pytest.raises(BackendResponseError, match="piece by piece") as caught:
        splitter.rest(completion(None, "Hello"), backend="b", model="m")
    assert not caught.value.retryable


def test_long_runs_that_are_no_text_cost_no_square() -> None:
    n_decoded = 0

    def counting(decode: Decode, ids: Sequence[int]) -> str:
        nonlocal n_decoded
        n_decoded += len(ids)
        return decode(ids)

    for decode, token in ((replacing, 0x80), (replacing, OTHER), (swallowing, 0)):
        n_decoded = 0
        splitter = PieceSplitter(partial(counting, decode), None)
        ids = [256, *[token] * 20_000]
        for i in ids:
            splitter.feed([i])
        # Eight looks, of one or two, at each of the doubled lengths are up to 32 n.
        assert n_decoded < 40 * 20_000
        whole = whole_answer(ids, None, decode)
        rest = splitter.rest(whole, backend="b", model="m")
        assert rest == Delta("", whole.text.removeprefix("hello"))


@pytest.fixture(scope="module")
def engine() -> _Engine:
    if "pocket-xs" not in pocket_model_names():
        pytest.skip("the model pocket-xs is not there")
    return _Engine(pocket_directory("pocket-xs"))


@given(st.data())
def test_pieces_of_the_pocket_tokenizer_add_up(engine: _Engine, data: st.DataObject) -> None:
    special = engine.special
    drawn = st.one_of(
        st.integers(0, engine.n_vocabulary - 1),
        st.sampled_from([special.think, special.end_think, *engine.encode("größer 🙂\n\n ß")]),
    )
    ids = data.draw(st.lists(drawn.filter(lambda i: i != special.end_of_turn), max_size=40))
    ids = [special.think, *ids] if data.draw(st.booleans()) else ids
    places = data.draw(st.lists(st.integers(0, 100), max_size=40))
    n_given = data.draw(st.integers(0, len(ids)))
    row = Row([], 99, continuation=tuple(ids[:n_given]), generated=ids[n_given:])
    whole = engine.completion(Job(row, 0.0, future=None, loop=None), 0.0)  # type: ignore[arg-type]
    splitter = PieceSplitter(engine.text, engine.markers, ids[:n_given])
    pieces, rest = splits(splitter, cut(ids[n_given:], places), whole)
    assert total([*pieces, rest]) == (whole.thinking or "", whole.text)
