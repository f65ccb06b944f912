"""Direct answers against reasoning at one size, from the strongest evidence there is."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from policies import ModelSize

from .._recipe import Corpus
from .._request import SMALLEST
from ..evidence import OwnEvidence, PublishedEvidence, StudyView, own_evidence
from ..inference import (
    NO_ESTIMATE,
    Basis,
    Estimate,
    Measured,
    Z,
    around,
    between_own,
    gain_at,
    nominal_size,
    transferred,
    weakest,
    within_range,
)
from ._candidate import Builder, Candidate
from ._question import Question

if TYPE_CHECKING:
    from calibration import Cell, OutcomeRecord

__all__ = ["FEW_ANSWERS", "Comparison", "Facts"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Direct answers against reasoning at one size, on one corpus.

    Attributes:
        size: The size.
        corpus: The corpus.
        ift: Trained on direct answers.
        reasoning: Trained on reasoning traces.
        gain: Accuracy of the second minus the first.
        own: The user's evidence where it decides, else `None`.
    """

    size: ModelSize
    corpus: Corpus
    ift: Candidate
    reasoning: Candidate
    gain: Estimate
    own: OwnEvidence | None = None

    @property
    def basis(self) -> Basis:
        """Return what the gain stands on."""
        return self.gain.basis

    @property
    def is_few(self) -> bool:
        """Return whether the user's own arms have fewer than 100 answers."""
        return self.own is not None and any(arm.n < FEW_ANSWERS for arm in self.own.arms)


_P99_OVER_MEAN = 2.5
"""99% quantile of rows / their mean, where traces were not measured; an assumption."""

FEW_ANSWERS = 100
"""Answers of an arm below which a verdict on it is only a leaning: 5 points need 737."""


