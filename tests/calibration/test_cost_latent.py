"""Latent attention: products of both ways to run it, and published sizes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration.cost import (
    Architecture,
    LatentAttention,
    Layer,
    bound_request,
    bound_step,
    decode_flops,
    decode_step,
    known_device,
    kv_bytes_per_token,
    paper_flops,
    prefill_flops,
    prefill_step,
    request_flops,
    request_flops_batch,
    training_flops,
)
from policies import InvalidInputError

Array = NDArray[np.float64]


class Attention:
    """One layer of latent attention in numpy that counts every product it executes."""

    def __init__(self, sizes: LatentAttention, hidden: int, n_heads: int) -> None:
        rng = np.random.default_rng(0)
        query = n_heads * (sizes.nope_dim + sizes.rope_dim)
        shapes = {
            "kv_down": (sizes.kv_rank, hidden),
            "rope": (sizes.rope_dim, hidden),
            "out": (hidden, n_heads * sizes.value_dim),
        }
        if sizes.q_rank:
            shapes |= {"q_down": (sizes.q_rank, hidden), "query": (query, sizes.q_rank)}
        else:
            shapes["query"] = (query, hidden)
        self.sizes, self.n_heads, self.flops = sizes, n_heads, 0
        self.weights = {name: rng.normal(0, 0.3, shape) for name, shape in shapes.items()}
        self.key_up = rng.normal(0, 0.3, (n_heads, sizes.nope_dim, sizes.kv_rank))
        self.value_up = rng.normal(0, 0.3, (n_heads, sizes.value_dim, sizes.kv_rank))
        self.latents: list[tuple[Array, Array]] = []

    def multiply(self, matrix: Array, vector: Array) -> Array:
        self.flops += 2 * matrix.shape[0] * matrix.shape[1]
        return matrix @ vector

    def read(self, state: Array) -> Array:
        """Cache a token's latent and return its queries, shape (heads, nope + rope)."""
        latent = self.multiply(self.weights["kv_down"], state)
        self.latents.append((latent, self.multiply(self.weights["rope"], state)))
        if "q_down" in self.weights:
            state = self.multiply(self.weights["q_down"], state)
        return self.multiply(self.weights["query"], state).reshape(self.n_heads, -1)

    def expanded(self, states: Sequence[Array]) -> Array:
        """Prefill: keys and values of cached and new tokens are made from their latents."""
        expand = [self.expand(latent, rope) for latent, rope in self.latents]
        out = np.empty(0)
        for state in states:
            queries = self.read(state)
            expand.append(self.expand(*self.latents[-1]))
            heads: list[Array] = []
            for head in range(self.n_heads):
                scores = self.multiply(np.stack([k[head] for k, _ in expand]), queries[head])
                weights = np.exp(scores) / np.exp(scores).sum()
                heads.append(self.multiply(np.stack([v[head] for _, v in expand]).T, weights))
            out = self.multiply(self.weights["out"], np.concatenate(heads))
        return out

    def expand(self, latent: Array, rope: Array) -> tuple[list[Array], list[Array]]:
        keys = [np.concatenate([self.multiply(up, latent), rope]) for up in self.key_up]
        return keys, [self.multiply(up, latent) for up in self.value_up]

    def absorbed(self, state: Array) -> Array:
        """Decode: heads look at latents; the matrices go to the query and to the output."""
        queries = self.read(state)
        latents = np.stack([latent for latent, _ in self.latents])
        keys = np.concatenate([latents, np.stack([rope for _, rope in self.latents])], axis=1)
        heads: list[Array] = []
        for head in range(self.n_heads):
            nope, rope = queries[head][: self.sizes.nope_dim], queries[head][self.sizes.nope_dim :]
            query = np.concatenate([self.multiply(self.key_up[head].T, nope), rope])
            scores = self.multiply(keys, query)
            mixed = self.multiply(latents.T, np.exp(scores) / np.exp(scores).sum())
            heads.append(self.multiply(self.value_up[head], mixed))
        return self.multiply(self.weights["out"], np.concatenate(heads))


small = st.integers(1, 5)
latents = st.builds(
    LatentAttention,
    kv_rank=small,
    q_rank=st.integers(0, 4),
    nope_dim=small,
    rope_dim=small,
    value_dim=small,
)


def network(sizes: LatentAttention, hidden: int, n_heads: int) -> Architecture:
    layer = Layer(
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=sizes.nope_dim + sizes.rope_dim,
        intermediate=3,
        latent=sizes,
    )
    return Architecture(hidden=hidden, vocab=7, layers=(layer,), is_tied=True)


