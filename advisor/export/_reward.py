"""Rewards for reinforcement learning: 1 for the right final answer, else 0.

`advisor export` copies this file as `rewards.py` beside the configurations; it needs nothing but
the standard library. Change it freely there: the trainer calls `accuracy` by name.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

__all__ = ["accuracy", "final_answer", "is_right"]

_ANSWER = re.compile(
    r"(?:final\s+answer|answer)\s*(?:\*\*)?\s*(?:is\b\s*:?|:|=)\s*(?:\*\*)?\s*([^\n]+)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?")
_WRAPPER = re.compile(r"\\(?:text|mathrm|mathbf|boldsymbol)\s*\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{(-?\d+)\}\s*\{(-?\d+)\}")


def accuracy(
    completions: Sequence[Sequence[dict[str, str]] | str], solution: Sequence[str], **_: Any
) -> list[float]:
    """Return 1.0 per completion whose final answer is the solution, else 0.0.

    A completion that opens `<think>` and does not close it has no answer: it was cut off.

    Args:
        completions: Texts, or lists of one message with a `content`.
        solution: Right answers, one per completion.
        _: What else the trainer passes on.
    """
    texts = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
    return [float(is_right(text, right)) for text, right in zip(texts, solution, strict=True)]


def is_right(text: str, solution: str) -> bool:
    """Return whether the final answer of a text is the solution, as number or as text."""
    found = final_answer(text)
    if found is None:
        return False
    wanted = final_answer(solution) if "boxed{" in solution else solution
    if _same(found, wanted or solution):
        return True
    # "The total is 42 apples." answers "42": without a marked answer, the last number counts.
    numbers = _NUMBER.findall(found)
    return bool(numbers) and _is_number(solution) and _same(numbers[-1], solution)


def final_answer(text: str) -> str | None:
    r"""Return the last `\boxed{...}`, else what follows the last "answer is", else the last line.

    Thoughts do not count; `None` if a thought was never closed or there is no text.
    """
    if "<think>" in text and "</think>" not in text:
        return None
    said = text.rpartition("</think>")[2].strip()
    boxed = _last_boxed(said)
    if boxed is not None:
        return boxed
    marked = _ANSWER.findall(said)
    if marked:
        return str(marked[-1])
    return said.splitlines()[-1] if said else None


def _last_boxed(text: str) -> str | None:
    start = text.rfind("boxed{")
    if start < 0:
        return None
    start += len("boxed{")
    depth = 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[start:end]
    return None


def _same(one: str, other: str) -> bool:
    left, right = _plain(one), _plain(other)
    return left == right or (
        _is_number(left) and _is_number(right) and _number(left) == _number(right)
    )


def _plain(text: str) -> str:
    unwrapped = _FRACTION.sub(r"\1/\2", _WRAPPER.sub(r"\1", text))
    for noise in ("\\(", "\\)", "\\[", "\\]", "\\left", "\\right", "\\,", "\\!", "\\%"):
        unwrapped = unwrapped.replace(noise, "")
    bare = unwrapped.replace("$", "").replace("*", "").strip().rstrip(".").strip("()[] ")
    return " ".join(bare.casefold().split())


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(_plain(text)) is not None and not _plain(text).endswith("/0")


def _number(text: str) -> Fraction:
    return Fraction(_plain(text).replace(",", ""))
