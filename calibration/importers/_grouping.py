"""Which questions of a table belong together: translations and repeats of one question.

A router that has seen a question in one language knows its numbers in every other, so such
questions must never be split between fitting and testing.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ._record import text_of

__all__ = ["Grouping", "QuestionKey", "find_grouping"]

_MARKS = "_-.:@#|"
_SPELLING = re.compile(r"[_\s]")

Rule = Literal["column", "language", "source", "id"]


class QuestionKey(NamedTuple):
    """What a row says about where its question belongs; "" for what it does not say.

    Attributes:
        identifier: The question's id as it is in the file.
        task: Its task.
        language: Its language.
        group: Its group.
        source: Name of the data set it was taken from.
        source_id: Its id there.
    """

    identifier: str
    task: str
    language: str
    group: str
    source: str
    source_id: str

    @classmethod
    def of_row(cls, row: Mapping[str, Any], columns: Mapping[str, str]) -> "QuestionKey":
        """Read it from a row.

        Args:
            row: The row.
            columns: Column of each thing the file has one for.

        Raises:
            UnusableRowError: A value cannot be a text.
        """
        return cls(*(text_of(row.get(columns.get(what, ""))) for what in _PARTS))


_PARTS = ("question", "task", "language", "group", "source", "source id")


@dataclass(frozen=True, slots=True)
class Grouping:
    """How questions are grouped.

    Attributes:
        rule: `column`: the file's own groups. `language`: ids that differ in the language alone.
            `source`: equal items of the data set they were taken from. `id`: every question is
            a group of its own.
        by_family: With `language`, whether the task, its language left out, is part of the
            group, since ids count from 0 in every task.
        note: What was done, for people.
    """

    rule: Rule
    note: str
    by_family: bool = False

    def group_of(self, key: QuestionKey, own: str) -> str:
        """Return the group of a question.

        Args:
            key: What its row says.
            own: The question's id, which is its group if nothing else is.
        """
        if self.rule == "column":
            return key.group or own
        if self.rule == "source":
            return f"{key.source}#{key.source_id}" if key.source and key.source_id else own
        if self.rule == "language":
            rest = _without_language(key.identifier, key.language) or key.identifier
            return f"{_family(key)}/{rest}" if self.by_family else rest
        return own


def find_grouping(keys: Iterable[QuestionKey]) -> Grouping:
    """Return the grouping that a file's questions ask for, whatever the order of the rows.

    The first of these that the file supports: its `group` column; languages, if there are
    several and the id of a question is its language's code and something that several languages
    share (`de/17`, `17_de`, `mgsm_de/17`); the columns `source_dataset` and `source_id`; the
    question's own id.
    """
    known = set(keys)
    if any(key.group for key in known):
        n_without = len({key.identifier for key in known if not key.group})
        rest = f"; {n_without:,} questions without one are groups of their own" * bool(n_without)
        return Grouping("column", f"questions are grouped by the column 'group'{rest}")
    return _by_language(known) or _by_source(known) or Grouping("id", _NO_GROUPS)


_NO_GROUPS = "every question id is a group of its own: the file tells of no translations or repeats"


def _by_language(known: set[QuestionKey]) -> Grouping | None:
    languages = {key.language for key in known if key.language}
    if len(languages) < 2:
        return None
    # Per shared part of the ids: the tasks of each language.
    tasks: dict[str, dict[str, set[str]]] = {}
    families: dict[tuple[str, str], set[str]] = {}
    n_named = 0
    for key in known:
        rest = _without_language(key.identifier, key.language)
        n_named += rest is not None
        rest = rest or key.identifier
        tasks.setdefault(rest, {}).setdefault(key.language, set()).add(key.task)
        families.setdefault((_family(key), rest), set()).add(key.language)
    n_shared = sum(len(of_rest) > 1 for of_rest in tasks.values())
    if not n_named or not n_shared:
        return None
    has_several_tasks = any(len(t) > 1 for of_rest in tasks.values() for t in of_rest.values())
    n_in_families = sum(len(found) > 1 for found in families.values())
    # Where the tasks' names do not tell that they are one task in several languages, numbers
    # alone decide: groups that are too large cost little, a leak costs the whole evaluation.
    by_family = has_several_tasks and 2 * n_in_families >= n_shared
    n_groups = len(families) if by_family else len(tasks)
    n_questions = len({(key.task, key.identifier) for key in known})
    return Grouping(
        "language",
        f"questions in {len(languages)} languages ({', '.join(sorted(languages))}): translations"
        f" are one group, told from ids without their language"
        f"{' and the task' if by_family else ''}; {n_groups:,} groups of {n_questions:,} questions",
        by_family,
    )


def _by_source(known: set[QuestionKey]) -> Grouping | None:
    questions = {(key.task, key.identifier): key for key in known}
    items = [
        (key.source, key.source_id) for key in questions.values() if key.source and key.source_id
    ]
    if not items:
        return None
    return Grouping(
        "source",
        f"questions are grouped by 'source_dataset' and 'source_id': {len(set(items)):,} items of"
        f" {len(questions):,} questions",
    )


def _family(key: QuestionKey) -> str:
    """Return the task without its language: `mgsm` for `mgsm_de` in the language `de`."""
    return _without_language(key.task, key.language) or key.task


def _without_language(name: str, language: str) -> str | None:
    """Return a name without its language's code, `None` if that is no part of it.

    A whole path segment comes first, then an end or a beginning set off by a mark, then the same
    within a segment; one place only, so that a Spanish id may contain `es` twice.
    """
    code = _spelled(language)
    if not code:
        return None
    segments = name.split("/")
    for index, segment in enumerate(segments):
        if _spelled(segment) == code:
            return "/".join(segments[:index] + segments[index + 1 :]) or None
    for index in (len(segments) - 1, *range(len(segments) - 1)):
        rest = _without_end(segments[index], code)
        if rest is not None:
            return "/".join([*segments[:index], rest, *segments[index + 1 :]])
    return None


def _without_end(segment: str, code: str) -> str | None:
    spelled = _spelled(segment)
    if len(segment) <= len(code) + 1 or len(spelled) != len(segment):
        return None
    if spelled.endswith(code) and segment[-len(code) - 1] in _MARKS:
        return segment[: -len(code) - 1]
    if spelled.startswith(code) and segment[len(code)] in _MARKS:
        return segment[len(code) + 1 :]
    return None


def _spelled(text: str) -> str:
    return _SPELLING.sub("-", text.lower())
