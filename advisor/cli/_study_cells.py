"""Readable and JSON forms of a study's measured cells, and of one cell of it by its id."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ._output import cell_json, format_flops, format_interval, print_table, print_text, table

if TYPE_CHECKING:
    from calibration import Cell

    from ..study._results import StudentResult, StudyCell
    from ..study._table import StudyTable

__all__ = [
    "StudyFilter",
    "entry_document",
    "find_pooled",
    "print_pooled",
    "print_study",
    "study_document",
]

_ID_PARTS = 5
"""Parts of a cell's id behind its study: corpus, task type, size, recipe, policy."""


class StudyFilter(NamedTuple):
    """Which cells of a study are wanted; `None` for all."""

    size: str | None = None
    corpus: str | None = None
    ratio: float | None = None
    order: str | None = None
    seed: int | None = None
    task_type: str | None = None
    policy: str | None = None

    def check(self, study: "StudyTable") -> None:
        """Refuse names that the study does not have.

        Raises:
            UnknownNameError: It has no such size, corpus or the like; names what it has.
            InvalidInputError: It has each of them, but no student has all.
        """
        from policies import InvalidInputError, UnknownNameError

        students = [one.student for one in study.results]
        cells = [cell for one in study.results for cell in one.cells]
        known: Mapping[str, tuple[object, set[Any]]] = {
            "size": (self.size, {one.size for one in students}),
            "corpus": (self.corpus, {one.corpus for one in students}),
            "ratio": (self.ratio, {one.ratio for one in students}),
            "order": (self.order, {one.order.value for one in students}),
            "seed": (self.seed, {one.seed for one in students}),
            "task type": (self.task_type, {cell.task_type for cell in cells}),
            "policy": (self.policy, {cell.policy for cell in cells}),
        }
        for name, (value, values) in known.items():
            if value is not None and value not in values:
                raise UnknownNameError(name, str(value), [str(one) for one in values])
        found = self.students(study)
        wants = [f"{name} {value}" for name, (value, _) in known.items() if value is not None]
        if wants and not any(self.wants(c.task_type, c.policy) for one in found for c in one.cells):
            raise InvalidInputError(
                f"no student of {study.name} has {', '.join(wants)} together",
                hint="ratios 0 and 1 have no order of their own: they count as mixed; leave out"
                " one of the filters",
                code="no-such-student",
            )

    def students(self, study: "StudyTable") -> "tuple[StudentResult, ...]":
        """Return the students that are wanted."""
        return study.select(
            size=self.size,
            corpus=self.corpus,
            ratio=self.ratio,
            order=self.order,
            seed=self.seed,
        )

    def wants(self, task_type: str, policy: str) -> bool:
        """Return whether a cell is wanted."""
        return self.task_type in {None, task_type} and self.policy in {None, policy}


def entry_document(study: "StudyTable", name: str) -> dict[str, Any]:
    """Return one line of the list of tables as a JSON object."""
    students = [one.student for one in study.results]
    return {
        "name": name,
        "kind": "study",
        "n_cells": sum(len(one.cells) for one in study.results),
        "runs": len(students),
        "sizes": list(study.sizes),
        "corpora": list(study.corpora),
        "seeds": sorted({one.seed for one in students}),
    }


def study_document(study: "StudyTable", name: str, wanted: StudyFilter) -> dict[str, Any]:
    """Return a study's cells as a JSON object: every student's, and the recipes' over seeds."""
    results = wanted.students(study)
    return {
        "name": name,
        "kind": "study",
        "runs": len(results),
        "tokens": sum(one.train_tokens for one in results),
        "train_flops": sum(one.train_flops for one in results),
        "cells": [
            _cell_document(one, cell)
            for one in results
            for cell in one.cells
            if wanted.wants(cell.task_type, cell.policy)
        ],
        "recipes": [
            {"id": _id(name, corpus, cell), "corpus": corpus, **cell_json(cell)}
            for corpus, cell in _pooled(study, wanted)
        ],
        "design": study.design.model_dump(mode="json"),
        "provenance": dict(study.provenance),
    }


