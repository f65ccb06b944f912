"""From a decision or an answer to an entry of the feedback log."""

from collections.abc import Collection

from calibration import Outcome

from .._completion import RoutedCompletion
from .._decision import Decision
from ._drift_reference import drift_features
from ._feedback import FeedbackLog

__all__ = ["write_entry"]


def write_entry(
    log: FeedbackLog,
    decided: Decision | RoutedCompletion,
    outcome: Outcome | str | bool | float | None,
    known_words: Collection[bytes],
    completion_tokens: int | None,
    seconds: float | None,
) -> str:
    """Write an entry and return the decision's id; see `Router.record`.

    Args:
        log: Where to write.
        decided: What was decided, perhaps with the answer it led to.
        outcome: What became of it.
        known_words: The router's vocabulary.
        completion_tokens: Tokens that were generated; an answer's own count comes first.
        seconds: Wall seconds, likewise.

    Raises:
        StoreError: The log cannot be written.
        InvalidInputError: A value cannot be used.
    """
    decision = decided
    if isinstance(decided, RoutedCompletion):
        decision = decided.decision
        if outcome is not None:
            completion_tokens = decided.completion.usage.completion_tokens
            seconds = decided.completion.seconds
    assert isinstance(decision, Decision)
    prompt = decision.prompt
    return log.record(
        decision,
        outcome,
        prompt=prompt,
        features=None if prompt is None else drift_features(prompt, known_words),
        propensities=decision.propensities,
        decision_id=decision.decision_id,
        completion_tokens=completion_tokens,
        seconds=seconds,
    )
