"""What to export, and what came out of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from policies import InvalidInputError, ModelSize, UnknownNameError

from .._recipe import Method, Order, Recipe
from ..cost import Gpus
from ._training import TrainingRun

__all__ = ["LIBRARIES", "DataFile", "Export", "ExportRequest", "Library"]

Library: TypeAlias = Literal["trl", "axolotl", "llamafactory"]
"""A training library that configurations are written for."""

LIBRARIES: tuple[Library, ...] = get_args(Library)

_PAIRED = {Method.SFT, Method.GRPO}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What to export; `None` means "the default".

    Attributes:
        library: Training library.
        recipe: How to train.
        task_type: What the model is for, such as `math-oe`.
        data: JSONL files: pairs of `prompt`, `ift` and `reasoning` for supervised training and
            GRPO (GRPO also needs `solution` or `answer`); `messages` for TOPS and iterated SFT;
            `prompt`, `chosen` and `rejected` for DPO. Two files only for
            `domain_general_then_math`, general first.
        out: Folder to write.
        why: Why this recipe, as text; goes into the README.
        base_model: Hub id or path; `None` takes the Qwen2.5 base of the size.
        tokenizer: Tokenizer to count with; `None` takes a stated approximation.
        chat_template: Jinja file to train with; `None` takes the exporter's own.
        max_length: Longest row in tokens; `None` takes what the data need.
        n_gpus: GPUs.
        gpu: Kind of GPU, for costs and memory only.
        usd_per_gpu_hour: Price of one GPU, for costs; `None` takes a stated assumption.
        is_lora: Train low-rank adapters instead of all weights.
        packing: Put several rows into one sequence; not for ordered recipes.
        seed: Seed of the mixture and of training.
        n_rows: Rows to train on, in each of two domains; `None` takes all.
        exclude: JSONL files of evaluation questions that must not be trained on.
        then: A stage after supervised training.
        n_generations: Completions per prompt of GRPO.
        learning_rate: Peak learning rate of the first stage; `None` takes the published one.
        force: Replace an export that is there already.

    Raises:
        InvalidInputError: Two of these contradict each other.
        UnknownNameError: No such library.
    """

    library: Library
    recipe: Recipe
    task_type: str
    data: tuple[Path, ...]
    out: Path
    why: str = "chosen by hand"
    base_model: str | None = None
    tokenizer: str | None = None
    chat_template: Path | None = None
    max_length: int | None = None
    n_gpus: int = 8
    gpu: str = "h100"
    usd_per_gpu_hour: float | None = None
    is_lora: bool = False
    packing: bool = False
    seed: int = 0
    n_rows: int | None = None
    exclude: tuple[Path, ...] = ()
    then: Literal["grpo"] | None = None
    n_generations: int = 8
    learning_rate: float | None = None
    force: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, or must not be."""
        if self.library not in LIBRARIES:
            raise UnknownNameError("training library", self.library, LIBRARIES)
        if self.n_gpus < 1:
            raise InvalidInputError(f"{self.n_gpus!r} GPUs: at least 1 is needed")
        if self.n_rows is not None and self.n_rows < 1:
            raise InvalidInputError(f"{self.n_rows!r} rows: at least 1 is needed")
        rate = self.learning_rate
        if rate is not None and not 0 < rate <= 0.1:
            raise InvalidInputError(
                f"learning rate {rate:g}: expected more than 0 and at most 0.1",
                hint="published ones are 1e-6 to 2e-5",
            )
        _ = self.gpus
        _check_exported(self.recipe)
        _check_data(self.recipe, self.data)
        self._check_reinforcement()

    def _check_reinforcement(self) -> None:
        needs_grpo = self.recipe.method is Method.GRPO or self.then == "grpo"
        if needs_grpo and self.library == "llamafactory":
            raise InvalidInputError(
                "LLaMA-Factory has no GRPO",
                hint="export to trl or axolotl, which have",
                code="no-grpo",
            )
        if self.then is None:
            return
        if self.recipe.method not in {Method.SFT, Method.TOPS, Method.ITER_SFT}:
            raise InvalidInputError(
                f"a stage after {self.recipe.method.value!r} is not exported",
                hint="--then grpo goes with supervised training",
            )
        if self.is_lora:
            raise InvalidInputError(
                "two stages with adapters: the second would start from an adapter, not a model",
                hint="merge the adapter after the first stage, then export --method grpo with it"
                " as --base-model",
                code="lora-stages",
            )
        if self.recipe.method is not Method.SFT:
            raise InvalidInputError(
                f"--then grpo needs pairs, but {self.recipe.method.value!r} trains on other data",
                hint="export the second stage by itself with --method grpo",
            )

    @property
    def gpus(self) -> Gpus:
        """Return what it is trained on.

        Raises:
            UnknownNameError: No such kind of GPU.
        """
        return Gpus.parse(f"{self.n_gpus}x{self.gpu}", usd_per_hour=self.usd_per_gpu_hour)

    @property
    def size(self) -> ModelSize:
        """Return the size of the base model."""
        return self.recipe.size


def _check_exported(recipe: Recipe) -> None:
    if recipe.method is Method.BACKTRACKING:
        raise InvalidInputError(
            "backtracking is not exported: it is supervised training on what a search program"
            " writes",
            hint="give those traces as the 'reasoning' of pairs, with the method sft and ratio 1",
            code="method-not-exported",
        )
    if recipe.order is Order.REASONING_THEN_IFT:
        raise InvalidInputError(
            "reasoning_then_ift is not exported: never train on direct answers after reasoning"
            " traces, the model would lose its reasoning",
            hint="use ift_then_reasoning or mixed with the same ratio",
            code="ift-after-reasoning",
        )
    if recipe.order is Order.REASONING_THEN_HYBRID:
        raise InvalidInputError(
            "reasoning_then_hybrid is not exported: no published figures say how to divide its"
            " stages",
            hint="use ift_then_reasoning or mixed, or export the two stages one by one",
            code="order-not-exported",
        )


def _check_data(recipe: Recipe, data: tuple[Path, ...]) -> None:
    wanted = 2 if recipe.order is Order.DOMAIN_GENERAL_THEN_MATH else 1
    if recipe.method not in _PAIRED and recipe.order is not Order.MIXED:
        raise InvalidInputError(
            f"method {recipe.method.value!r} has one kind of rows, so no order"
            f" {recipe.order.value!r}",
            hint="leave --order and --ratio out",
        )
    if len(data) != wanted:
        raise InvalidInputError(
            f"{len(data)} data files for the order {recipe.order.value!r}, expected {wanted}",
            hint="give --data twice, general corpus first, for domain_general_then_math, else once",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A training file of an export.

    Attributes:
        name: Path in the export folder.
        kind: `ift`, `reasoning`, `mixed`, `answers`, `prompts` or `preferences`.
        n_rows: Rows.
        n_prompt_tokens: Tokens of all prompts.
        n_answer_tokens: Trainable tokens; 0 for prompts.
        p99_tokens: 99th percentile of the rows, with what the chat template adds.
        max_tokens: Longest row, likewise.
        sha256: Of the file.
    """

    name: str
    kind: str
    n_rows: int
    n_prompt_tokens: int
    n_answer_tokens: int
    p99_tokens: int
    max_tokens: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """An export folder that was written, or would be.

    Attributes:
        folder: Where it is.
        library: Training library.
        library_version: The version it was tested with.
        recipe: How it trains.
        runs: Stages, in order.
        commands: Shell commands that start them in the folder, in order.
        files: Training files, in training order.
        reasoning_ratio: Share of supervised rows that are reasoning, `None` without such rows.
        reasoning_token_share: Share of trainable tokens in reasoning rows, likewise.
        counter_name: What tokens were counted with.
        is_exact: The tokens are those of a real tokenizer, not an approximation.
        notes: What a reader should know, a sentence each.
        manifest: What `manifest.json` holds.
        is_dry_run: Nothing was left on the disk.
    """

    folder: Path
    library: Library
    library_version: str
    recipe: Recipe
    runs: tuple[TrainingRun, ...]
    commands: tuple[str, ...]
    files: tuple[DataFile, ...]
    reasoning_ratio: float | None
    reasoning_token_share: float | None
    counter_name: str
    is_exact: bool
    notes: tuple[str, ...]
    manifest: dict[str, object]
    is_dry_run: bool
