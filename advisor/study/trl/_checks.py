"""What is refused before anything is trained: environment, backend, design."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from policies import (
    Capability,
    InvalidInputError,
    MissingPrerequisiteError,
    UnknownNameError,
    build_policy,
)

from .._design import StudyDesign
from ._bases import Base
from ._process import Environment
from ._settings import TrlMeasuring, TrlTraining

__all__ = ["check_design", "check_environment", "check_measuring"]

_CONFIGS = (".yaml", ".yml", ".json")
"""Endings that tell a file from the name of a configuration that TRL brings."""


def check_environment(training: TrlTraining, found: Environment) -> None:
    """Refuse an environment that cannot train.

    Raises:
        MissingPrerequisiteError: A library or a GPU is missing.
        InvalidInputError: There is no such configuration for accelerate.
    """
    needed = ["trl", "torch", *["peft"] * training.is_lora]
    missing = [name for name in needed if name not in found.versions]
    if missing:
        raise MissingPrerequisiteError(
            f"{training.python} has no {' and no '.join(missing)}",
            hint='pip install "thinkroute[train,recipes]", or give the Python that has them',
            code="missing-extra",
        )
    if training.device == "gpu" and found.n_gpus < training.n_processes:
        raise MissingPrerequisiteError(
            f"{training.n_processes} GPUs are needed to train, but there"
            f" {'is' if found.n_gpus == 1 else 'are'} {found.n_gpus}",
            hint="give --num-processes as many as there are, or --device cpu",
            code="no-gpu",
        )
    config = training.accelerate_config
    is_file = config is not None and (isinstance(config, Path) or config.endswith(_CONFIGS))
    if is_file and not Path(str(config)).expanduser().is_file():
        raise InvalidInputError(
            f"there is no configuration for accelerate at {config}",
            hint="write one with: accelerate config --config_file FILE",
            code="no-accelerate-config",
        )


def check_measuring(measuring: TrlMeasuring) -> None:
    """Refuse a backend whose library is not there.

    Raises:
        MissingPrerequisiteError: It is not.
    """
    if find_spec(measuring.backend) is None:
        raise MissingPrerequisiteError.extra(measuring.backend, measuring.backend)


def check_design(
    design: StudyDesign, bases: Mapping[str, Base], corpora: Sequence[str], n_rows: int
) -> None:
    """Refuse a design that these base models and data cannot carry out.

    Raises:
        UnknownNameError: No base model of a size.
        InvalidInputError: A corpus is missing, or rows, ratio or a policy do not fit.
    """
    for size in design.sizes:
        if size not in bases:
            raise UnknownNameError("base model", size, bases)
        needed = frozenset[Capability]()
        for policy in design.policies:
            needed |= build_policy(policy).needs
        if Capability.THINKING_BUDGET in needed and not bases[size].tells_thoughts:
            raise InvalidInputError(
                f"the tokenizer of {size!r} has no token </think>, so that thoughts cannot be"
                f" held to a budget: {', '.join(design.policies)}",
                hint="leave out policies with a budget",
                code="no-budgets",
            )
    if design.n_rows != n_rows:
        raise InvalidInputError(
            f"the design has {design.n_rows:,} rows, the lab {n_rows:,}",
            hint="give both the same number",
        )
    wanted = {stage.corpus for student in design.students() for stage in student.stages}
    missing = sorted(wanted - set(corpora))
    if missing:
        raise InvalidInputError(
            f"the design trains on {', '.join(missing)}, but there are pairs of"
            f" {', '.join(corpora)} only",
            hint="two-stage orders need pairs of two corpora: --pairs general=FILE and --pairs"
            " math=FILE; else design a study of the corpus 'own'",
            code="no-such-corpus",
        )
    for student in design.students():
        for stage in student.stages:
            n_reasoning = round(stage.ratio * design.n_rows)
            if stage.ratio not in {0.0, 1.0} and not 0 < n_reasoning < design.n_rows:
                raise InvalidInputError(
                    f"{design.n_rows} rows are too few for a ratio of {stage.ratio:g}"
                )
