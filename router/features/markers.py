r"""What kind of thing a prompt is: options, formulas, code, a question, an instruction.

All of it is counted on bytes with C-speed primitives; a regular expression runs only where a
plain search has found that it may match.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["MARKER_FEATURES", "marker_features", "marker_rows"]

# Things that are counted by themselves, by name of the feature. They all have the byte that comes
# first: to search for one byte takes a tenth of the time of counting several.
_COUNTED: dict[str, tuple[bytes, tuple[bytes, ...]]] = {
    "n_code_fences": (b"`", (b"```",)),
    "n_indented_lines": (b"\n", (b"\n    ", b"\n\t")),
    "n_statement_ends": (b"\n", (b";\n", b"{\n")),
    "n_list_lines": (b"\n", (b"\n- ", b"\n* ")),
    "n_paragraphs": (b"\n", (b"\n\n",)),
    "n_table_bars": (b"|", (b"|",)),
    "n_gaps": (b"_", (b"___",)),
    "n_links": (b":", (b"://",)),
    "n_maths_brackets": (b"\\", (b"\\(", b"\\[")),
    "n_maths_lines": (b"$", (b"$$",)),
}

MARKER_FEATURES: tuple[str, ...] = (
    *_COUNTED,
    "n_latex_commands",
    "n_option_labels",
    "ends_with_question",
    "ends_with_colon",
    "starts_with_question_word",
    "starts_with_instruction",
)
"""Names of the columns of `marker_features`."""

_LATEX_COMMAND = re.compile(rb"\\[A-Za-z]{2,}")
# `A)`, `(A)`, `A.` or `A:` where a word would begin, and then a space. What comes before the letter
# is looked at last, so that the search can leap from capital to capital.
_OPTION_LABEL = re.compile(rb"[A-J][).:](?<![^\s(]..)\s")
_SECOND_OPTION = (b"B)", b"B.", b"B:")
# ASCII, Arabic and full-width.
_QUESTION_ENDS = (b"?", "\u061f".encode(), "\uff1f".encode())
_COLON_ENDS = (b":", "\uff1a".encode())
_LONGEST_FIRST_WORD = 16
_FIRST_WORD = re.compile(rb"[A-Za-z]+")
_QUESTION_WORDS = frozenset(
    b"what which who whom whose when where why how is are was were do does did can could should"
    b" would will".split()
)
_INSTRUCTIONS = frozenset(
    b"write explain prove show compute calculate find solve list translate summarize summarise"
    b" describe determine evaluate simplify give complete implement create choose answer let"
    b" suppose consider name define compare".split()
)


def marker_features(data: bytes) -> NDArray[np.float64]:
    """Return counts of markers and forms of a prompt, shape `(len(MARKER_FEATURES),)`.

    Counts are per prompt; the four forms at the end are 0 or 1. Words are English ones.

    Args:
        data: The prompt as UTF-8.
    """
    return np.array(_markers(data), dtype=np.float64)


def marker_rows(texts: Sequence[bytes]) -> NDArray[np.float64]:
    """Return `marker_features` of many texts, shape `(n_texts, len(MARKER_FEATURES))`."""
    rows = list(map(_markers, texts))
    return np.array(rows, dtype=np.float64).reshape(len(texts), len(MARKER_FEATURES))


def _markers(data: bytes) -> list[int]:
    row = [
        sum(map(data.count, needles)) if common in data else 0
        for common, needles in _COUNTED.values()
    ]
    row.append(len(_LATEX_COMMAND.findall(data)) if b"\\" in data else 0)
    has_options = any(label in data for label in _SECOND_OPTION)
    row.append(len(_OPTION_LABEL.findall(data)) if has_options else 0)
    body = data.strip()
    found = _FIRST_WORD.match(body, 0, _LONGEST_FIRST_WORD)
    first = found.group().lower() if found else b""
    row += (
        body.endswith(_QUESTION_ENDS),
        body.endswith(_COLON_ENDS),
        first in _QUESTION_WORDS,
        first in _INSTRUCTIONS,
    )
    return row