@given(latents, small, st.integers(1, 3), st.integers(1, 8), st.data())
@settings(max_examples=60, deadline=None)
def test_both_ways_give_one_result_for_the_flops_of_the_formulas(
    sizes: LatentAttention, hidden: int, n_heads: int, n_tokens: int, data: st.DataObject
) -> None:
    n_cached = data.draw(st.integers(0, n_tokens - 1))
    states = list(np.random.default_rng(1).normal(size=(n_tokens, hidden)))
    architecture = network(sizes, hidden, n_heads)
    logits, feed = 2 * hidden * 7, 2 * 3 * hidden * 3

    whole = Attention(sizes, hidden, n_heads)
    expected = whole.expanded(states)
    assert prefill_flops(architecture, n_tokens) == whole.flops + n_tokens * feed + logits

    resumed = Attention(sizes, hidden, n_heads)
    resumed.expanded(states[:n_cached])
    resumed.flops = 0
    np.testing.assert_allclose(resumed.expanded(states[n_cached:]), expected, rtol=1e-9)
    n_new = n_tokens - n_cached
    assert prefill_flops(architecture, n_tokens, n_cached) == resumed.flops + n_new * feed + logits

    decoded = Attention(sizes, hidden, n_heads)
    decoded.expanded(states[:-1])
    decoded.flops = 0
    np.testing.assert_allclose(decoded.absorbed(states[-1]), expected, rtol=1e-9)
    assert decode_flops(architecture, n_tokens - 1, 2) == decoded.flops + feed + logits
    assert len(np.concatenate(decoded.latents[0])) * 2 == kv_bytes_per_token(architecture)


@given(latents, small, st.integers(1, 3), st.integers(1, 40), st.integers(0, 9), st.data())
def test_latent_networks_are_priced_the_same_everywhere(
    sizes: LatentAttention,
    hidden: int,
    n_heads: int,
    prompt: int,
    completion: int,
    data: st.DataObject,
) -> None:
    architecture = network(sizes, hidden, n_heads)
    cached = data.draw(st.integers(0, prompt))
    single = request_flops(architecture, prompt, completion, cached)
    batch = request_flops_batch(architecture, [prompt], [completion], [cached])
    assert batch[0] == pytest.approx(single, rel=1e-12)
    forward = prefill_flops(architecture, prompt) + (prompt - 1) * 2 * hidden * 7
    assert training_flops(architecture, prompt, 0) == 3 * forward
    device = known_device("H200-SXM")
    steps = [prefill_step(architecture, prompt)]
    steps += [decode_step(architecture, t) for t in range(prompt + 1, prompt + completion)]
    seconds = sum(bound_step(step, device).seconds for step in steps)
    whole = bound_request(architecture, prompt, completion, device)
    assert whole.seconds == pytest.approx(seconds)


V3: dict[str, Any] = {
    "model_type": "deepseek_v3",
    "vocab_size": 129_280,
    "hidden_size": 7168,
    "intermediate_size": 18_432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "n_shared_experts": 1,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "tie_word_embeddings": False,
}
V2_LITE: dict[str, Any] = V3 | {
    "model_type": "deepseek_v2",
    "vocab_size": 102_400,
    "hidden_size": 2048,
    "intermediate_size": 10_944,
    "moe_intermediate_size": 1408,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "n_shared_experts": 2,
    "n_routed_experts": 64,
    "num_experts_per_tok": 6,
    "first_k_dense_replace": 1,
    "q_lora_rank": None,
}


@pytest.mark.parametrize(
    ("config", "total", "active"),
    [
        # README_WEIGHTS of DeepSeek-V3: 671B, 36.7B of them active, embedding and head included.
        (V3, 671, 36.7),
        # Model card of DeepSeek-V2-Lite: 15.7B, 2.4B active (the embedding left out of those).
        (V2_LITE, 15.7, 2.4 + 0.21),
    ],
)
def test_published_sizes_are_reproduced(
    config: dict[str, Any], total: float, active: float
) -> None:
    architecture = Architecture.from_config(config)
    assert architecture.n_params / 1e9 == pytest.approx(total, rel=0.005)
    assert architecture.n_active_params / 1e9 == pytest.approx(active, rel=0.025)


def test_the_cache_is_the_one_of_the_paper() -> None:
    # arXiv 2412.19437: 70 KB per token in bfloat16.
    assert kv_bytes_per_token(Architecture.from_config(V3)) == 61 * 576 * 2


def test_a_formula_that_knows_no_latents_refuses_them() -> None:
    architecture = network(LatentAttention(4, 0, 2, 2, 3), 8, 2)
    with pytest.raises(InvalidInputError, match="latent attention"):
        paper_flops(architecture, 5, 5)


@pytest.mark.parametrize("sizes", [(0, 0, 1, 1, 1), (1, -1, 1, 1, 1), (1, 0, 1, 0, 1)])
def test_impossible_sizes_are_refused(sizes: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(InvalidInputError, match="expected sizes"):
        LatentAttention(*sizes)