def _cell_document(one: "StudentResult", cell: "StudyCell") -> dict[str, Any]:
    student = one.student
    measured = {name: value for name, value in asdict(cell).items() if name != "correct"}
    return {
        "student": student.id,
        "size": student.size,
        "n_params": one.n_params,
        "corpus": student.corpus,
        "ratio": student.ratio,
        "order": student.order.value,
        "seed": student.seed,
        "recipe": student.label,
        "train_tokens": one.train_tokens,
        "train_flops": one.train_flops,
        **measured,
    }


def _pooled(study: "StudyTable", wanted: StudyFilter) -> "list[tuple[str, Cell]]":
    """Return the cells of recipes, their seeds pooled, that are wanted."""
    from dataclasses import replace

    chosen = replace(study, results=wanted.students(study))
    return [
        (corpus, cell)
        for corpus in chosen.corpora
        for cell in chosen.pooled_cells(corpus=corpus)
        if wanted.wants(cell.task_type, cell.policy)
    ]


def _id(name: str, corpus: str, cell: "Cell") -> str:
    return f"{name}/{corpus}/{cell.task_type}/{cell.model}/{cell.recipe}/{cell.policy}"


def print_study(study: "StudyTable", name: str, wanted: StudyFilter) -> None:
    """Print a study, one table per size and corpus, seeds pooled unless one was asked for."""
    results = wanted.students(study)
    groups: dict[tuple[str, str], list[Cell]] = {}
    for corpus, cell in _pooled(study, wanted):
        groups.setdefault((cell.model, corpus), []).append(cell)
    flops = {
        (one.student.size, one.student.corpus, one.student.label): one.train_flops
        for one in results
    }
    think = _think_shares(results)
    for (size, corpus), cells in groups.items():
        rows = [
            (
                cell.recipe,
                cell.task_type,
                cell.policy,
                _percent(cell),
                f"{cell.mean_tokens:.1f}",
                f"{think[size, corpus, cell.recipe, cell.task_type, cell.policy]:.2f}",
                format_flops(flops[size, corpus, cell.recipe]),
            )
            for cell in cells
        ]
        n_params = f"{study.sizes[size]:,} parameters"
        title = f"{name}: {size} ({n_params}), {corpus}, n = {_counts(cells)}"
        heads = ("recipe", "task", "policy", "% right [95%]", "tokens", "think", "train")
        print_table(table(title, heads, rows))
    seeds = sorted({one.student.seed for one in results})
    over = "seeds and questions" if len(seeds) > 1 else "questions alone"
    print_text(f"students: {len(results)}, seeds {', '.join(map(str, seeds))}")
    print_text(f"right: all answers of the seeds, with a 95% interval over {over}")
    print_text("policy: direct, thinking switched off; reasoning@max, as trained: it may think")
    print_text("think: share of answers that think; train: training FLOPs of one seed")
    print_text(f"cells are shown by ids such as {_first_id(name, groups)}")


def _percent(cell: "Cell") -> str:
    low, high = 100 * cell.ci_low, 100 * cell.ci_high
    return f"{100 * cell.accuracy:.1f} [{low:.1f}, {high:.1f}]"


def _first_id(name: str, groups: "Mapping[tuple[str, str], Sequence[Cell]]") -> str:
    return next((_id(name, corpus, cells[0]) for (_, corpus), cells in groups.items()), "-")


