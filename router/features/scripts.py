"""Which scripts a text is written in, and which of its characters are never seen.

The ranges are our own, so that a text gives the same numbers under every version of Python:
`unicodedata` grows with each. They follow the blocks of the Unicode standard, which do not move;
what is outside all of them counts as `other`.

Source: The Unicode Standard 15.0, Blocks.txt; characters without a glyph of their own:
DerivedCoreProperties.txt, `Default_Ignorable_Code_Point`, and the controls of Unicode 23.1.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COMPOSING",
    "IGNORED",
    "SCRIPT_FEATURES",
    "classes_of",
    "script_features",
    "script_rows",
]

# First and last code point of each range. Later rows overrule earlier ones.
_SCRIPTS: dict[str, tuple[tuple[int, int], ...]] = {
    "punctuation": (
        *((0xA1, 0xBF), (0x2000, 0x206F), (0x3000, 0x303F), (0xFE10, 0xFE6F)),
        (0xFF01, 0xFF65),
    ),
    "latin": (
        *((0xAA, 0xAA), (0xBA, 0xBA), (0xC0, 0x2FF), (0x1D00, 0x1DBF), (0x1E00, 0x1EFF)),
        *((0x2C60, 0x2C7F), (0xA720, 0xA7FF), (0xAB30, 0xAB6F), (0xFB00, 0xFB06)),
        *((0xFF21, 0xFF3A), (0xFF41, 0xFF5A)),
    ),
    "greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "cyrillic": ((0x400, 0x52F), (0x1C80, 0x1C8F), (0x2DE0, 0x2DFF), (0xA640, 0xA69F)),
    "armenian_georgian": ((0x530, 0x58F), (0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2F)),
    "hebrew": ((0x590, 0x5FF), (0xFB1D, 0xFB4F)),
    "arabic": (
        *((0x600, 0x6FF), (0x750, 0x77F), (0x870, 0x8FF)),
        *((0xFB50, 0xFDFF), (0xFE70, 0xFEFE)),
    ),
    "devanagari": ((0x900, 0x97F), (0xA8E0, 0xA8FF)),
    "bengali": ((0x980, 0x9FF),),
    "tamil": ((0xB80, 0xBFF),),
    "telugu": ((0xC00, 0xC7F),),
    "other_indic": ((0xA00, 0xB7F), (0xC80, 0xDFF)),
    "thai": ((0xE00, 0xE7F),),
    "lao_myanmar_khmer": ((0xE80, 0xEFF), (0x1000, 0x109F), (0x1780, 0x17FF)),
    "ethiopic": ((0x1200, 0x139F), (0x2D80, 0x2DDF), (0xAB00, 0xAB2F)),
    "han": (
        *((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3400, 0x4DBF)),
        *((0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
    ),
    "kana": ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)),
    "hangul": (
        *((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F)),
        *((0xAC00, 0xD7FF), (0xFFA0, 0xFFDC)),
    ),
    "maths": (
        *((0xB1, 0xB3), (0xB9, 0xB9), (0xD7, 0xD7), (0xF7, 0xF7), (0x2070, 0x209F)),
        *((0x2100, 0x23FF), (0x27C0, 0x27FF), (0x2900, 0x2AFF), (0x1D000, 0x1DFFF)),
    ),
    "pictures": ((0x2500, 0x27BF), (0x2B00, 0x2BFF), (0x1F000, 0x1FFFF)),
}

SCRIPT_FEATURES: tuple[str, ...] = (*(f"{name}_share" for name in _SCRIPTS), "other_script_share")
"""Names of the columns of `script_features`."""

IGNORED = 255
"""Class of characters that are never seen."""

COMPOSING = 64
"""Added to the class of characters that may make one with the character before."""

# Controls but for those that separate words (tab to carriage return), lone surrogates, marks of
# direction, joiners, fillers, selectors of variants, tags.
_NEVER_SEEN = (
    *((0x00, 0x08), (0x0E, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C)),
    *((0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E)),
    *((0x2060, 0x206F), (0x3164, 0x3164), (0xD800, 0xDFFF), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
    *((0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0xE0000, 0xE0FFF)),
)
# Marks of Latin, Greek and Cyrillic, voiced kana, and vowels and finals of Hangul.
_COMPOSE = ((0x300, 0x34E), (0x350, 0x36F), (0x1161, 0x1175), (0x11A8, 0x11C2), (0x3099, 0x309A))

_BASIC = 0x10000
_CHUNK_BITS = 12
_OTHER = len(_SCRIPTS) + 1  # 0 is ASCII


def _place(code: int) -> int:
    """Return where the table holds a code point: above the basic plane, one entry for 4,096."""
    return code if code < _BASIC else _BASIC + ((code - _BASIC) >> _CHUNK_BITS)


def _class_table() -> NDArray[np.uint8]:
    table = np.full(_place(0x10FFFF) + 1, _OTHER, dtype=np.uint8)
    table[:128] = 0
    for index, ranges in enumerate(_SCRIPTS.values(), start=1):
        for first, last in ranges:
            table[_place(first) : _place(last) + 1] = index
    for first, last in _COMPOSE:
        table[first : last + 1] += COMPOSING
    for first, last in _NEVER_SEEN:
        table[_place(first) : _place(last) + 1] = IGNORED
    return table


_CLASS = _class_table()
# The same without the mark of those that compose, and the ignored as one more script.
_SCRIPT = np.where(_CLASS == IGNORED, _OTHER + 1, _CLASS % COMPOSING).astype(np.uint8)
_ASCII_ROW: NDArray[np.float64] = np.zeros(len(SCRIPT_FEATURES))
_ASCII_ROW.flags.writeable = False


def classes_of(codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the class of each code point, same shape: 0 for ASCII, a script, or `IGNORED`.

    The class of a script is its place in `SCRIPT_FEATURES` counted from 1, plus `COMPOSING`.
    """
    return _CLASS.take(_places(codes))


def script_features(data: bytes) -> NDArray[np.float64]:
    """Return the share of characters in each script, shape `(len(SCRIPT_FEATURES),)`.

    Shares are of all characters that are seen, in [0, 1]. ASCII has no column: it is the rest, so
    that ASCII alone, which is most prompts, gives zeros at once. `latin_share` is therefore that
    of letters outside ASCII, such as `é`. The array may be shared and must not be written to.

    Args:
        data: UTF-8; what is not is read as `other`.
    """
    if data.isascii():
        return _ASCII_ROW
    text = data.decode("utf-8", "replace")
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    counts = np.bincount(_SCRIPT.take(_places(codes)), minlength=_OTHER + 2)
    n_seen = len(codes) - int(counts[_OTHER + 1])
    return counts[1 : _OTHER + 1] / max(n_seen, 1)


def _places(codes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return where the tables hold code points, see `_place`."""
    if len(codes) and codes.max() >= _BASIC:
        beyond = _BASIC + ((codes - np.uint32(_BASIC)) >> _CHUNK_BITS)
        return np.where(codes < _BASIC, codes, beyond)
    return codes


def script_rows(texts: Sequence[bytes]) -> NDArray[np.float64]:
    """Return `script_features` of many texts, shape `(n_texts, len(SCRIPT_FEATURES))`."""
    rows = np.zeros((len(texts), len(SCRIPT_FEATURES)))
    for row, data in zip(rows, texts, strict=True):
        if not data.isascii():
            row[:] = script_features(data)
    return rows
