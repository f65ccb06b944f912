"""Hand-made features of a prompt: lengths, characters, markers of options, code and questions.

Everything is counted on bytes with C-speed primitives (a byte histogram, `bytes.count`,
`bytes.translate`), because this runs once per decision.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["TEXT_FEATURES", "TEXT_VERSION", "ReadText", "read_text", "text_features"]

TEXT_VERSION = 1
"""Raised whenever the same prompt gives other numbers or other words."""


class ReadText(NamedTuple):
    """A prompt, read once.

    Attributes:
        data: The prompt as UTF-8.
        folded: Lower case, digits as `0`, ASCII punctuation as spaces, a space at both ends.
        words: The words of `folded`.
    """

    data: bytes
    folded: bytes
    words: list[bytes]


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

# Characters that are counted together, by name of the feature.
_CLASSES = {
    "n_digits": b"0123456789",
    "n_upper": b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "n_operators": b"+-*/=^<>%",
    "n_question_marks": b"?",
    "n_commas": b",",
    "n_stops": b".!;:",
    "n_newlines": b"\n",
    "n_brackets": b"()[]",
    "n_braces": b"{}",
    "n_latex": b"\\$",
    "n_quotes": b"\"'",
    "n_backticks": b"`",
    "n_non_ascii": bytes(range(128, 256)),
}
# Words that are counted together, by name of the feature.
_WORDS = {
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
# Pairs of those classes in a row.
_WORD_PAIRS = {"n_of_the": ("n_of", "n_the"), "n_how_many": ("n_how", "n_many_much")}

TEXT_FEATURES: tuple[str, ...] = (
    "n_bytes",
    "n_words",
    *_WORD_PAIRS,
    "n_numbers",
    "n_option_marks",
    "mean_word_bytes",
    *_CLASSES,
    "digit_share",
    "operator_share",
    "non_ascii_share",
    *_WORDS,
)
"""Names of the columns of `text_features`."""

_N_CHARACTER_CLASSES = len(_CLASSES) + 1
_N_WORD_CLASSES = len(_WORDS) + 1
_SHARES = [list(_CLASSES).index(name) for name in ("n_digits", "n_operators", "n_non_ascii")]
# Class 0 is every other character, every other word.
_CLASS_OF_WORD = {
    word: index for index, words in enumerate(_WORDS.values(), start=1) for word in words
}
_PAIR_OF_THE, _PAIR_HOW_MANY = (
    bytes((list(_WORDS).index(first) + 1, list(_WORDS).index(second) + 1))
    for first, second in _WORD_PAIRS.values()
)


def _character_table() -> bytes:
    table = bytearray(256)
    for index, members in enumerate(_CLASSES.values(), start=1):
        for code in members:
            table[code] = index
    return bytes(table)


_CLASS_OF_CHARACTER = _character_table()


def read_text(prompt: str) -> ReadText:
    """Return the bytes and words of a prompt; a lone surrogate reads as `?`."""
    data = prompt.encode("utf-8", "replace")
    lower = data if len(data) == len(prompt) else prompt.lower().encode("utf-8", "replace")
    folded = b" %b " % lower.translate(_FOLD)
    return ReadText(data, folded, folded.split())


def text_features(texts: Sequence[ReadText]) -> NDArray[np.float64]:
    """Return the hand-made features, shape `(n_texts, len(TEXT_FEATURES))`, all finite.

    Counts are per prompt, `mean_word_bytes` is in bytes, shares are per byte in [0, 1].
    """
    characters: list[bytes] = []
    word_classes: list[bytes] = []
    rest: list[tuple[int, ...]] = []
    for data, folded, words in texts:
        characters.append(data.translate(_CLASS_OF_CHARACTER))
        classes = bytes(map(_CLASS_OF_WORD.get, words, repeat(0)))
        word_classes.append(classes)
        rest.append(
            (
                len(data),
                len(words),
                classes.count(_PAIR_OF_THE),
                classes.count(_PAIR_HOW_MANY),
                folded.count(b" 0"),
                data.count(b"B)") + data.count(b"\nB"),
            )
        )
    counts = np.array(rest, dtype=np.float64).reshape(len(texts), 6)
    n_bytes, n_words = counts[:, :1], counts[:, 1:2]
    in_classes = _histograms(characters, _N_CHARACTER_CLASSES)
    return np.concatenate(
        (
            counts,
            n_bytes / np.maximum(n_words, 1.0),
            in_classes,
            in_classes[:, _SHARES] / np.maximum(n_bytes, 1.0),
            _histograms(word_classes, _N_WORD_CLASSES),
        ),
        axis=1,
    )


def _histograms(parts: Sequence[bytes], n_classes: int) -> NDArray[np.float64]:
    """Count each class but 0 in each part, shape `(n_parts, n_classes - 1)`."""
    values = np.frombuffer(b"".join(parts), dtype=np.uint8)
    offsets = np.arange(len(parts)) * n_classes
    keys = values + np.repeat(offsets, list(map(len, parts))) if len(parts) > 1 else values
    counts = np.bincount(keys, minlength=len(parts) * n_classes)
    return counts.reshape(len(parts), n_classes)[:, 1:].astype(np.float64)
