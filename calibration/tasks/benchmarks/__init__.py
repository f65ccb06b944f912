"""Public benchmarks: each a description and a function that reads one row.

The questions themselves are not part of the product: they come from the user's files or from
the Hugging Face hub. Prompts are our own wording, so accuracies compare arms with each other and
not with figures that were measured with other prompts.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from policies import TASK_TYPES, DataFileError, UnknownNameError

from ...graders import get_grader
from .._reading import read_rows
from .._row import Row
from .._task import Question, Task, question_id, take_in_fixed_order
from ..files import check_gold, distinct
from ._benchmark import Benchmark, Draft, HubDataset
from ._hub import hub_rows
from ._local import find_files
from .aime import AIME
from .aqua_rat import AQUA_RAT
from .coqa import COQA
from .gsm8k import GSM8K
from .humaneval import HUMANEVAL
from .ifeval import IFEVAL
from .math_500 import MATH_500
from .mbpp import MBPP
from .mmlu_math import MMLU_MATH
from .mmlu_misc import MMLU_MISC
from .mmlu_pro_math import MMLU_PRO_MATH
from .openbookqa import OPENBOOKQA
from .squad import SQUAD
from .winogrande import WINOGRANDE

__all__ = [
    "BENCHMARKS",
    "BENCHMARK_GROUPS",
    "Benchmark",
    "Draft",
    "HubDataset",
    "find_files",
    "get_benchmark",
    "load_benchmark",
]

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        MMLU_MISC,
        WINOGRANDE,
        OPENBOOKQA,
        SQUAD,
        COQA,
        IFEVAL,
        MMLU_MATH,
        MMLU_PRO_MATH,
        AQUA_RAT,
        GSM8K,
        MATH_500,
        AIME,
        HUMANEVAL,
        MBPP,
    )
}
"""All benchmarks by name."""

BENCHMARK_GROUPS: dict[str, tuple[str, ...]] = {
    task_type: tuple(name for name, one in BENCHMARKS.items() if one.task_type == task_type)
    for task_type in TASK_TYPES
} | {"all": tuple(BENCHMARKS)}
"""Names that stand for several benchmarks: the task types, and `all`."""


def get_benchmark(name: str) -> Benchmark:
    """Return a benchmark by name.

    Raises:
        UnknownNameError: There is none of this name.

    Example:
        >>> get_benchmark("gsm8k").grader
        'number'
    """
    if name not in BENCHMARKS:
        raise UnknownNameError("benchmark", name, BENCHMARKS)
    return BENCHMARKS[name]


def load_benchmark(
    benchmark: Benchmark, files: Sequence[Path] | None, *, limit: int | None, seed: int
) -> Task:
    """Read a benchmark's questions.

    Questions that are there twice are asked once. At most `limit` questions are held in memory.

    Args:
        benchmark: Which.
        files: Local files that hold its questions; `None` loads them from the hub.
        limit: Most questions, `None` for all.
        seed: Chooses and orders the questions.

    Raises:
        DataFileError: A file or row cannot be read, a gold answer cannot be compared, or there
            are no questions.
        MissingPrerequisiteError: The hub is needed and cannot be used, or a library is missing.
        UnknownNameError: The benchmark's grader does not exist.
    """
    grader = get_grader(benchmark.grader)
    places = benchmark.hub if files is None else files

    def questions() -> Iterator[Question]:
        for place in places:
            for row in _rows(benchmark, place):
                for draft in benchmark.read(row):
                    check_gold(row, draft.gold, grader)
                    yield _question(benchmark.name, draft)

    ordered = take_in_fixed_order(distinct(benchmark.name, questions()), limit, seed)
    if not ordered:
        wanted = "; ".join(f"{k.column} {' or '.join(sorted(k.values))}" for k in benchmark.keep)
        raise DataFileError(
            f"no question of {benchmark.name} is there",
            path=str(places[0]),
            hint=f"its rows have {wanted}" if wanted else "write one question per line or row",
        )
    return Task(
        benchmark.name,
        benchmark.task_type,
        ordered,
        benchmark.grader,
        benchmark.version,
        benchmark.source,
        benchmark.licence,
    )


def _rows(benchmark: Benchmark, place: HubDataset | Path) -> Iterator[Row]:
    if isinstance(place, Path):
        return read_rows(place, benchmark.keep)
    return hub_rows(benchmark.name, place, benchmark.keep)


def _question(task: str, draft: Draft) -> Question:
    identifier = question_id(task, draft.prompt, draft.gold)
    group = identifier if draft.source is None else question_id(task, draft.source, "")
    return Question(identifier, draft.prompt, draft.gold, group, draft.level)
