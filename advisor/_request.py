"""The question that a recommendation answers, and the defaults of what was not said."""

from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, ConfigDict, PlainSerializer

from policies import InvalidInputError, ModelSize, UnknownNameError, check_task_type

from ._recipe import Corpus, SizeField
from .cost import Gpus, InferBudget, TrainBudget

__all__ = [
    "CORPORA",
    "LARGEST",
    "OBJECTIVES",
    "SMALLEST",
    "AnswerFormat",
    "Have",
    "Objective",
    "RecommendationRequest",
    "size_out_of_range",
]

Objective: TypeAlias = Literal["balanced", "accuracy", "training", "inference", "total"]
"""What matters most: accuracy against both costs, accuracy at any price, cheap training, cheap
answers, or training and serving together over the horizon."""

AnswerFormat: TypeAlias = Literal["mc", "oe"]
"""Multiple choice or open-ended answers."""

Have: TypeAlias = Literal["base", "ift", "reasoning"]
"""What is there already: a base model, one trained on direct answers, or one that reasons."""

OBJECTIVES: tuple[Objective, ...] = ("balanced", "accuracy", "training", "inference", "total")
CORPORA: tuple[Corpus, ...] = ("general", "math-centric", "code", "own")
SMALLEST, LARGEST = 100_000_000, 100_000_000_000
"""Sizes that a question may be about, in parameters; figures cover fewer, see the answer.

Measured cells that reach further down take the question with them, see `advisor.recommend`.
"""

_ALIASES = {"math": "math-centric"}


def _parsed(kind: type[Any]) -> Any:
    def read(value: object) -> object:
        return kind.parse(value) if isinstance(value, str) else value

    return BeforeValidator(read)


