"""Students of the pocket family: trained here from pocket bases, measured by the harness."""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from policies import StoreError, UnknownNameError

from ._lab import StageCost, Step
from ._measuring import ask_questions
from ._results import StudyCell
from ._rows import pure_start, reasoning_rows
from ._student import Stage, Student, StudyOrder

if TYPE_CHECKING:
    from calibration.cost import Architecture
    from calibration.pocket.sizes import PocketSize
    from calibration.pocket.student_trainer import StudentTrainer
    from calibration.pocket.students import PocketCorpus, StudentRow

__all__ = ["PocketLab"]

_QUESTION_SEED = 1
_KINDS = {False: "ift", True: "reasoning"}
_SECONDS = {"pocket-xs": (12.0, 6.0), "pocket-s": (36.0, 13.0), "pocket-m": (110.0, 33.0)}
"""Seconds of one core for 4,096 reasoning rows, and for 1,000 questions of each of four task
types by two policies. Medians over the shipped study, two trainings on two cores; only for the
plan."""
_ROWS_MEASURED = 4096


class PocketLab:
    """Trains pocket students, one after the other, on one core or one GPU.

    Runs that begin with the same rows share them: a student whose rows begin with direct answers
    alone goes on from the run of the student that has nothing else, and so with reasoning. The
    result is that of training it from its first row, to the bit.

    Args:
        ratios: Ratios of the design.
        orders: Its orders; with the ratios they tell which states are shared.
        n_rows: Training rows of a stage.
        bases: Folder with a base model per size; those that are missing are pre-trained there.
        device: A torch device.

    Raises:
        MissingPrerequisiteError: The extra `train` is not installed.
    """

    name = "pocket"

    def __init__(
        self,
        *,
        ratios: Sequence[float],
        orders: Sequence[StudyOrder],
        n_rows: int,
        bases: Path,
        device: str = "cpu",
    ) -> None:
        """Take the design's shape; nothing is trained yet."""
        self._ratios = tuple(ratios)
        self._orders = tuple(orders)
        self._n_rows = n_rows
        self._bases = bases
        self._device = device
        # What is planned needs no torch.
        self._trainer_or_none: StudentTrainer | None = None
        self._lengths: dict[tuple[str, int], list[tuple[int, int]]] = {}

    @property
    def _trainer(self) -> "StudentTrainer":
        from calibration.pocket.student_trainer import StudentTrainer

        if self._trainer_or_none is None:
            self._trainer_or_none = StudentTrainer(self._bases, device=self._device)
        return self._trainer_or_none

    def identity(self) -> dict[str, str]:
        """Return versions, hyper-parameters and the hashes of the bases that are there."""
        from calibration.pocket.students import TUNING

        hashes = {
            f"base {path.name}": _sha256(path / "model" / "model.safetensors")
            for path in sorted(self._bases.glob("*"))
            if (path / "model" / "model.safetensors").exists()
        }
        tunings = {f"tuning {size}": str(asdict(one)) for size, one in TUNING.items()}
        versions = self._trainer.versions
        return {"lab": self.name, "n_rows": str(self._n_rows), **versions, **tunings, **hashes}

    def n_params(self, size: str) -> int:
        """Return the parameters of a size, tied embeddings counted once."""
        return self._architecture(size).n_params

    def stage_cost(self, size: str, stage: Stage, seed: int) -> StageCost:
        """Return what one run takes if it is trained from its first row.

        A direct row counts its answer twice: it is trained with thinking switched off and without.
        """
        from calibration.cost import training_flops

        kinds = reasoning_rows(stage, self._n_rows, seed)
        both = self._row_lengths(stage.corpus, seed)
        lengths = [pair[kind] for pair, kind in zip(both, kinds, strict=True)]
        architecture = self._architecture(size)
        by_length = {n: training_flops(architecture, n, 0) for n in set(lengths)}
        share = sum(kinds) / len(kinds)
        full = _SECONDS.get(size, (0.0, 0.0))[0] * len(kinds) / _ROWS_MEASURED
        seconds = full * (0.7 + 0.3 * share) if full else None
        return StageCost(sum(lengths), float(sum(by_length[n] for n in lengths)), seconds)

    def measure_seconds(self, size: str) -> float | None:
        """Return the seconds that measuring one student on 1,000 questions takes."""
        return _SECONDS.get(size, (0.0, 0.0))[1] or None

    def prepare(self, size: str, *, on_step: Callable[[Step], None]) -> None:
        """Pre-train the base of a size unless it is there; resumes what was begun.

        Another study that makes the same base now is waited for.

        Raises:
            UnknownNameError: There is no such size.
            StoreError: The base cannot be written.
            InvalidInputError: The folder holds the beginning of another base.
        """
        from calibration.pocket.base import pretrain

        known, folder = _pocket_size(size), self._bases / size
        if (folder / "model" / "model.safetensors").exists():
            return
        with _alone(folder):
            if not (folder / "model" / "model.safetensors").exists():
                pretrain(
                    known,
                    folder,
                    device=self._device,
                    on_step=lambda done, total, loss: on_step(Step(done, total, loss)),
                )

    def train(
        self, student: Student, folder: Path, *, work: Path, on_step: Callable[[Step], None]
    ) -> None:
        """Train a student and write its ONNX form to `folder`, whole or not at all."""
        self._trainer.load_base(student.size)
        for number, stage in enumerate(student.stages):
            self._run_stage(student, stage, work, on_step, is_first=number == 0)
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        self._trainer.export(unfinished)
        os.replace(unfinished, folder)

    def finish(self, students: Sequence[Student], *, work: Path) -> None:
        """Remove the states that went with the pure runs of these students."""
        for student in students:
            shutil.rmtree(_states(work, student), ignore_errors=True)

    def measure(
        self, student: Student, folder: Path, *, policies: Sequence[str], n_questions: int
    ) -> tuple[StudyCell, ...]:
        """Ask a trained student the study's held-out questions, the same ones for everybody."""
        from calibration import describe_model
        from calibration.pocket.questions import POCKET_TASK_TYPES
        from calibration.tasks import load_tasks
        from policies.backends.pocket import POCKET_OPTIONS, PocketBackend

        names = [f"pocket-{task_type}" for task_type in POCKET_TASK_TYPES]
        tasks = load_tasks(names, limit=n_questions, seed=_QUESTION_SEED)
        backend = PocketBackend(student.id, directory=folder)
        return ask_questions(
            backend,
            describe_model(backend, recipe=student.label),
            tasks,
            policies=policies,
            options=POCKET_OPTIONS,
            store=folder.parent / "run.sqlite",
        )

    def _run_stage(
        self,
        student: Student,
        stage: Stage,
        work: Path,
        on_step: Callable[[Step], None],
        *,
        is_first: bool,
    ) -> None:
        """Train one stage in place, from the farthest state that another student has left."""
        from calibration.pocket.students import TUNING, has_state

        tuning = TUNING[student.size]
        rows = self._rows(stage, student.seed)
        is_reasoning, n_pure = pure_start([row.is_reasoning for row in rows])
        n_steps = -(-len(rows) // tuning.rows_per_step)
        # States are those of runs from the base, which a second stage does not start from.
        states = _states(work, student) / _KINDS[is_reasoning]
        most = n_steps if n_pure == len(rows) else n_pure // tuning.rows_per_step
        # A run that was stopped while it kept a state leaves a folder without one.
        kept = [n for n in range(most, 0, -1) if has_state(states / str(n))] if is_first else []
        if kept and kept[0] == n_steps:
            self._trainer.load_state(states / str(n_steps))
            return
        is_pure = is_first and n_pure == len(rows)
        keep = {n: states / str(n) for n in self._shared_steps(is_reasoning, n_steps)}
        self._trainer.run(
            rows,
            tuning,
            start=states / str(kept[0]) if kept else None,
            keep=keep if is_pure else None,
            on_step=lambda done, total, loss: on_step(Step(done, total, loss)),
        )

    def _shared_steps(self, is_reasoning: bool, n_steps: int) -> list[int]:
        """Return the steps of a pure run after which other students go on from it."""
        from calibration.pocket.students import TUNING

        per_step = next(iter(TUNING.values())).rows_per_step
        found: set[int] = set()
        for ratio in self._ratios:
            for order in self._orders:
                if not 0.0 < ratio < 1.0 or order.is_two_stage or order is StudyOrder.MIXED:
                    continue
                if order is StudyOrder.REASONING_THEN_HYBRID and ratio <= 0.5:
                    continue
                kind, n = pure_start(reasoning_rows(Stage("", ratio, order), self._n_rows, 0))
                if kind == is_reasoning:
                    found.add(n // per_step)
        if any(order.is_two_stage for order in self._orders):
            found.add(n_steps)
        return sorted(found - {0})

    def _rows(self, stage: Stage, seed: int) -> "list[StudentRow]":
        from calibration.pocket.students import StudentRow, corpus_questions

        corpus = cast("PocketCorpus", stage.corpus)
        questions = corpus_questions(corpus, self._n_rows, seed=seed)
        kinds = reasoning_rows(stage, self._n_rows, seed)
        return [StudentRow(*one) for one in zip(questions, kinds, strict=True)]

    def _row_lengths(self, corpus: str, seed: int) -> list[tuple[int, int]]:
        """Return the tokens of every question's direct and reasoning row, in their order.

        All sizes have one tokenizer, which the runtime of the shipped models reads, so that a
        plan needs no torch.
        """
        key = (corpus, seed)
        if key not in self._lengths:
            from calibration.pocket.students import StudentRow, corpus_questions, row_tokens
            from policies.backends.pocket import pocket_tokenizer

            encode = pocket_tokenizer()
            questions = corpus_questions(cast("PocketCorpus", corpus), self._n_rows, seed=seed)
            direct, reasoning = (
                row_tokens([StudentRow(one, kind) for one in questions], encode)
                for kind in (False, True)
            )
            self._lengths[key] = list(zip(direct, reasoning, strict=True))
        return self._lengths[key]

    def _architecture(self, size: str) -> "Architecture":
        from calibration import architecture_of
        from policies.backends.pocket import pocket_directory

        return architecture_of(pocket_directory(_pocket_size(size).name))


def _states(work: Path, student: Student) -> Path:
    """Return the folder of the states of runs from the base, on a student's first corpus."""
    return work / "states" / f"{student.size}.{student.stages[0].corpus}.seed{student.seed}"


def _pocket_size(size: str) -> "PocketSize":
    from calibration.pocket.sizes import POCKET_SIZES

    if size not in POCKET_SIZES:
        raise UnknownNameError("pocket size", size, sorted(POCKET_SIZES))
    return POCKET_SIZES[size]


@contextlib.contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Hold a base's folder, which several studies may share; wait for whoever has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "base.lock").open("w")
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written: {error.strerror}", hint="choose another folder"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
