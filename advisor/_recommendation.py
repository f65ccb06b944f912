"""The document that `advisor recommend` answers with."""

import json
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import BaseModel, Field, ValidationError, model_validator

from policies import ArtifactCorruptError, ArtifactError, ArtifactTooNewError

from ._recipe import Recipe, SizeField
from ._request import RecommendationRequest

__all__ = [
    "SCHEMA_VERSION",
    "Accuracy",
    "Action",
    "Assumption",
    "Basis",
    "Change",
    "Confidence",
    "Conflict",
    "CostRange",
    "Difference",
    "EvidenceItem",
    "MemoryNeed",
    "MethodAdvice",
    "MethodName",
    "NextMeasurement",
    "Reason",
    "RecipeOption",
    "Recommendation",
    "RecommendationWarning",
    "Stage",
    "Verdict",
]

SCHEMA_VERSION = 2
"""Version 1 had neither costs in hours nor methods, conflicts and counterfactual answers."""

Action: TypeAlias = Literal[
    "ift",
    "reasoning",
    "mixed",
    "sequential",
    "scale_ift",
    "distil",
    "grpo",
    "tops",
    "rl_after_distillation",
    "backtracking",
    "abstain",
]
"""What to do.

`ift`: train on direct answers. `reasoning`: on reasoning traces alone. `sequential`: on both in
turn, IFT examples first. `mixed`: on both, shuffled. `scale_ift`: a larger model on direct
answers. `distil`: add a teacher's reasoning to a model that is already trained on direct answers.
`grpo`: reinforcement learning, for want of a teacher. `tops`: the model's own shortest correct
answers. `rl_after_distillation`: reinforcement learning on a model that already reasons.
`backtracking`: traces with retracted steps. `abstain`: measure first.
"""

Basis: TypeAlias = Literal["measured", "interpolated", "transferred", "rule"]
"""What a number stands on: a cell that exists; a curve between two; the published curve moved by
the user's own cells at another size; or nothing, which is no number."""

Confidence: TypeAlias = Literal["measured", "interpolated", "transferred", "rule", "none"]
"""The weakest basis that the verdict needs; `none` for an abstention."""

MethodName: TypeAlias = Literal[
    "distillation",
    "grpo",
    "tops",
    "iter-sft",
    "iter-dpo",
    "rl-after-distillation",
    "backtracking",
]


class _Document(BaseModel, frozen=True, extra="forbid"):
    """An immutable part of a recommendation; unknown keys are errors."""


class Accuracy(_Document, frozen=True):
    """An accuracy with a 90% interval, or the statement that there is none."""

    value: float | None
    """Accuracy in [0, 1]; null where nothing printed or measured supports a number."""
    low: float | None
    """Lower end of the 90% interval; null with `value`."""
    high: float | None
    """Upper end of the 90% interval; null with `value`."""
    basis: Basis
    """What the value stands on."""
    cells: tuple[str, ...] = ()
    """Ids in `evidence` that the value comes from."""

    @model_validator(mode="after")
    def _check_basis(self) -> "Accuracy":
        if self.basis == "rule":
            if (self.value, self.low, self.high) != (None, None, None):
                raise ValueError("basis 'rule' has no number")
        elif self.value is None or self.low is None or self.high is None:
            raise ValueError(f"basis {self.basis!r} needs a value and an interval")
        elif not 0 <= self.low <= self.value <= self.high <= 1:
            raise ValueError("not 0 <= low <= value <= high <= 1")
        elif not self.cells:
            raise ValueError("a number without a cell")
        return self


class CostRange(_Document, frozen=True):
    """A cost that is only known within a range."""

    low: Annotated[float, Field(ge=0)]
    """At the best utilisation assumed."""
    mid: Annotated[float, Field(ge=0)]
    """At the default utilisation."""
    high: Annotated[float, Field(ge=0)]
    """At the worst utilisation assumed."""


class MemoryNeed(_Document, frozen=True):
    """What one GPU must hold to train an option."""

    method: Literal["full", "lora"]
    """Full fine-tuning, or adapters."""
    low_bytes: float
    """Lower estimate of the total."""
    high_bytes: float
    """Upper estimate of the total."""
    dominant: str
    """The largest term: `state`, `activations` or `logits`."""
    fits: bool
    """Whether the upper estimate fits on the GPU that was asked for."""
    n_gpus_needed: int | None
    """Smallest number of such GPUs on which it fits, sharded; null if none does."""


