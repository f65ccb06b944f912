"""Hand-made features of a prompt: lengths, characters, scripts, markers of options and code.

Everything is counted on bytes with C-speed primitives (a byte histogram, `bytes.count`,
`bytes.translate`), because this runs once per decision.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .visible import UNSEEN_ASCII, visible_text

__all__ = [
    "MAX_BYTES",
    "N_WORD_CLASSES",
    "TEXT_FEATURES",
    "TEXT_VERSION",
    "WORD_CLASSES",
    "ReadText",
    "read_text",
    "text_features",
    "text_row",
]

TEXT_VERSION = 2
"""Raised whenever the same prompt gives other numbers or other words."""

MAX_BYTES = 16_384
"""Of a longer prompt the first three quarters of this and the last quarter are read."""

_HEAD = MAX_BYTES * 3 // 4


class ReadText(NamedTuple):
    """A prompt, read once.

    Attributes:
        n_bytes: Length of the prompt in UTF-8, all of it.
        data: What can be seen of the prompt as UTF-8, clipped to `MAX_BYTES`.
        folded: Lower case, digits as `0`, ASCII punctuation as spaces, a space at both ends.
        spaced: The same with a run without spaces of a script that writes none (Thai, Chinese,
            Japanese, ...) as its pairs of neighbouring characters, between spaces.
    """

    n_bytes: int
    data: bytes
    folded: bytes
    spaced: bytes

    @property
    def words(self) -> list[bytes]:
        """The words, in the order of the text."""
        return self.spaced.split()


def _folding_table() -> bytes:
    table = bytearray(range(256))
    for code in range(128):
        character = chr(code)
        if character.isdigit():
            table[code] = ord("0")
        elif character.isalpha():
            table[code] = ord(character.lower())
        else:
            table[code] = ord(" ")
    return bytes(table)


_FOLD = _folding_table()

# Bytes that are counted together, by name of the feature. Scripts are told by the first byte of a
# character in UTF-8, so each character counts once.
_CLASSES = {
    "n_digits": b"0123456789",
    "n_upper": b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "n_operators": b"+-*/=^<>",
    "n_percent": b"%",
    "n_dollar": b"$",
    "n_question_marks": b"?",
    "n_commas": b",",
    "n_stops": b".!;:",
    "n_newlines": b"\n",
    "n_brackets": b"()[]",
    "n_braces": b"{}",
    "n_backslashes": b"\\",
    "n_quotes": b"\"'",
    "n_backticks": b"`",
    "n_latin_marked": bytes(range(0xC2, 0xCA)),
    "n_greek": b"\xce\xcf",
    "n_cyrillic": bytes(range(0xD0, 0xD4)),
    "n_hebrew_arabic": bytes(range(0xD6, 0xDE)),
    "n_indic_thai": b"\xe0",
    "n_symbols": b"\xe2",
    "n_kana": b"\xe3",
    "n_han": bytes(range(0xE4, 0xEA)),
    "n_hangul": bytes(range(0xEA, 0xEE)),
    "n_beyond": bytes(range(0xF0, 0xF5)),
}
_SHARES = ("n_digits", "n_operators")
WORD_CLASSES = {
    "n_one_digit": (b"0",),
    "n_two_digits": (b"00",),
    "n_three_digits": (b"000",),
    "n_more_digits": tuple(b"0" * n for n in range(4, 12)),
    "n_what": (b"what",),
    "n_which": (b"which",),
    "n_who_when_where": (b"who", b"whom", b"whose", b"when", b"where"),
    "n_why": (b"why",),
    "n_how": (b"how",),
    "n_many_much": (b"many", b"much"),
    "n_of": (b"of",),
    "n_the": (b"the",),
    "n_each_every": (b"each", b"every", b"per"),
    "n_conditions": (b"if", b"then", b"suppose", b"assume", b"given"),
    "n_negations": (b"not", b"no", b"never", b"except"),
    "n_totals": (b"total", b"sum", b"altogether", b"remaining", b"left", b"difference"),
    "n_comparisons": (b"more", b"less", b"most", b"least", b"than"),
    "n_code_words": (b"def", b"return", b"function", b"class", b"import", b"print"),
    "n_proof_words": (b"prove", b"show", b"explain", b"because"),
}
"""Words that are counted together, by name of the feature; class 0 is every other word."""

N_WORD_CLASSES = len(WORD_CLASSES) + 1
"""Word classes, class 0 included."""

# Pairs of those classes in a row.
_WORD_PAIRS = {"n_of_the": ("n_of", "n_the"), "n_how_many": ("n_how", "n_many_much")}

TEXT_FEATURES: tuple[str, ...] = (
    "n_bytes",
    "n_words",
    *_WORD_PAIRS,
    "n_numbers",
    "n_option_marks",
    "n_code_fences",
    "mean_word_bytes",
    *_CLASSES,
    "digit_share",
    "operator_share",
    "ascii_share",
    *WORD_CLASSES,
)
"""Names of the columns of `text_features`."""

_N_CHARACTER_CLASSES = len(_CLASSES) + 1
_SHARE_COLUMNS = [list(_CLASSES).index(name) for name in _SHARES]
_PAIR_OF_THE, _PAIR_HOW_MANY = (
    bytes((list(WORD_CLASSES).index(first) + 1, list(WORD_CLASSES).index(second) + 1))
    for first, second in _WORD_PAIRS.values()
)


def _character_table() -> bytes:
    table = bytearray(256)
    for index, members in enumerate(_CLASSES.values(), start=1):
        for code in members:
            table[code] = index
    return bytes(table)


_CLASS_OF_CHARACTER = _character_table()
# Typographic marks stand between words, as their ASCII cousins do.
_MARKS = tuple(
    mark.encode() for mark in "\u201c\u201d\u2018\u2019\u2013\u2014\u2026\u00ab\u00bb\u2022"
)
_NON_ASCII = bytes(range(128, 256))
# The shortest run that is surely several words: three characters of three bytes.
_RUN_BYTES = 9
_FIRST_OF_THREE_BYTES = 0xE0


def read_text(prompt: str) -> ReadText:
    """Return the bytes and words of a prompt; a lone surrogate reads as `?`."""
    data = prompt.encode("utf-8", "replace")
    n_bytes = len(data)
    if n_bytes > MAX_BYTES:
        data = data[:_HEAD] + b"\n" + data[_HEAD - MAX_BYTES :]
    if n_bytes == len(prompt):  # ASCII only
        data = data.translate(None, UNSEEN_ASCII)
        folded = b" %b " % data.translate(_FOLD)
        return ReadText(n_bytes, data, folded, folded)
    text = visible_text(data.decode("utf-8", "ignore"))
    lower = text.lower().encode()
    for mark in _MARKS:
        lower = lower.replace(mark, b" ")
    folded = b" %b " % lower.translate(_FOLD)
    spaced = b" %b " % b" ".join(_without_runs(folded.split()))
    return ReadText(n_bytes, text.encode(), folded, spaced)


def _without_runs(words: list[bytes]) -> Iterator[bytes]:
    for word in words:
        if len(word) < _RUN_BYTES or word[0] < _FIRST_OF_THREE_BYTES:
            yield word
            continue
        characters = word.decode()
        for start in range(len(characters) - 1):
            yield characters[start : start + 2].encode()


def text_features(
    texts: Sequence[ReadText], word_classes: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Return the hand-made features, shape `(n_texts, len(TEXT_FEATURES))`, all finite.

    Counts are per prompt as far as it is read, `n_bytes` counts all of it, `mean_word_bytes` is
    in bytes, shares are per byte read, in [0, 1].

    Args:
        texts: The prompts.
        word_classes: Class of each word of all texts in a row, as `Vocabulary.look_up` gives it.
    """
    rows: list[tuple[float, ...]] = []
    end = 0
    for text in texts:
        start, end = end, end + len(text.spaced.split())
        rows.append(text_row(text, word_classes[start:end]))
    return np.array(rows, dtype=np.float64).reshape(len(texts), len(TEXT_FEATURES))


