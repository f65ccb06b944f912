"""Sections of the usual page of `advisor recommend` that are shorter than those of `--full`.

What decides is never shortened: warnings, reasons and what would change the answer are printed
whole. Texts that end in `...` go on under `--full`.
"""

from typing import TYPE_CHECKING

from ._page import Page
from ._recommend_words import (
    cost_range,
    flops,
    points,
    rows_of_cells,
    verdict_option,
)

if TYPE_CHECKING:
    from advisor import Conflict, NextMeasurement, Recommendation

__all__ = [
    "write_assumed",
    "write_conflicts",
    "write_differences",
    "write_evidence",
    "write_methods",
    "write_more",
    "write_needs",
    "write_next",
]

_ALSO = ("advised", "later")


def write_differences(page: Page, answer: "Recommendation") -> None:
    """Write the comparisons that decide, all in one text."""
    if not answer.differences:
        return
    page.section("DIFFER", gap=False)
    bases = list(dict.fromkeys(one.basis for one in answer.differences))
    words = [
        f"{one.first}-{one.second} {100 * one.value:+.1f}"
        f" [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
        f" {'shown' if one.is_shown else 'not shown'}"
        f"{f' ({one.basis})' if len(bases) > 1 else ''}"
        for one in answer.differences
    ]
    basis = f"{bases[0]}, " if len(bases) == 1 else ""
    level = f"{100 * answer.confidence_level:.0f}%"
    page.text(f"{basis}{level} intervals: {'; '.join(words)}")


def write_needs(page: Page, answer: "Recommendation") -> None:
    """Write what the option that is to be trained needs, in one text."""
    option = verdict_option(answer)
    if option is None:
        return
    page.section("NEEDS", gap=False)
    needs: list[str] = []
    for need in option.memory:
        name = {"lora": "LoRA"}.get(need.method, need.method)
        enough = "sharded or not"
        if need.n_gpus_needed is not None:
            enough = f"sharded over {need.n_gpus_needed} it does"
        fits = "fits" if need.fits else f"does not fit, {enough}"
        needs.append(f"{name} {need.low_bytes / 1e9:.0f}-{need.high_bytes / 1e9:.0f} GB: {fits}")
    per_gpu = f"; per GPU {'; '.join(needs)}" if needs else ""
    page.text(f"row {option.id}: {cost_range(option.wall_hours)} hours on all GPUs{per_gpu}")


def write_evidence(page: Page, answer: "Recommendation") -> None:
    """Write every figure that is used, one line each."""
    if not answer.evidence:
        return
    users = rows_of_cells(answer)
    page.section("EVIDENCE")
    widest = max(len(item.id) for item in answer.evidence)
    for item in answer.evidence:
        rows = ",".join(users.get(item.id, ())) or "-"
        of = "" if item.n is None else f", n = {item.n:,}"
        figure = f"{100 * item.value:.1f}% ({item.grade}{of})"
        page.text(f"{item.id:<{widest}}  {figure}", bullet=f"{rows}  ")


def write_conflicts(page: Page, answer: "Recommendation") -> None:
    """Write what each disagreement means here, and the id that prints the whole of it."""
    if answer.conflicts:
        page.section("CONFLICTS", gap=False)
    for conflict in answer.conflicts:
        page.text(_condensed(conflict), bullet="- ")


def _condensed(conflict: "Conflict") -> str:
    """Return a published disagreement without its two sides; any other has no id to look up."""
    from calibration.published import load_conflicts

    known = next((one for one in load_conflicts() if one.id == conflict.id), None)
    if known is None:
        return conflict.text
    return f"{known.id}: {known.meaning}"


def write_next(page: Page, answer: "Recommendation") -> None:
    """Write the most valuable measurement with its commands, the others in a line each."""
    if answer.next_measurements:
        page.section("MEASURE", gap=not answer.changes)
    steps = {stage.command: number for number, stage in enumerate(answer.plan, start=1)}
    for number, one in enumerate(answer.next_measurements, start=1):
        bullet = f"{number}. "
        if number > 1:
            page.line(one.text, bullet=bullet, tail=f" ({_cost(one)})")
            continue
        page.text(f"{one.text} ({_cost(one)})", bullet=bullet)
        for command in one.commands:
            if command in steps:
                page.text(f"(then the command of step {steps[command]} above)", bullet="   ")
            else:
                page.command(command, indent=len(bullet))


def _cost(one: "NextMeasurement") -> str:
    worth = "" if one.value is None else f", worth {points(one.value)}"
    return f"{flops(one.train_flops + (one.measure_flops or 0))} FLOPs{worth}"


def write_methods(page: Page, answer: "Recommendation") -> None:
    """Write a line for each method that is part of the plan or may come after it."""
    if not answer.methods:
        return
    page.section("METHODS")
    for one in answer.methods:
        if one.status in _ALSO:
            page.line(f"{one.method}, {one.status}: {one.text}", bullet="- ")
    others: dict[str, list[str]] = {}
    for one in answer.methods:
        if one.status not in _ALSO:
            others.setdefault(one.status.replace("-", " "), []).append(one.method)
    if others:
        texts = [f"{status}: {', '.join(names)}" for status, names in others.items()]
        page.text("; ".join(texts), bullet="- ")


def write_assumed(page: Page, answer: "Recommendation") -> None:
    """Write what was not said, and what was taken instead."""
    taken: dict[str, list[str]] = {}
    for one in answer.assumptions:
        if not one.is_given:
            taken.setdefault(one.value, []).append(one.name)
    if taken:
        page.section("ASSUMED", gap=False)
        page.text("; ".join(f"{', '.join(names)} {value}" for value, names in taken.items()))


def write_more(page: Page, answer: "Recommendation") -> None:
    """Write what prints more; every page ends with it."""
    page.section("MORE", gap=not answer.methods)
    page.text(
        "--full: all of it; advisor tables show ID: a cell or conflict; --row LETTER: its export"
    )
