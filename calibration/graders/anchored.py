r"""Find the answer a text commits to: `\boxed{...}`, `#### ...` or `Answer: ...`.

Only such anchored answers count. Searching for any number or letter would score working notes
that happen to contain the gold answer. Every function takes time linear in the text, whatever
the text: answers come from models and may be a megabyte of one character.
"""

import re
from typing import NamedTuple

__all__ = ["SHORT_LINE", "find_anchored_answer", "unwrap_latex", "without_emphasis"]

SHORT_LINE = 64
"""A whole text of at most this many characters on one line is itself an answer."""

# "Answer" as the prompts of multilingual sets have it; those without spaces need a colon too.
_SPACED = ("answer", "antwort", "respuesta", "réponse", "reponse", "ответ", "jibu")
_UNSPACED = ("答案", "答え", "คำตอบ", "উত্তর", "సమాధానం")
_MARKED = re.compile(
    rf"(?<![^\W_])(?:{'|'.join(_SPACED)})s?(?![^\W_])[*_\s]{{0,16}}"
    r"(?:(?:to|for)\s(?:the|this|your)\s(?:question|problem|task|exercise|puzzle)\s{1,8})?"
    r"(?:(?:is|are|(?:would|will|must)\sbe|ist|es|est)(?!\w)"
    r"(?!\s{1,8}(?:not|never|nicht|kein|pas)\b)\s{0,8}[:\uff1a]?|[:\uff1a=])"
    rf"|(?:{'|'.join(_UNSPACED)})[*_\s]{{0,16}}(?:[:\uff1a]|是|为)",
    re.IGNORECASE,
)
_HEADLINE = re.compile(r"[#*_\s]{0,16}(?:final\s|correct\s)?answer[*_\s]{0,16}", re.IGNORECASE)
_HASHES = re.compile(r"(?<!#)####(?!#)")
_HEADING = re.compile(r"\s{0,8}[^\W\d]{2}")
_BRACE = re.compile(r"\\{1,4}(?:boxed|fbox)\s{0,8}\{|\\\\|\\[{}]|[{}]")
_BETWEEN_BOXES = re.compile(r"[\s$]{0,8}(or|and|,|/)[\s$]{0,8}", re.IGNORECASE)
_MAX_JOINED = 1000
_OPEN_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
_WRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|operatorname)\s{0,8}\{([^{}]*)\}"
)
_SPACE = re.compile(r"\\[ ,;:]|~")
_DELIMITERS = (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$"))
_EMPHASIS = re.compile(r"(?<![\w*])\*{1,3}(?![\s*])|(?<![\s*])\*{2,3}(?![\w*])")


class _Box(NamedTuple):
    """Where a box and its content begin and end."""

    start: int
    content: int
    content_end: int
    end: int


def find_anchored_answer(text: str, *, short_line: int = SHORT_LINE) -> str | None:
    r"""Return the last answer the text commits to, `None` if there is none.

    Order: the last `\boxed{...}` with balanced braces; the last line with "answer is", "answer:"
    or `####` or with the headline "Answer", the answer following on the same line or, if nothing
    does, on the next one; a text that is nothing but one short line. "The answer is not ..."
    commits to nothing, and `####` before words is a heading unless it is the last line. Boxes
    with nothing but `or`, `and`, `,` or `/` between them are one answer, `7 or 8`: whoever writes
    `\boxed{7} or \boxed{8}` has not committed to 8.

    Args:
        text: What the model said, without its thought.
        short_line: Longest one-line text that is itself an answer, in characters.
    """
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed
    lines = [line for line in (line.strip() for line in text.splitlines()) if line]
    # Looking for plain words first makes a long text without any of them ten times as fast.
    folded = text.casefold()
    has_mark = "####" in text or any(word in folded for word in (*_SPACED, *_UNSPACED))
    for i in reversed(range(len(lines))) if has_mark else ():
        following = lines[i + 1] if i + 1 < len(lines) else None
        found = _anchored_on(lines[i], following)
        if found is not None:
            return found
    if len(lines) == 1 and len(lines[0]) <= short_line and not _OPEN_BOX.search(lines[0]):
        return without_emphasis(lines[0])
    return None


def unwrap_latex(text: str) -> str:
    r"""Return a short answer without what LaTeX wraps around it: `$...$`, `\text{...}`."""
    text = text.strip()
    for opening, closing in _DELIMITERS:
        if len(text) > len(opening + closing) and text.startswith(opening):
            text = text.removeprefix(opening).removesuffix(closing).strip()
            break
    return _SPACE.sub(" ", _WRAPPED.sub(r"\1", text)).strip()


def _anchored_on(line: str, following: str | None) -> str | None:
    """Return the answer that a line announces, `None` if it announces none."""
    end = len(line) if following is not None and _HEADLINE.fullmatch(line) else None
    for match in _MARKED.finditer(line):
        end = match.end()
    if end is None:
        for match in _HASHES.finditer(line):
            end = match.end()
        if end is None or (following is not None and _HEADING.match(line, end)):
            return None
    said = without_emphasis(line[end:]) or without_emphasis(following or "")
    return None if _OPEN_BOX.search(said) else said  # A box that never closes holds nothing.


def without_emphasis(text: str) -> str:
    """Return an answer without emphasis, backquotes and a final stop."""
    text = _EMPHASIS.sub("", text.strip()) if "*" in text else text.strip()
    return text.strip("*_` ").rstrip("*`. ").strip()


def _last_boxed(text: str) -> str | None:
    r"""Return the content of the balanced `\boxed{...}` that begins last, in one pass.

    Boxes right before it that are joined to it by a conjunction belong to it.
    """
    if not _OPEN_BOX.search(text):
        return None
    boxes: list[_Box] = []
    open_braces: list[tuple[int, int] | None] = []  # Of a box: where it and its content begin.
    for brace in _BRACE.finditer(text):
        token = brace.group()
        if token in {"\\\\", "\\{", "\\}"}:  # A line break or a printed brace groups nothing.
            continue
        if token != "}":
            open_braces.append(brace.span() if len(token) > 1 else None)
        elif open_braces and (opened := open_braces.pop()) is not None:
            boxes.append(_Box(*opened, brace.start(), brace.end()))
    return _joined(text, boxes) if boxes else None


def _joined(text: str, boxes: list[_Box]) -> str:
    """Return the content of the last box, and of those that a conjunction joins to it."""
    boxes = sorted(boxes)
    last = boxes.pop()
    joined = said = text[last.content : last.content_end].strip()
    for box in reversed(boxes):
        between = _BETWEEN_BOXES.fullmatch(text, box.end, last.start)
        if between is None or len(joined) > _MAX_JOINED:
            break
        other = text[box.content : box.content_end].strip()
        if other != said:
            joined = f"{other}{', ' if between[1] == ',' else f' {between[1]} '}{joined}"
        last = box
    return joined
