# vLLM is not installed where types are checked, and a checker may take this folder for it.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
# pyright: reportUnknownVariableType=false
"""A request in vLLM's own terms, and what its log-probabilities say."""

import math
from collections.abc import Mapping
from typing import Any

from ..._backend import GenerationRequest

__all__ = ["margin_of", "sampling_params"]


def margin_of(entry: Mapping[int, Any]) -> float | None:
    """Return how far the most likely token lies above the second, `None` without two."""
    likely = sorted((float(one.logprob) for one in entry.values()), reverse=True)[:2]
    return likely[0] - likely[1] if len(likely) == 2 and math.isfinite(likely[1]) else None


def sampling_params(
    request: GenerationRequest, extra: Mapping[str, str] | None = None, *, streams: bool = False
) -> Any:
    """Return vLLM's `SamplingParams` of a request.

    Args:
        request: What is asked.
        extra: What logits processors need to know.
        streams: Whether each token is wanted when it comes.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    bias = request.logit_bias
    return SamplingParams(
        n=1,
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        # vLLM's seed is 64 bits wide, and it takes -1 for none.
        seed=None if request.seed is None else request.seed % 2**63,
        logprobs=2 if request.logprobs else None,  # the two most likely tokens and the chosen
        logit_bias=dict(bias) if bias else None,
        thinking_token_budget=request.thinking_budget,
        # What must not shape the output is said aloud.
        top_k=0,
        min_p=0.0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        repetition_penalty=1.0,
        min_tokens=0,
        stop=list(request.stop),
        stop_token_ids=list(request.stop_ids),
        ignore_eos=False,
        # Stop texts are looked for in text, thought markers included.
        detokenize=bool(request.stop),
        skip_special_tokens=False,
        extra_args=dict(extra) if extra else None,
        output_kind=RequestOutputKind.DELTA if streams else RequestOutputKind.FINAL_ONLY,
        skip_clone=True,
    )
