"""What a conversation is routed on: the same text and numbers everywhere, in bounded time."""

import time
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Attachment, InvalidInputError, Message, Role, user_message
from router.features.conversation import (
    CONVERSATION_FEATURES,
    MAX_ROUTED_BYTES,
    clean_text,
    conversation_features,
    routed_text,
)
from router.features.markers import MARKER_FEATURES, marker_features, marker_rows
from router.features.scripts import SCRIPT_FEATURES, script_features, script_rows

# Every code point there is, lone surrogates too.
anything = st.text(st.characters(codec=None), max_size=60)
roles = st.sampled_from(["system", "user", "assistant"])
attachments = st.lists(
    st.sampled_from([Attachment("image", "https://a/b"), Attachment("file", "data:,x")]),
    max_size=2,
).map(tuple)
turns = st.lists(st.builds(Message, roles, anything, attachments), max_size=6)
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


def conversation(*texts: str) -> list[Message]:
    told: list[Role] = ["user", "assistant"]
    return [Message(told[i % 2], text) for i, text in enumerate(texts)]


def named(messages: list[Message]) -> dict[str, float]:
    row = conversation_features(messages)
    return {
        name: value
        for name, value in zip(CONVERSATION_FEATURES, row.tolist(), strict=True)
        if value
    }


@given(text=anything, max_bytes=st.integers(8, 90))
def test_cleaning_any_text_twice_changes_nothing(text: str, max_bytes: int) -> None:
    once = clean_text(text, max_bytes)
    assert clean_text(once, max_bytes) == once
    assert len(once.encode()) <= max_bytes


@pytest.mark.parametrize("text", EDGES, ids=lambda text: ascii(text[:4]))
def test_cleaning_long_and_strange_texts_twice_changes_nothing(text: str) -> None:
    once = clean_text(text)
    assert clean_text(once) == once
    assert len(once.encode()) <= MAX_ROUTED_BYTES


@given(text=anything)
def test_what_is_seen_stays_in_its_order(text: str) -> None:
    """Characters go or are composed; nothing else changes."""
    kept = unicodedata.ucd_3_2_0.normalize("NFD", clean_text(text))
    rest = iter(unicodedata.ucd_3_2_0.normalize("NFD", text))
    assert all(character in rest for character in kept)


@given(text=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=60))
def test_plain_text_is_left_as_it_is(text: str) -> None:
    assert clean_text(text) is text


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
    assert clean_text(text) == expected


def test_long_text_keeps_beginning_and_end() -> None:
    text = "first " + "x" * 100 + " last"
    assert clean_text(text, 24) == "first xxxxxx\nxxxxxx last"
    assert clean_text("é" * 50, 16) == "éééé\nééé"


def test_length_is_counted_after_cleaning() -> None:
    assert clean_text("\x00" * 30 + "0123456789", 10 * 4) == "0123456789"


def test_a_limit_below_two_characters_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="max_bytes is 7"):
        clean_text("a", 7)


def test_the_last_user_turn_is_routed() -> None:
    messages = [*conversation("first", "yes?", "sec\x00ond"), Message("assistant", "So")]
    assert routed_text(messages) == "second"


@given(messages=turns)
def test_any_conversation_has_finite_features_or_no_user(messages: list[Message]) -> None:
    if not any(message.role == "user" for message in messages):
        for function in (routed_text, conversation_features):
            with pytest.raises(InvalidInputError, match="no user turn"):
                function(messages)
        return
    row = conversation_features(messages)
    assert row.shape == (len(CONVERSATION_FEATURES),)
    assert np.isfinite(row).all()
    assert (row >= 0).all()
    np.testing.assert_array_equal(row, conversation_features(tuple(messages)))


@given(text=anything)
def test_a_single_prompt_has_neutral_features(text: str) -> None:
    assert not conversation_features(user_message(text)).any()


def test_history_is_counted_apart_from_what_is_routed() -> None:
    messages = [
        Message("system", "Be nice."),
        Message("user", "Code?"),
        Message("assistant", "```py\nx\n``` é"),
        Message("user", "And now?"),
    ]
    n_answer = len("```py\nx\n``` é".encode())
    n_history = 8 + 5 + n_answer
    assert named(messages) == {
        "n_earlier_turns": 3,
        "n_earlier_user_turns": 1,
        "n_assistant_turns": 1,
        "n_system_turns": 1,
        "n_history_bytes": n_history,
        "n_history_tokens": (8 + 5 + n_answer - 2) / 4 + 1,
        "n_system_bytes": 8,
        "n_last_answer_bytes": n_answer,
        "history_share": pytest.approx(n_history / (n_history + 8)),
        "n_history_code_fences": 2,
    }


