"""A verdict being put together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from .._recommendation import Action, Reason
from ..inference import NO_ESTIMATE, Estimate
from ._candidate import Candidate
from ._comparison import Comparison

__all__ = ["Draft"]


@dataclass(slots=True)
class Draft:
    """A verdict being put together.

    Attributes:
        action: What to do.
        chosen: What to train, `None` when abstaining.
        fallback: What loses least if something must be trained today, when abstaining.
        is_leaning: The deciding interval contains 0, or the evidence is thin.
        needs_rule: The choice rests on a rule without figures, whatever its own accuracy.
        regret: Accuracy expected to be lost by acting; `None` where it is not known.
        gain: What is believed about the gain of reasoning, which decides.
        compared: The comparison that decides.
        larger: A larger model on direct answers that would do as well for less.
        tied: One that is not shown to be less accurate than reasoning, for less.
        next_best: The most accurate option of another size, where the size was chosen.
        candidates: Everything that was considered.
        reasons: The argument.
        quoted: Estimates whose figures the argument quotes besides.
        side: The side that loses least, where the choice was between two.
        is_measured_choice: It was made among the user's measured recipes, regret and all.
        lacks_reasoning: Nothing is known of reasoning alone, which the choice hangs on.
        is_forced: Nothing else could be done, so no measurement would change it.
    """

    action: Action = "abstain"
    chosen: Candidate | None = None
    fallback: Candidate | None = None
    is_leaning: bool = False
    needs_rule: bool = False
    regret: float | None = None
    gain: Estimate = NO_ESTIMATE
    compared: Comparison | None = None
    larger: Candidate | None = None
    tied: Candidate | None = None
    next_best: Candidate | None = None
    candidates: list[Candidate] = field(default_factory=list[Candidate])
    reasons: list[Reason] = field(default_factory=list[Reason])
    quoted: list[Estimate] = field(default_factory=list[Estimate])
    side: Literal["ift", "reasoning"] | None = None
    is_measured_choice: bool = False
    lacks_reasoning: bool = False
    is_forced: bool = False

    def take(
        self, action: Action, candidate: Candidate, reasons: Sequence[Reason], *, by_rule: bool
    ) -> None:
        """Choose a candidate, by figures or by a rule."""
        self.action, self.chosen, self.needs_rule = action, candidate, by_rule
        self.reasons += reasons
        # The chosen one may cost less than the same recipe from scratch: it takes its place.
        self.candidates = [
            candidate if one.recipe == candidate.recipe else one for one in self.candidates
        ]
        self.candidates.append(candidate)

    def abstain(self, fallback: Candidate | None, *reasons: Reason) -> None:
        """Choose nothing."""
        self.action, self.chosen = "abstain", None
        self.fallback = fallback if fallback is not None and fallback.is_feasible else None
        self.reasons += reasons
