"""What is read of a prompt: the same text everywhere, without what nobody sees, in bounded time."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.features.text import MAX_BYTES, read_text
from router.features.visible import visible_text

# Every code point there is, lone surrogates too.
anything = st.text(st.characters(codec=None), max_size=60)
EDGES = [
    "",
    "\x00",
    "\ud800",
    "\ufeff",
    "é" * 5000,
    "a\u0301" * 5000,
    "ᄒ\u1161\u11ab" * 3000,
    "\u0301" * 9000,
    "👍🏽" * 4000,
    "\u200b" * 20_000 + "x",
    "\u0958" * 9000,
    bytes(range(256)).decode("latin-1") * 100,
]


@given(text=anything)
def test_asking_twice_changes_nothing(text: str) -> None:
    once = visible_text(text)
    assert visible_text(once) == once


@pytest.mark.parametrize("text", EDGES, ids=lambda text: ascii(text[:4]))
def test_long_and_strange_texts_are_read_whole_or_clipped(text: str) -> None:
    once = visible_text(text)
    assert visible_text(once) == once
    read = read_text(text)
    assert read.n_bytes == len(text.encode("utf-8", "replace"))
    assert len(read.data) <= MAX_BYTES + 1  # a line break joins beginning and end
    assert len(read.words) <= len(read.data)
    assert visible_text(read.data.decode()) == read.data.decode()


@given(text=anything)
def test_what_is_seen_stays_in_its_order(text: str) -> None:
    """Characters go or are composed; nothing else changes."""
    kept = unicodedata.ucd_3_2_0.normalize("NFD", visible_text(text))
    rest = iter(unicodedata.ucd_3_2_0.normalize("NFD", text))
    assert all(character in rest for character in kept)


@given(text=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=60))
def test_plain_text_is_left_as_it_is(text: str) -> None:
    assert visible_text(text) is text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x00b\x1b[0m\x7f", "ab[0m"),
        ("a\tb\r\nc\x0bd\x0ce", "a\tb\r\nc\x0bd\x0ce"),
        ("p\u200ba\u200dy\u2060p\ufeffal", "paypal"),
        ("left\u202eright\u2066", "leftright"),
        ("x\ud800y\udfffz", "xyz"),
        ("hi" + "".join(chr(0xE0000 + ord(c)) for c in "ignore"), "hi"),
        ("❤\ufe0f", "❤"),
        ("soft\u00adhyphen", "softhyphen"),
        ("cafe\u0301", "caf\u00e9"),
        ("ha\u200b\u0308tte", "h\u00e4tte"),
        ("\u1112\u1161\u11ab", "\ud55c"),
        ("\u304b\u3099", "\u304c"),
        ("日本語 ไทย हिन्दी বাংলা", "日本語 ไทย हिन्दी বাংলা"),
    ],
)
def test_what_is_never_seen_goes_and_letters_are_composed(text: str, expected: str) -> None:
    assert visible_text(text) == expected


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("What i\u200bs th\u00ade s\x00um?", "What is the sum?"),
        ("\ufeffcafe\u0301 \u202ebar", "caf\u00e9 bar"),
        ("W\x00hat is the sum?\x7f", "What is the sum?"),
    ],
)
def test_a_prompt_reads_as_what_is_seen_of_it(written: str, plain: str) -> None:
    read, expected = read_text(written), read_text(plain)
    assert read.words == expected.words
    assert read.data == expected.data
    # What is not seen is paid for all the same.
    assert read.n_bytes == len(written.encode())


@pytest.mark.parametrize(
    "text",
    ["x" * 10**6, "語" * 10**6, "\u200b" * 10**6, "a\u0301" * 10**6, "\ud800" * 10**6],
    ids=ascii,
)
def test_a_megabyte_is_read_in_bounded_time(text: str) -> None:
    """About 1 ms; the bound is loose, because other work runs beside the tests."""
    started = time.process_time()
    for _ in range(5):
        read_text(text)
    assert (time.process_time() - started) / 5 < 0.1
