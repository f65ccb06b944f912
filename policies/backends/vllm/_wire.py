"""What the engine is told, written down."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from ..._backend import GenerationRequest
from .._json import Json

__all__ = ["canonical", "wire_of"]


def wire_of(request: GenerationRequest) -> str:
    """Return what the engine is told besides the prompt, as canonical JSON."""
    bias = request.logit_bias or {}
    return canonical(
        {
            "continuation_tokens": len(request.continuation),
            "effort": request.effort,
            "logit_bias": {str(token): amount for token, amount in bias.items()},
            "logprobs": request.logprobs,
            "max_tokens": request.max_tokens,
            "seed": request.seed,
            "stop": request.stop,
            "stop_token_ids": request.stop_ids,
            "switch_penalty": None
            if request.switch_penalty is None
            else asdict(request.switch_penalty),
            "temperature": request.temperature,
            "thinking": request.thinking,
            "thinking_token_budget": request.thinking_budget,
            "top_p": request.top_p,
        }
    )


def canonical(fields: Mapping[str, Json]) -> str:
    """Return fields as JSON that is the same for equal fields."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
