"""The lab of a user's own base models: trained through exported recipes, asked by the harness."""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from calibration import Arm, Plan, describe_model
from calibration.cost import training_flops
from policies import (
    DecodingOptions,
    InvalidInputError,
    StoreError,
    UnknownNameError,
    build_backend,
    build_policy,
)

from ...cost import MFU, Gpus, network
from ...data import put_folder, sync_path
from .._design import StudyDesign
from .._lab import StageCost, Step
from .._results import StudyCell
from .._student import Stage, Student, StudyOrder
from ._asking import ask
from ._bases import Base, read_base, with_switch
from ._cells import cells_of
from ._checks import check_design, check_environment, check_measuring
from ._data import Lengths, StudyData
from ._keeping import RECORD, clear_errors, link, locked, read_record, shared_folder
from ._process import Environment, look_at, run_tool, run_training
from ._settings import TrlData, TrlMeasuring, TrlTraining
from ._stage import StageRun, peak_rate, write_stage
from ._steps import Steps

__all__ = ["TrlLab"]

_MERGE = Path(__file__).with_name("_merge.py")
_TEMPLATE = "chat_template.jinja"
_NOT_KEPT = {"training_args.bin", "README.md"}
_LORA_RANK = 32
"""Rank of the adapters of exported recipes."""
_ROUND = 256
_ROOM = 2
"""Answers may be this many times as long as the longest of the pairs."""
_LEAST_TOKENS = 64


class _Inputs(NamedTuple):
    """What was read: enough to plan with, also where nothing can be trained."""

    bases: Mapping[str, Base]
    data: StudyData
    longest: Mapping[str, Lengths]


