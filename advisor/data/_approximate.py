"""Number of tokens of a text without a tokenizer, from what it is made of."""

import math
import re
import string
from collections import Counter
from dataclasses import dataclass

__all__ = ["ApproximateCounter"]

_LETTERS = bytes(byte if chr(byte).isalpha() and byte < 128 else 32 for byte in range(256))
_MARKS = bytes(byte if chr(byte) in string.punctuation else 32 for byte in range(256))
_DIGITS = string.digits.encode()
"""Tables for `bytes.translate`: everything but letters, or but punctuation, becomes a space."""

_COMMON = frozenset(
    b"the of and to in is a that for as are with be it was on by an this he she if how many has"
    b" have or from at not which his her their they we you i so each more than all can will no but"
    b" what when there were one two then return def import else".split()
)
_ENGLISH_SHARE = 0.2
"""Share of such words from which a text is English; English text has 0.26-0.43, text in 16 other
languages, tables and JSON at most 0.06."""

_WORD_TOKENS = 1.1
_LETTER_TOKENS = 0.4
_DIGIT_TOKENS = 1.2
_PUNCTUATION_TOKENS = 0.85
_LINE_TOKENS = 1.05
_OTHER_TOKENS = 2.5
_SCRIPTS = (  # first and last character, tokens per character
    (0x0370, 0x03FF, 1.05),  # Greek
    (0x0400, 0x052F, 0.4),  # Cyrillic
    (0x0590, 0x06FF, 0.45),  # Hebrew, Arabic
    (0x0900, 0x0DFF, 1.3),  # scripts of India
    (0x0E00, 0x0E7F, 0.62),  # Thai
    (0x1F00, 0x1FFF, 1.05),  # Greek
    (0x2000, 0x206F, 1.0),  # dashes and quotation marks
    (0x2E80, 0x9FFF, 0.75),  # Chinese, Japanese
    (0xAC00, 0xD7AF, 0.75),  # Korean
    (0xF900, 0xFAFF, 0.75),
    (0xFF00, 0xFFEF, 0.75),  # full-width forms
)
_LATIN = re.compile(r"[\u00c0-\u024f\u1e00-\u1eff]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


@dataclass(frozen=True, slots=True)
class ApproximateCounter:
    """Counts words, digits, punctuation and characters of other scripts, each with its weight.

    Words of a text that is not English cost more the longer they are. Weights were fitted to the
    tokenizer of Qwen2.5, which takes every digit by itself, on documents of mathematics, code,
    prose, tables and 17 languages, and rounded up. Mean error by kind, on the same documents:
    English, mathematics and code -3% to +7%, tables and JSON +12%, other languages -9% to +18%,
    except Swahili -21% and Telugu -23%; 99.7% of the documents have at most `upper_factor` times
    the tokens counted. Vocabularies with few characters of a script need up to three times as
    many for it: give a tokenizer there.
    """

    name: str = "approximation"
    is_exact: bool = False
    upper_factor: float = 1.3

    def count(self, text: str) -> int:
        """Return about the number of tokens, 1 or more."""
        tokens = 0.0
        if not text.isascii():
            text = _LATIN.sub("q", text)  # a letter as any other; "a" alone is an English word
            found = Counter(_NOT_ASCII.findall(text))
            tokens = sum(n * _character_tokens(character) for character, n in found.items())
            text = _NOT_ASCII.sub(" ", text)
        data = text.encode("ascii")
        words = data.translate(_LETTERS).split()
        n_digits = len(data) - len(data.translate(None, _DIGITS))
        tokens += (
            _WORD_TOKENS * len(words)
            + _LETTER_TOKENS * _n_spelled(words)
            + _DIGIT_TOKENS * n_digits
            + _PUNCTUATION_TOKENS * len(data.translate(_MARKS).split())
            + _LINE_TOKENS * data.count(b"\n")
        )
        return max(1, math.ceil(tokens))


def _character_tokens(character: str) -> float:
    code = ord(character)
    return next(
        (weight for first, last, weight in _SCRIPTS if first <= code <= last), _OTHER_TOKENS
    )


def _n_spelled(words: list[bytes]) -> float:
    """Return how many letters stand for tokens of their own, beside one token per word."""
    n_common = sum(map(_COMMON.__contains__, words))
    foreign = max(0.0, 1 - n_common / (_ENGLISH_SHARE * max(1, len(words))))
    lengths = list(map(len, words))
    if foreign:
        return foreign * sum(length - 4 for length in lengths if length > 4)
    # No English word, but a link or encoded data.
    return sum(length - 16 for length in lengths if length > 16)
