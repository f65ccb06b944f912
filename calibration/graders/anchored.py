r"""Find the answer a text commits to: `\boxed{...}`, `#### ...` or `Answer: ...`.

Only such anchored answers count. Searching for any number or letter would score working notes
that happen to contain the gold answer.
"""

import re

__all__ = ["find_anchored_answer"]

_MARKED = re.compile(
    r"(?:^|[^\w])(?:final\s+answer|answer)\s*(?:is\s*:?|:|=)\s*(.+?)\s*$", re.IGNORECASE
)
_HASHES = re.compile(r"####\s*(.+?)\s*$")
_OPENING = re.compile(r"\\boxed\s*\{")
_SHORT = 64
"""A whole text of at most this many characters on one line is itself an answer."""


def find_anchored_answer(text: str) -> str | None:
    r"""Return the last answer the text commits to, `None` if there is none.

    Order: the last `\boxed{...}` with balanced braces; the last line with `####`; the last line
    with "answer is" or "answer:"; a text that is nothing but one short line.
    """
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed
    lines = [line.strip() for line in text.strip().splitlines()]
    for pattern in (_HASHES, _MARKED):
        for line in reversed(lines):
            match = pattern.search(line)
            if match:
                return match.group(1).strip().strip("*").rstrip(".").strip()
    if len(lines) == 1 and 0 < len(lines[0]) <= _SHORT:
        return lines[0].rstrip(".")
    return None


def _last_boxed(text: str) -> str | None:
    for opening in reversed(list(_OPENING.finditer(text))):
        depth = 1
        for position in range(opening.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                return text[opening.end() : position].strip()
    return None
