"""What a study shows while it goes on: students done, and the ones that are trained now."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ._output import harmless, note

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ..study._lab import Step
    from ..study._results import StudentResult
    from ..study._run import StudyEvent

__all__ = ["Seen", "live_students"]

_REFRESH_PER_SECOND = 4


@dataclass(slots=True)
class Seen:
    """What has happened to students.

    Attributes:
        before: Students that an earlier call has finished.
        done: Those that this call has.
        failed: What went wrong, by student.
    """

    before: list[str] = field(default_factory=list[str])
    done: list[str] = field(default_factory=list[str])
    failed: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def n_finished(self) -> int:
        """Return the students that need no more work."""
        return len(self.before) + len(self.done)

    def add(self, event: "StudyEvent") -> None:
        """Take note of an event."""
        from ..study._run import StudentDone, StudentFailed

        if isinstance(event, StudentDone):
            (self.done if event.is_new else self.before).append(event.result.student.id)
        elif isinstance(event, StudentFailed):
            self.failed[event.student.id] = event.error


@contextmanager
def live_students(n_total: int) -> "Generator[tuple[Callable[[StudyEvent], None], Seen]]":
    """Yield a callback for a study's events, and what it has seen.

    On a terminal it keeps a bar per student under way and one for all of them; elsewhere it
    writes a line for each student that is done or has failed.

    Args:
        n_total: Students of the plan.
    """
    from rich.console import Console

    console = Console(stderr=True)
    seen = Seen()
    if not console.is_terminal:
        yield _Lines(n_total, seen).show, seen
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, refresh_per_second=_REFRESH_PER_SECOND, transient=True
    ) as bars:
        yield _Bars(bars, n_total, seen).show, seen


class _Lines:
    """A line on stderr for each student that is done or has failed, and for each base."""

    def __init__(self, n_total: int, seen: Seen) -> None:
        self._n_total, self._seen = n_total, seen
        self._bases: set[str] = set()

    def show(self, event: "StudyEvent") -> None:
        from ..study._run import BaseStep, StudentDone, StudentFailed

        self._seen.add(event)
        if isinstance(event, BaseStep) and event.size not in self._bases:
            self._bases.add(event.size)
            note(f"pre-training the base {event.size}: {event.step.total:,} steps")
        elif isinstance(event, StudentDone) and event.is_new:
            place = f"{self._seen.n_finished}/{self._n_total}"
            note(f"{place} {event.result.student.id}: {_accuracies(event.result)}")
        elif isinstance(event, StudentFailed):
            note(f"failed: {event.student.id}: {event.error}")


class _Bars:
    """A bar for all students, and one for each that is under way."""

    def __init__(self, bars: "Progress", n_total: int, seen: Seen) -> None:
        self._bars, self._seen = bars, seen
        self._all = bars.add_task("students", total=n_total, detail="")
        self._under_way: dict[str, TaskID] = {}

    def show(self, event: "StudyEvent") -> None:
        from ..study._run import (
            BaseStep,
            StudentDone,
            StudentFailed,
            StudentStarted,
            StudentStep,
        )

        self._seen.add(event)
        match event:
            case BaseStep(size=size, step=step):
                name = f"base {size}"
                self._move(name, step)
                if step.done == step.total:
                    self._end(name)
            case StudentStarted(student=student):
                self._begin(student.id)
            case StudentStep(student=student, step=step):
                self._move(student.id, step)
            case StudentDone(result=result):
                self._end(result.student.id)
                done = self._seen.n_finished
                self._bars.update(self._all, completed=done, detail=_accuracies(result))
            case StudentFailed(student=student, error=error):
                self._end(student.id)
                text = harmless(f"failed: {student.id}: {error}")
                self._bars.console.print(text, markup=False, highlight=False)

    def _begin(self, name: str) -> "TaskID":
        if name not in self._under_way:
            shown = harmless(name).replace("[", r"\[")
            self._under_way[name] = self._bars.add_task(shown, total=None, detail="")
        return self._under_way[name]

    def _move(self, name: str, step: "Step") -> None:
        detail = "measuring" if step.done == step.total else f"loss {step.loss:.3f}"
        self._bars.update(self._begin(name), completed=step.done, total=step.total, detail=detail)

    def _end(self, name: str) -> None:
        shown = self._under_way.pop(name, None)
        if shown is not None:
            self._bars.remove_task(shown)


def _accuracies(result: "StudentResult") -> str:
    """Return accuracies as trained, such as `math-oe 0.512, math-mc 0.701`."""
    last = result.cells[-1].policy if result.cells else ""
    policy = next((one.policy for one in result.cells if one.policy == "reasoning@max"), last)
    return ", ".join(
        f"{one.task_type} {one.accuracy:.3f}" for one in result.cells if one.policy == policy
    )
