"""The page of a study: what was trained, curves over shares, orders and FLOPs, and the findings."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..study import StudyTable, load_study
from ..study.findings import AS_TRAINED, Group, find_all, write_value
from ._blocks import Block, Column, Facts, Page, Prose, Section, Table
from ._studied_charts import (
    Recipe,
    cost_charts,
    order_charts,
    ratio_charts,
    recipes_of,
    stage_charts,
    task_types,
)
from ._studied_findings import agreement_words, finding_blocks, summary_table

if TYPE_CHECKING:
    from calibration import Cell

__all__ = ["study_page"]

_FEW = 30
"""Questions below which an interval over them is wider than 35 points."""


def study_page(place: str | Path) -> Page:
    """Return the page of a study.

    Args:
        place: Name of a shipped study, or a folder that `StudyTable.save` wrote.

    Raises:
        UnknownNameError: It is neither; names close ones.
        ArtifactTooNewError: A newer version wrote it.
        ArtifactCorruptError: A file of it is missing, changed or malformed.
    """
    table = load_study(place)
    sources = (("study", str(place)), *_origin(table.provenance))
    if not table.results:
        note = "No student was measured: there is nothing to show but the plan."
        return Page(f"Study {table.name}", (_size_of(table),), (_trained(table),), (note,), sources)
    recipes = recipes_of(table)
    findings = find_all(table)
    sections = (
        _trained(table),
        Section("Accuracy over the share of reasoning rows", _or_nothing(ratio_charts(table))),
        Section("The order of rows and stages", _orders(table)),
        Section(
            "Accuracy over training FLOPs", _or_nothing(cost_charts(table, recipes, "training"))
        ),
        Section(
            "Accuracy over inference FLOPs", _or_nothing(cost_charts(table, recipes, "inference"))
        ),
        Section("Against the paper", (summary_table(findings),)),
        *(Section(one.question, finding_blocks(one)) for one in findings),
        Section("Every group", tuple(_group_tables(table, recipes))),
    )
    lead = (_size_of(table), agreement_words(findings))
    return Page(f"Study {table.name}", lead, sections, tuple(_missing(table, recipes)), sources)


def _size_of(table: StudyTable) -> str:
    seeds = {one.student.seed for one in table.results}
    n = sum(cell.n for one in table.results for cell in one.cells)
    kinds = task_types(table)
    return (
        f"{len(table.results):,} of {len(_planned(table)):,} planned students: "
        f"{_count(len(table.sizes), 'size')}, {_count(len(table.corpora), 'corpus', 'corpora')}, "
        f"{_count(len(seeds), 'seed')}; {n:,} graded answers on {_count(len(kinds), 'task type')}."
    )


def _planned(table: StudyTable) -> dict[object, str]:
    """Return the size of each student that was planned, or was measured beyond the plan."""
    known = [*table.design.students(), *(one.student for one in table.results)]
    return {one: one.size for one in known}


def _missing(table: StudyTable, recipes: Mapping[Recipe, Group]) -> Iterator[str]:
    planned = _planned(table)
    left = [size for one, size in planned.items() if one not in {r.student for r in table.results}]
    if left:
        per_size = ", ".join(f"{left.count(size):,} of {size}" for size in dict.fromkeys(left))
        yield (
            f"{len(left):,} of {len(planned):,} planned students were not measured: {per_size}. "
            "What they would have told is missing below."
        )
    seeds = [len(group.by_seed) for group in recipes.values()]
    if set(seeds) == {1}:
        yield (
            "Every recipe was trained with one seed: intervals are over questions alone, and "
            "another seed may lie outside of them."
        )
    elif 1 in seeds:
        yield (
            f"{seeds.count(1):,} of {len(seeds):,} groups have one seed: their intervals are over "
            "questions alone, and another seed may lie outside of them."
        )
    if len(table.sizes) == 1:
        yield (
            f"One size was measured, {next(iter(table.sizes))}: nothing is told of how anything "
            "changes with size, and reasoning cannot be matched with a larger IFT student."
        )
    cells = [cell for one in table.results for cell in one.cells]
    if all(cell.policy != AS_TRAINED for cell in cells):
        yield (
            f"No student was asked as trained ({AS_TRAINED}), which is how recipes are compared: "
            "there are no curves and no findings, only the groups."
        )
    labels = {recipe.label for recipe in recipes}
    for label, words in (("ift", "direct answers (IFT)"), ("reasoning", "reasoning rows")):
        if label not in labels:
            yield f"No student was trained on {words} alone: gains over it cannot be told."
    if any(not one.train_flops for one in table.results):
        yield "Training FLOPs of some students are not known."
    if few := {cell.n for cell in cells if cell.n < _FEW}:
        yield (
            f"Some students were asked only {min(few)} questions of a task type: intervals over "
            "them are wider than 35 points."
        )


def _trained(table: StudyTable) -> Section:
    design = table.design
    seeds = sorted({one.student.seed for one in table.results} or design.seeds)
    labels = dict.fromkeys(one.student.label for one in table.results)
    kinds = task_types(table)
    cells = [cell for one in table.results for cell in one.cells]
    policies = dict.fromkeys(cell.policy for cell in cells)
    rows = (
        ("students", f"{len(table.results):,} of {len(_planned(table)):,} planned"),
        ("sizes", ", ".join(table.sizes or design.sizes)),
        ("corpora", ", ".join(table.corpora or design.corpora)),
        ("shares of reasoning rows", ", ".join(f"{ratio:g}" for ratio in design.ratios)),
        ("orders", ", ".join(order.value for order in design.orders)),
        ("seeds", ", ".join(map(str, seeds))),
        ("training rows", f"{design.n_rows:,} in each stage, one per question"),
        ("recipes", ", ".join(labels) or "none was measured"),
        ("task types", ", ".join(kinds) or "none was measured"),
        ("asked by", ", ".join(policies or design.policies)),
        ("questions of a task type", ", ".join(f"{n:,}" for n in sorted({c.n for c in cells}))),
    )
    blocks: list[Block] = [Facts(tuple((name, value) for name, value in rows if value))]
    if table.results:
        blocks.append(_sizes_table(table))
    return Section("What was trained", tuple(blocks))


def _sizes_table(table: StudyTable) -> Table:
    rows: list[tuple[str, ...]] = []
    for size, n_params in table.sizes.items():
        own = table.select(size=size)
        flops = [one.train_flops for one in own]
        tokens = [one.train_tokens for one in own]
        n_planned = sum(one == size for one in _planned(table).values())
        rows.append(
            (
                size,
                f"{n_params:,}",
                f"{len(own):,} of {n_planned:,}",
                f"{sum(tokens):,}",
                _span(f"{min(tokens):,}", f"{max(tokens):,}"),
                _flops(sum(flops)),
                _span(_flops(min(flops)), _flops(max(flops))),
            )
        )
    columns = (
        Column("size"),
        Column("parameters", is_number=True),
        Column("students", is_number=True, hint="measured, of those planned"),
        Column("tokens of all", is_number=True, hint="that training computes"),
        Column("of one", is_number=True, hint="from the smallest to the largest"),
        Column("training FLOPs of all", is_number=True, hint="pre-training left out"),
        Column("of one", is_number=True, hint="from the smallest to the largest"),
    )
    return Table("What training took", columns, tuple(rows))


def _orders(table: StudyTable) -> tuple[Block, ...]:
    rows = order_charts(table)
    stages = stage_charts(table)
    rows = rows or [_nothing("No order of rows was trained beside the shuffled one.")]
    return (*rows, *(stages or [_nothing("No student was trained in two stages.")]))


def _group_tables(table: StudyTable, recipes: Mapping[Recipe, Group]) -> Iterator[Block]:
    """Return all groups: a table for each task type, all of one recipe's seeds in a row."""
    by_kind: dict[str, list[tuple[str, Cell]]] = {kind: [] for kind in task_types(table)}
    for corpus in table.corpora:
        for cell in table.pooled_cells(corpus=corpus):
            by_kind[cell.task_type].append((corpus, cell))
    columns = (
        Column("group"),
        Column("asked by"),
        Column("accuracy [95%]", is_number=True, hint="over seeds and questions"),
        Column("n", is_number=True, hint="graded answers of all seeds"),
        Column("seeds", is_number=True),
        Column("cut", is_number=True, hint="ran out of tokens; counted as not right"),
        Column("tokens", is_number=True, hint="generated, mean"),
        Column("inference FLOPs", is_number=True, hint="per question, mean"),
        Column("training FLOPs", is_number=True, hint="of one student, mean over seeds"),
        Column("training tokens", is_number=True, hint="of one student, mean over seeds"),
    )
    for kind, cells in by_kind.items():
        rows = tuple(
            _group_row(cell, recipes[Recipe(cell.model, corpus, cell.recipe)])
            for corpus, cell in cells
        )
        n_groups = len({row[0] for row in rows})
        caption = f"{kind}: {n_groups:,} groups by each policy, {len(rows):,} rows"
        yield Table(caption, columns, rows, is_folded=True)


