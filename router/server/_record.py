"""What is known about one served request once it has ended: the line of the decision log."""

from dataclasses import dataclass, field
from typing import Literal

from policies import Budget, Usage

from .._decision import Decision

__all__ = ["Endpoint", "ServedRequest"]

Endpoint = Literal["chat", "completions", "responses"]


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """One request, from its arrival to its last byte.

    Attributes:
        decision_id: Its name in the log, in the header `x-thinkroute-decision` and in feedback.
        time_s: When it arrived, seconds since 1970.
        endpoint: Which API it came by.
        asked: The model that the client named, such as `thinkroute:cheap`.
        caller: Name of the client's key, "" where none is asked for. Never the key.
        conversation: Hash of the conversation, equal for its later turns; "" where unknown.
        arm: What answered, `model:policy`; `model:as-is` where the thinking mode was left to the
            model, "" where nothing was asked.
        mode: `ift`, `reasoning`, or "" where it was left to the model.
        budget: Cap on thinking tokens, `"max"` for none, `None` where the arm has no budget.
        reasons: Codes of the decision, see `Decision`.
        p: Expected probability of a right answer; `None` where nothing was predicted.
        expected_tokens: Expected generated tokens of the arm; `None` likewise.
        expected_flops: Expected FLOPs of the arm; `None` where they were never measured.
        reference_arm: The arm that "always reasoning" would have taken, "" where there is none.
        reference_tokens: Expected generated tokens of that arm; `None` likewise.
        reference_flops: Expected FLOPs of that arm; `None` likewise.
        reference_usd: Expected cost of that arm; `None` without prices.
        max_tokens: Cap on generated tokens that the client gave, `None` for none. No arm could
            have used more.
        usage: Tokens that were really used, over all calls; `None` where no answer told.
        usd: What they cost; `None` without prices.
        is_streamed: Whether the answer was streamed.
        status: HTTP status of the answer.
        error: Code of the error it ended with, "" for none; `client-disconnected` counts as one.
        finish_reason: As the client was told, "" where there was no answer.
        upstream: Address of the server that answered, "" for a model in this process.
        n_attempts: Requests sent upstream, retries and fallbacks included.
        decision_s: Seconds the decision took.
        added_s: Seconds spent here rather than in the model: all of them but waiting for it.
        first_token_s: Seconds to the first token, `None` where nothing was streamed.
        seconds: From arrival to the last byte.
        traceparent: The client's header of this name, for telemetry alone.
        decision: The decision behind it, for the feedback log; `None` where nothing was decided
            or something else than the decision was done, which would teach a monitor wrong.
    """

    decision_id: str
    time_s: float
    endpoint: Endpoint
    asked: str
    arm: str
    status: int
    seconds: float
    caller: str = ""
    conversation: str = ""
    mode: str = ""
    budget: Budget | None = None
    reasons: tuple[str, ...] = ()
    p: float | None = None
    expected_tokens: float | None = None
    expected_flops: float | None = None
    reference_arm: str = ""
    reference_tokens: float | None = None
    reference_flops: float | None = None
    reference_usd: float | None = None
    max_tokens: int | None = None
    usage: Usage | None = None
    usd: float | None = None
    is_streamed: bool = False
    error: str = ""
    finish_reason: str = ""
    upstream: str = ""
    n_attempts: int = 0
    decision_s: float = 0.0
    added_s: float = 0.0
    first_token_s: float | None = None
    traceparent: str = ""
    decision: Decision | None = field(default=None, repr=False)

    @property
    def saved_tokens(self) -> float | None:
        """Tokens used below what always reasoning was expected to use; `None` where unknown."""
        if self.usage is None or self.reference_tokens is None:
            return None
        return self.reference_tokens - self.usage.completion_tokens
