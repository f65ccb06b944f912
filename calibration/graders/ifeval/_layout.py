"""IFEval's checks of an answer's layout: lists, sections, titles, quotes, beginnings and ends.

Each takes the answer and the instruction's parameters and returns whether it is followed, in
time linear in the answer.

Source: Zhou et al., Instruction-Following Evaluation for Large Language Models (arXiv
2311.07911), table 1 and appendix; details as its published program applies them.
"""

import json
import re

__all__ = [
    "ends_with",
    "gives_two_responses",
    "has_bullets",
    "has_highlights",
    "has_placeholders",
    "has_postscript",
    "has_sections",
    "has_title",
    "is_constrained",
    "is_json",
    "is_quoted",
    "repeats_prompt",
]

_PLACEHOLDER = re.compile(r"\[[^\[\]\n]*\]")
_ITALIC = re.compile(r"\*[^\n*]*\*")
_BOLD = re.compile(r"\*\*[^\n*]*\*\*")
_CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_POSTSCRIPTS = {"p.s.": re.compile(r"p\.\s?s\."), "p.p.s": re.compile(r"p\.\s?p\.\s?s")}


def has_placeholders(answer: str, *, num_placeholders: int) -> bool:
    """There are at least so many placeholders such as `[address]`."""
    return len(_PLACEHOLDER.findall(answer)) >= num_placeholders


def has_postscript(answer: str, *, postscript_marker: str) -> bool:
    """There is a postscript with the marker, in any case; `P. S.` counts as `P.S.`."""
    folded, marker = answer.lower(), postscript_marker.lower()
    pattern = _POSTSCRIPTS.get(marker)
    return bool(pattern.search(folded)) if pattern else marker in folded


def has_bullets(answer: str, *, num_bullets: int) -> bool:
    """There are exactly so many bullets: lines that begin with `*` (not `**`) or `-`.

    A line of nothing but `*` is none; one of nothing but `-` is, and so is a rule of dashes, as
    in the published program.
    """
    count = 0
    for line in answer.split("\n"):
        text = line.lstrip()
        is_star = text.startswith("*") and len(text) > 1 and text[1] != "*"
        count += is_star or text.startswith("-")
    return count == num_bullets


def is_constrained(answer: str) -> bool:
    """One of the three sentences is there: `My answer is yes.`, `... no.`, `... maybe.`."""
    return any(choice in answer for choice in _CHOICES)


def has_highlights(answer: str, *, num_highlights: int) -> bool:
    """There are at least so many parts in `*italics*` or `**bold**`, none of them empty."""
    italic = sum(bool(part.strip("*").strip()) for part in _ITALIC.findall(answer))
    bold = sum(bool(part[2:-2].strip()) for part in _BOLD.findall(answer))
    return italic + bold >= num_highlights


def has_sections(answer: str, *, section_spliter: str, num_sections: int) -> bool:
    """There are at least so many sections, each begun by the word and a number: `Section 1`."""
    heading = re.compile(rf"{re.escape(section_spliter)}\s?\d+")
    return sum(1 for _ in heading.finditer(answer)) >= num_sections


def is_json(answer: str) -> bool:
    """The whole answer is JSON, perhaps in a fenced block."""
    text = answer.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def has_title(answer: str) -> bool:
    """There is a title in double angular brackets on one line: `<<title>>`."""
    for line in answer.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end - 2 and line[start:end].lstrip("<").rstrip(">").strip():
            return True
    return False


def gives_two_responses(answer: str) -> bool:
    """There are two different responses, separated by six asterisks.

    A separator may also stand at the very beginning and the very end.
    """
    parts = [part.strip() for part in answer.split("******")]
    responses = [part for part in parts if part]
    is_gapless = all(parts[1:-1])
    return is_gapless and len(responses) == 2 and responses[0] != responses[1]


def repeats_prompt(answer: str, *, prompt_to_repeat: str) -> bool:
    """The answer begins with the prompt, in any case."""
    return answer.strip().lower().startswith(prompt_to_repeat.strip().lower())


def ends_with(answer: str, *, end_phrase: str) -> bool:
    """The answer ends with the phrase, in any case; quotation marks around it are ignored."""
    return answer.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def is_quoted(answer: str) -> bool:
    """The whole answer stands in double quotation marks."""
    text = answer.strip()
    return len(text) > 1 and text.startswith('"') and text.endswith('"')