def test_attachments_are_counted_by_kind() -> None:
    image, file = Attachment("image", "https://a/b"), Attachment("file", "data:,x")
    messages = [Message("user", "a", (image, file)), Message("user", "", (image,))]
    found = named(messages)
    assert found["n_images"] == 2
    assert found["n_other_attachments"] == 1
    assert found["n_attachments_now"] == 1


def test_what_was_clipped_is_told() -> None:
    assert named([Message("user", "x" * 10_000)]) == {"n_clipped_bytes": 10_000 - MAX_ROUTED_BYTES}


@pytest.mark.parametrize(
    "text",
    ["x" * 10**6, "語" * 10**6, "\u200b" * 10**6, "a\u0301" * 10**6, "\ud800" * 10**6],
    ids=ascii,
)
def test_a_megabyte_is_routed_in_bounded_time(text: str) -> None:
    """About 1 ms; the bound is loose, because other work runs beside the tests."""
    started = time.process_time()
    for _ in range(5):
        clean = routed_text([Message("user", text)]).encode()
        script_features(clean)
        marker_features(clean)
    assert (time.process_time() - started) / 5 < 0.1


def shares(text: str) -> dict[str, float]:
    row = script_features(text.encode())
    return {
        name.removesuffix("_share"): share
        for name, share in zip(SCRIPT_FEATURES, row.tolist(), strict=True)
        if share
    }


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("éàü", "latin"),
        ("ñếữ", "latin"),
        ("αβγ", "greek"),
        ("где", "cyrillic"),
        ("שלום", "hebrew"),
        ("السلام", "arabic"),
        ("यदि", "devanagari"),
        ("যদি", "bengali"),
        ("தமிழ்", "tamil"),
        ("తెలుగు", "telugu"),
        ("ಕನ್ನಡ", "other_indic"),
        ("ไทย", "thai"),
        ("ខ្មែរ", "lao_myanmar_khmer"),
        ("አማርኛ", "ethiopic"),
        ("ქართული", "armenian_georgian"),
        ("汉字𠀀", "han"),
        ("ひらカナ", "kana"),
        ("한국어", "hangul"),
        ("∑∫√\u00d7\U0001d465", "maths"),
        ("👍😀", "pictures"),
        ("。「\uff0c\uff1f", "punctuation"),
        ("ᏣᎳᎩ", "other_script"),
    ],
)
def test_each_script_has_its_column(text: str, script: str) -> None:
    assert shares(text) == {script: 1.0}


def test_ascii_is_the_rest() -> None:
    assert shares("plain text") == {}
    assert shares("") == {}
    assert shares("abcдв") == {"cyrillic": 0.4}
    assert shares("да\u200b") == {"cyrillic": 1.0}


@given(texts=st.lists(st.one_of(anything.map(lambda t: t.encode("utf-8", "replace")), st.binary())))
def test_features_of_any_bytes_are_finite_and_the_same_in_a_batch(texts: list[bytes]) -> None:
    for single, batch, names in (
        (script_features, script_rows, SCRIPT_FEATURES),
        (marker_features, marker_rows, MARKER_FEATURES),
    ):
        rows = batch(texts)
        assert rows.shape == (len(texts), len(names))
        assert np.isfinite(rows).all()
        assert (rows >= 0).all()
        for row, text in zip(rows, texts, strict=True):
            np.testing.assert_array_equal(row, single(text))
    assert (script_rows(texts).sum(axis=1) <= 1 + 1e-12).all()


def markers(text: str) -> dict[str, float]:
    row = marker_features(text.encode())
    return {n: v for n, v in zip(MARKER_FEATURES, row.tolist(), strict=True) if v}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is 7+9?", {"ends_with_question": 1, "starts_with_question_word": 1}),
        ("Prove it.", {"starts_with_instruction": 1}),
        ("这是什么\uff1f", {"ends_with_question": 1}),
        ("كم؟", {"ends_with_question": 1}),
        ("Answer:", {"ends_with_colon": 1, "starts_with_instruction": 1}),
        ("A) 3 B) 4 (C) 5", {"n_option_labels": 3}),
        ("A. 3\nB. 4", {"n_option_labels": 2}),
        ("ABBA) 3 fooB) 4", {}),
        ("7 \\frac{1}{2} \\(x\\)", {"n_latex_commands": 1, "n_maths_brackets": 1}),
        ("```\nx = 1;\n```", {"n_code_fences": 2, "n_statement_ends": 1}),
        ("it is ___ to", {"n_gaps": 1}),
        ("see https://a.b", {"n_links": 1}),
        ("items\n- a\n- b", {"n_list_lines": 2}),
        ("", {}),
    ],
)
def test_markers_are_found(text: str, expected: dict[str, float]) -> None:
    assert markers(text) == expected
