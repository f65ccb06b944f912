"""A request that was let in, and its answer on the way: what is told and written down of both."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from policies import Budget, Usage

from .._admission import Admission
from .._arms import Arm
from .._decision import Decision
from ._answers import Answer
from ._books import Books, CallBefore
from ._callers import Caller
from ._conversation import Conversation
from ._problems import told
from ._record import Endpoint, ServedRequest
from .upstreams import Trail

__all__ = ["AS_IS", "IN_HEADERS", "Call", "Serving", "Taken"]

AS_IS = "as-is"
"""In the place of a policy: the thinking mode was left to the client and the model."""

IN_HEADERS = "".join(map(chr, range(33, 127))).replace("%", "") + " "
"""Characters of names that headers hold as they are; others are percent-encoded."""

_LEFT = ("client-disconnected", "shutting-down")


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in.

    Attributes:
        endpoint: By which API it came.
        body: A chat body, checked.
        headers: Its headers, names in lower case.
        caller: Whose it is.
        time_s: When it arrived, seconds since 1970.
        started: The same by `time.perf_counter`.
        note: Called once when it has ended, if it was decided about.
    """

    endpoint: Endpoint
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    caller: Caller
    time_s: float
    started: float
    note: Callable[[ServedRequest], None]


@dataclass(slots=True)
class Taken:
    """A call with its decision, as long as nobody knows yet how it will be answered.

    Attributes:
        call: The call.
        admission: What was decided, and what was set aside for it.
        talk: The conversation.
        is_as_is: Whether the thinking mode is left to the client and the model.
        books: Its prices.
        trail: What has been sent for it.
    """

    call: Call
    admission: Admission
    talk: Conversation
    is_as_is: bool
    books: Books
    trail: Trail

    def name_of(self, arm: Arm) -> str:
        """Return the name under which an arm answers it."""
        return f"{arm.model}:{AS_IS}" if self.is_as_is else arm.name

    def bill(self, decision: Decision, usage: Usage | None, before: CallBefore | None) -> None:
        """Settle the caps and the money of a call that has ended."""
        self.admission.settle(0 if usage is None else usage.completion_tokens)
        usd = self.books.usd(decision.model, usage, before)
        if usd is not None:
            self.call.caller.pay(usd)

    def fail(self, error: BaseException) -> None:
        """Settle and write down that no model has answered."""
        decision, call = self.admission.decision, self.call
        problem, code = told(error)
        # The model may have been at work for a client who has left.
        was_asked = self.trail.n_attempts and code in _LEFT
        self.bill(decision, self.books.expected(decision, self.talk) if was_asked else None, None)
        seconds = time.perf_counter() - call.started
        call.note(
            ServedRequest(
                decision_id=decision.decision_id,
                time_s=call.time_s,
                endpoint=call.endpoint,
                asked=str(call.body.get("model", "")),
                arm=self.name_of(decision.arm),
                status=problem.status,
                seconds=seconds,
                caller=call.caller.name,
                conversation=self.talk.first,
                mode="" if self.is_as_is else str(decision.arm.mode),
                budget=None if self.is_as_is else decision.arm.budget,
                reasons=decision.reasons,
                max_tokens=_cap(call.body),
                traceparent=call.headers.get("traceparent", ""),
                is_streamed=bool(call.body.get("stream")),
                error=code,
                upstream=self.trail.url,
                n_attempts=self.trail.n_attempts,
                decision_s=decision.latency_s,
                added_s=max(seconds - self.trail.wait_s, 0.0),
            )
        )


