"""FLOPs of a request, in closed form.

One multiply-add is two FLOPs. Matrix products are counted; norms, softmax, activations, rotary
embeddings and the embedding lookup are not. With N the matrix entries one token is multiplied
with (`Architecture.n_matmul_params`), D the hidden size, V the vocabulary, and per layer l of q
query heads of size d and window w_l, a query at position t sees min(t, w_l) keys and costs
4*q*d*min(t, w_l). Under latent attention 4*q*d is replaced by what a pair costs expanded (prefill)
or absorbed (decode), see `LatentAttention`, and a prefill expands cached latents once more.

Source: the definitions of the products themselves; the counting conventions (causal prefill,
logits for one prefill position, unshared score FLOPs under grouped-query attention) are those of
the roofline counters in vLLM 0.33, `vllm/v1/metrics/perf.py`, except that vLLM counts a one-chunk
prefill without the causal half and leaves the router of a mixture of experts out.
`tests/calibration/test_flops.py` compares each formula with products that were really executed.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from policies import InvalidInputError, Usage

from .architecture import Architecture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "decode_flops",
    "kv_bytes_per_token",
    "paper_flops",
    "prefill_flops",
    "request_flops",
    "request_flops_batch",
    "request_flops_calls",
    "training_flops",
    "two_n_flops",
]


def request_flops(
    architecture: Architecture, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0
) -> int:
    """Return the FLOPs of one request: `prefill_flops` + `decode_flops`.

    Several samples from one prompt cost one prefill plus each sample's decode; calls that follow
    each other are requests of their own. Do not add up tokens first: attention is quadratic.

    Args:
        architecture: The model.
        prompt_tokens: Tokens of the rendered prompt.
        completion_tokens: Generated tokens, thinking included.
        cached_tokens: Prompt tokens served from a prefix cache.

    Raises:
        InvalidInputError: A count is negative, or more tokens are cached than the prompt has.

    Example:
        >>> from calibration.cost import known_architecture
        >>> f"{request_flops(known_architecture('Qwen2.5-3B'), 200, 1000):.4e}"
        '7.4878e+12'
    """
    prefill = prefill_flops(architecture, prompt_tokens, cached_tokens)
    return prefill + decode_flops(architecture, prompt_tokens, completion_tokens)


def request_flops_calls(architecture: Architecture, calls: Iterable[Usage]) -> int:
    """Return the FLOPs of a policy that asks several times: the sum over its requests.

    Usages must not be added first: attention is quadratic, so two short requests cost less than
    one of their summed length.

    Args:
        architecture: The model of all calls.
        calls: Usage of each request, judges' and retries' included.

    Raises:
        InvalidInputError: A count is negative, or more tokens are cached than a prompt has.
    """
    return sum(
        request_flops(
            architecture, usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens
        )
        for usage in calls
    )


def prefill_flops(architecture: Architecture, prompt_tokens: int, cached_tokens: int = 0) -> int:
    """Return the FLOPs of reading a prompt of P tokens, c of them cached, up to the first token.

    `2N(P-c) + 4qd * sum_l sum_{t=c+1..P} min(t, w_l) + 2DV`: causal attention, and logits for
    one position. Latent attention adds the expansion of the c cached latents, as vLLM and
    transformers run it. At least one position is computed even if all of the prompt is cached, since a
    cache holds keys and values but no logits.

    Raises:
        InvalidInputError: A count is negative, or more tokens are cached than the prompt has.
    """
    _check(prompt_tokens=prompt_tokens, cached_tokens=cached_tokens)
    if cached_tokens > prompt_tokens:
        raise InvalidInputError(
            f"cached_tokens={cached_tokens} is more than prompt_tokens={prompt_tokens}"
        )
    cached = min(cached_tokens, max(prompt_tokens - 1, 0))
    linear = 2 * architecture.n_matmul_params * (prompt_tokens - cached)
    linear += 2 * architecture.n_expansion_params * cached
    attention = _attention_flops(architecture.prefill_pair_flops, cached, prompt_tokens)
    return linear + attention + _logit_flops(architecture)


def decode_flops(architecture: Architecture, prompt_tokens: int, completion_tokens: int) -> int:
    """Return the FLOPs of G generated tokens after the prefill, which gave the first of them.

    `(G-1)(2N + 2DV) + 4qd * sum_l sum_{t=P+1..P+G-1} min(t, w_l)`; 0 for G of 0 or 1. The last
    generated token is never read by the model.

    Raises:
        InvalidInputError: A count is negative.
    """
    _check(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
    n_steps = max(completion_tokens - 1, 0)
    linear = n_steps * (2 * architecture.n_matmul_params + _logit_flops(architecture))
    pair_flops = architecture.decode_pair_flops
    return linear + _attention_flops(pair_flops, prompt_tokens, prompt_tokens + n_steps)


def request_flops_batch(
    architecture: Architecture,
    prompt_tokens: "ArrayLike",
    completion_tokens: "ArrayLike",
    cached_tokens: "ArrayLike" = 0,
) -> "NDArray[np.float64]":
    """Return the FLOPs of many requests; equal to `request_flops` on each, to 15 digits.

    Args:
        architecture: The model of all of them.
        prompt_tokens: Integers, any shape that broadcasts with the others.
        completion_tokens: Integers.
        cached_tokens: Integers.

    Returns:
        FLOPs, of the broadcast shape.

    Raises:
        InvalidInputError: A count is negative or no integer, or more tokens are cached than a
            prompt has.
    """
    import numpy as np

    def visible(n: "NDArray[np.float64]", window: int | None) -> "NDArray[np.float64]":
        inside = n if window is None else np.minimum(n, window)
        return inside * (inside + 1) / 2 + (n - inside) * (window or 0)

    arrays = [np.asarray(a) for a in (prompt_tokens, completion_tokens, cached_tokens)]
    if any(a.size and (a.dtype.kind not in "iu" or a.min() < 0) for a in arrays):
        raise InvalidInputError("token counts must be integers >= 0")
    prompt, completion, cached = (a.astype(np.float64) for a in arrays)
    if np.any(cached > prompt):
        raise InvalidInputError("cached_tokens is more than prompt_tokens in some request")
    start = np.minimum(cached, np.maximum(prompt - 1, 0))
    n_steps = np.maximum(completion - 1, 0)
    end = prompt + n_steps
    flops = 2.0 * architecture.n_matmul_params * (end - start)
    flops = flops + 2.0 * architecture.n_expansion_params * start
    flops = flops + _logit_flops(architecture) * (1 + n_steps)
    for window, pair_flops in architecture.prefill_pair_flops:
        flops = flops + pair_flops * (visible(prompt, window) - visible(start, window))
    for window, pair_flops in architecture.decode_pair_flops:
        flops = flops + pair_flops * (visible(end, window) - visible(prompt, window))
    return np.asarray(flops, dtype=np.float64)


def training_flops(architecture: Architecture, prompt_tokens: int, completion_tokens: int) -> int:
    """Return the FLOPs of one pass of supervised fine-tuning over one sequence.

    Three forward passes' worth (the backward pass costs two) over prompt and completion as one
    causal sequence of T tokens, with logits for every position:
    `3 * (2T(N + DV) + 4qd * sum_l sum_{t=1..T} min(t, w_l))`. Activation recomputation would add
    a fourth; padding is not counted; sequences packed without masks would cost more.

    Source: backward = 2x forward is the convention of arXiv 2203.15556, appendix F, which
    arXiv 2509.22193, appendix D, follows; the forward pass is exact instead of theirs.

    Raises:
        InvalidInputError: A count is negative.
    """
    _check(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
    n_tokens = prompt_tokens + completion_tokens
    linear = n_tokens * (2 * architecture.n_matmul_params + _logit_flops(architecture))
    return 3 * (linear + _attention_flops(architecture.prefill_pair_flops, 0, n_tokens))


def two_n_flops(
    architecture: Architecture,
    prompt_tokens: int,
    completion_tokens: int,
    *,
    counts_embedding: bool = True,
) -> int:
    """Return `2N(P+G)`, the usual shortcut; for comparison only.

    It leaves attention out and so undercounts long reasoning, most of all on small models
    (2.4-fold for 32k tokens at 0.5B).

    Source: arXiv 2001.08361, section 2.1.

    Args:
        architecture: The model.
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Generated tokens.
        counts_embedding: N is all active parameters; otherwise the layers' matrices alone.

    Raises:
        InvalidInputError: A count is negative.
    """
    _check(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
    n = architecture.n_active_params if counts_embedding else architecture.n_matmul_params
    return 2 * n * (prompt_tokens + completion_tokens)


def paper_flops(architecture: Architecture, prompt_tokens: int, completion_tokens: int) -> int:
    """Return the FLOPs of a request as the controlled study of reasoning counts them.

    For comparison only. Unlike the real network it multiplies the embedding, has full multi-head
    keys and values and two feed-forward matrices, ignores the causal mask, and counts softmax.

    Source: arXiv 2509.22193 v2, appendix D, equations 4 to 6.

    Raises:
        InvalidInputError: A count is negative, or the model has experts or latent attention,
            which the equations do not know.
    """
    _check(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
    if architecture.is_moe:
        raise InvalidInputError("the paper's formula knows no mixture of experts")
    if architecture.n_expansion_params:
        raise InvalidInputError("the paper's formula knows no latent attention")
    d, p, g = architecture.hidden, prompt_tokens, completion_tokens
    embedding = 2 * d * architecture.vocab
    linear = sum(8 * d * d + 4 * d * layer.intermediate for layer in architecture.layers)
    context = sum(4 * d + 3 * layer.n_heads for layer in architecture.layers)
    prefill = p * (embedding + linear) + p * p * context + embedding
    decode = g * (2 * embedding + linear) + (g * p + g * (g + 1) // 2) * context
    return prefill + decode


def kv_bytes_per_token(architecture: Architecture, bytes_per_value: int = 2) -> int:
    """Return the bytes that one token adds to the key/value cache, over all layers.

    A layer with a window keeps only its last `window` tokens, so this bounds long contexts.

    Args:
        architecture: The model.
        bytes_per_value: 2 for bfloat16, 1 for 8-bit caches.
    """
    values = sum(layer.n_cached_values for layer in architecture.layers)
    return values * bytes_per_value


def _logit_flops(architecture: Architecture) -> int:
    return 2 * architecture.hidden * architecture.vocab


def _attention_flops(pairs: tuple[tuple[int | None, int], ...], start: int, end: int) -> int:
    """FLOPs of scores and weighted sums for the queries at positions start+1..end."""
    return sum(
        pair_flops * (_visible_keys(end, window) - _visible_keys(start, window))
        for window, pair_flops in pairs
    )


def _visible_keys(n: int, window: int | None) -> int:
    """Sum over t=1..n of min(t, window)."""
    inside = n if window is None else min(n, window)
    return inside * (inside + 1) // 2 + (n - inside) * (window or 0)


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if value < 0:
            raise InvalidInputError(f"{name}={value!r} is negative")
