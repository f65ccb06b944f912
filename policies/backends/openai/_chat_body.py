"""The JSON body of a chat completion request."""

from ..._backend import GenerationRequest
from .._json import Json
from ..thinking import Dialect, thinking_fields

__all__ = ["chat_body"]


def chat_body(request: GenerationRequest, model: str, dialect: Dialect) -> dict[str, Json]:
    """Return what is sent to `/chat/completions`; depends on nothing but its arguments."""
    body: dict[str, Json] = {
        "model": model,
        "messages": [
            {"role": message.role, "content": message.content} for message in request.messages
        ],
        dialect.max_tokens_key: request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        **dialect.always,
        **thinking_fields(dialect, thinking=request.thinking, budget=request.thinking_budget),
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.logprobs:
        body["logprobs"] = True
    if request.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in request.logit_bias.items()}
    return body