def _group_row(cell: "Cell", group: Group) -> tuple[str, ...]:
    # A student may lack the cell that others of its recipe have.
    own = [
        one
        for one in group.by_seed.values()
        if any((c.task_type, c.policy) == (cell.task_type, cell.policy) for c in one.cells)
    ]
    return (
        f"{cell.model}, {group.corpus}, {cell.recipe}",
        cell.policy,
        f"{cell.accuracy:.3f} [{cell.ci_low:.3f}, {cell.ci_high:.3f}]",
        f"{cell.n:,}",
        f"{len(own)}",
        f"{cell.n_cut:,}",
        f"{cell.mean_tokens:,.1f}",
        _flops(cell.mean_flops or 0.0),
        _flops(sum(one.train_flops for one in own) / len(own)),
        f"{sum(one.train_tokens for one in own) / len(own):,.0f}",
    )


def _origin(provenance: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Return where a study comes from, a row each; what its lab tells stands beside the rest."""
    for name, value in provenance.items():
        if isinstance(value, Mapping):
            yield from _origin(cast("Mapping[str, object]", value))
        else:
            yield name, str(value)


def _or_nothing(blocks: Iterable[Block]) -> tuple[Block, ...]:
    return tuple(blocks) or (_nothing(f"Nothing of it was asked as trained ({AS_TRAINED})."),)


def _nothing(text: str) -> Prose:
    return Prose((text,), is_warning=True)


def _flops(value: float) -> str:
    """Return FLOPs as text, "" where they are not known, which a study holds as 0."""
    return write_value(value, "flops") if value else ""


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or f'{one}s'}"
