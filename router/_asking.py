"""Asking models as a decision says: policies, evidence, models that are gone."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from policies import (
    BackendRequestError,
    Capability,
    Completion,
    ConfigError,
    DecodingOptions,
    Evidence,
    Message,
    Usage,
    build_policy,
    require,
)
from policies.decoding.cascade import as_one_answer, ask_in_turn, evidence_of

from ._completion import BackendPool, RoutedCompletion
from ._decision import Decision

__all__ = ["answer", "is_gone"]

_LOG = logging.getLogger("thinkroute.router")
_LOG.addHandler(logging.NullHandler())


async def answer(
    decision: Decision,
    messages: Sequence[Message],
    backends: BackendPool,
    options: DecodingOptions,
    escalate: Callable[[Decision, Evidence | None, Usage], Decision],
) -> RoutedCompletion:
    """Return the answer that a decision leads to, from one model or from two in turn.

    Args:
        decision: Whom to ask.
        messages: The conversation.
        backends: How the models are reached.
        options: How to decode.
        escalate: Decides what follows on the first answer of a two-stage decision.

    Raises:
        ConfigError: Nobody said how a model is reached.
        CapabilityError: It takes no attachments, and there are some.
        BackendError: It could not be asked.
    """
    decisions = [decision]

    def look(first: Completion) -> Awaitable[Completion] | None:
        if decision.escalation is None:
            return None
        decisions.append(escalate(decision, evidence_of(first), first.usage))
        if decisions[-1].arm == decision.arm:
            return None
        return _ask(decisions[-1], messages, backends, options)

    answers = await ask_in_turn(_ask(decision, messages, backends, options), look)
    return RoutedCompletion(decisions[-1], as_one_answer(answers), n_calls=len(answers))


async def _ask(
    decision: Decision,
    messages: Sequence[Message],
    backends: BackendPool,
    options: DecodingOptions,
) -> Completion:
    """Run the chosen policy on the chosen model; with evidence where that decides what follows."""
    _LOG.info(
        "%s chosen by %s (%s)", decision.arm.name, decision.artifact_id, ", ".join(decision.reasons)
    )
    policy = build_policy(decision.policy)
    backend = backends.get(decision.model)
    needs = policy.needs
    if any(message.attachments for message in messages):
        needs |= {Capability.ATTACHMENTS}
    require(backend, needs)
    if decision.escalation is not None and Capability.LOGPROBS in backend.capabilities:
        options = replace(options, logprobs=True)
    return await policy.run(messages, backend, options)


def is_gone(error: Exception) -> bool:
    """Return whether a model is not served, as opposed to a server in trouble."""
    if isinstance(error, BackendRequestError):
        return error.status_code == 404
    return isinstance(error, ConfigError) and error.code == "missing-backend"
