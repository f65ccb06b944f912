"""MMLU, subject `miscellaneous`: general knowledge with four options."""

from ._benchmark import Benchmark
from ._mmlu import (
    MMLU_HUB,
    MMLU_LICENCE,
    MMLU_SOURCE,
    MMLU_STEMS,
    read_mmlu,
    test_subjects,
)

__all__ = ["MMLU_MISC"]

MMLU_MISC = Benchmark(
    name="mmlu-misc",
    task_type="general-mc",
    grader="choice",
    version=1,
    source=f"{MMLU_SOURCE}; subject miscellaneous",
    licence=MMLU_LICENCE,
    hub=MMLU_HUB,
    stems=MMLU_STEMS,
    read=read_mmlu,
    keep=test_subjects("miscellaneous"),
)
