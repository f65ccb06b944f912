"""Training settings and results of papers that a recipe is advised from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from ._cells import LoadedTable, TableRow, load_evidence
from ._claims import load_claims
from ._registry import Grade, corrupt_table

__all__ = [
    "DistillationGain",
    "LearningRates",
    "PublishedMethod",
    "TopsResult",
    "TopsStage",
    "load_distillation_gains",
    "load_learning_rates",
    "load_methods",
    "load_tops_results",
    "load_tops_stages",
]

_R1_BENCHMARKS = ("aime24_pass1", "aime24_cons64", "math500", "gpqa_diamond", "livecodebench")


@dataclass(frozen=True, slots=True)
class LearningRates:
    """Peak learning rates of one student.

    Attributes:
        id: Id of the row; `/reasoning` and `/ift` follow it for the single figures.
        student: Base model, such as `Qwen2.5-3B`.
        reasoning_lr: Peak learning rate on reasoning traces.
        ift_lr: Peak learning rate on direct answers.
        grade: How far they can be trusted.
        source: Where they are printed.
    """

    id: str
    student: str
    reasoning_lr: float
    ift_lr: float
    grade: Grade
    source: str


@dataclass(frozen=True, slots=True)
class PublishedMethod:
    """A method of test-time compute, or of training for it.

    Attributes:
        id: Such as `methods/grpo`.
        name: Name in its paper.
        use: `training`, `decoding`, `decoding with a component`, `decoding by the vendor` or
            `neither`.
        needs: Access or parts it needs.
        algorithm: Steps and defaults.
        stop_rule: When it stops; may be empty.
        headline: Figures of its own paper; may be empty.
        repository: Official code; may be empty.
        source_quality: Which part was read where.
        grade: Grade of the weakest figure.
        source: Where it is described.
    """

    id: str
    name: str
    use: str
    needs: str
    algorithm: str
    stop_rule: str
    headline: str
    repository: str
    source_quality: str
    grade: Grade
    source: str

    @property
    def key(self) -> str:
        """Return the last part of the id, such as `grpo`."""
        return self.id.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class TopsResult:
    """Accuracy and length of one model at one effort on one benchmark.

    Attributes:
        id: Such as `2502.18080/T3/Qwen2.5-32B-TOPS/default/GSM8K`.
        model: Model.
        setting: Effort, temperature, or `default`.
        benchmark: Benchmark.
        accuracy: In [0, 1].
        mean_tokens: Tokens per answer, `None` where not printed.
        accuracy_std: Standard deviation over 5 seeds in [0, 1], `None` where not printed.
        note: How it was run; may be empty.
        grade: How far it can be trusted.
        source: Where it is printed.
    """

    id: str
    model: str
    setting: str
    benchmark: str
    accuracy: float
    mean_tokens: float | None
    accuracy_std: float | None
    note: str
    grade: Grade
    source: str


@dataclass(frozen=True, slots=True)
class TopsStage:
    """Settings of one stage of TOPS, as far as they are printed.

    Attributes:
        id: Such as `2502.18080/hparams/iter-dpo`.
        stage: Stage.
        model: What is trained.
        learning_rate: Peak learning rate, `None` where nothing is trained.
        global_batch: Examples per step, `None` where nothing is trained.
        n_epochs: Epochs, `None` where nothing is trained.
        hardware: Accelerators.
        data: Training data, or settings of the evaluation.
        grade: How far they can be trusted.
        source: Where they are printed.
    """

    id: str
    stage: str
    model: str
    learning_rate: float | None
    global_batch: int | None
    n_epochs: int | None
    hardware: str
    data: str
    grade: Grade
    source: str

    @property
    def key(self) -> str:
        """Return the last part of the id, such as `iter-dpo`."""
        return self.id.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class DistillationGain:
    """Distillation and reinforcement learning alone, started from one base.

    Attributes:
        ids: Cells it is made of: the distilled one first, then RL alone; one id where one row
            prints both.
        about: What was compared.
        benchmark: Benchmark, or `average`.
        distilled: Accuracy after distillation in [0, 1].
        rl_only: Accuracy after RL alone in [0, 1].
        grade: How far the figures can be trusted.
        source: Where they are printed.
    """

    ids: tuple[str, ...]
    about: str
    benchmark: str
    distilled: float
    rl_only: float
    grade: Grade
    source: str

    @property
    def gain(self) -> float:
        """Return distilled minus RL only, in [-1, 1]."""
        return self.distilled - self.rl_only


@cache
def load_learning_rates() -> Mapping[str, LearningRates]:
    """Return the printed peak learning rates by student, such as `Qwen2.5-3B`.

    Rates for mixtures of both kinds of examples are not printed anywhere.

    Raises:
        ArtifactCorruptError: The shipped file is missing, changed or malformed.

    Source: arXiv 2509.22193v2, Table 2.
    """
    rows = load_evidence("scale_or_reason_training_hparams").rows
    return MappingProxyType(
        {
            row.text("student"): LearningRates(
                row.id,
                row.text("student"),
                _present(row, "reasoning_lr"),
                _present(row, "ift_lr"),
                row.grade,
                row.source,
            )
            for row in rows
        }
    )


@cache
def load_methods(use: str | None = "training") -> tuple[PublishedMethod, ...]:
    """Return the methods of one use.

    Args:
        use: A value of `PublishedMethod.use`; `None` for all methods.

    Raises:
        ArtifactCorruptError: The shipped file is missing, changed or malformed.
    """
    return tuple(
        PublishedMethod(
            id=row.id,
            name=row.text("method"),
            use=row.text("use"),
            needs=row.text("needs"),
            algorithm=row.text("algorithm"),
            stop_rule=row.text("stop_rule"),
            headline=row.text("headline"),
            repository=row.text("repository"),
            source_quality=row.text("source_quality"),
            grade=row.grade,
            source=row.source,
        )
        for row in load_evidence("methods_matrix").rows
        if use is None or row.text("use") == use
    )


@cache
def load_tops_results() -> tuple[TopsResult, ...]:
    """Return accuracies and lengths of effort-tagged and self-improved models.

    Raises:
        ArtifactCorruptError: The shipped file is missing, changed or malformed.

    Source: arXiv 2502.18080 (NeurIPS 2025), Tables 2-4 and 8-10.
    """
    results: list[TopsResult] = []
    table = load_evidence("tops_results")
    for row in table.rows:
        std = row.number("std")
        results.append(
            TopsResult(
                id=row.id,
                model=row.text("model"),
                setting=row.text("setting"),
                benchmark=row.text("benchmark"),
                accuracy=_accuracy(table, row, "accuracy"),
                mean_tokens=row.number("tokens"),
                accuracy_std=None if std is None else round(std / 100, 6),
                note=row.text("note"),
                grade=row.grade,
                source=row.source,
            )
        )
    return tuple(results)


@cache
def load_tops_stages() -> tuple[TopsStage, ...]:
    """Return the printed training settings of every stage of TOPS. The DPO beta is not printed.

    Raises:
        ArtifactCorruptError: The shipped file is missing, changed or malformed.

    Source: arXiv 2502.18080 (NeurIPS 2025), settings of training.
    """
    return tuple(
        TopsStage(
            id=row.id,
            stage=row.text("stage"),
            model=row.text("model"),
            learning_rate=row.number("learning_rate"),
            global_batch=_whole(row.number("batch")),
            n_epochs=_whole(row.number("epochs")),
            hardware=row.text("hardware"),
            data=row.text("data"),
            grade=row.grade,
            source=row.source,
        )
        for row in load_evidence("tops_hparams").rows
    )


@cache
def load_distillation_gains() -> tuple[DistillationGain, ...]:
    """Return what is printed about distillation against reinforcement learning alone.

    Raises:
        ArtifactCorruptError: The shipped file is missing, changed or malformed.

    Source: arXiv 2501.12948, Tables 5 and 6 (32B, per benchmark); arXiv 2509.22193v2,
        appendix A, quoting the R1 and Magistral reports (averages).
    """
    table = load_evidence("r1_distill_matrix")
    rows = {row.text("model"): row for row in table.rows}
    distilled, rl_only = rows["R1-Distill-Qwen-32B"], rows["R1-Zero-Qwen-32B"]
    gains = [
        DistillationGain(
            (f"{distilled.id}/{benchmark}", f"{rl_only.id}/{benchmark}"),
            "DeepSeek-R1 distilled into a 32B base, or RL on a 32B base",
            benchmark,
            _accuracy(table, distilled, benchmark),
            _accuracy(table, rl_only, benchmark),
            distilled.grade,
            f"{distilled.source} and {rl_only.text('place').removeprefix('Table ')}",
        )
        for benchmark in _R1_BENCHMARKS
    ]
    for claim in load_claims():
        if claim.key.endswith("-distillation-vs-rl"):
            if claim.low is None or claim.high is None:
                raise corrupt_table("scale_or_reason_claims", f"{claim.id} has no two accuracies")
            # These two rows hold RL alone as `low` and distillation as `high`; see their unit.
            gains.append(
                DistillationGain(
                    (claim.id,),
                    claim.claim,
                    "average",
                    round(claim.high / 100, 6),
                    round(claim.low / 100, 6),
                    claim.grade,
                    claim.source,
                )
            )
    return tuple(gains)


def _accuracy(table: LoadedTable, row: TableRow, column: str) -> float:
    value = row.accuracy(table.entry.column(column))
    if value is None:
        raise corrupt_table(row.table, f"{row.id} has no {column}")
    return value


def _present(row: TableRow, column: str) -> float:
    value = row.number(column)
    if value is None:
        raise corrupt_table(row.table, f"{row.id} has no {column}")
    return value


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
