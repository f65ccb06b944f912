"""What could be trained: candidates with accuracy, cost and notes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from calibration.published import PublishedCorpus
from policies import ModelSize

from ._evidence import OwnArm, OwnEvidence, PublishedEvidence
from ._inference import NO_ESTIMATE, Estimate, accuracy_at, difference, gain_at, nominal_size
from ._recipe import Corpus, Order, Recipe
from ._recommendation import Accuracy, RecipeOption, RecommendationRequest
from ._training_cost import (
    TrainingAssumptions,
    inference_flops,
    reasoning_token_share,
    training_flops,
)

__all__ = [
    "MIXTURE_RATIO",
    "OPEN_ENDED",
    "Candidate",
    "Comparison",
    "compare_published",
    "larger_ift",
    "mixtures",
    "own_candidate",
    "own_comparison",
    "unsupported",
]

OPEN_ENDED = frozenset({"general-oe", "math-oe"})
"""Task types with free answers."""

MIXTURE_RATIO = 0.25
"""Share of reasoning rows to start with.

Source: arXiv 2509.22193v2, section 5: gains appear at 25%, 25-50% captures most of them.
"""

_FRONTIER_SIZE = ModelSize(7_000_000_000)
"""Smallest size at which reasoning reaches the accuracy-FLOPs frontier, open-ended tasks only.

