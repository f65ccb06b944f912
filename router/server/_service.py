"""One request: what it may be answered by, its decision, and the beginning of its answer."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from policies import (
    BackendConnectionError,
    BackendError,
    BackendRateLimitError,
    BackendResponseError,
    BackendTimeoutError,
    Capability,
    ConfigError,
    DecodingOptions,
    Mode,
    NoAdmissibleArmError,
    OneRequestPolicy,
    Policy,
    Usage,
    build_policy,
)
from policies.decoding.cascade import evidence_of

from .._admission import Conditions
from .._arms import Arm
from .._asking import is_gone
from .._completion import BackendPool
from .._decision import Decision
from .._router import Router
from ._answers import Answer
from ._books import Books, CallBefore
from ._conversation import Conversation, read_conversation
from ._deciding import Deciding
from ._local_chat import LocalChat, LocalRequest, Needs, needs_of
from ._problems import ProblemError
from ._serving import AS_IS, Call, Serving, Taken
from ._stickiness import Conversations
from ._upstream_chat import ServedModel, Thinking, thinking_of
from ._wishes import Wish, Wishes
from .upstreams import Trail

__all__ = ["ChatService", "Rules", "Structured"]

Structured = Literal["as-is", "direct", "reasoning"]

_PASSES = (
    BackendConnectionError,
    BackendRateLimitError,
    BackendResponseError,
    BackendTimeoutError,
)
"""Failures after which another model may do."""


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
        self._books = Books(router.arms, router.prices, rules.reference)

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
        self.check_limits(body, talk.n_bytes)
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
        taken: Taken | None = None
        while True:
            try:
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
            except NoAdmissibleArmError as refusal:
                if taken is None:
                    raise
                # No other arm may answer: what is told is why the one that could did not.
                error = gone[taken.admission.decision.model]
                taken.fail(error)
                raise error from refusal
            taken = Taken(call, admission, talk, is_as_is, self._books, trail)
            try:
                return await self._begun(taken, wish)
            except (BackendError, ConfigError) as error:
                gone[admission.decision.model] = error
                left = self._models_of(among) - gone.keys()
                may_pass = isinstance(error, _PASSES) or is_gone(error)
                if not (self.rules.falls_back and may_pass and left):
                    taken.fail(error)
                    raise
                admission.settle(0)
            except BaseException as error:
                taken.fail(error)
                raise

    async def _begun(self, taken: Taken, wish: Wish) -> Serving:
        call, decision = taken.call, taken.admission.decision
        before: CallBefore | None = None
        if decision.escalation is None:
            answer = await self._start(call, decision.arm, taken.trail, is_as_is=taken.is_as_is)
        else:
            decision, answer, before = await self._looked(call, decision, taken.trail)
        return Serving(decision, answer, wish.explain, taken, before, self._remember)

    def _remember(self, talk: Conversation, arm: Arm) -> None:
        """Remember what has answered a conversation."""
        if self.rules.is_sticky:
            self._conversations.note(talk, arm.model, arm.mode)

    async def _looked(
        self, call: Call, decision: Decision, trail: Trail
    ) -> tuple[Decision, Answer, CallBefore | None]:
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


def _has_schema(body: Mapping[str, Any]) -> bool:
    wanted = body.get("response_format")
    return isinstance(wanted, dict) and wanted != {"type": "text"}


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what is handed on: the client's name of the request and its trace, no keys."""
    names = ("x-request-id", "traceparent", "tracestate")
    return {name: headers[name] for name in names if name in headers}
