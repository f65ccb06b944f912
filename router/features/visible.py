"""What of a text can be seen, the same under every version of Python.

Only the characters that are never seen and those that may make one with the letter before are
told apart from the rest. Their ranges are our own: `unicodedata` grows with each Python.

Source: The Unicode Standard 15.0, DerivedCoreProperties.txt, `Default_Ignorable_Code_Point`, and
the controls of Unicode 23.1.
"""

from unicodedata import ucd_3_2_0

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNSEEN_ASCII", "visible_text"]

UNSEEN_ASCII = bytes((*range(9), *range(14, 32), 127))
"""The controls of ASCII but for those that separate words (tab to carriage return)."""

# First and last code point of each range: controls, marks of direction, joiners, fillers,
# selectors of variants, tags.
_NEVER_SEEN = (
    *((0x00, 0x08), (0x0E, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C)),
    *((0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E)),
    *((0x2060, 0x206F), (0x3164, 0x3164), (0xD800, 0xDFFF), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
    *((0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0xE0000, 0xE0FFF)),
)
# Marks of Latin, Greek and Cyrillic, voiced kana, and vowels and finals of Hangul.
_COMPOSE = ((0x300, 0x34E), (0x350, 0x36F), (0x1161, 0x1175), (0x11A8, 0x11C2), (0x3099, 0x309A))

_PLAIN, _COMPOSING, _UNSEEN = range(3)
_BASIC = 0x10000
_CHUNK_BITS = 12


def _place(code: int) -> int:
    """Return where the table holds a code point: above the basic plane, one entry for 4,096."""
    return code if code < _BASIC else _BASIC + ((code - _BASIC) >> _CHUNK_BITS)


def _kind_table() -> NDArray[np.uint8]:
    table = np.full(_place(0x10FFFF) + 1, _PLAIN, dtype=np.uint8)
    for kind, ranges in ((_COMPOSING, _COMPOSE), (_UNSEEN, _NEVER_SEEN)):
        for first, last in ranges:
            table[_place(first) : _place(last) + 1] = kind
    return table


_KIND = _kind_table()


def visible_text(text: str) -> str:
    r"""Return a text without what cannot be seen, its letters composed.

    Controls (but tab, line breaks and page breaks), zero-width characters, marks of direction,
    lone surrogates and the like go. Letters written as letter and mark become one where
    Unicode 3.2 has one (NFC), which Python keeps unchanged for ever; NFC of the running Python
    would give other texts under other versions.

    The result is its own result: asking twice changes nothing.

    Example:
        >>> visible_text("a\x00b\ufeffc")
        'abc'
    """
    if text.isascii():
        data = text.encode()
        kept = data.translate(None, UNSEEN_ASCII)
        return text if len(kept) == len(data) else kept.decode()
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    kinds = _KIND.take(_places(codes))
    most = kinds.max()
    if most == _PLAIN:
        return text
    if most == _UNSEEN:
        text = codes[kinds != _UNSEEN].tobytes().decode("utf-32-le")
    return ucd_3_2_0.normalize("NFC", text) if (kinds == _COMPOSING).any() else text


def _places(codes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return where the table holds code points, see `_place`."""
    if codes.max() >= _BASIC:
        beyond = _BASIC + ((codes - np.uint32(_BASIC)) >> _CHUNK_BITS)
        return np.where(codes < _BASIC, codes, beyond)
    return codes