class RecipeOption(_Document, frozen=True):
    """One thing that could be trained."""

    id: str
    """Letter that other parts refer to it by."""
    size: SizeField
    """Model size."""
    recipe: Recipe
    """How it would be trained."""
    accuracy: Accuracy
    """Accuracy to expect on the task type."""
    train_flops: float
    """Training FLOPs under `assumptions`."""
    train_tokens: float
    """Tokens of the training set, prompts and answers, over all epochs."""
    reasoning_token_share: float
    """Share of answer tokens that are in reasoning traces, in [0, 1]."""
    gpu_hours: CostRange
    """GPU-hours to train it."""
    wall_hours: CostRange
    """Hours on the GPUs that were asked for, all of them."""
    train_usd: CostRange | None
    """Money to train it; null without a price per GPU-hour."""
    memory: tuple[MemoryNeed, ...]
    """What each GPU must hold, for full fine-tuning and for LoRA."""
    answer_tokens: float | None
    """Tokens per answered query; null where neither measured nor implied by a printed fit."""
    inference_flops: float | None
    """Inference FLOPs per query; null where neither measured nor fitted."""
    inference_basis: Literal["measured", "published-fit", "lengths"] | None
    """Where `inference_flops` comes from: measured; a printed fit, a weak prior; or computed from
    the lengths that were given."""
    total_flops: float | None
    """Training and serving together over the horizon; null without traffic."""
    is_feasible: bool
    """Whether it respects every cap and budget that was given."""
    why_not: tuple[str, ...] = ()
    """The caps and budgets it breaks."""
    p_front: float | None
    """Probability that no other feasible option is at least as good in accuracy, training and
    inference cost and better in one; null where its accuracy is not known."""
    notes: tuple[str, ...] = ()
    """What to know about the figures."""


class Difference(_Document, frozen=True):
    """Two options compared."""

    first: str
    """Option id that the difference is counted from: `first` minus `second`."""
    second: str
    """The other option's id."""
    value: float
    """Difference in accuracy, in [-1, 1]."""
    low: float
    """Lower end of its 90% interval."""
    high: float
    """Upper end of its 90% interval."""
    is_shown: bool
    """Whether the interval excludes 0."""
    basis: Basis
    """What it stands on."""
    cells: tuple[str, ...]
    """Ids in `evidence`."""


class Reason(_Document, frozen=True):
    """One step of the argument behind the verdict."""

    code: str
    """Stable identifier."""
    text: str
    """The step in words."""
    cells: tuple[str, ...] = ()
    """Ids in `evidence` it refers to."""
    source: str | None = None
    """Where a rule without figures is stated."""


class Verdict(_Document, frozen=True):
    """What to do, how sure, and why."""

    action: Action
    """What to do."""
    option: str | None
    """Id of the recommended option; null when abstaining."""
    text: str
    """The verdict in words."""
    confidence: Confidence
    """The weakest basis that it needs."""
    is_leaning: bool
    """The interval of the difference that decides contains 0: acting costs little in expectation,
    but nothing is shown."""
    expected_regret: float | None
    """Accuracy expected to be lost against the better of direct answers and reasoning, in [0, 1];
    null without an estimate."""
    fallback: str | None
    """Id of the option that loses least if something must be trained today; null unless
    abstaining."""
    reasons: tuple[Reason, ...]
    """The argument, in order."""


class MethodAdvice(_Document, frozen=True):
    """What to think of one way to train, given the question."""

    method: MethodName
    """The method."""
    status: Literal["advised", "later", "not-advised", "impossible"]
    """Part of the plan; worth trying after it; not worth it here; or it cannot be done."""
    text: str
    """Why, in words."""
    cells: tuple[str, ...] = ()
    """Ids in `evidence`."""
    source: str | None = None
    """Where a rule without figures is stated."""


class Stage(_Document, frozen=True):
    """One step of what to run, in order."""

    title: str
    """What is done."""
    command: str | None
    """Command line; words in capitals are to be replaced. Null where nothing of ours is run."""


class EvidenceItem(_Document, frozen=True):
    """One figure that the recommendation rests on."""

    id: str
    """Id of the cell; `advisor tables show ID` prints a published one."""
    source: str
    """The paper, or `measured` for the user's own cells."""
    cell: str
    """Where in it, in words."""
    recipe: str
    """Recipe label of the figure."""
    value: float
    """Accuracy in [0, 1] as printed or measured."""
    grade: str
    """`printed`, `third-party`, `derived`, or `measured` for the user's own cells."""
    n: int | None = None
    """Questions it was measured on; null where the source prints none."""


