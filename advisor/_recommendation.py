"""The question `advisor recommend` answers and the document it answers with."""

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from calibration.published import PublishedCorpus
from policies import (
    ArtifactCorruptError,
    ArtifactTooNewError,
    InvalidInputError,
    check_task_type,
)

from ._inference import Basis
from ._recipe import Recipe, SizeField

__all__ = [
    "SCHEMA_VERSION",
    "Accuracy",
    "Action",
    "Assumptions",
    "EvidenceItem",
    "NextMeasurement",
    "Priority",
    "Reason",
    "RecipeOption",
    "Recommendation",
    "RecommendationRequest",
    "RecommendationWarning",
    "Verdict",
]

SCHEMA_VERSION = 1

Priority: TypeAlias = Literal["accuracy", "training", "inference"]
"""What matters most: accuracy at any price, cheap training, or cheap answers."""

Action: TypeAlias = Literal["ift", "reasoning", "mixed", "sequential", "scale_ift", "abstain"]
"""What to do.

`ift`: train on direct answers. `reasoning`: on reasoning traces alone. `sequential`: on both in
turn, IFT examples first unless the option says otherwise. `mixed`: on both, shuffled. `scale_ift`: a larger model
on direct answers. `abstain`: measure first.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendationRequest:
    """What is asked for.

    Attributes:
        size: Size to train; also the largest allowed, unless `max_size` is given.
        task_type: Task type the model is for.
        corpus: Published training corpus that resembles the user's; `None` considers both.
        priority: What matters most; `None` weighs accuracy against both costs.
        max_size: Largest size that could be trained and served instead, at least `size`.
        n_examples: Rows of the training set that training FLOPs are computed for.
        prompt_tokens: Mean prompt length in it.
        answer_tokens: Mean length of a direct answer in it; `None`: as measured, else 600.
        trace_ratio: Length of a reasoning trace with its answer / of a direct answer; `None`:
            as measured, else 10.

    Raises:
        InvalidInputError: A value is out of range.

    Example:
        >>> from policies import ModelSize
        >>> request = RecommendationRequest(size=ModelSize.parse("3B"), task_type="math-oe")
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    size: SizeField
    task_type: str
    corpus: PublishedCorpus | None = None
    priority: Priority | None = None
    max_size: SizeField | None = None
    n_examples: int = 300_000
    prompt_tokens: float = 150.0
    answer_tokens: float | None = None
    trace_ratio: float | None = None

    def __post_init__(self) -> None:
        """Refuse values that make no question."""
        check_task_type(self.task_type)
        _check_choice("corpus", self.corpus, ("general", "math-centric"))
        _check_choice("priority", self.priority, ("accuracy", "training", "inference"))
        if self.max_size is not None and self.max_size < self.size:
            raise InvalidInputError(
                f"max_size {self.max_size} is smaller than size {self.size}",
                hint="leave max_size out, or give a larger one",
                code="invalid-max-size",
            )
        numbers = {
            "n_examples": self.n_examples,
            "prompt_tokens": self.prompt_tokens,
            "answer_tokens": self.answer_tokens,
            "trace_ratio": self.trace_ratio,
        }
        for name, value in numbers.items():
            if value is not None and not 0 < value < 1e15:
                raise InvalidInputError(f"{name} {value!r} is not a positive number")


