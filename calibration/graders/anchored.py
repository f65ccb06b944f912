r"""Find the answer a text commits to: `\boxed{...}`, `#### ...` or `Answer: ...`.

Only such anchored answers count. Searching for any number or letter would score working notes
that happen to contain the gold answer. Every function takes time linear in the text, whatever
the text: answers come from models and may be a megabyte of one character.
"""

import re

__all__ = ["find_anchored_answer", "unwrap_latex"]

_MARKED = re.compile(r"(?:^|[^\w])(?:final\s+answer|answer)\s*(?:is\s*:?|:|=)(.+)$", re.IGNORECASE)
_HASHES = re.compile(r"####(.+)$")
_BRACE = re.compile(r"\\boxed\s{0,8}\{|[{}]")
_SHORT = 64
"""A whole text of at most this many characters on one line is itself an answer."""
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|operatorname)\s{0,8}\{([^{}]*)\}")
_SPACE = re.compile(r"\\[ ,;:]|~")
_DELIMITERS = (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$"))


def find_anchored_answer(text: str) -> str | None:
    r"""Return the last answer the text commits to, `None` if there is none.

    Order: the last `\boxed{...}` with balanced braces; the last line with "answer is", "answer:"
    or `####` (which also begins headings, so a later "answer is" wins); a text that is nothing
    but one short line.
    """
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed
    lines = [line.strip() for line in text.strip().splitlines()]
    for line in reversed(lines):
        match = _MARKED.search(line) or _HASHES.search(line)
        if match:
            return _bare(match.group(1))
    if len(lines) == 1 and 0 < len(lines[0]) <= _SHORT:
        return _bare(lines[0])
    return None


def unwrap_latex(text: str) -> str:
    r"""Return a short answer without what LaTeX wraps around it: `$...$`, `\text{...}`."""
    text = text.strip()
    for opening, closing in _DELIMITERS:
        if len(text) > len(opening + closing) and text.startswith(opening):
            text = text.removeprefix(opening).removesuffix(closing).strip()
            break
    return _SPACE.sub(" ", _WRAPPED.sub(r"\1", text)).strip()


def _bare(text: str) -> str:
    """Return an answer without emphasis and a final stop."""
    return text.strip().lstrip("* ").rstrip("*. ").strip()


def _last_boxed(text: str) -> str | None:
    r"""Return the content of the balanced `\boxed{...}` that begins last, in one pass."""
    if "\\boxed" not in text:
        return None
    last: tuple[int, int] | None = None
    open_braces: list[int] = []  # Where a box's content begins; 0 for other braces.
    for brace in _BRACE.finditer(text):
        if brace.group() != "}":
            open_braces.append(brace.end() if len(brace.group()) > 1 else 0)
        elif open_braces:
            start = open_braces.pop()
            if start and (last is None or start > last[0]):
                last = (start, brace.start())
    return None if last is None else text[last[0] : last[1]].strip()
