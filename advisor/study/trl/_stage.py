"""One run of training as an exported recipe: its folder, its order of rows, its command."""

import json
import random
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies import InvalidInputError, ModelSize

from ..._recipe import Corpus, Order, Recipe
from ...data import hash_file
from ...export import (
    Export,
    ExportRequest,
    default_learning_rate,
    export_recipe,
    fit_schedule,
)
from .._student import Stage, StudyOrder
from ._bases import Base
from ._settings import TrlTraining

__all__ = ["StageRun", "peak_rate", "write_stage"]

_CORPORA: dict[str, Corpus] = {"general": "general", "math": "math-centric", "own": "own"}
_LORA_FACTOR = 10.0
"""As `advisor export` has it."""
_SMALLEST = 100_000_000
"""Parameters of the smallest model that costs are known for; the exporter tells costs."""
_IFT, _REASONING = "mix/00_ift.jsonl", "mix/01_reasoning.jsonl"
_CONFIG = "1_sft.yaml"


@dataclass(frozen=True, slots=True)
class StageRun:
    """A run of training that is ready to start.

    Attributes:
        folder: The export folder, in which the command is started.
        command: The exported command with what the study adds.
        n_steps: Optimiser steps, all epochs.
        files: Training files in order, with their hashes.
        output: Folder that the trained model is written to.
    """

    folder: Path
    command: tuple[str, ...]
    n_steps: int
    files: dict[str, str]
    output: Path

    def rows(self) -> list[tuple[str, str]]:
        """Return prompt and answer of every row, in training order."""
        found: list[tuple[str, str]] = []
        for name in self.files:
            for line in (self.folder / name).read_text("utf-8").splitlines():
                prompt, answer = json.loads(line)["messages"]
                found.append((prompt["content"], answer["content"]))
        return found


def peak_rate(base: Base, training: TrlTraining) -> float:
    """Return the peak learning rate of every student of a base, whatever its recipe.

    The published IFT rate, the lower of the two: with rates of their own, recipes would differ in
    more than their rows.
    """
    if training.learning_rate is not None:
        return training.learning_rate
    rate = default_learning_rate(_size(base), 0.0).value
    return rate * (_LORA_FACTOR if training.is_lora else 1.0)


def write_stage(
    base: Base,
    stage: Stage,
    *,
    seed: int,
    pairs: Path,
    n_rows: int,
    max_length: int,
    training: TrlTraining,
    start: Path,
    out: Path,
) -> StageRun:
    """Export one run of training.

    The two orders that `advisor export` refuses, because they are known or thought to be harmful,
    are made of the rows that it writes for the order it recommends: the same prompts with the
    same answers, only in another order.

    Args:
        base: The base model of the student.
        stage: Which rows, in which order.
        seed: Of the choice and order of rows, and of training.
        pairs: File of pairs that may be trained on.
        n_rows: Rows.
        max_length: Longest row in tokens.
        training: How it is trained.
        start: The model to start from.
        out: Folder to write.

    Raises:
        InvalidInputError: The recipe does not fit data, model or machine.
        StoreError: The folder cannot be written.
    """
    is_mixed = stage.order is StudyOrder.MIXED
    recipe = Recipe(
        size=_size(base),
        corpus=_CORPORA[stage.corpus],
        reasoning_ratio=stage.ratio,
        order=Order.MIXED if is_mixed else Order.IFT_THEN_REASONING,
    )
    made = export_recipe(
        ExportRequest(
            library="trl",
            recipe=recipe,
            task_type="general-oe",
            why=f"a student of a study: {stage.order.value}@{stage.ratio:g} on {stage.corpus}",
            data=(pairs,),
            out=out,
            base_model=str(start),
            tokenizer=str(start),
            chat_template=base.template_file,
            max_length=max_length,
            n_gpus=training.n_processes,
            is_lora=training.is_lora,
            seed=seed,
            n_rows=n_rows,
            learning_rate=peak_rate(base, training),
        )
    )
    _check_whole(made, n_rows)
    names = [file.name for file in made.files]
    if stage.order not in {StudyOrder.MIXED, StudyOrder.IFT_THEN_REASONING}:
        names = _reorder(out, stage.order, seed)
    (run,) = made.runs
    n_steps = (run.n_steps or 1) * training.n_epochs
    return StageRun(
        folder=out,
        command=_command(made, training, n_steps),
        n_steps=n_steps,
        files={name: hash_file(out / name) for name in names},
        output=out / run.output_dir,
    )


def _check_whole(made: Export, n_rows: int) -> None:
    """Refuse an export with other rows than were asked for: recipes would differ in questions."""
    n_found = sum(file.n_rows for file in made.files)
    if n_found != n_rows:
        raise InvalidInputError(
            f"the export has {n_found:,} rows, expected {n_rows:,}: {'; '.join(made.notes)}",
            hint="leave out the pairs that it names",
        )


def _reorder(folder: Path, order: StudyOrder, seed: int) -> list[str]:
    """Put the rows of an `ift_then_reasoning` export into another order; return the files."""
    config = folder / _CONFIG
    text = config.read_text("utf-8")
    if text.count(_IFT) != 1 or text.count(_REASONING) != 1:
        raise AssertionError(f"{config} names its files in another way")
    direct = (folder / _IFT).read_text("utf-8").splitlines(keepends=True)
    reasoning = (folder / _REASONING).read_text("utf-8").splitlines(keepends=True)
    if order is StudyOrder.REASONING_THEN_IFT:
        parts = {"mix/00_reasoning.jsonl": reasoning, "mix/01_ift.jsonl": direct}
    else:
        # A pure part, then one of as many reasoning rows as direct ones.
        n_pure = len(reasoning) - len(direct)
        hybrid = [*reasoning[n_pure:], *direct]
        random.Random(f"hybrid/{seed}").shuffle(hybrid)
        parts = {"mix/00_reasoning.jsonl": reasoning[:n_pure], "mix/01_mixed.jsonl": hybrid}
    for name, rows in parts.items():
        (folder / name).write_text("".join(rows), "utf-8")
    first, second = parts
    config.write_text(text.replace(_IFT, first).replace(_REASONING, second), "utf-8")
    return [first, second]


def _command(made: Export, training: TrlTraining, n_steps: int) -> tuple[str, ...]:
    """Return the exported command with what a study adds, as options that TRL takes itself."""
    program, *given = shlex.split(made.commands[0])
    if training.accelerate_config is not None:
        place = given.index("--accelerate_config") + 1
        config = Path(training.accelerate_config).expanduser()
        given[place] = str(config.resolve() if config.is_file() else training.accelerate_config)
    more: dict[str, Any] = {
        # A student is trained whole or not at all, so that checkpoints would only fill the disk.
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": "true",
    }
    if training.n_epochs > 1:
        schedule = fit_schedule(n_steps)
        more |= {"num_train_epochs": training.n_epochs, "warmup_steps": schedule.warmup_steps}
        if schedule.decay_steps:
            kept = {"num_decay_steps": schedule.decay_steps, "min_lr_ratio": 0.1}
            more["lr_scheduler_kwargs"] = json.dumps(kept)
    if training.device == "cpu":
        more |= {"use_cpu": "true", "bf16": "false", "dtype": "float32"}
    more |= training.overrides
    options = [part for name, value in more.items() for part in (f"--{name}", str(value))]
    return (str(training.python.parent / program), *given, *options)


def _size(base: Base) -> ModelSize:
    return ModelSize(max(base.architecture.n_params, _SMALLEST))