class TrlLab:
    """Trains and measures students of a user's base models.

    Every run of training is an export of `advisor export --library trl`, started by its own
    command, so that what is learned holds for whoever starts such a folder. Follows the protocol
    `Lab`; instances hold no open files and may be used by several processes.

    Example:
        >>> from pathlib import Path
        >>> lab = TrlLab({"small": "models/small"}, TrlData(pairs={"own": Path("PAIRS.jsonl")}))
        >>> lab.name
        'trl'
    """

    name = "trl"

    def __init__(
        self,
        bases: Mapping[str, str],
        data: TrlData,
        *,
        training: TrlTraining | None = None,
        measuring: TrlMeasuring | None = None,
        teacher: Mapping[str, Any] | None = None,
    ) -> None:
        """Take note; nothing is read yet.

        Args:
            bases: Folder or hub name of each base model by the name of its size, see
                `base_names`.
            data: What students are trained on and asked.
            training: How they are trained.
            measuring: How they are asked.
            teacher: Figures of the teacher that wrote the pairs, see `TeacherPairs`.

        Raises:
            InvalidInputError: There is no base model.
        """
        if not bases:
            raise InvalidInputError("a study needs a base model", hint="give --base MODEL")
        self._models = dict(bases)
        self._data = data
        self._training = training or TrlTraining()
        self._measuring = measuring or TrlMeasuring()
        self._teacher = dict(teacher) if teacher is not None else None
        self._found: _Inputs | None = None
        self._costs: dict[tuple[str, Stage, int], StageCost] = {}

    def check(self, design: StudyDesign | None = None) -> tuple[str, ...]:
        """Find all bad input before anything is trained; return what a reader should know.

        Looks at the environment that trains, every base model, all data and the backend, and
        exports one recipe per base and corpus without keeping it.

        Args:
            design: The study, whose sizes, corpora, rows and policies are then checked too.

        Raises:
            MissingPrerequisiteError: TRL, a GPU, or what measures is not there.
            InvalidInputError: A base model, the data or the design cannot be used.
            DataFileError: A data file cannot be used; file and line are named.
            CapabilityError: A policy needs what the students cannot do.
        """
        self._check_tools()
        ready = self._inputs
        if design is not None:
            check_design(design, ready.bases, ready.data.corpora, self._data.n_rows)
        for size in ready.bases:
            for corpus in ready.data.corpora:
                self.stage_cost(size, Stage(corpus, 0.5, StudyOrder.MIXED), 1)
        notes = list(ready.data.notes)
        untold = [name for name, base in ready.bases.items() if not base.tells_thoughts]
        if untold:
            notes.append(
                f"the tokenizers of {', '.join(untold)} have no token </think>: thoughts are"
                " graded as part of the answer's text, and there are no budgets"
            )
        return tuple(notes)

    def identity(self) -> dict[str, str]:
        """Return what identifies its results: versions, settings, hashes of bases and data.

        And the figures of the teacher, where one wrote the pairs for this study.
        """
        environment, ready = self._check_tools(), self._inputs
        training = self._training
        settings = {
            "lora": training.is_lora,
            "epochs": training.n_epochs,
            "learning_rate": {name: peak_rate(b, training) for name, b in ready.bases.items()},
            "processes": training.n_processes,
            "accelerate": None
            if training.accelerate_config is None
            else str(training.accelerate_config),
            "device": training.device,
            "rows": self._data.n_rows,
            "max_length": {name: self._max_length(base) for name, base in ready.bases.items()},
            "overrides": dict(training.overrides),
        }
        asked = {
            "backend": self._measuring.backend,
            "options": dict(self._measuring.options),
            "decoding": {n: asdict(self._decoding(base)) for n, base in ready.bases.items()},
            "columns": asdict(self._data.columns),
        }
        found = {
            "backend": self.name,
            "versions": json.dumps(dict(environment.versions), sort_keys=True),
            "training": json.dumps(settings, sort_keys=True),
            "measuring": json.dumps(asked, sort_keys=True),
            "data": json.dumps(ready.data.hashes(), sort_keys=True),
        }
        for name, base in ready.bases.items():
            found[f"base/{name}"] = json.dumps(dict(base.hashes), sort_keys=True)
        if self._teacher is not None:
            found["teacher"] = json.dumps(self._teacher, sort_keys=True)
        return found

    def n_params(self, size: str) -> int:
        """Return the parameters of a base model."""
        return self._base(size).architecture.n_params

    def stage_cost(self, size: str, stage: Stage, seed: int) -> StageCost:
        """Return tokens and FLOPs of one run, counted row by row on the rows it trains on.

        Seconds are those of `n_processes` GPUs at the usual share of their peak, where the kind
        of GPU was named.
        """
        key = (size, stage, seed)
        if key not in self._costs:
            with TemporaryDirectory() as room:
                run = self._write(size, stage, seed, Path(room), self._base(size).folder)
                self._costs[key] = self._cost(self._base(size), run)
        return self._costs[key]

    def measure_seconds(self, size: str) -> float | None:
        """Return `None`: nothing is known about it in advance."""
        self._base(size)
        return None

    def prepare(self, size: str, *, on_step: Callable[[Step], None]) -> None:
        """Look at tools, data and a base model; there is nothing to train before the students."""
        self._check_tools()
        self._base(size)

    def train(
        self, student: Student, folder: Path, *, work: Path, on_step: Callable[[Step], None]
    ) -> None:
        """Train a student and write its model to `folder`, whole or not at all.

        Besides the model, the folder holds the configurations it was trained with and
        `training.json`. What training said is in `work/logs`.

        Raises:
            StoreError: The disk is full or cannot be written; finished students are kept.
            BackendError: Training failed; the log is named.
            MissingPrerequisiteError: The environment has no TRL.
        """
        if folder.exists():
            raise StoreError(f"{folder} is there already", hint="remove it to train it again")
        stages = student.stages
        start, steps = self._base(student.size).folder, Steps(on_step, len(stages))
        with clear_errors(folder):
            for stage in stages[:-1]:
                shared = shared_folder(work, student, stage)
                with locked(shared):
                    if not (shared / RECORD).is_file():
                        self._train(student, stage, start, shared, work, steps)
                start = shared
                steps.skip(read_record(shared)[-1]["n_steps"])
            last = stages[-1]
            if len(stages) > 1 or not self._may_be_shared(last):
                self._train(student, last, start, folder, work, steps)
                return
            shared = shared_folder(work, student, last)
            with locked(shared):
                if not (shared / RECORD).is_file():
                    self._train(student, last, start, shared, work, steps)
                link(shared, folder)

    def finish(self, students: Sequence[Student], *, work: Path) -> None:
        """Keep the runs that these students shared.

        They are the students' own files by hard link, and the students of a wider grid, asked for
        later, go on from them instead of paying for them again.
        """

    def measure(
        self, student: Student, folder: Path, *, policies: Sequence[str], n_questions: int
    ) -> Sequence[StudyCell]:
        """Ask a trained student the held-out questions; resumes within the student.

        The run lies beside the folder, as `run.sqlite`.

        Raises:
            BackendError: The model cannot be asked, or answers failed.
            CapabilityError: A policy needs what it cannot do.
            StoreError: The run cannot be written.
        """
        base = self._base(student.size)
        backend = self._backend(base, student.id, folder)
        facts = describe_model(backend, config=folder, recipe=student.label)
        arms = tuple(Arm(backend, build_policy(one), facts) for one in policies)
        plan = Plan(tuple(self._inputs.data.tasks(n_questions)), arms, self._decoding(base))
        run = folder.with_name("run.sqlite")
        reached = {
            student.id: {
                "backend": self._measuring.backend,
                "options": dict(self._measuring.options),
            }
        }
        ask(plan, run, reached=reached, concurrency=self._measuring.concurrency)
        return cells_of(run)

    @property
    def _inputs(self) -> _Inputs:
        if self._found is None:
            bases = {
                name: read_base(name, model, self._training.chat_template)
                for name, model in self._models.items()
            }
            data = StudyData(self._data)
            longest = data.drop_long(list(bases.values()), self._training.max_length)
            self._found = _Inputs(bases, data, longest)
        return self._found

    def _check_tools(self) -> Environment:
        """Return the environment that trains, if it can, and what measures is there too."""
        environment = look_at(self._training.python)
        check_environment(self._training, environment)
        check_measuring(self._measuring)
        return environment

    def _base(self, size: str) -> Base:
        bases = self._inputs.bases
        if size not in bases:
            raise UnknownNameError("base model", size, bases)
        return bases[size]

    def _max_length(self, base: Base) -> int:
        """Return the longest row to train with: all rows fit, so that none is cut."""
        longest = max(one.row for one in self._inputs.longest.values())
        limits = (self._training.max_length, base.context)
        rounded = -(-longest // _ROUND) * _ROUND
        return min(rounded, *(limit for limit in limits if limit is not None))

    def _decoding(self, base: Base) -> DecodingOptions:
        if self._measuring.decoding is not None:
            return self._measuring.decoding
        longest = self._inputs.longest[base.name]
        answer = max(_ROOM * longest.direct, _LEAST_TOKENS)
        thought = max(_ROOM * longest.reasoning, _LEAST_TOKENS)
        if base.context is not None:
            prompts = (q.prompt for task in self._inputs.data.tasks() for q in task.questions)
            room = base.context - max(map(base.count, prompts)) - _LEAST_TOKENS
            if room < 2 * _LEAST_TOKENS:
                raise InvalidInputError(
                    f"the longest held-out question leaves {max(room, 0)} of {base.context} tokens"
                    f" of {base.name!r} for an answer",
                    hint="leave out the longest questions",
                    code="questions-too-long",
                )
            answer = min(answer, room // 2)
            thought = min(thought, room - answer)
        return DecodingOptions(max_answer_tokens=answer, max_thinking_tokens=thought)

    def _backend(self, base: Base, name: str, folder: Path) -> Any:
        options = dict(self._measuring.options)
        if self._measuring.backend == "vllm" and not base.tells_thoughts:
            options.setdefault("reasoning_parser", None)
        if self._measuring.backend == "transformers" and self._training.device == "cpu":
            options.setdefault("device", "cpu")
        return build_backend(self._measuring.backend, name, directory=str(folder), **options)

    def _write(self, size: str, stage: Stage, seed: int, room: Path, start: Path) -> StageRun:
        base, data = self._base(size), self._inputs.data
        if stage.corpus not in data.corpora:
            raise UnknownNameError("corpus", stage.corpus, data.corpora)
        pairs = room / "pairs.jsonl"
        data.write_training(stage.corpus, pairs)
        return write_stage(
            base,
            stage,
            seed=seed,
            pairs=pairs,
            n_rows=self._data.n_rows,
            max_length=self._max_length(base),
            training=self._training,
            start=start,
            out=room / "export",
        )

    def _cost(self, base: Base, run: StageRun) -> StageCost:
        lengths = base.row_lengths(run.rows())
        n_tokens, flops = sum(lengths), 0.0
        if self._training.is_lora:
            # As `advisor.cost` counts adapters: no gradients of frozen matrices.
            known = network(base.architecture)
            n = len(lengths)
            linear = 4 * known.n_product_params + 6 * _LORA_RANK * known.active_adapter_params
            squares = sum(length * length for length in lengths) / n
            flops = linear * n_tokens + 3 * n * known.attention_flops(n_tokens / n, squares)
        else:
            flops = float(sum(training_flops(base.architecture, n, 0) for n in lengths))
        flops *= self._training.n_epochs
        return StageCost(n_tokens * self._training.n_epochs, flops, self._seconds(flops))

    def _seconds(self, flops: float) -> float | None:
        if self._training.gpu is None:
            return None
        gpus = Gpus.parse(f"{self._training.n_processes}x{self._training.gpu}")
        return 3600 * gpus.gpu_hours(flops, MFU).mid / gpus.n

    def _may_be_shared(self, stage: Stage) -> bool:
        """Return whether a two-stage student may start from this run."""
        return (
            stage.corpus == "general"
            and stage.ratio in {0.0, 1.0}
            and "math" in self._inputs.data.corpora
        )

    def _train(
        self,
        student: Student,
        stage: Stage,
        start: Path,
        target: Path,
        work: Path,
        steps: Steps,
    ) -> None:
        """Train one stage into a folder that appears when it is done."""
        base = self._base(student.size)
        room = target.with_name(f".{target.name}.part")
        # What a killed run has left.
        shutil.rmtree(room, ignore_errors=True)
        log = work.absolute() / "logs" / f"{student.id}.log"
        began = time.time()
        try:
            room.mkdir(parents=True)
            run = self._write(student.size, stage, student.seed, room.absolute(), start)
            steps.of_stage = run.n_steps
            told = run_training(
                run.command, run.folder, log, student=student.id, on_step=steps.tell
            )
            finished = room / "model"
            output = run.output
            if self._training.is_lora:
                output = self._merged(run, start, room.absolute(), log, student)
            finished.mkdir()
            for path in sorted(output.iterdir()):
                if path.is_file() and path.name not in _NOT_KEPT:
                    path.rename(finished / path.name)
            if not any(finished.glob("*.safetensors")):
                raise StoreError(
                    f"training {student.id!r} ended without weights in {output}",
                    hint=f"see the log {log}",
                )
            (finished / _TEMPLATE).write_text(with_switch(base.template), "utf-8")
            for path in run.folder.glob("*.yaml"):
                path.rename(finished / f"{stage.corpus}.{path.name}")
            record = {
                "stage": {**stage._asdict(), "order": stage.order.value},
                "seed": student.seed,
                "start": start.name,
                "command": list(run.command[1:]),
                "files": run.files,
                "n_steps": told.n_steps,
                "loss": told.loss,
                "n_tokens": told.n_tokens,
                "n_tokens_planned": self.stage_cost(student.size, stage, student.seed).tokens,
                "seconds": round(time.time() - began, 1),
            }
            before = read_record(start) if start != base.folder else []
            text = json.dumps({"runs": [*before, record]}, indent=2) + "\n"
            (finished / RECORD).write_text(text, "utf-8")
            for path in [*finished.iterdir(), finished]:
                sync_path(path)
            put_folder(finished, target, room / "replaced")
        finally:
            shutil.rmtree(room, ignore_errors=True)

    def _merged(self, run: StageRun, start: Path, room: Path, log: Path, student: Student) -> Path:
        """Merge an adapter into what it was trained on, so that every student is a whole model."""
        merged = room / "merged"
        merged.mkdir()
        program = (str(self._training.python), "-P", str(_MERGE))
        paths = (str(start.absolute()), str(run.output), str(merged))
        run_tool((*program, *paths), room, log, student=student.id)
        for path in run.output.iterdir():
            if path.name.startswith(("tokenizer", "vocab", "merges", "special_tokens")):
                path.rename(merged / path.name)
        return merged
