"""Run a study: train and measure every student, several at a time, resumable after each."""

import contextlib
import errno
import fcntl
import json
import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from policies import InvalidInputError, StoreError, ThinkrouteError

from ._design import StudyDesign
from ._lab import Lab, Step
from ._results import StudentResult
from ._student import TWO_STAGE_CORPUS, Student
from ._student_files import read_result, write_json, write_result

if TYPE_CHECKING:
    from ._table import StudyTable

__all__ = [
    "BaseStep",
    "LabSpec",
    "StudentDone",
    "StudentFailed",
    "StudentStarted",
    "StudentStep",
    "StudyEvent",
    "run_study",
]

_WRITE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO})

LabSpec: TypeAlias = Callable[[], Lab]
"""Builds the lab in each worker process; a module-level function, class or partial of one."""


@dataclass(frozen=True, slots=True)
class BaseStep:
    """The pre-training of a base has come so far."""

    size: str
    step: Step


@dataclass(frozen=True, slots=True)
class StudentStarted:
    """A worker has begun to train a student."""

    student: Student


@dataclass(frozen=True, slots=True)
class StudentStep:
    """The training of a student has come so far; after the last step it is measured."""

    student: Student
    step: Step


@dataclass(frozen=True, slots=True)
class StudentDone:
    """A student is trained, measured and written down; `is_new` unless an earlier run did it."""

    result: StudentResult
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class StudentFailed:
    """A student could not be trained or measured; the study stops when the others are done."""

    student: Student
    error: str


StudyEvent: TypeAlias = BaseStep | StudentStarted | StudentStep | StudentDone | StudentFailed


def run_study(
    design: StudyDesign,
    make_lab: LabSpec,
    out: Path,
    *,
    name: str,
    workers: int = 1,
    students: Sequence[Student] | None = None,
    on_event: Callable[[StudyEvent], None] | None = None,
) -> "StudyTable":
    """Train and measure the students that a folder does not hold yet; return the whole table.

    Each student has a folder `students/ID` with its model, its answers and, once it is measured,
    `result.json`; a student without that is done again. The table is written to `out` after every
    student, so whatever stops a study costs at most the students under way.

    Args:
        design: The grid.
        make_lab: Builds the lab; called once in every worker process.
        out: The study's folder.
        name: Name of the study in its table.
        workers: Processes that train and measure, each on one core or one share of a GPU.
        students: Those of the design's students that are wanted; `None` takes all.
        on_event: Called in this process with what happens.

    Raises:
        InvalidInputError: The folder holds another study, `workers` is not positive, or the name
            is none.
        StoreError: The folder cannot be written, is in use, or a worker process was killed.
        ThinkrouteError: A student could not be trained or measured.
    """
    if workers < 1:
        raise InvalidInputError(f"workers is {workers}, expected >= 1")
    _check_name(name, design)
    wanted = design.students() if students is None else list(students)
    told: Callable[[StudyEvent], None] = on_event or (lambda _: None)
    with _locked(out):
        study = _Study(design, make_lab, out, name, wanted, told)
        study.claim()
        try:
            study.run(workers)
        finally:
            table = study.save()
    return table


