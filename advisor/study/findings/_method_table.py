"""The measured table of the experiments on training methods, as `calibration.pocket.methods` writes it."""

import base64
import csv
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from policies import ArtifactCorruptError, ArtifactTooNewError

__all__ = ["MethodCell", "load_methods", "shipped_methods"]

_KIND = "pocket-methods"
_SCHEMA_VERSION = 1
_SHIPPED = Path(__file__).parents[1] / "tables" / _KIND


@dataclass(frozen=True, slots=True)
class MethodCell:
    """One trained model on one task type.

    Attributes:
        experiment: `grpo`, `tops` or `dpo`.
        method: `start`, or a method of the experiment.
        size: Size, or name of the model with skills.
        seed: Training seed; 0 for a shipped model.
        budget: Training budget in supervised rows; 0 where there is none.
        task_type: Task type.
        temperature: Of sampling; 0 is greedy.
        mean_tokens: Mean generated tokens.
        train_flops: FLOPs after the start, sampling included; of a start itself, what making it
            took, 0 for a shipped model.
        answers: One character per question, `1` for right.
        n_examples: Rows, answers that were learned from, or pairs.
        facts: What else its run has told, by name, such as `signal` of GRPO.
    """

    experiment: str
    method: str
    size: str
    seed: int
    budget: int
    task_type: str
    temperature: float
    mean_tokens: float
    train_flops: float
    answers: str
    n_examples: int = 0
    facts: Mapping[str, float] = field(default_factory=dict[str, float])


def shipped_methods() -> Path | None:
    """Return the folder of the table that ships with the package, `None` if none does."""
    return _SHIPPED if (_SHIPPED / "methods.json").is_file() else None


def load_methods(folder: Path) -> tuple[MethodCell, ...]:
    """Return the cells of a table, checked against its manifest.

    Raises:
        ArtifactTooNewError: A newer version wrote it.
        ArtifactCorruptError: A file is missing, changed or malformed.
    """
    try:
        manifest = json.loads((folder / "methods.json").read_text(encoding="utf-8"))
        content = (folder / "methods.csv").read_bytes()
        if manifest["kind"] != _KIND:
            raise ValueError(f"kind is {manifest['kind']!r}, expected {_KIND!r}")
        if manifest["schema_version"] > _SCHEMA_VERSION:
            raise ArtifactTooNewError(
                f"{folder} has schema {manifest['schema_version']}, this version reads up to "
                f"{_SCHEMA_VERSION}",
                hint="update thinkroute",
            )
        if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
            raise ValueError("methods.csv is not the file that methods.json was written for")
        lines = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))
        return tuple(_cell(line, _facts(manifest, line)) for line in lines)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, ArtifactTooNewError | ArtifactCorruptError):
            raise
        raise ArtifactCorruptError(
            f"{folder} holds no table of methods: {type(error).__name__}: {error}",
            hint="write it anew with scripts/study_methods.sh",
        ) from error


def _facts(manifest: Mapping[str, Any], line: Mapping[str, str]) -> dict[str, float]:
    """Return the numbers that the manifest holds about a line's run."""
    from calibration.pocket.methods_runs import Experiment, MethodRun

    run = MethodRun(
        cast("Experiment", line["experiment"]),
        line["method"],
        line["size"],
        line["corpus"],
        int(line["seed"]),
        int(line["budget"]),
    )
    found = manifest["runs"][run.id]
    return {name: float(one) for name, one in found.items() if isinstance(one, int | float)}


def _cell(line: Mapping[str, str], facts: Mapping[str, float]) -> MethodCell:
    n, n_correct = int(line["n"]), int(line["n_correct"])
    octets = base64.b64decode(line["answers"], validate=True)
    answers = "".join(f"{octet:08b}" for octet in octets)[:n]
    if len(answers) != n or answers.count("1") != n_correct:
        raise ValueError(f"{len(answers)} answers with {answers.count('1')} right: {n_correct}/{n}")
    return MethodCell(
        line["experiment"],
        line["method"],
        line["size"],
        int(line["seed"]),
        int(line["budget"]),
        line["task_type"],
        float(line["temperature"]),
        float(line["mean_tokens"]),
        float(line["train_flops"]),
        answers,
        int(line["n_examples"]),
        facts,
    )