@dataclass(slots=True)
class Serving:
    """A request whose answer has begun.

    Attributes:
        decision: What was decided; after a look at a first answer, what came of that.
        answer: The answer.
        explains: Whether the client is told why.
    """

    decision: Decision
    answer: Answer
    explains: bool
    _taken: Taken
    _before: CallBefore | None
    _on_answered: Callable[[Conversation, Arm], None]
    _is_finished: bool = field(default=False, init=False)

    @property
    def name(self) -> str:
        """What answers, `model:policy`."""
        return self._taken.name_of(self.decision.arm)

    @property
    def mode(self) -> str:
        """`ift`, `reasoning`, or "" where it was left to the model."""
        return "" if self._taken.is_as_is else str(self.decision.arm.mode)

    @property
    def budget(self) -> Budget | None:
        """Cap on thinking tokens of the arm."""
        return None if self._taken.is_as_is else self.decision.arm.budget

    @property
    def decision_id(self) -> str:
        """Name of the request in the log."""
        return self.decision.decision_id

    def headers(self) -> dict[str, str]:
        """Return what clients are told about the decision before the first token."""
        # Headers hold ASCII alone, and names of models anything.
        name = quote(self.name, safe=IN_HEADERS)
        own = {"x-thinkroute-decision": self.decision_id, "x-thinkroute-arm": name}
        if self.mode and self.budget is not None:
            own["x-thinkroute-budget"] = str(self.budget)
        if self.mode:
            chosen = self.decision.chosen
            own["x-thinkroute-p"] = f"{chosen.p:.4f}"
            reference = self._taken.books.reference_of(self.decision)
            if reference is not None:
                used = chosen.tokens
                if self._before is not None:
                    used += self._before[1].completion_tokens
                own["x-thinkroute-saved-tokens"] = f"{reference.tokens - used:.0f}"
        if self.explains:
            own["x-thinkroute-reasons"] = ",".join(self.decision.reasons)
        return own

    def explanation(self) -> dict[str, Any]:
        """Return the decision in full, for clients that ask why."""
        return {
            "decision_id": self.decision_id,
            "answered_by": self.name,
            **self.decision.to_json(),
        }

    def finish(
        self, *, status: int, error: str = "", is_streamed: bool, first_token_s: float | None = None
    ) -> None:
        """Write down how it ended; later calls do nothing."""
        if self._is_finished:
            return
        self._is_finished = True
        taken, facts, mode = self._taken, self.answer.facts, self.mode
        call, books, usage = taken.call, taken.books, facts.usage
        taken.bill(self.decision, usage or self._guess(error), self._before)
        usd = books.usd(self.decision.model, usage, self._before)
        if not error and mode:
            self._on_answered(taken.talk, self.decision.arm)
        chosen = self.decision.chosen
        reference = books.reference_of(self.decision) if mode else None
        seconds = time.perf_counter() - call.started
        call.note(
            ServedRequest(
                decision_id=self.decision_id,
                time_s=call.time_s,
                endpoint=call.endpoint,
                asked=str(call.body.get("model", "")),
                arm=self.name,
                status=status,
                seconds=seconds,
                caller=call.caller.name,
                conversation=taken.talk.first,
                mode=mode,
                budget=self.budget,
                reasons=self.decision.reasons,
                p=chosen.p if mode else None,
                expected_tokens=chosen.tokens if mode else None,
                expected_flops=chosen.flops if mode else None,
                reference_arm="" if reference is None else reference.arm,
                reference_tokens=None if reference is None else reference.tokens,
                reference_flops=None if reference is None else reference.flops,
                reference_usd=books.usd_of(reference, usage),
                max_tokens=_cap(call.body),
                usage=usage,
                usd=usd,
                is_streamed=is_streamed,
                error=error,
                finish_reason=facts.finish_reason,
                upstream=facts.upstream,
                n_attempts=facts.n_attempts,
                decision_s=self.decision.latency_s,
                added_s=max(seconds - facts.wait_s, 0.0),
                first_token_s=first_token_s,
                traceparent=call.headers.get("traceparent", ""),
                decision=self.decision if mode else None,
            )
        )

    def _guess(self, error: str) -> Usage | None:
        """Return what an answer without usage is billed as, `None` where nothing was generated.

        Clients that leave before the usage comes must not have had their answers for nothing.
        """
        facts = self.answer.facts
        if error and not facts.n_pieces and error not in _LEFT:
            return None
        return self._taken.books.expected(self.decision, self._taken.talk, least=facts.n_pieces)


def _cap(body: Mapping[str, Any]) -> int | None:
    return body.get("max_completion_tokens") or body.get("max_tokens")
