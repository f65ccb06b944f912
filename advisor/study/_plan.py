"""What a study will train and measure, what that costs, and what a budget leaves of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from policies import InvalidInputError, NoAdmissibleArmError

from ._blocks import blocks_of, chosen_blocks
from ._design import StudyDesign
from ._doubt import doubt_of
from ._lab import Lab
from ._plan_costs import Costs, Together, makespan
from ._student import Student

__all__ = ["PlannedStudent", "StudyLimits", "StudyPlan", "mode_of"]

_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLimits:
    """The most that a study may take; `None` for no limit.

    Attributes:
        hours: Hours until all students are trained and measured.
        train_flops: Training FLOPs to spend.
        runs: Students.

    Raises:
        InvalidInputError: A limit is not above 0.
    """

    hours: float | None = None
    train_flops: float | None = None
    runs: int | None = None

    def __post_init__(self) -> None:
        """Refuse limits that nothing could keep."""
        given = {"hours": self.hours, "FLOPs": self.train_flops, "runs": self.runs}
        for name, value in given.items():
            # Written so that NaN is refused too.
            if value is not None and not value > 0:
                raise InvalidInputError(
                    f"at most {value:g} {name} is no limit that a study can keep",
                    hint="give a number above 0, or none",
                    code="invalid-limit",
                )

    @property
    def is_none(self) -> bool:
        """Return whether nothing is limited."""
        return self.hours is None and self.train_flops is None and self.runs is None


@dataclass(frozen=True, slots=True)
class PlannedStudent:
    """One student and what it takes.

    Attributes:
        student: Which.
        n_params: Parameters of its size.
        goes_on_from: Student of the plan that is trained before it, because it goes on from its
            run; `None` if there is none.
        train_tokens: Tokens of training it alone, all stages.
        train_flops: FLOPs of training it alone, all stages, by the exact formula.
        new_tokens: Tokens that it adds to the students before it in the plan.
        new_flops: FLOPs that it adds.
        train_seconds: Seconds of one worker that it adds; `None` where not known.
        measure_seconds: Seconds of one worker to measure it; `None` where not known.
    """

    student: Student
    n_params: int
    goes_on_from: Student | None
    train_tokens: int
    train_flops: float
    new_tokens: int
    new_flops: float
    train_seconds: float | None
    measure_seconds: float | None

    @property
    def seconds(self) -> float | None:
        """Return the seconds of one worker that it adds, training and measuring."""
        if self.train_seconds is None or self.measure_seconds is None:
            return None
        return self.train_seconds + self.measure_seconds


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """The students of a study in the order of their worth, and what they take together.

    A run trains them in another order: seed by seed, and together those that share runs.

    Attributes:
        design: The whole grid.
        task_types: Task types that each student is asked.
        students: Whom to train, the ones that the advisor is least sure of first; nobody comes
            before the student whose run it goes on from.
        left_out: Students of the design that the limits leave out, in the design's order.
        workers: Students that are trained or measured at a time.
        limits: The limits.
    """

    design: StudyDesign
    task_types: tuple[str, ...]
    students: tuple[PlannedStudent, ...]
    left_out: tuple[Student, ...]
    workers: int
    limits: StudyLimits

    @classmethod
    def of(
        cls,
        design: StudyDesign,
        lab: Lab,
        task_types: Sequence[str],
        *,
        workers: int = 1,
        limits: StudyLimits | None = None,
        shares_prefixes: bool = True,
    ) -> "StudyPlan":
        """Return the plan of a design in a lab; equal arguments give equal plans.

        `chosen_blocks` has the rule by which limits cut it.

        Args:
            design: The grid.
            lab: Knows what students cost.
            task_types: Task types that each student is asked.
            workers: Students that are trained or measured at a time, at least 1.
            limits: The most it may take; `None` for no limits.
            shares_prefixes: Whether runs that begin with the same rows share them in this lab; if
                not, only whole first stages are shared.

        Raises:
            InvalidInputError: There is no worker, or hours are limited and the lab does not know
                how long a student takes.
            NoAdmissibleArmError: The limits leave nobody.
        """
        if workers < 1:
            raise InvalidInputError(
                f"{workers} workers train nobody", hint="give at least 1", code="invalid-workers"
            )
        cap, costs = limits or StudyLimits(), Costs(lab, shares_prefixes=shares_prefixes)
        wanted = design.students()
        n_params = {size: lab.n_params(size) for size in design.sizes}

        def planned(students: Sequence[Student]) -> tuple[PlannedStudent, ...]:
            there, together = set(students), Together(costs)
            return tuple(
                _planned(one, n_params[one.size], there, costs, together, design)
                for one in students
            )

        def fits(students: Sequence[Student]) -> bool:
            return cap.is_none or _fits(planned(students), workers, cap)

        if cap.hours is not None:
            _check_seconds(planned(wanted), lab)
        blocks = chosen_blocks(blocks_of(design), doubt_of(n_params.__getitem__, task_types), fits)
        chosen = [student for block in blocks for student in block.students]
        if not chosen:
            raise _nobody(planned(wanted), workers, cap)
        left_out = tuple(one for one in wanted if one not in set(chosen))
        return cls(design, tuple(task_types), planned(chosen), left_out, workers, cap)

    @property
    def runs(self) -> int:
        """Return the number of students."""
        return len(self.students)

    @property
    def tokens(self) -> int:
        """Return the tokens that training computes; what students share is counted once."""
        return sum(one.new_tokens for one in self.students)

    @property
    def train_flops(self) -> float:
        """Return the FLOPs that training spends; what students share is counted once."""
        return sum(one.new_flops for one in self.students)

    @property
    def train_flops_alone(self) -> float:
        """Return the FLOPs that training would spend if students shared nothing."""
        return sum(one.train_flops for one in self.students)

    @property
    def hours(self) -> float | None:
        """Return the hours until all are trained and measured; `None` where not known."""
        seconds = _makespan(self.students, self.workers)
        return None if seconds is None else seconds / _SECONDS_PER_HOUR

    @property
    def measure_hours(self) -> float | None:
        """Return the hours of one worker that go into measuring; `None` where not known."""
        known = [s for one in self.students if (s := one.measure_seconds) is not None]
        return sum(known) / _SECONDS_PER_HOUR if len(known) == len(self.students) else None

    @property
    def n_answers(self) -> int:
        """Return the number of answers that are generated and graded."""
        per_student = len(self.task_types) * len(self.design.policies) * self.design.n_questions
        return self.runs * per_student

    def to_json(self) -> dict[str, Any]:
        """Return the plan as a JSON object, with one cell per student, task type and policy.

        Cells have what is known before anything is measured: `n` is the number of questions that
        will be asked, accuracy and length are null.
        """
        return {
            "design": self.design.model_dump(mode="json"),
            "workers": self.workers,
            "runs": self.runs,
            "tokens": self.tokens,
            "train_flops": self.train_flops,
            "train_flops_alone": self.train_flops_alone,
            "n_answers": self.n_answers,
            "hours": self.hours,
            "measure_hours": self.measure_hours,
            "students": [_student_json(one) for one in self.students],
            "left_out": [one.id for one in self.left_out],
            "cells": [cell for one in self.students for cell in self._cells(one)],
        }

    def _cells(self, one: PlannedStudent) -> list[dict[str, Any]]:
        costs = {"train_tokens": one.train_tokens, "train_flops": one.train_flops}
        unknown = dict.fromkeys(("accuracy", "ci_low", "ci_high", "mean_tokens"))
        return [
            {
                "student": one.student.id,
                **_recipe_json(one),
                **costs,
                "task_type": task_type,
                "mode": mode_of(policy),
                "policy": policy,
                "n": self.design.n_questions,
                **unknown,
            }
            for task_type in self.task_types
            for policy in self.design.policies
        ]


def mode_of(policy: str) -> str:
    """Return the mode of a policy: `ift` where thinking is switched off, else `reasoning`."""
    return "ift" if policy == "direct" else "reasoning"


def _planned(
    student: Student,
    n_params: int,
    there: set[Student],
    costs: Costs,
    together: Together,
    design: StudyDesign,
) -> PlannedStudent:
    parent = costs.parent_of(student)
    alone, new = costs.alone(student), together.add(student)
    return PlannedStudent(
        student,
        n_params,
        parent if parent in there else None,
        alone.tokens,
        alone.flops,
        new.tokens,
        new.flops,
        new.seconds,
        costs.measuring(student, design),
    )


def _makespan(students: Sequence[PlannedStudent], workers: int) -> float | None:
    return makespan([(one.student, one.seconds) for one in students], workers)


def _fits(students: Sequence[PlannedStudent], workers: int, limits: StudyLimits) -> bool:
    if limits.runs is not None and len(students) > limits.runs:
        return False
    if limits.train_flops is not None:
        spent = sum(one.new_flops for one in students)
        if spent > limits.train_flops:
            return False
    if limits.hours is None:
        return True
    seconds = _makespan(students, workers)
    return seconds is not None and seconds <= limits.hours * _SECONDS_PER_HOUR


def _check_seconds(students: Sequence[PlannedStudent], lab: Lab) -> None:
    unknown = sorted({one.student.size for one in students if one.seconds is None})
    if unknown:
        raise InvalidInputError(
            f"hours cannot be limited: how long {', '.join(unknown)} takes to train and measure is"
            f" not known in the lab {lab.name!r}",
            hint="limit FLOPs or runs instead",
            code="unknown-seconds",
        )


def _nobody(
    students: Sequence[PlannedStudent], workers: int, limits: StudyLimits
) -> NoAdmissibleArmError:
    """Return the error that no comparison is within the limits, with what the design takes."""
    seconds = _makespan(students, workers)
    hours = "" if seconds is None else f", {seconds / _SECONDS_PER_HOUR:.3g} hours"
    flops = sum(one.new_flops for one in students)
    given = {"hours": limits.hours, "FLOPs": limits.train_flops, "runs": limits.runs}
    cap = " and ".join(f"{value:g} {name}" for name, value in given.items() if value is not None)
    return NoAdmissibleArmError(
        f"no comparison of the study is within {cap}: all of it is {len(students)} runs,"
        f" {flops:.3g} FLOPs{hours}",
        hint="raise the limit, or give fewer rows or questions",
        code="nothing-fits",
    )


def _recipe_json(one: PlannedStudent) -> dict[str, Any]:
    student = one.student
    return {
        "size": student.size,
        "n_params": one.n_params,
        "corpus": student.corpus,
        "ratio": student.ratio,
        "order": student.order.value,
        "seed": student.seed,
        "recipe": student.label,
    }


def _student_json(one: PlannedStudent) -> dict[str, Any]:
    return {
        "id": one.student.id,
        **_recipe_json(one),
        "goes_on_from": None if one.goes_on_from is None else one.goes_on_from.id,
        "train_tokens": one.train_tokens,
        "train_flops": one.train_flops,
        "new_tokens": one.new_tokens,
        "new_flops": one.new_flops,
        "train_seconds": one.train_seconds,
        "measure_seconds": one.measure_seconds,
    }
