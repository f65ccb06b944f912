"""Budgets from one trace: what a smaller thinking budget would have given, without thinking again.

A hard budget samples the first B thinking tokens as if there were none and then forces the end
of the thought. So the trace of the largest budget tells every smaller one: if its thought ended
within B its answer is B's own, and otherwise B's answer is sampled after the first B thinking
tokens and the forced end. That is the distribution of a run at B, for the price of its answer.

What has to hold, and where it is seen to: token ids, never text (`ThoughtMarkers.cut`); the same
end text (`thought_markers` finds out what the server forces); no presence or frequency penalty,
which would count the thinking tokens in one case only (requests have none); a cap on the answer
that leaves it the room it would have had; a seed of its own per continuation; budgets that the
decoder enforces (`Capability.HARD_BUDGET`).

Source: own derivation from the decoders' code; forced ends as in s1, arXiv 2501.19393, section 3.
"""

from collections.abc import Sequence
from dataclasses import replace

from policies import (
    Capability,
    Completion,
    DecodingOptions,
    FinishReason,
    GenerationRequest,
    InvalidInputError,
    OneRequestPolicy,
    TellsThoughtMarkers,
    ThoughtMarkers,
    Usage,
    user_message,
)

from ._arm import Arm

__all__ = ["as_in_production", "derive", "trace_leads"]

_NEEDED = frozenset({Capability.HARD_BUDGET, Capability.PREFIX_CONTINUATION})


def trace_leads(arms: Sequence[Arm], options: DecodingOptions) -> dict[str, Arm]:
    """Return for the name of each arm whose answers a longer trace tells, the arm of that trace.

    Arms share traces if one backend is asked the same by both, up to the budget. The largest
    budget leads; an arm that leads is not among the keys.
    """
    groups: dict[tuple[int, GenerationRequest], list[tuple[float, Arm]]] = {}
    for arm in arms:
        backend, policy = arm.backend, arm.policy
        if not (isinstance(policy, OneRequestPolicy) and isinstance(backend, TellsThoughtMarkers)):
            continue
        request = policy.request(user_message("?"), options)
        if not request.thinking or not backend.capabilities >= _NEEDED:
            continue
        same = replace(request, thinking_budget=None, max_tokens=1)
        budget = float("inf") if request.thinking_budget is None else request.thinking_budget
        groups.setdefault((id(backend), same), []).append((budget, arm))
    leads: dict[str, Arm] = {}
    for group in groups.values():
        lead = max(group, key=lambda entry: entry[0])[1]
        leads |= {arm.name: lead for _, arm in group if arm is not lead}
    return leads


def derive(
    trace: Completion, request: GenerationRequest, markers: ThoughtMarkers
) -> Completion | GenerationRequest | None:
    """Return what a trace tells about a smaller budget.

    Args:
        trace: The answer to the same request with a larger budget or none, with token ids.
        request: The request with the smaller budget.
        markers: How thoughts lie in the token ids.

    Returns:
        The trace itself if it is the smaller budget's answer too; a request that continues it
        from the budget on; `None` where the trace does not tell, so that `request` itself has to
        be sent: it has no token ids, or it ran out of tokens before the smaller budget would.
    """
    if trace.token_ids is None or request.thinking_budget is None:
        return None
    is_whole = (
        trace.finish_reason is FinishReason.STOP
        and trace.usage.completion_tokens <= request.max_tokens
    )
    try:
        prefix = markers.cut(trace.token_ids, request.thinking_budget)
    except InvalidInputError:
        # The thought never closed: the model ended its turn in it, or the tokens ran out.
        return trace if is_whole else None
    if prefix is None:
        return trace if is_whole else None
    room = request.max_tokens - len(prefix)
    if room < 1:
        return None
    return replace(request, thinking_budget=None, continuation=prefix, max_tokens=room)


def as_in_production(
    answer: Completion, prefix: Sequence[int], trace: Completion, markers: ThoughtMarkers
) -> Completion:
    """Return a continued answer as the smaller budget would have given it, tokens included.

    Args:
        answer: What came after the prefix.
        prefix: Token ids of the cut thought, its forced end included.
        trace: What the prefix was cut from.
        markers: How thoughts lie in the token ids.
    """
    return replace(
        answer,
        usage=Usage(
            prompt_tokens=trace.usage.prompt_tokens,
            completion_tokens=len(prefix) + answer.usage.completion_tokens,
            thinking_tokens=markers.n_thinking(prefix),
        ),
        token_ids=None if answer.token_ids is None else (*prefix, *answer.token_ids),
    )