def text_row(text: ReadText, word_classes: NDArray[np.uint8]) -> tuple[float, ...]:
    """Return one row of `text_features`.

    Args:
        text: The prompt.
        word_classes: Class of each of its words.
    """
    n_bytes, data, folded, _ = text
    n_words, n_read = len(word_classes), len(data) or 1
    characters = np.frombuffer(data.translate(_CLASS_OF_CHARACTER), dtype=np.uint8)
    _, *in_classes = np.bincount(characters, minlength=_N_CHARACTER_CLASSES).tolist()
    _, *of_words = np.bincount(word_classes, minlength=N_WORD_CLASSES).tolist()
    classes = word_classes.tobytes()
    n_non_ascii = 0 if data.isascii() else len(data) - len(data.translate(None, _NON_ASCII))
    # To search for one byte takes a tenth of the time of counting two.
    return (
        n_bytes,
        n_words,
        classes.count(_PAIR_OF_THE),
        classes.count(_PAIR_HOW_MANY),
        folded.count(b" 0") if b"0" in folded else 0,
        data.count(b"B)") + data.count(b"\nB") if b"B" in data else 0,
        data.count(b"```") if b"`" in data else 0,
        n_read / (n_words or 1),
        *in_classes,
        *(in_classes[column] / n_read for column in _SHARE_COLUMNS),
        1.0 - n_non_ascii / n_read,
        *of_words,
    )
