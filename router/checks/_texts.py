"""Questions with the same text: kept together, and found across splits."""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ._findings import Finding, FindingCode, Severity

__all__ = ["Leak", "TextReport", "find_leaks", "merge_same_texts"]

_COMMON_SHARE = 0.5
_MIN_COMMON = 10


class Leak(NamedTuple):
    """A test question whose text is in the training questions too.

    Attributes:
        test: Its position.
        train: Position of the first training question with its text.
    """

    test: int
    train: int


class TextReport(NamedTuple):
    """Groups after questions of one text were put together.

    Attributes:
        groups: Group of each question.
        n_changed: Questions that have another group now.
        findings: What was found of the texts.
    """

    groups: tuple[str, ...]
    n_changed: int
    findings: list[Finding]


def find_leaks(train_prompts: Iterable[str], test_prompts: Iterable[str]) -> tuple[Leak, ...]:
    """Return the test questions whose text, but for case and white space, was trained on.

    Digits and punctuation count: `2 + 3` and `2 + 4` are two questions. Empty texts are none.

    Args:
        train_prompts: Texts that something was fitted on.
        test_prompts: Texts it is to be judged by.

    Example:
        >>> find_leaks(["What is 2 + 3?"], ["What is 2 + 4?", "what is  2 + 3?"])
        (Leak(test=1, train=0),)
    """
    first: dict[str, int] = {}
    for position, prompt in enumerate(train_prompts):
        first.setdefault(_normalised(prompt), position)
    first.pop("", None)
    found = ((position, first.get(_normalised(text))) for position, text in enumerate(test_prompts))
    return tuple(Leak(position, train) for position, train in found if train is not None)


def merge_same_texts(
    prompts: Sequence[str], groups: Sequence[str], question_ids: Sequence[str]
) -> TextReport:
    """Put questions with the same text, but for case and white space, into one group.

    A group that shares a text with two others joins them all; the joint group has the smallest
    of their names. Empty texts tell nothing and join nobody, nor does a text that most questions
    have.

    Args:
        prompts: Text of each question.
        groups: Its group, same length.
        question_ids: Its id, for examples.
    """
    members: dict[str, list[int]] = {}
    for position, prompt in enumerate(prompts):
        members.setdefault(_normalised(prompt), []).append(position)
    findings: list[Finding] = []
    empty = members.pop("", [])
    if empty:
        findings.append(_empty(len(empty), len(prompts), min(question_ids[i] for i in empty)))
    parents = {group: group for group in groups}
    shared: list[list[int]] = []
    for text, positions in members.items():
        if len(positions) == 1 or len({groups[i] for i in positions}) == 1:
            continue
        if len(positions) >= max(_MIN_COMMON, _COMMON_SHARE * len(prompts)):
            findings.append(_one_text(len(positions), len(prompts), text))
            continue
        shared.append(positions)
        for position in positions[1:]:
            _join(parents, groups[positions[0]], groups[position])
    joined = tuple(_root(parents, group) for group in groups)
    n_changed = sum(new != old for new, old in zip(joined, groups, strict=True))
    if shared:
        n_questions = sum(map(len, shared))
        example = min(" = ".join(sorted(question_ids[i] for i in p)[:2]) for p in shared)
        findings.append(_same(n_questions, len(prompts), len(shared), example))
    return TextReport(joined, n_changed, findings)


def _normalised(prompt: str) -> str:
    """Return the text without case and with single spaces; canonically equal texts are equal."""
    if not prompt.isascii():
        prompt = unicodedata.normalize("NFC", prompt.casefold())
    return " ".join(prompt.lower().split())


def _root(parents: dict[str, str], group: str) -> str:
    root = group
    while parents[root] != root:
        root = parents[root]
    while parents[group] != root:
        parents[group], group = root, parents[group]
    return root


def _join(parents: dict[str, str], first: str, second: str) -> None:
    roots = sorted((_root(parents, first), _root(parents, second)))
    parents[roots[1]] = roots[0]


def _empty(count: int, n: int, example: str) -> Finding:
    is_most = 2 * count > n
    consequence = ": routing by text is impossible" * is_most
    return Finding(
        FindingCode.EMPTY_TEXTS,
        Severity.WARNING,
        count,
        n,
        example,
        f"{count:,} of {n:,} questions have no text{consequence}",
        "record the prompts in the column 'prompt'"
        + (", or route by task alone, with task= at every decision" * is_most),
    )


def _one_text(count: int, n: int, text: str) -> Finding:
    return Finding(
        FindingCode.ONE_TEXT,
        Severity.WARNING,
        count,
        n,
        text[:80],
        f"{count:,} of {n:,} questions have one and the same text: it cannot tell them apart",
        "record what each question asked, not the template",
    )


def _same(count: int, n: int, n_texts: int, example: str) -> Finding:
    return Finding(
        FindingCode.SAME_TEXTS,
        Severity.WARNING,
        count,
        n,
        example,
        f"{count:,} of {n:,} questions in different groups have the text of another one"
        f" ({n_texts:,} texts): put into one group each, so that none is learned from and tested on",
        "nothing needs to be done; such as " + example,
    )
