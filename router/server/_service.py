"""One request: its decision, its answer, and what is written down about it."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import quote

from policies import (
    BackendConnectionError,
    BackendError,
    BackendRateLimitError,
    BackendResponseError,
    BackendTimeoutError,
    Budget,
    Capability,
    ConfigError,
    DecodingOptions,
    Mode,
    OneRequestPolicy,
    Policy,
    Usage,
    build_policy,
)
from policies.decoding.cascade import evidence_of

from .._admission import Admission, Conditions
from .._arms import Arm
from .._asking import is_gone
from .._completion import BackendPool
from .._decision import Candidate, Decision
from .._objective import Price
from .._reference_arm import find_arm
from .._router import Router
from ._answers import Answer
from ._callers import Caller
from ._conversation import Conversation, read_conversation
from ._deciding import Deciding
from ._local_chat import LocalChat, LocalRequest, Needs, needs_of
from ._problems import ProblemError, told
from ._record import Endpoint, ServedRequest
from ._stickiness import Conversations
from ._upstream_chat import ServedModel, Thinking, thinking_of
from ._wishes import Wish, Wishes
from .upstreams import Trail

__all__ = ["AS_IS", "IN_HEADERS", "Call", "ChatService", "Rules", "Serving", "Structured"]

Structured = Literal["as-is", "direct", "reasoning"]
AS_IS = "as-is"
"""In the place of a policy: the thinking mode was left to the client and the model."""

IN_HEADERS = "".join(map(chr, range(33, 127))).replace("%", "") + " "
"""Characters of names that headers hold as they are; others are percent-encoded."""

_PASSES = (
    BackendConnectionError,
    BackendRateLimitError,
    BackendResponseError,
    BackendTimeoutError,
)
"""Failures after which another model may do."""


_LEFT = ("client-disconnected", "shutting-down")
_BYTES_PER_TOKEN = 4
"""Of prompts whose tokens nobody told, for their price alone."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How requests are served.

    Attributes:
        structured: What is done with tools and JSON schemas. Engines apply grammars and parse
            tool calls depending on the thinking mode, and several break when it is switched per
            request, so that by default (`as-is`) no thinking field is sent with them; `direct`
            and `reasoning` always send that mode.
        is_sticky: Whether conversations keep their model and mode where switching does not pay.
        shows_thought: Whether clients are told thoughts.
        falls_back: Whether the best arm of another model answers where a model fails.
        max_output_tokens: Most tokens that a request may ask for, `None` for any number.
        max_prompt_bytes: Most text of a conversation, in bytes.
        options: How to decode where policies build the requests, `None` as was measured.
        reference: The arm that savings are told against; by default `reasoning@max`, or what
            comes closest, of the largest model.
    """

    structured: Structured = AS_IS
    is_sticky: bool = True
    shows_thought: bool = True
    falls_back: bool = True
    max_output_tokens: int | None = None
    max_prompt_bytes: int = 4_000_000
    options: DecodingOptions | None = None
    reference: str | None = None


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


@dataclass(frozen=True, slots=True)
class _ArmAtWork:
    """An arm, and how it answers.

    Attributes:
        arm: The arm.
        policy: Its policy.
        thinking: How its model's servers are asked, `None` where the policy builds the requests.
    """

    arm: Arm
    policy: Policy
    thinking: Thinking | None

    def can(self, needs: Needs) -> bool:
        """Return whether it can give what a body asks for."""
        if self.thinking is not None:
            return True
        is_single = isinstance(self.policy, OneRequestPolicy)
        return not needs.upstream and (is_single or not needs.one_request)


@dataclass(slots=True)
class Serving:
    """A request whose answer has begun.

    Attributes:
        decision: What was decided; after a look at a first answer, what came of that.
        answer: The answer.
        name: What answers, `model:policy`.
        mode: `ift`, `reasoning`, or "" where it was left to the model.
        budget: Cap on thinking tokens of the arm.
    """

    decision: Decision
    answer: Answer
    name: str
    mode: str
    budget: Budget | None
    explains: bool
    _call: Call
    _admission: Admission
    _service: "ChatService"
    _talk: Conversation
    _before: "tuple[str, Usage] | None" = None
    _is_finished: bool = field(default=False, init=False)

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
            reference = self._service.reference_of(self.decision)
            if reference is not None:
                own["x-thinkroute-saved-tokens"] = f"{reference.tokens - chosen.tokens:.0f}"
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
        facts = self.answer.facts
        usage = facts.usage
        self._service.bill(
            self._call,
            self._admission,
            self.decision,
            self._talk,
            usage or self._guess(error),
            self._before,
        )
        usd = self._service.usd(self.decision.model, usage, self._before)
        if not error and self.mode:
            self._service.remember(self._talk, self.decision.arm)
        chosen = self.decision.chosen
        reference = self._service.reference_of(self.decision) if self.mode else None
        seconds = time.perf_counter() - self._call.started
        self._call.note(
            ServedRequest(
                decision_id=self.decision_id,
                time_s=self._call.time_s,
                endpoint=self._call.endpoint,
                asked=str(self._call.body.get("model", "")),
                arm=self.name,
                status=status,
                seconds=seconds,
                caller=self._call.caller.name,
                conversation=self._talk.first,
                mode=self.mode,
                budget=self.budget,
                reasons=self.decision.reasons,
                p=chosen.p if self.mode else None,
                expected_tokens=chosen.tokens if self.mode else None,
                expected_flops=chosen.flops if self.mode else None,
                reference_arm="" if reference is None else reference.arm,
                reference_tokens=None if reference is None else reference.tokens,
                reference_flops=None if reference is None else reference.flops,
                reference_usd=self._service.usd_of(reference, usage),
                max_tokens=_cap(self._call.body),
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
                traceparent=self._call.headers.get("traceparent", ""),
                decision=self.decision if self.mode else None,
            )
        )

    def _guess(self, error: str) -> Usage | None:
        """Return what an answer without usage is billed as, `None` where nothing was generated.

        Clients that leave before the usage comes must not have had their answers for nothing.
        """
        facts = self.answer.facts
        if error and not facts.n_pieces and error not in _LEFT:
            return None
        return self._service.guess(self.decision, self._talk, least=facts.n_pieces)


class ChatService:
    """Serves chats of one router. Belongs to one event loop."""

    def __init__(
        self,
        router: Router,
        *,
        models: Mapping[str, ServedModel],
        backends: BackendPool,
        wishes: Wishes,
        rules: Rules,
    ) -> None:
        """Prepare to serve.

        Args:
            router: Decides.
            models: Models behind OpenAI-compatible servers, by name.
            backends: How models are reached where policies build the requests.
            wishes: Reads what requests want.
            rules: How they are served.

        Raises:
            UnknownNameError: The reference is no arm.
            InvalidInputError: The reference could be several.
        """
        self.router = router
        self.wishes = wishes
        self.rules = rules
        self.models = dict(models)
        self._backends = backends
        self._options = rules.options or router.options
        self._conversations = Conversations()
        self._deciding = Deciding(router)
        self._arms = {arm.name: self._at_work(arm) for arm in router.arms}
        self._reference = _reference_name(router.arms, rules.reference)

    async def begin(self, call: Call) -> Serving:
        """Decide about a request, and return its answer as soon as that begins.

        Raises:
            ProblemError: The request cannot be served as it stands.
            BackendError: No model has answered.
            NoAdmissibleArmError: No arm satisfies what is asked.
            InvalidInputError: Something in it cannot be used.
        """
        body = call.body
        wish = self.wishes.read(body["model"], body, call.headers)
        talk = read_conversation(body["messages"], caller=call.caller.name, name=wish.conversation)
        self._check_size(body, talk)
        among, is_as_is = self._fitting(body, wish, needs_of(body), talk)
        if is_as_is and call.caller.caps is not None:
            # The model may think as long as it likes: it is booked as the arms that do.
            thinks = {name for name, one in self._arms.items() if one.arm.mode is not Mode.IFT}
            among = (among or frozenset(self._arms)) & thinks or among
        cached = None
        if self.rules.is_sticky and not wish.is_exact:
            cached = self._conversations.find(talk)
        gone: dict[str, Exception] = {}
        trail = Trail()
        while True:
            admission = await self._deciding.admit(
                talk.text,
                Conditions(
                    objective=wish.objective,
                    task=wish.task,
                    more_bytes=talk.more_bytes,
                    among=among,
                    gone=tuple(gone),
                    cached=cached,
                    caller=call.caller.name if call.caller.caps is not None else None,
                    caps=call.caller.caps,
                ),
            )
            try:
                return await self._begun(call, admission, wish, talk, trail, is_as_is=is_as_is)
            except (BackendError, ConfigError) as error:
                admission.settle(0)
                gone[admission.decision.model] = error
                left = self._models_of(among) - gone.keys()
                may_pass = isinstance(error, _PASSES) or is_gone(error)
                if not (self.rules.falls_back and may_pass and left):
                    self._note_failure(call, admission.decision, talk, trail, error)
                    raise
            except BaseException as error:
                # The model may have been at work for a client who has left.
                was_asked = trail.n_attempts and told(error)[1] in _LEFT
                spent = self.guess(admission.decision, talk) if was_asked else None
                self.bill(call, admission, admission.decision, talk, spent, None)
                self._note_failure(call, admission.decision, talk, trail, error)
                raise

    def guess(self, decision: Decision, talk: Conversation, *, least: int = 0) -> Usage:
        """Return the tokens of a call that did not tell them: the expected ones, `least` or more."""
        n_bytes = talk.more_bytes + len(talk.text.encode("utf-8", "replace"))
        expected = round(decision.chosen.tokens)
        return Usage(math.ceil(n_bytes / _BYTES_PER_TOKEN), max(expected, least))

    def bill(
        self,
        call: Call,
        admission: Admission,
        decision: Decision,
        talk: Conversation,
        usage: Usage | None,
        before: "tuple[str, Usage] | None",
    ) -> None:
        """Settle the caps and the money of a call that has ended."""
        admission.settle(_n_generated(usage))
        usd = self.usd(decision.model, usage, before)
        if usd is not None:
            call.caller.pay(usd)

    def reference_of(self, decision: Decision) -> Candidate | None:
        """Return what always reasoning was expected to take, `None` without a reasoning arm."""
        return next((one for one in decision.candidates if one.arm == self._reference), None)

    def remember(self, talk: Conversation, arm: Arm) -> None:
        """Remember what has answered a conversation."""
        if self.rules.is_sticky:
            self._conversations.note(talk, arm.model, arm.mode)

    def usd(
        self, model: str, usage: Usage | None, before: tuple[str, Usage] | None
    ) -> float | None:
        """Return what tokens have cost, `None` where there is no price.

        Args:
            model: The model that answered.
            usage: All tokens.
            before: Model and tokens of the call that came before, which are part of them.
        """
        if usage is None:
            return None
        parts = [(model, usage)]
        if before is not None:
            first = before[1]
            rest = Usage(
                usage.prompt_tokens - first.prompt_tokens,
                usage.completion_tokens - first.completion_tokens,
            )
            parts = [before, (model, rest)]
        prices = [self.router.prices.get(name) for name, _ in parts]
        costs = [
            _cost(price, used) for price, (_, used) in zip(prices, parts, strict=True) if price
        ]
        return sum(costs) if len(costs) == len(parts) else None

    def _note_failure(
        self,
        call: Call,
        decision: Decision,
        talk: Conversation,
        trail: Trail,
        error: BaseException,
    ) -> None:
        """Write down a request that no model has answered."""
        problem, code = told(error)
        seconds = time.perf_counter() - call.started
        call.note(
            ServedRequest(
                decision_id=decision.decision_id,
                time_s=call.time_s,
                endpoint=call.endpoint,
                asked=str(call.body.get("model", "")),
                arm=decision.arm.name,
                status=problem.status,
                seconds=seconds,
                caller=call.caller.name,
                conversation=talk.first,
                mode=str(decision.arm.mode),
                budget=decision.arm.budget,
                reasons=decision.reasons,
                max_tokens=_cap(call.body),
                traceparent=call.headers.get("traceparent", ""),
                is_streamed=bool(call.body.get("stream")),
                error=code,
                upstream=trail.url,
                n_attempts=trail.n_attempts,
                decision_s=decision.latency_s,
                added_s=max(seconds - trail.wait_s, 0.0),
            )
        )

    def usd_of(self, expected: Candidate | None, usage: Usage | None) -> float | None:
        """Return what an arm was expected to cost on the prompt of an answer, `None` if unknown."""
        if expected is None or usage is None:
            return None
        price = self.router.prices.get(self._arms[expected.arm].arm.model)
        if price is None:
            return None
        return usage.prompt_tokens * price.prompt_usd + expected.tokens * price.completion_usd

    async def _begun(
        self,
        call: Call,
        admission: Admission,
        wish: Wish,
        talk: Conversation,
        trail: Trail,
        *,
        is_as_is: bool,
    ) -> Serving:
        decision = admission.decision
        before: tuple[str, Usage] | None = None
        if decision.escalation is None:
            answer = await self._start(call, decision.arm, trail, is_as_is=is_as_is)
        else:
            decision, answer, before = await self._looked(call, decision, trail)
        arm = decision.arm
        return Serving(
            decision=decision,
            answer=answer,
            name=f"{arm.model}:{AS_IS}" if is_as_is else arm.name,
            mode="" if is_as_is else str(arm.mode),
            budget=None if is_as_is else arm.budget,
            explains=wish.explain,
            _call=call,
            _admission=admission,
            _service=self,
            _talk=talk,
            _before=before,
        )

    async def _looked(
        self, call: Call, decision: Decision, trail: Trail
    ) -> tuple[Decision, Answer, tuple[str, Usage] | None]:
        """Ask the first arm, look at its answer, and keep it or ask the second one."""
        at_work = self._arms[decision.arm.name]
        backend = self._backends.get(decision.model)
        request = LocalRequest.read(call.body, self._options)
        if Capability.LOGPROBS in backend.capabilities:
            request = replace(request, options=replace(request.options, logprobs=True))
        waited = time.perf_counter()
        if isinstance(at_work.policy, OneRequestPolicy):
            first = await backend.generate(request.of(at_work.policy))
        else:
            first = await at_work.policy.run(request.messages, backend, request.options)
        waited = time.perf_counter() - waited
        after = self.router.escalate(decision, evidence_of(first), first.usage)
        if after.arm == decision.arm:
            answer: Answer = LocalChat(
                request,
                at_work.policy,
                backend,
                shows_thought=self.rules.shows_thought,
                known=first,
            )
            before = None
        else:
            answer = await self._start(call, after.arm, trail, before=first.usage)
            before = (decision.model, first.usage)
        answer.facts.wait_s += waited
        answer.facts.n_attempts += 1
        return after, answer, before

    async def _start(
        self,
        call: Call,
        arm: Arm,
        trail: Trail,
        *,
        is_as_is: bool = False,
        before: Usage | None = None,
    ) -> Answer:
        at_work = self._arms[arm.name]
        if at_work.thinking is not None:
            return await self.models[arm.model].chat(
                call.body,
                None if is_as_is else at_work.thinking,
                headers=_forwarded(call.headers),
                trail=trail,
                shows_thought=self.rules.shows_thought,
                before=before,
            )
        return LocalChat(
            LocalRequest.read(call.body, self._options),
            at_work.policy,
            self._backends.get(arm.model),
            shows_thought=self.rules.shows_thought,
            before=before,
        )

    def _fitting(
        self, body: Mapping[str, Any], wish: Wish, needs: Needs, talk: Conversation
    ) -> tuple[frozenset[str] | None, bool]:
        """Return the arms that can do what a request asks, `None` for all, and whether as is."""
        is_structured = bool(body.get("tools")) or talk.has_tools or _has_schema(body)
        mode = self.rules.structured if is_structured else None
        if not needs.upstream and not needs.one_request and mode in (None, AS_IS):
            return wish.among, False
        fitting = frozenset(
            name
            for name, one in self._arms.items()
            if (wish.among is None or name in wish.among)
            and one.can(needs)
            and (mode in (None, AS_IS) or (one.arm.mode is Mode.IFT) == (mode == "direct"))
        )
        if not fitting:
            name = needs.upstream or needs.one_request or "tools"
            raise ProblemError(
                400,
                "unsupported-field",
                f"{name} can be honoured only by a model behind a server of its own, asked for a"
                " plain answer or a thought; none of the arms that may be chosen is one",
                param=name,
            )
        return fitting, mode == AS_IS

    def _check_size(self, body: Mapping[str, Any], talk: Conversation) -> None:
        n_bytes = talk.more_bytes + len(talk.text.encode("utf-8", "replace"))
        self.check_limits(body, n_bytes)

    def check_limits(self, body: Mapping[str, Any], n_bytes: int) -> None:
        """Refuse a request that is too large.

        Raises:
            ProblemError: Its prompt is too long, or it asks for too many tokens.
        """
        rules = self.rules
        if n_bytes > rules.max_prompt_bytes:
            raise ProblemError(
                413,
                "prompt-too-long",
                f"the conversation has {n_bytes:,} bytes of text, {rules.max_prompt_bytes:,} are"
                " allowed",
                param="messages",
            )
        for name in ("max_tokens", "max_completion_tokens"):
            asked, most = body.get(name), rules.max_output_tokens
            if asked is not None and most is not None and asked > most:
                raise ProblemError(
                    400, "too-many-tokens", f"{name} is {asked}, {most} are allowed", param=name
                )

    def _models_of(self, among: frozenset[str] | None) -> set[str]:
        names = self._arms if among is None else among
        return {self._arms[name].arm.model for name in names}

    def _at_work(self, arm: Arm) -> _ArmAtWork:
        policy = build_policy(arm.policy)
        thinking = thinking_of(policy) if arm.model in self.models else None
        return _ArmAtWork(arm, policy, thinking)


def _reference_name(arms: Sequence[Arm], name: str | None) -> str:
    if name is not None:
        return arms[find_arm(arms, name)].name
    thinking = [arm for arm in arms if arm.mode is Mode.REASONING]
    plain = [arm for arm in thinking if arm.policy.startswith("reasoning")]
    return max(plain or thinking, key=lambda arm: arm.order).name if thinking else ""


def _has_schema(body: Mapping[str, Any]) -> bool:
    wanted = body.get("response_format")
    return isinstance(wanted, dict) and wanted != {"type": "text"}


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what is handed on: the client's name of the request and its trace, no keys."""
    names = ("x-request-id", "traceparent", "tracestate")
    return {name: headers[name] for name in names if name in headers}


def _cap(body: Mapping[str, Any]) -> int | None:
    return body.get("max_completion_tokens") or body.get("max_tokens")


def _n_generated(usage: Usage | None) -> int:
    return 0 if usage is None else usage.completion_tokens


def _cost(price: Price, usage: Usage) -> float:
    return usage.prompt_tokens * price.prompt_usd + usage.completion_tokens * price.completion_usd