class Conflict(_Document, frozen=True):
    """Two sources that do not agree."""

    id: str
    """Stable identifier."""
    text: str
    """What each of them says, and what it means here."""
    sources: tuple[str, ...]
    """The sources, each with its grade."""


class RecommendationWarning(_Document, frozen=True):
    """Something that could turn the recommendation into a mistake."""

    code: str
    """Stable identifier, such as `ift-after-reasoning`."""
    text: str
    """The warning in words."""


class Change(_Document, frozen=True):
    """One answer that would change the verdict, found by asking again."""

    condition: str
    """What would have to be so, in words."""
    arguments: str
    """The same as command-line arguments; empty where it is a measured result."""
    action: Action
    """The action then."""
    text: str
    """The verdict then, in short."""


class NextMeasurement(_Document, frozen=True):
    """What to measure to be surer, and what that is worth."""

    text: str
    """What and why."""
    commands: tuple[str, ...]
    """Command lines, in order; words in capitals are to be replaced."""
    n_questions: int
    """Questions needed, asked of both arms."""
    train_flops: float
    """FLOPs to train the models that are to be measured."""
    measure_flops: float | None
    """FLOPs to answer the questions; null where lengths are not known."""
    value: float | None
    """Expected gain in accuracy of the decision, in [0, 1] (value of sample information); null
    without an estimate."""
    value_per_exaflop: float | None
    """`value` in percentage points per 1e18 FLOPs spent; the order of the list."""


class Assumption(_Document, frozen=True):
    """One answer to a question, given or taken by default."""

    name: str
    """The question, as the command-line option is called."""
    value: str
    """The answer."""
    is_given: bool
    """Whether the user gave it."""
    text: str
    """Where the default comes from, or what the answer means."""


class Recommendation(_Document, frozen=True):
    """The answer: a verdict, the options it was chosen from, and what both rest on."""

    schema_version: Literal[2] = SCHEMA_VERSION
    """Version of this document's shape."""
    request: RecommendationRequest
    """What was asked."""
    verdict: Verdict
    """What to do."""
    options: tuple[RecipeOption, ...]
    """What was compared; the user's own measurements first."""
    differences: tuple[Difference, ...]
    """The comparisons that decide."""
    plan: tuple[Stage, ...]
    """What to run, in order."""
    methods: tuple[MethodAdvice, ...]
    """Every way to train that was considered."""
    evidence: tuple[EvidenceItem, ...]
    """Every figure used."""
    conflicts: tuple[Conflict, ...]
    """Sources that do not agree."""
    warnings: tuple[RecommendationWarning, ...]
    """What could make it wrong."""
    changes: tuple[Change, ...]
    """What would change the verdict."""
    next_measurements: tuple[NextMeasurement, ...]
    """What to measure next, the most valuable per FLOP first."""
    assumptions: tuple[Assumption, ...]
    """What was taken for granted."""
    cost_formula: str
    """How training FLOPs were computed, the same way for every option."""
    confidence_level: float = 0.90
    """Level of every interval."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads back to an equal recommendation."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, document: object) -> "Recommendation":
        """Read what `to_json` wrote.

        Raises:
            ArtifactTooNewError: A newer version wrote it.
            ArtifactError: An older version wrote it; it has too little to be carried over.
            ArtifactCorruptError: It is not a recommendation.
        """
        fields = cast("dict[str, object]", document) if isinstance(document, dict) else {}
        version = fields.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ArtifactTooNewError(
                f"the recommendation has schema version {version}, this one reads {SCHEMA_VERSION}",
                hint="upgrade thinkroute",
            )
        if version == 1:
            raise ArtifactError(
                "the recommendation has schema version 1, which holds too little",
                hint="ask again; answers take milliseconds",
                code="artifact-too-old",
            )
        try:
            return cls.model_validate_json(json.dumps(document))
        except (ValidationError, TypeError, ValueError) as error:
            raise ArtifactCorruptError(f"this is not a recommendation: {error}") from error

    @property
    def recommended(self) -> RecipeOption | None:
        """Return the recommended option, `None` when abstaining."""
        return self.option(self.verdict.option)

    def option(self, letter: str | None) -> RecipeOption | None:
        """Return the option with this id, `None` if there is none."""
        return next((option for option in self.options if option.id == letter), None)

    def _repr_html_(self) -> str:
        """Return the recommendation as a notebook shows it."""
        from ._notebook import recommendation_html

        return recommendation_html(self)
