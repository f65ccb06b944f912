"""Two studies side by side, recipe by recipe."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..study import load_study
from ..study.findings import AS_TRAINED, Contrast, Group, Measure, Term, contrast, group
from ._blocks import Block, Column, Page, Prose, Section, Table
from ._charts import dot_chart
from ._figures import ranged
from ._points import Axis, Point

if TYPE_CHECKING:
    from ..study import StudyTable

__all__ = ["compared_studies"]

_POCKET = "pocket"
_MOST_DRAWN = 40


class _Row(NamedTuple):
    """One recipe on one task type, in both studies."""

    name: str
    task_type: str
    first: Contrast
    second: Contrast
    difference: Contrast | None


def compared_studies(names: tuple[str, str], places: tuple[str, str]) -> Page:
    """Return the page of two studies, the first minus the second.

    Recipes of the same size, corpus, ratio and order are compared as they were trained, over the
    seeds that both have. Differences are paired by question where both have asked the same ones,
    which is known of the pocket world's alone; else each stands for itself.

    Args:
        names: What the studies are called.
        places: Names of shipped studies, or folders.

    Raises:
        UnknownNameError: One of them is no study.
        ArtifactError: One of them is damaged, or of a newer version.
    """
    studies = load_study(places[0]), load_study(places[1])
    is_paired = _asked_alike(studies)
    keys = [set(_recipes(study)) for study in studies]
    both = [key for key in _recipes(studies[0]) if key in keys[1]]
    rows = [row for key in both for row in _rows(studies, key, is_paired=is_paired)]
    notes: list[str] = []
    for name, own, other in ((names[0], *keys), (names[1], *keys[::-1])):
        if own - other:
            notes.append(f"Only {name} has trained {len(own - other)} of its {len(own)} recipes.")
    if rows and not is_paired:
        notes.append(
            "It is not known that both asked the same questions: accuracies stand beside each"
            " other, and no difference is told."
        )
    if not rows:
        notes.append("No recipe was trained and measured in both: nothing can be compared.")
    return Page(
        f"{names[0]} against {names[1]}",
        _lead(rows),
        (_section(names, rows),) if rows else (),
        tuple(notes),
        (("first", places[0]), ("second", places[1])),
    )


def _asked_alike(studies: "tuple[StudyTable, StudyTable]") -> bool:
    labs = [dict(study.provenance.get("lab") or {}).get("lab") for study in studies]
    counts = [study.design.n_questions for study in studies]
    return labs == [_POCKET, _POCKET] and counts[0] == counts[1]


def _recipes(study: "StudyTable") -> list[tuple[str, str, str]]:
    """Return size, corpus and label of every recipe that was trained, in the study's order."""
    found = [(one.student.size, one.student.corpus, one.student.label) for one in study.results]
    return list(dict.fromkeys(found))


def _rows(
    studies: "tuple[StudyTable, StudyTable]", key: tuple[str, str, str], *, is_paired: bool
) -> list[_Row]:
    groups = [group(study, *key) for study in studies]
    kinds = sorted(
        {cell.task_type for one in groups for each in one.by_seed.values() for cell in each.cells}
    )
    rows: list[_Row] = []
    for kind in kinds:
        first, second = (contrast([Term(1.0, one)], [kind]) for one in groups)
        if first is None or second is None:
            continue
        difference = _difference(groups[0], groups[1], kind) if is_paired else None
        rows.append(_Row(" ".join(key), kind, first, second, difference))
    return rows


def _difference(first: Group, second: Group, kind: str) -> Contrast | None:
    return contrast([Term(1.0, first), Term(-1.0, second)], [kind])


def _lead(rows: Sequence[_Row]) -> tuple[str, ...]:
    found = [row.difference.measure for row in rows if row.difference is not None]
    if not found:
        return ()
    if all(one.estimate == 0 for one in found):
        return (f"No difference: {len(found)} recipes and task types came out alike.",)
    n_apart = sum(map(_leaves_zero_out, found))
    return (
        f"{n_apart} of {len(found)} recipes and task types differ: their 95% intervals, not adjusted"
        " for their number, leave zero out.",
    )


def _section(names: tuple[str, str], rows: Sequence[_Row]) -> Section:
    blocks: list[Block] = [
        Prose(
            (
                f"Each recipe is asked as it was trained ({AS_TRAINED}). Intervals of 95% are over"
                " seeds and questions together.",
            )
        )
    ]
    drawn = [row for row in rows if row.difference is not None]
    drawn.sort(key=lambda row: -abs(row.difference.measure.estimate) if row.difference else 0.0)
    if drawn:
        words = f"{min(len(drawn), _MOST_DRAWN)} of {len(drawn)}, the largest differences first."
        blocks.append(
            dot_chart(
                f"Accuracy, {names[0]} minus {names[1]}",
                words,
                [_point(row, row.difference) for row in drawn[:_MOST_DRAWN] if row.difference],
                x=Axis("recipe and task type", "name"),
                y=Axis("difference of accuracy", "number"),
                mark="its interval leaves zero out",
            )
        )
    columns = (
        Column("recipe"),
        Column("task type"),
        Column("first [95%]", is_number=True),
        Column("seeds", is_number=True),
        Column("second [95%]", is_number=True),
        Column("seeds", is_number=True),
        Column("questions", is_number=True),
        Column("difference [95%]", is_number=True, hint="first minus second, paired"),
    )
    cells = tuple(
        (
            row.name,
            row.task_type,
            _shown(row.first),
            str(row.first.n_seeds),
            _shown(row.second),
            str(row.second.n_seeds),
            f"{row.first.n_questions:,}",
            "" if row.difference is None else _shown(row.difference, "+.3f"),
        )
        for row in rows
    )
    blocks.append(Table("Recipes that both have trained", columns, cells))
    return Section("Differences", tuple(blocks))


def _point(row: _Row, found: Contrast) -> Point:
    one, name = found.measure, f"{row.name}, {row.task_type}"
    is_apart = _leaves_zero_out(one)
    return Point(
        name, "difference", name, one.estimate, one.low, one.high, found.n_questions, is_apart
    )


def _leaves_zero_out(one: Measure) -> bool:
    return one.low is not None and one.high is not None and (one.low > 0 or one.high < 0)


def _shown(found: Contrast, spec: str = ".3f") -> str:
    return ranged(found.measure.estimate, found.measure.low, found.measure.high, spec)
