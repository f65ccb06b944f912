"""Asking models as a decision says: policies, evidence, models that are gone."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from policies import (
    BackendRequestError,
    Capability,
    Completion,
    ConfigError,
    DecodingOptions,
    Message,
    build_policy,
    require,
)

from ._completion import BackendPool
from ._decision import Decision

__all__ = ["ask", "is_gone"]

_LOG = logging.getLogger("thinkroute.router")
_LOG.addHandler(logging.NullHandler())


async def ask(
    decision: Decision,
    messages: Sequence[Message],
    backends: BackendPool,
    options: DecodingOptions,
) -> Completion:
    """Run the chosen policy on the chosen model; with evidence where that decides what follows.

    Raises:
        ConfigError: Nobody said how the model is reached.
        CapabilityError: It takes no attachments, and there are some.
        BackendError: The model could not be asked.
    """
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