_GpusField = Annotated[Gpus, _parsed(Gpus), PlainSerializer(str, return_type=str)]
_TrainBudgetField = Annotated[
    TrainBudget, _parsed(TrainBudget), PlainSerializer(str, return_type=str)
]
_InferBudgetField = Annotated[
    InferBudget, _parsed(InferBudget), PlainSerializer(str, return_type=str)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendationRequest:
    """What is asked for; `None` is "not said", and the answer states what was assumed instead.

    Attributes:
        size: Size to train, which is also the largest allowed unless `max_size` is given; `None`:
            any size, up to `max_size`.
        task_type: Task type the model is for, one of the published ones or, with an
            `answer_format` or cells of one's own, any other name.
        answer_format: Multiple choice or open-ended answers; must agree with `task_type`.
        corpus: Training corpus that resembles the user's.
        objective: What matters most.
        max_size: Largest size that could be trained and served, at least `size`.
        train_budget: Most that training may cost.
        infer_budget: Most that one answered query may cost.
        queries_per_day: Traffic to serve, for training and serving costs together.
        horizon_days: Days for which traffic is counted.
        gpus: What it is trained on.
        gpu_price: US dollars for an hour of one GPU.
        teacher: Name of the model that writes reasoning traces; `none`: there is no teacher.
        have: What is there already.
        n_examples: Rows of the training set.
        prompt_tokens: Mean prompt length in it.
        answer_tokens: Mean length of a direct answer in it.
        trace_ratio: Length of a reasoning trace with its answer / of a direct answer.
        trace_p99_tokens: 99% quantile of whole rows with a trace, where traces were measured.
        trace_source: Where measured lengths come from, in words.
        pass_rate: Share of sampled answers that the model to be trained gets right now, for
            the pre-check of reinforcement learning.
        tolerance: Accuracy that may be lost in expectation by acting now, in [0, 1].

    Raises:
        InvalidInputError: A value is out of range, or two contradict each other.
        UnknownNameError: A corpus, objective or the like that does not exist; names close ones.

    Example:
        >>> from policies import ModelSize
        >>> request = RecommendationRequest(size=ModelSize.parse("3B"), task_type="math-oe")
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    size: SizeField | None
    task_type: str
    answer_format: AnswerFormat | None = None
    corpus: Corpus | None = None
    objective: Objective | None = None
    max_size: SizeField | None = None
    train_budget: _TrainBudgetField | None = None
    infer_budget: _InferBudgetField | None = None
    queries_per_day: float | None = None
    horizon_days: float | None = None
    gpus: _GpusField | None = None
    gpu_price: float | None = None
    teacher: str | None = None
    have: Have | None = None
    n_examples: int | None = None
    prompt_tokens: float | None = None
    answer_tokens: float | None = None
    trace_ratio: float | None = None
    trace_p99_tokens: int | None = None
    trace_source: str | None = None
    pass_rate: float | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        """Refuse values that make no question."""
        check_task_type(self.task_type)
        object.__setattr__(self, "corpus", _ALIASES.get(self.corpus or "", self.corpus))
        _check_choice("corpus", self.corpus, ("general", "math", "code", "own", "math-centric"))
        _check_choice("objective", self.objective, OBJECTIVES)
        _check_choice("format", self.answer_format, ("mc", "oe"))
        _check_choice("have", self.have, ("base", "ift", "reasoning"))
        self._check_sizes()
        self._check_numbers()
        self._check_contradictions()

    def _check_sizes(self) -> None:
        for name, size in (("size", self.size), ("max_size", self.max_size)):
            if size is not None and size.n_params > LARGEST:
                raise size_out_of_range(name, size)
        if self.size is not None and self.max_size is not None and self.max_size < self.size:
            raise InvalidInputError(
                f"max_size {str(self.max_size)!r} is smaller than size {str(self.size)!r}",
                hint="leave max_size out, or give a larger one",
                code="invalid-max-size",
            )

    def _check_numbers(self) -> None:
        for name in (
            "queries_per_day",
            "horizon_days",
            "gpu_price",
            "n_examples",
            "prompt_tokens",
            "answer_tokens",
            "trace_ratio",
            "trace_p99_tokens",
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e15:
                raise InvalidInputError(
                    f"{name} {value!r} is not a positive number", hint="give one above 0"
                )
        for name in ("pass_rate", "tolerance"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InvalidInputError(
                    f"{name} {value!r} is not between 0 and 1", hint="give a share, such as 0.3"
                )

    def _check_contradictions(self) -> None:
        ending = self.task_type.rsplit("-", 1)[-1]
        wanted = self.answer_format
        if wanted is not None and ending in {"mc", "oe"} and ending != wanted:
            raise InvalidInputError(
                f"task {self.task_type!r} ends in {ending!r}, but the format is {wanted!r}",
                hint="leave --format out, or name the task type that it belongs to",
                code="contradiction",
            )
        if self.horizon_days is not None and self.queries_per_day is None:
            raise InvalidInputError(
                f"horizon_days {self.horizon_days:g} counts traffic, but no traffic is given",
                hint="give --traffic too, in queries per day",
                code="contradiction",
            )
        if self.size is None and self.have in {"ift", "reasoning"}:
            raise InvalidInputError(
                f"size 'any' with a model that is there already (have {self.have!r})",
                hint="give that model's size",
                code="contradiction",
            )
        p99, ratio = self.trace_p99_tokens, self.trace_ratio
        mean = (self.prompt_tokens or 0.0) + (self.answer_tokens or 0.0) * (ratio or 0.0)
        if p99 is not None and p99 < mean:
            raise InvalidInputError(
                f"trace_p99_tokens {p99} is below the mean length of a row, {mean:.0f} tokens",
                hint="it is the 99% quantile of whole rows, prompt and trace",
                code="contradiction",
            )
        if self.objective == "total" and self.queries_per_day is None:
            raise InvalidInputError(
                "objective 'total' adds training and serving, but no traffic is given",
                hint="give --traffic, in queries per day",
                code="contradiction",
            )

    @property
    def is_math(self) -> bool:
        """Return whether the task type is one of mathematics."""
        return self.task_type.startswith("math")

    @property
    def given(self) -> frozenset[str]:
        """Return the names of the fields that were said."""
        return frozenset(
            field.name for field in fields(self) if getattr(self, field.name) is not None
        )


def size_out_of_range(name: str, size: ModelSize, hint: str = "") -> InvalidInputError:
    """Return the error of a size that nothing is known about.

    Args:
        name: Field of the request.
        size: The size.
        hint: What is known instead; the published sizes by default.
    """
    return InvalidInputError(
        f"{name} {str(size)!r} is not between 0.1B and 100B",
        hint=hint or "recipes were published for 0.5B to 14B; nothing is known far from there",
        code="size-out-of-range",
    )


def _check_choice(name: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise UnknownNameError(name, value, known)