def _check_choice(name: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise InvalidInputError(
            f"{name} {value!r} is not known", hint=f"use one of {', '.join(known)}"
        )


class _Document(BaseModel, frozen=True, extra="forbid"):
    """An immutable part of a recommendation; unknown keys are errors."""


class Accuracy(_Document, frozen=True):
    """An accuracy with a 95% interval, or the statement that there is none."""

    value: float | None
    """Accuracy in [0, 1]; null where nothing printed or measured supports a number."""
    low: float | None
    """Lower end of the 95% interval; null with `value`."""
    high: float | None
    """Upper end of the 95% interval; null with `value`."""
    basis: Basis
    """`measured` (printed or the user's own), `interpolated` between two, or `rule`: no number."""
    cells: tuple[str, ...] = ()
    """Cells of `evidence` that the value comes from."""

    @model_validator(mode="after")
    def _check_basis(self) -> "Accuracy":
        if self.basis == "rule":
            if (self.value, self.low, self.high) != (None, None, None):
                raise ValueError("basis 'rule' has no number")
        elif self.value is None or self.low is None or self.high is None:
            raise ValueError(f"basis {self.basis!r} needs a value and an interval")
        elif not 0 <= self.low <= self.value <= self.high <= 1:
            raise ValueError("not 0 <= low <= value <= high <= 1")
        return self


class RecipeOption(_Document, frozen=True):
    """One thing that could be trained."""

    size: SizeField
    """Model size."""
    recipe: Recipe
    """How it would be trained."""
    accuracy: Accuracy
    """Accuracy to expect on the task type."""
    train_flops: float
    """Training FLOPs under `assumptions`."""
    inference_flops: float | None
    """Inference FLOPs per query; null where neither measured nor fitted."""
    inference_basis: Literal["measured", "published-fit"] | None
    """Where `inference_flops` comes from; a published fit is a weak prior."""
    notes: tuple[str, ...] = ()
    """What to know about the figures."""


class Reason(_Document, frozen=True):
    """One step of the argument behind the verdict."""

    code: str
    """Stable identifier."""
    text: str
    """The step in words."""
    cells: tuple[str, ...] = ()
    """Cells of `evidence` it refers to."""
    source: str | None = None
    """Where a rule without figures is stated."""


class Verdict(_Document, frozen=True):
    """What to do, and why."""

    action: Action
    """What to do."""
    option: int | None
    """Index into `options` of what is recommended; null when abstaining."""
    text: str
    """The verdict in words."""
    reasons: tuple[Reason, ...]
    """The argument, in order."""


class EvidenceItem(_Document, frozen=True):
    """One figure that the recommendation rests on."""

    source: str
    """The paper, or `measured` for the user's own cells."""
    cell: str
    """Where in it."""
    recipe: str
    """Recipe label of the figure."""
    value: float
    """Accuracy in [0, 1] as printed or measured."""


class RecommendationWarning(_Document, frozen=True):
    """Something that could turn the recommendation into a mistake."""

    code: str
    """Stable identifier, such as `ift-after-reasoning`."""
    text: str
    """The warning in words."""


class NextMeasurement(_Document, frozen=True):
    """What to measure to be surer."""

    text: str
    """What and why."""
    commands: tuple[str, ...]
    """Command lines, in order; words in capitals are to be replaced."""
    n_questions: int
    """Questions needed."""


class Assumptions(_Document, frozen=True):
    """What the costs were computed for."""

    n_examples: int
    """Rows of the training set, one epoch."""
    prompt_tokens: float
    """Mean prompt length."""
    answer_tokens: float
    """Mean length of a direct answer."""
    trace_ratio: float
    """Length of a reasoning trace with its answer / of a direct answer."""
    formula: str
    """How training FLOPs were computed, the same way for every option."""
    confidence_level: float = 0.95
    """Level of every interval."""


class Recommendation(_Document, frozen=True):
    """The answer: a verdict, the options it was chosen from, and what both rest on."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """Version of this document's shape."""
    request: RecommendationRequest
    """What was asked."""
    verdict: Verdict
    """What to do."""
    options: tuple[RecipeOption, ...]
    """What was compared; the user's own measurements first."""
    evidence: tuple[EvidenceItem, ...]
    """Every figure used."""
    warnings: tuple[RecommendationWarning, ...]
    """What could make it wrong."""
    next_measurements: tuple[NextMeasurement, ...]
    """What to measure next."""
    assumptions: Assumptions
    """What costs were computed for."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads back to an equal recommendation."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, document: object) -> "Recommendation":
        """Read what `to_json` wrote.

        Raises:
            ArtifactTooNewError: A newer version wrote it.
            ArtifactCorruptError: It is not a recommendation.
        """
        fields = cast("dict[str, object]", document) if isinstance(document, dict) else {}
        version = fields.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ArtifactTooNewError(
                f"the recommendation has schema version {version}, this one reads {SCHEMA_VERSION}",
                hint="upgrade thinkroute",
            )
        try:
            return cls.model_validate_json(json.dumps(document))
        except (ValidationError, TypeError, ValueError) as error:
            raise ArtifactCorruptError(f"this is not a recommendation: {error}") from error

    @property
    def recommended(self) -> RecipeOption | None:
        """Return the recommended option, `None` when abstaining."""
        return None if self.verdict.option is None else self.options[self.verdict.option]