class _Study:
    """One run over a study's folder."""

    def __init__(
        self,
        design: StudyDesign,
        make_lab: LabSpec,
        out: Path,
        name: str,
        students: Sequence[Student],
        tell: Callable[[StudyEvent], None],
    ) -> None:
        self._design = design
        self._make_lab = make_lab
        self._out = out
        self._name = name
        self._students = students
        self._tell = tell
        self._results: dict[Student, StudentResult] = {}
        self._identity: dict[str, str] = {}

    def claim(self) -> None:
        """Refuse a folder of another study; read what is finished.

        The grid may grow or shrink; what every student depends on may not change.
        """
        path = self._out / "design.json"
        fixed = {"n_rows", "n_questions", "policies"}
        mine = self._design.model_dump(mode="json")
        if path.exists():
            there = json.loads(path.read_text(encoding="utf-8"))
            differing = [key for key in sorted(fixed) if there.get(key) != mine[key]]
            if differing:
                key = differing[0]
                raise InvalidInputError(
                    f"{self._out} holds a study with {key} {there.get(key)!r}, not {mine[key]!r}",
                    hint="give the same design to go on with it, or another --out",
                    code="another-study",
                )
        write_json(path, mine)
        for student in self._students:
            result = read_result(self._folder(student))
            if result is not None:
                self._keep(result, is_new=False)
        # A smaller grid does not take away what a larger one has measured.
        for folder in sorted((self._out / "students").glob("*")):
            result = read_result(folder)
            if result is not None:
                self._results.setdefault(result.student, result)
        self._identity = self._read_identity()

    def run(self, workers: int) -> None:
        todo = [one for one in self._students if one not in self._results]
        context = multiprocessing.get_context("spawn")
        manager = SyncManager(ctx=context)
        manager.start(_end_with_parent)
        with manager:
            events: queue.Queue[StudyEvent] = manager.Queue()
            stopped = manager.Event()
            pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
            try:
                sizes = list(dict.fromkeys(one.size for one in todo))
                bases = [pool.submit(_prepare, self._make_lab, size, events) for size in sizes]
                self._wait(bases, events, stopped)
                self._take_identity(pool.submit(_identity, self._make_lab).result())
                folders = {one: self._folder(one) for one in todo}
                jobs = [
                    pool.submit(
                        *(_run_family, self._make_lab, family, folders, self._out / "work"),
                        *(self._design.policies, self._design.n_questions, events, stopped),
                    )
                    for family in _families(todo)
                ]
                self._wait(jobs, events, stopped)
            except BrokenProcessPool as error:
                raise StoreError(
                    "a worker process was killed, perhaps for want of memory",
                    hint="the same command goes on after the last finished student; fewer "
                    "--workers need less memory",
                    code="worker-killed",
                ) from error
            finally:
                _end(pool)

    def save(self) -> "StudyTable":
        from ._table import StudyTable

        first = [self._results[one] for one in self._students if one in self._results]
        wanted = set(self._students)
        done = (*first, *(one for key, one in self._results.items() if key not in wanted))
        table = StudyTable(self._name, self._design, done, {"lab": self._identity})
        if done:
            table.save(self._out)
        return table

    def _read_identity(self) -> dict[str, str]:
        """Return what the finished students were made with, as far as it was written down."""
        path = self._out / "identity.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def _take_identity(self, mine: Mapping[str, str]) -> None:
        """Refuse to go on where bases, versions or hyper-parameters have changed."""
        there = self._identity
        differing = sorted(key for key in there.keys() & mine.keys() if there[key] != mine[key])
        if differing:
            key = differing[0]
            raise InvalidInputError(
                f"{self._out} was begun with {key} {there[key]!r}, now it is {mine[key]!r}",
                hint="students would not compare: restore it, or use another --out",
                code="another-study",
            )
        # Only what is accepted may stand in the table, which is written after an error, too.
        self._identity = {**there, **mine}
        write_json(self._out / "identity.json", self._identity)

    def _wait(
        self,
        jobs: "Sequence[Future[None]]",
        events: "queue.Queue[StudyEvent]",
        stopped: threading.Event,
    ) -> None:
        """Pass events on until all jobs are done, and raise the first error then."""
        waiting = set(jobs)
        while waiting:
            done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            self._pass_on(events)
            # What was cancelled after the first error has none, and would raise here.
            if any(not job.cancelled() and job.exception() is not None for job in done):
                # The pool hands jobs to workers ahead of time, and those cannot be cancelled.
                stopped.set()
                for job in waiting:
                    job.cancel()
        self._pass_on(events)
        for job in jobs:
            if not job.cancelled():
                job.result()

    def _pass_on(self, events: "queue.Queue[StudyEvent]") -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                event = events.get_nowait()
                if isinstance(event, StudentDone):
                    self._keep(event.result, is_new=True)
                    self.save()
                else:
                    self._tell(event)

    def _keep(self, result: StudentResult, *, is_new: bool) -> None:
        self._results[result.student] = result
        self._tell(StudentDone(result, is_new))

    def _folder(self, student: Student) -> Path:
        return self._out / "students" / student.id


def _families(students: Sequence[Student]) -> list[list[Student]]:
    """Return the students that share runs, to be trained in one process, in the order to start.

    Seed by seed, so that a study that is stopped has whole seeds; within a seed the largest size
    first, which leaves workers idle least. In a family pure recipes come first: the others go on
    from their states.
    """
    found: dict[tuple[str, int, str], list[Student]] = {}
    for one in students:
        corpus = one.stages[0].corpus
        found.setdefault((one.size, one.seed, corpus), []).append(one)
    for family in found.values():
        family.sort(key=lambda one: (one.corpus == TWO_STAGE_CORPUS, one.ratio not in {0.0, 1.0}))
    sizes = list(dict.fromkeys(one.size for one in students))
    seeds = list(dict.fromkeys(one.seed for one in students))

    def order(family: list[Student]) -> tuple[int, int, int]:
        first = family[0]
        return seeds.index(first.seed), -sizes.index(first.size), -len(family)

    return sorted(found.values(), key=order)


