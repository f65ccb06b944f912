"""What a run shows while it goes on: a bar, and every cell with its interval."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ._output import format_interval, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from calibration import Progress

__all__ = ["folds_bar", "live_cells"]

_ROWS = 24
"""Cells that are shown; the ones that changed last."""
_REFRESH_PER_SECOND = 4


@contextmanager
def live_cells(
    title: str, before: Sequence[Mapping[str, Any]] = ()
) -> "Generator[Callable[[Progress], None] | None]":
    """Yield a callback that keeps a bar and a table of cells on stderr; `None` off a terminal.

    Args:
        title: Name of the bar.
        before: Sums of the cells that an earlier call has measured, as a store returns them.
    """
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console)
    shown = bar.add_task(title, total=None, detail="")
    cells = _Cells(before)

    def render() -> "RenderableType":
        return Group(cells.table(), bar)

    with Live(
        console=console,
        get_renderable=render,
        refresh_per_second=_REFRESH_PER_SECOND,
        transient=True,
    ):

        def show(now: "Progress") -> None:
            cells.add(now.task, now.arm, now.outcome)
            detail = f"{now.completion_tokens:,} tokens"
            if now.n_error:
                detail += f"  {now.n_error} errors"
            bar.update(shown, completed=now.n_done, total=now.n_total, detail=detail)

        yield show


class _Cells:
    """Counts per cell; the cells that changed last come last."""

    def __init__(self, before: Sequence[Mapping[str, Any]]) -> None:
        self._counts: dict[tuple[str, str], dict[str, int]] = {}
        for row in before:
            n_wrong = row["n"] - row["n_correct"] - row["n_cut"]
            self._counts[row["task"], f"{row['model']}:{row['policy']}"] = {
                "correct": row["n_correct"],
                "wrong": n_wrong,
                "cut": row["n_cut"],
                "error": row["n_error"],
            }

    def add(self, task: str, arm: str, outcome: str) -> None:
        key = (task, arm)
        counts = self._counts.pop(key, None) or dict.fromkeys(
            ("correct", "wrong", "cut", "error"), 0
        )
        counts[outcome] += 1
        self._counts[key] = counts

    def table(self) -> "RenderableType":
        from calibration.statistics import wilson_interval

        rows: list[tuple[str, ...]] = []
        for (task, arm), counts in list(self._counts.items())[-_ROWS:]:
            n = counts["correct"] + counts["wrong"] + counts["cut"]
            interval = wilson_interval(counts["correct"], n)
            accuracy = format_interval(interval.estimate, interval.low, interval.high)
            rows.append((arm, task, str(n), accuracy, str(counts["cut"]), str(counts["error"])))
        columns = ("arm", "task", "n", "accuracy [95%]", "cut", "err")
        return table("so far", columns, sorted(rows))


@contextmanager
def folds_bar() -> "Generator[Callable[[int, int], None] | None]":
    """Yield a callback that keeps a bar of folds on stderr; `None` off a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("folds", total=None)

        def show(n_done: int, n_total: int) -> None:
            bar.update(task, completed=n_done, total=n_total)

        yield show
