"""MMLU, its five mathematical subjects, with four options."""

from ._benchmark import Benchmark
from ._mmlu import (
    MMLU_HUB,
    MMLU_LICENCE,
    MMLU_SOURCE,
    MMLU_STEMS,
    read_mmlu,
    test_subjects,
)

__all__ = ["MATH_SUBJECTS", "MMLU_MATH"]

# The subjects that MMLU's own categories file under "math".
MATH_SUBJECTS = (
    "abstract_algebra",
    "college_mathematics",
    "elementary_mathematics",
    "high_school_mathematics",
    "high_school_statistics",
)

MMLU_MATH = Benchmark(
    name="mmlu-math",
    task_type="math-mc",
    grader="choice",
    version=1,
    source=f"{MMLU_SOURCE}; subjects {', '.join(MATH_SUBJECTS)}",
    licence=MMLU_LICENCE,
    hub=MMLU_HUB,
    stems=MMLU_STEMS,
    read=read_mmlu,
    keep=test_subjects(*MATH_SUBJECTS),
)