Source: arXiv 2509.22193v2, sections 4.2 and 7.
"""

_SECTION_5 = "no accuracy is printed for mixtures: arXiv 2509.22193v2, section 5 has figures only"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An option before it is put in words.

    Attributes:
        recipe: How it would be trained.
        accuracy: What to expect of it.
        train_flops: Training FLOPs.
        inference_flops: Inference FLOPs per query, `None` if unknown.
        inference_basis: Where they come from.
        notes: What to know about it.
    """

    recipe: Recipe
    accuracy: Estimate
    train_flops: float
    inference_flops: float | None = None
    inference_basis: Literal["measured", "published-fit"] | None = None
    notes: tuple[str, ...] = ()

    def is_cheaper(self, other: "Candidate", *, priority: str | None) -> bool:
        """Return whether it is known to cost less than `other` in what `priority` looks at."""
        trains = self.train_flops < other.train_flops
        answers = (
            self.inference_flops is not None
            and other.inference_flops is not None
            and self.inference_flops < other.inference_flops
        )
        if priority == "training":
            return trains
        return answers if priority == "inference" else trains and answers

    def to_option(self) -> RecipeOption:
        """Return the candidate as part of a recommendation; FLOPs keep four digits."""
        estimate = self.accuracy
        return RecipeOption(
            size=self.recipe.size,
            recipe=self.recipe,
            accuracy=Accuracy(
                value=estimate.value,
                low=estimate.low,
                high=estimate.high,
                basis=estimate.basis,
                cells=tuple(dict.fromkeys(ref.cell for ref in estimate.refs)),
            ),
            train_flops=_four_digits(self.train_flops),
            inference_flops=(
                None if self.inference_flops is None else _four_digits(self.inference_flops)
            ),
            inference_basis=self.inference_basis,
            notes=self.notes,
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Direct answers against reasoning at one size, on one corpus.

    Attributes:
        corpus: The corpus.
        ift: Trained on direct answers.
        reasoning: Trained on reasoning traces.
        gain: Accuracy of the second minus the first.
        is_own: From the user's cells, not from the paper.
    """

    corpus: Corpus
    ift: Candidate
    reasoning: Candidate
    gain: Estimate
    is_own: bool = False


def compare_published(
    evidence: PublishedEvidence,
    request: RecommendationRequest,
    corpus: PublishedCorpus,
    assumptions: TrainingAssumptions,
) -> Comparison:
    """Return the published comparison at the asked size, which must be within range."""
    return Comparison(
        corpus=corpus,
        ift=_published(evidence, request.task_type, request.size, corpus, 0.0, assumptions),
        reasoning=_published(evidence, request.task_type, request.size, corpus, 1.0, assumptions),
        gain=gain_at(evidence.table, corpus, request.task_type, request.size),
    )


def larger_ift(
    evidence: PublishedEvidence,
    request: RecommendationRequest,
    target: Candidate,
    corpora: Sequence[PublishedCorpus],
    assumptions: TrainingAssumptions,
) -> tuple[Candidate | None, Candidate | None]:
    """Find a larger model on direct answers that can stand in for reasoning.

    Args:
        evidence: Published figures; only printed sizes are considered.
        request: The request; its `max_size` is not applied here.
        target: The reasoning candidate to reach.
        corpora: Corpora to look in.
        assumptions: For training costs.

    Returns:
        The smallest that reaches the target's accuracy at less cost, and the smallest that only
        cannot be told apart from it at less cost; `None` where there is none. From 7B up on
        open-ended tasks, where the paper finds reasoning on the frontier, reaching means that
        the interval of the difference lies above 0; elsewhere a larger printed figure will do.
    """
    table = evidence.table
    asked = nominal_size(table, request.size)
    strict = asked >= _FRONTIER_SIZE and request.task_type in OPEN_ENDED
    reached: list[Candidate] = []
    tied: list[Candidate] = []
    for size in table.sizes:
        for corpus in corpora:
            if size <= asked:
                continue
            larger = _published(evidence, request.task_type, size, corpus, 0.0, assumptions)
            if not larger.is_cheaper(target, priority=request.priority):
                continue
            edge = difference(larger.accuracy, target.accuracy)
            if edge.value is None:
                continue
            if edge.is_above(0.0) or (not strict and edge.value >= 0.0):
                reached.append(larger)
            elif not edge.is_below(0.0):
                tied.append(larger)
    return _smallest(reached), _smallest(tied)


def mixtures(
    size: ModelSize, corpus: Corpus, assumptions: TrainingAssumptions
) -> tuple[Candidate, Candidate]:
    """Return the sequential and the mixed candidate; no figure supports an accuracy for them.

    Source: arXiv 2509.22193v2, section 5.
    """
    share = reasoning_token_share(MIXTURE_RATIO, assumptions)
    rows = f"{MIXTURE_RATIO:.0%} of the rows are {share:.0%} of the answer tokens"
    rule = {
        Order.IFT_THEN_REASONING: "25-50% reasoning captures most of the gain (rule)",
        Order.MIXED: "below 50% reasoning, answers stay short and math accuracy rises (rule)",
    }
    sequential, mixed = (
        Candidate(
            Recipe(size=size, corpus=corpus, reasoning_ratio=MIXTURE_RATIO, order=order),
            NO_ESTIMATE,
            training_flops(size, MIXTURE_RATIO, assumptions),
            notes=(text, _SECTION_5, rows),
        )
        for order, text in rule.items()
    )
    return sequential, mixed


def own_candidate(size: ModelSize, arm: OwnArm, assumptions: TrainingAssumptions) -> Candidate:
    """Return what the user measured as a candidate."""
    notes = [f"measured: {arm.model}, {arm.policy}, n = {arm.n}"]
    if arm.n_policies > 1:
        notes.append(f"the best of {arm.n_policies} policies by the same data: a little optimistic")
    if arm.order is Order.REASONING_THEN_IFT:
        notes.append("never recommended: IFT after reasoning")
    return Candidate(
        Recipe(size=size, corpus="own", reasoning_ratio=arm.reasoning_ratio, order=arm.order),
        arm.accuracy,
        training_flops(size, arm.reasoning_ratio, assumptions),
        arm.mean_flops,
        None if arm.mean_flops is None else "measured",
        tuple(notes),
    )


def unsupported(
    size: ModelSize, corpus: Corpus, ratio: float, assumptions: TrainingAssumptions, note: str
) -> Candidate:
    """Return a pure recipe whose accuracy nothing supports."""
    return Candidate(
        Recipe(size=size, corpus=corpus, reasoning_ratio=ratio),
        NO_ESTIMATE,
        training_flops(size, ratio, assumptions),
        notes=(note,),
    )


def own_comparison(
    size: ModelSize, own: OwnEvidence, assumptions: TrainingAssumptions
) -> Comparison | None:
    """Return the user's comparison, `None` unless both pure recipes were measured."""
    ift, reasoning = own.find(0.0), own.find(1.0)
    if ift is None or reasoning is None:
        return None
    return Comparison(
        corpus="own",
        ift=own_candidate(size, ift, assumptions),
        reasoning=own_candidate(size, reasoning, assumptions),
        gain=difference(reasoning.accuracy, ift.accuracy),
        is_own=True,
    )


def _published(
    evidence: PublishedEvidence,
    task_type: str,
    size: ModelSize,
    corpus: PublishedCorpus,
    ratio: float,
    assumptions: TrainingAssumptions,
) -> Candidate:
    recipe = "reasoning" if ratio else "ift"
    accuracy = accuracy_at(evidence.table, corpus, task_type, recipe, size)
    flops = inference_flops(evidence.fits, task_type, recipe, nominal_size(evidence.table, size))
    notes: tuple[str, ...] = ()
    if accuracy.basis == "interpolated":
        sizes = " and ".join(ref.cell.rsplit(", ", 1)[-1] for ref in accuracy.refs)
        notes = (f"interpolated in log size between {sizes}",)
    return Candidate(
        Recipe(size=size, corpus=corpus, reasoning_ratio=ratio),
        accuracy,
        training_flops(size, ratio, assumptions),
        flops,
        None if flops is None else "published-fit",
        notes,
    )


def _smallest(candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the smallest candidate, the more accurate of two of one size."""
    return min(
        candidates,
        key=lambda candidate: (candidate.recipe.size, -(candidate.accuracy.value or 0.0)),
        default=None,
    )


def _four_digits(value: float) -> float:
    return float(f"{value:.4g}")