def _counts(cells: "Sequence[Cell]") -> str:
    low, high = min(cell.n for cell in cells), max(cell.n for cell in cells)
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def _think_shares(
    results: "Sequence[StudentResult]",
) -> dict[tuple[str, str, str, str, str], float]:
    """Return the mean share of answers that think, by size, corpus, recipe, task and policy."""
    found: dict[tuple[str, str, str, str, str], list[float]] = {}
    for one in results:
        student = one.student
        for cell in one.cells:
            key = (student.size, student.corpus, student.label, cell.task_type, cell.policy)
            found.setdefault(key, []).append(cell.think_share)
    return {key: sum(values) / len(values) for key, values in found.items()}


class PooledCell(NamedTuple):
    """One recipe's cell with its seeds.

    Attributes:
        id: The id that it was found by.
        corpus: Corpus.
        pooled: All seeds together.
        results: The students.
        cells: Their cells, in the same order.
    """

    id: str
    corpus: str
    pooled: "Cell"
    results: "tuple[StudentResult, ...]"
    cells: "tuple[StudyCell, ...]"

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        seeds = [_cell_document(*pair) for pair in zip(self.results, self.cells, strict=True)]
        about = {"kind": "study-cell", "id": self.id, "corpus": self.corpus}
        return {**about, **cell_json(self.pooled), "cells": seeds}


def find_pooled(text: str) -> PooledCell | None:
    """Return the cell of a study with an id; `None` where the id begins with no study.

    Raises:
        UnknownNameError: The study has no such cell.
        InvalidInputError: The id is not whole.
        ArtifactError: The study cannot be read.
    """
    from policies import InvalidInputError

    from ..study._catalog import is_study, load_study

    parts = text.split("/")
    for at in range(1, len(parts)):
        place = "/".join(parts[:at])
        if place and is_study(place):
            if len(parts) - at < _ID_PARTS:
                if Path(text).exists():  # such as a student's folder
                    return None
                raise InvalidInputError(
                    f"{text} is no cell of the study {place}",
                    hint=f"an id is {place}/CORPUS/TASK/SIZE/RECIPE/POLICY; advisor tables show"
                    f" {place} prints one",
                    code="unknown-cell",
                )
            corpus, task_type, size, label, *policy = parts[at:]
            wanted = StudyFilter(
                size=size, corpus=corpus, task_type=task_type, policy="/".join(policy)
            )
            return _found(load_study(place), text, wanted, label)
    return None


def _found(study: "StudyTable", text: str, wanted: StudyFilter, label: str) -> PooledCell:
    from policies import UnknownNameError

    wanted.check(study)
    pooled = [one for one in _pooled(study, wanted) if one[1].recipe == label]
    if not pooled:
        labels = {one.student.label for one in wanted.students(study)}
        raise UnknownNameError("recipe", label, labels)
    found = [
        (one, cell)
        for one in wanted.students(study)
        for cell in one.cells
        if one.student.label == label and wanted.wants(cell.task_type, cell.policy)
    ]
    results, cells = zip(*found, strict=True)
    return PooledCell(text, pooled[0][0], pooled[0][1], results, cells)


def print_pooled(found: PooledCell) -> None:
    """Print one recipe's cell, and what each seed was measured to do."""
    cell = found.pooled
    rows = [
        (
            str(one.student.seed),
            format_interval(measured.accuracy, measured.ci_low, measured.ci_high),
            f"{measured.n:,}",
            str(measured.n_cut),
            f"{measured.mean_tokens:.1f}",
            f"{measured.think_share:.2f}",
            format_flops(measured.mean_flops),
            format_flops(one.train_flops),
        )
        for one, measured in zip(found.results, found.cells, strict=True)
    ]
    heads = ("seed", "accuracy [95%]", "n", "cut", "tokens", "think", "query", "train")
    print_table(table(found.id, heads, rows))
    accuracy = format_interval(cell.accuracy, cell.ci_low, cell.ci_high)
    over = "seeds and questions" if len(rows) > 1 else "questions alone"
    print_text(f"all seeds: {accuracy}, 95% interval over {over}, {cell.n:,} answers")
    print_text("query and train: FLOPs of one answer, prompt included, and of training")
