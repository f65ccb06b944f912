"""What the students of a study cost, alone and together.

Students share work. One whose rows begin with rows of one kind goes on from the run of the
student that has no others, of the same size, corpus and seed: `ift_then_reasoning` at ratio r
from the first 1 - r of the rows of the run on direct answers, `reasoning_then_ift` from the first
r of those of the run on reasoning. A two-stage student starts from the student of its first stage.
The shared part of a run is counted as its share of the rows.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ._design import StudyDesign
from ._lab import Lab, StageCost
from ._student import Stage, Student, StudyOrder

__all__ = ["Costs", "SharedRun", "Together", "makespan", "parent_of", "shared_run"]


class SharedRun(NamedTuple):
    """A run on one kind of rows that students go on from.

    Attributes:
        size: Base size.
        stage: Corpus and kind of rows.
        seed: Seed.
    """

    size: str
    stage: Stage
    seed: int


def shared_run(student: Student) -> tuple[SharedRun, float] | None:
    """Return the run that a student goes on from, and the share of its rows; `None` if none.

    A student with one kind of rows is that run itself, all of it.
    """
    if student.order.is_two_stage:
        return SharedRun(student.size, student.stages[0], student.seed), 1.0
    if student.order is StudyOrder.MIXED and student.ratio in {0.0, 1.0}:
        return SharedRun(student.size, student.stages[0], student.seed), 1.0
    match student.order:
        case StudyOrder.IFT_THEN_REASONING:
            ratio, share = 0.0, 1.0 - student.ratio
        case StudyOrder.REASONING_THEN_IFT:
            ratio, share = 1.0, student.ratio
        case StudyOrder.REASONING_THEN_HYBRID:
            ratio, share = 1.0, student.n_reasoning_first
        case _:
            return None
    stage = Stage(student.corpus, ratio, StudyOrder.MIXED)
    return SharedRun(student.size, stage, student.seed), share


def parent_of(student: Student) -> Student | None:
    """Return the student whose run another one goes on from, `None` if it starts at the base."""
    found = shared_run(student)
    if found is None:
        return None
    run, _ = found
    parent = Student(run.size, run.stage.corpus, run.stage.ratio, StudyOrder.MIXED, run.seed)
    return None if parent == student else parent


class Costs:
    """What a lab says about students; every run is asked for once."""

    def __init__(self, lab: Lab, *, shares_prefixes: bool = True) -> None:
        """Read from a lab, in which runs share the rows that they begin with, or do not."""
        self._lab = lab
        self._shares_prefixes = shares_prefixes
        self._runs: dict[SharedRun, StageCost] = {}
        self._measuring: dict[str, float | None] = {}

    def run(self, run: SharedRun) -> StageCost:
        """Return what one run costs, from its first row to its last."""
        if run not in self._runs:
            self._runs[run] = self._lab.stage_cost(*run)
        return self._runs[run]

    def alone(self, student: Student) -> StageCost:
        """Return what training a student costs, all stages, if nobody else is trained."""
        return _sum(
            self.run(SharedRun(student.size, stage, student.seed)) for stage in student.stages
        )

    def shared_run(self, student: Student) -> tuple[SharedRun, float] | None:
        """Return `shared_run` of a student as far as the lab shares work."""
        found = shared_run(student)
        return found if found is None or found[1] == 1.0 or self._shares_prefixes else None

    def parent_of(self, student: Student) -> Student | None:
        """Return `parent_of` of a student as far as the lab shares work."""
        return None if self.shared_run(student) is None else parent_of(student)

    def measuring(self, student: Student, design: StudyDesign) -> float | None:
        """Return the seconds that measuring it takes, `None` where unknown.

        A lab tells them for 1,000 questions of each task type by two policies; they are taken to
        grow with both, which is on the safe side.
        """
        if student.size not in self._measuring:
            self._measuring[student.size] = self._lab.measure_seconds(student.size)
        seconds = self._measuring[student.size]
        if seconds is None:
            return None
        return seconds * (design.n_questions / 1000) * (len(design.policies) / 2)


class Together:
    """What each student adds to those that came before it.

    A part of a run is shared only once the whole of it was trained: by the student with rows of
    one kind, or by the first two-stage student that needs it.
    """

    def __init__(self, costs: Costs) -> None:
        """Start with no student."""
        self._costs = costs
        self._done: set[SharedRun] = set()

    def add(self, student: Student) -> StageCost:
        """Count a student in, and return what it adds."""
        alone = self._costs.alone(student)
        found = self._costs.shared_run(student)
        if found is None:
            return alone
        run, share = found
        if run not in self._done:
            if share == 1.0:
                self._done.add(run)
            return alone
        shared = self._costs.run(run)
        seconds = None
        if alone.seconds is not None and shared.seconds is not None:
            seconds = max(0.0, alone.seconds - share * shared.seconds)
        tokens = max(0, alone.tokens - round(share * shared.tokens))
        return StageCost(tokens, max(0.0, alone.flops - share * shared.flops), seconds)


def makespan(students: Sequence[tuple[Student, float | None]], workers: int) -> float | None:
    """Return the seconds until all students are done.

    Students that share runs are trained by one worker, one after the other. Every free worker
    takes the longest of these families that is left; `run_study` begins with the largest size.

    Args:
        students: Students with the seconds of one worker that each takes.
        workers: Workers, at least 1.

    Returns:
        Seconds; `None` where those of a student are not known.
    """
    families: dict[tuple[str, int, str], list[float]] = {}
    for student, seconds in students:
        if seconds is None:
            return None
        key = (student.size, student.seed, student.stages[0].corpus)
        families.setdefault(key, []).append(seconds)
    free = [0.0] * workers
    for family in sorted(families.values(), key=sum, reverse=True):
        free[free.index(min(free))] += sum(family)
    return max(free)


def _sum(costs: Iterable[StageCost]) -> StageCost:
    tokens, flops, seconds = 0, 0.0, 0.0
    is_known = True
    for one in costs:
        tokens, flops = tokens + one.tokens, flops + one.flops
        is_known = is_known and one.seconds is not None
        seconds += one.seconds or 0.0
    return StageCost(tokens, flops, seconds if is_known else None)