_LABS: dict[LabSpec, Lab] = {}
"""The lab of this worker process."""


def _lab(make_lab: LabSpec) -> Lab:
    # What a worker receives is a new object every time: there is one lab per process.
    if not _LABS:
        _LABS[make_lab] = make_lab()
    return next(iter(_LABS.values()))


def _prepare(make_lab: LabSpec, size: str, events: "queue.Queue[StudyEvent]") -> None:
    _lab(make_lab).prepare(size, on_step=lambda step: events.put(BaseStep(size, step)))


def _identity(make_lab: LabSpec) -> dict[str, str]:
    return _lab(make_lab).identity()


def _run_family(
    make_lab: LabSpec,
    family: Sequence[Student],
    folders: Mapping[Student, Path],
    work: Path,
    policies: Sequence[str],
    n_questions: int,
    events: "queue.Queue[StudyEvent]",
    stopped: threading.Event,
) -> None:
    """Train and measure students one after the other, in this process, until told to stop."""
    lab = _lab(make_lab)
    for student in family:
        if stopped.is_set():
            return
        events.put(StudentStarted(student))
        try:
            result = _run_student(
                lab, student, folders[student], work, policies, n_questions, events
            )
        except (ThinkrouteError, OSError) as error:
            events.put(StudentFailed(student, str(error)))
            if isinstance(error, OSError) and error.errno in _WRITE_ERRORS:
                raise StoreError(
                    f"student {student.id} could not be written: {error.strerror or error}",
                    hint="make room or choose another --out; finished students are kept and the "
                    "same command goes on",
                    code="student-not-written",
                ) from error
            if isinstance(error, ThinkrouteError):
                raise
            raise StoreError(
                f"student {student.id}: {error}",
                hint="finished students are kept, and the same command tries it again",
                code="student-failed",
            ) from error
        events.put(StudentDone(result))
    lab.finish(family, work=work)


def _run_student(
    lab: Lab,
    student: Student,
    folder: Path,
    work: Path,
    policies: Sequence[str],
    n_questions: int,
    events: "queue.Queue[StudyEvent]",
) -> StudentResult:
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model"
    if not model.exists():
        # Answers of an earlier model of this student are nobody's.
        for path in folder.glob("run.sqlite*"):
            path.unlink()
        lab.train(
            student, model, work=work, on_step=lambda step: events.put(StudentStep(student, step))
        )
    cells = lab.measure(student, model, policies=policies, n_questions=n_questions)
    costs = [lab.stage_cost(student.size, stage, student.seed) for stage in student.stages]
    result = StudentResult(
        student=student,
        n_params=lab.n_params(student.size),
        train_tokens=sum(cost.tokens for cost in costs),
        train_flops=sum(cost.flops for cost in costs),
        cells=tuple(cells),
    )
    write_result(folder, result)
    return result


def _check_name(name: str, design: StudyDesign) -> None:
    """Refuse a name that no table can have before anything is trained, and not after it."""
    from ._table import StudyTable

    StudyTable(name, design, (), {})


def _end_with_parent() -> None:
    """End this process once the one that started it has ended, however it did.

    Else workers of a killed run would go on in a folder that the next run has taken over.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait_and_end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_and_end, name="end-with-parent", daemon=True).start()


def _end(pool: ProcessPoolExecutor) -> None:
    """End the workers now: after an error or Ctrl-C nobody waits for their students."""
    processes: dict[int, Any] = dict(getattr(pool, "_processes", None) or {})
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes.values():
        process.terminate()
    for process in processes.values():
        process.join()


@contextlib.contextmanager
def _locked(out: Path) -> Generator[None]:
    """Hold a study's folder, so that two runs do not train into it at once."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / "study.lock").open("w")
    except OSError as error:
        raise StoreError(
            f"{out} cannot be written: {error.strerror}", hint="choose another --out"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"{out} is being written by another process",
                hint="wait for it, or use another --out",
                code="study-locked",
            ) from error
        yield