@dataclass(slots=True)
class Facts:
    """Everything a verdict may rest on, arranged by size.

    Attributes:
        question: The question.
        evidence: Published figures.
        cells: The user's cells, those of a study apart.
        records: The answers behind them.
        pairs: The user's pairs of pure recipes, by size.
        build: Maker of candidates.
        view: The study that some of the cells are of.
    """

    question: Question
    evidence: PublishedEvidence
    cells: "tuple[Cell, ...]"
    records: "tuple[OutcomeRecord, ...]"
    pairs: tuple[Measured, ...]
    build: Builder
    view: StudyView | None = None
    _own: dict[ModelSize, OwnEvidence] = field(default_factory=dict[ModelSize, OwnEvidence])

    def own_at(self, size: ModelSize) -> OwnEvidence:
        """Return the user's evidence at a size."""
        if size not in self._own:
            task_type, view = self.question.task_type, self.view
            cells = self.cells if view is None else (*self.cells, *view.cells(task_type))
            self._own[size] = own_evidence(cells, task_type, size, self.records, view)
        return self._own[size]

    def sequence_tokens(self, reasoning_ratio: float) -> int:
        """Return the longest sequence of training: the 99% quantile of rows, or an assumption."""
        request, workload = self.question.request, self.question.workload
        if reasoning_ratio > 0 and request.trace_p99_tokens is not None:
            return request.trace_p99_tokens
        answer = workload.reasoning_tokens if reasoning_ratio > 0 else workload.answer_tokens
        return round(_P99_OVER_MEAN * (workload.prompt_tokens + answer))

    def sizes(self) -> list[ModelSize]:
        """Return the sizes to compare when any will do, within the cap, smallest first."""
        table, cap = self.evidence.table, self.question.cap
        limit = None if cap is None else nominal_size(table, cap)
        measured = {pair.size for pair in self.pairs}
        known = {nominal_size(table, size) for size in measured} | set(table.sizes)
        # Published models were asked other questions than those that are too small to be published.
        is_small = any(size.n_params < SMALLEST for size in measured)
        if self.question.family is None or is_small or self.view is not None:
            known = measured
        return sorted(size for size in known if limit is None or size <= limit)

    def compare(self, size: ModelSize) -> Comparison | None:
        """Return the comparison at a size, `None` where nothing supports one.

        The user's own pair at the size decides alone; else the published curve moved by the
        user's pairs at smaller sizes; else the published figures, if they are of this corpus.
        """
        own = self.own_at(size)
        ift, reasoning = own.find(0.0), own.find(1.0)
        if ift is not None and reasoning is not None:
            built = self.build.own(size, ift)
            return Comparison(
                size,
                built.recipe.corpus,
                built,
                self.build.own(size, reasoning),
                own.gain,
                own,
            )
        moved = self._transferred(size)
        if moved is not None:
            return moved
        return self.published(size)

    def published(self, size: ModelSize) -> Comparison | None:
        """Return the published comparison of the question's corpus, `None` without one."""
        return self.published_of(size, self.question.corpus)

    def other_corpus(self, comparison: Comparison) -> Comparison | None:
        """Return the other published corpus's comparison, where the corpus was not said."""
        question = self.question
        if question.request.corpus is not None or question.other is None:
            return None
        if comparison.own is not None or comparison.basis == "transferred":
            return None
        return self.published_of(comparison.size, question.other)

    def belief(self, comparison: Comparison) -> Estimate:
        """Return what is believed about the gain, which decides and which measuring would change.

        The gain itself, if it is the user's or of a corpus that was named. Where the corpus was
        not said, the two published ones at equal odds: the mean of their gains, with the spread
        between them.
        """
        other = self.other_corpus(comparison)
        if other is None or other.gain.value is None or comparison.gain.value is None:
            return comparison.gain
        mean = (comparison.gain.value + other.gain.value) / 2
        apart = (comparison.gain.value - other.gain.value) / 2
        sd = math.sqrt((comparison.gain.sd**2 + other.gain.sd**2) / 2 + apart**2)
        refs = tuple(dict.fromkeys((*comparison.gain.refs, *other.gain.refs)))
        basis = weakest(comparison.gain.basis, other.gain.basis)
        return around(mean, Z * sd, basis, refs, lowest=-1.0)

    @property
    def pass_rate(self) -> float | None:
        """Return how often the model to be trained is right now, `None` if that is not known.

        As given; else the user's own arm of what is there, if it was measured. Its mean hides the
        spread of questions, so that what follows for reinforcement learning is an upper bound.
        """
        question = self.question
        if question.request.pass_rate is not None:
            return question.request.pass_rate
        if question.size is None or question.have == "base":
            return None
        arm = self.own_at(question.size).find(1.0 if question.have == "reasoning" else 0.0)
        return None if arm is None else arm.accuracy.value

    def published_of(self, size: ModelSize, corpus: Corpus) -> Comparison | None:
        """Return the published comparison of a corpus, `None` without one."""
        family = self.question.family
        is_known = family is not None and not self.question.is_proxy
        if not is_known or corpus not in {"general", "math-centric"}:
            return None
        if not within_range(self.evidence.table, size):
            return None
        published = "general" if corpus == "general" else "math-centric"
        return Comparison(
            size,
            corpus,
            self.build.published(size, published, 0.0),
            self.build.published(size, published, 1.0),
            gain_at(self.evidence.table, published, family or "", size),
        )

    def _transferred(self, size: ModelSize) -> Comparison | None:
        """Return the comparison that the user's pairs at other sizes support, `None` without."""
        question, table = self.question, self.evidence.table
        ift, reasoning, gain = between_own(table, size, self.pairs)
        note = "between your own pairs"
        if gain == NO_ESTIMATE and question.family is not None and within_range(table, size):
            inside = [pair for pair in self.pairs if within_range(table, pair.size)]
            ift, reasoning, gain = transferred(table, question.prior, question.family, size, inside)
            sizes = ", ".join(str(pair.size) for pair in inside if pair.size < size)
            note = f"the published curve, moved by your pair at {sizes}"
        if gain == NO_ESTIMATE:
            return None
        corpus = question.corpus
        return Comparison(
            size,
            corpus,
            self.build.pure(size, corpus, 0.0, ift, note),
            self.build.pure(size, corpus, 1.0, reasoning, note),
            gain,
        )
