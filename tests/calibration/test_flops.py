"""FLOPs against products that a small transformer really executes."""

import csv
from collections import Counter, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration.cost import (
    Architecture,
    decode_flops,
    known_architecture,
    kv_bytes_per_token,
    paper_flops,
    prefill_flops,
    request_flops,
    request_flops_batch,
    request_flops_calls,
    training_flops,
    two_n_flops,
)
from policies import InvalidInputError, Usage

Array = NDArray[np.float64]
TABLE = Path(__file__).resolve().parents[3] / "shared/tables/flops_conventions_qwen25_derived.csv"


class ReferenceTransformer:
    """A decoder in plain numpy that counts every product it executes.

    It is built from a configuration alone and shares no code with the formulas. A layer's cache
    holds the keys and values it may still look at, so a window is a queue of that length.
    """

    def __init__(self, config: dict[str, Any], seed: int = 0) -> None:
        self.config = config
        self.flops: Counter[str] = Counter()
        self.tensors: dict[str, Array] = {}
        self._rng = np.random.default_rng(seed)
        hidden, vocab = config["hidden_size"], config["vocab_size"]
        self._new("embedding", vocab, hidden)
        if not config["tie_word_embeddings"]:
            self._new("output", vocab, hidden)
        self._new("norm", hidden)
        for index in range(config["num_hidden_layers"]):
            self._new_layer(index)
        self.reset()

    def reset(self) -> None:
        self.caches: list[deque[tuple[Array, Array]]] = [
            deque(maxlen=self._window(index)) for index in range(self.config["num_hidden_layers"])
        ]

    @property
    def n_params(self) -> int:
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def total(self) -> int:
        return sum(self.flops.values())

    def prefill(self, token_ids: list[int]) -> Array:
        """Read a prompt, causally; logits of its last position only."""
        state = np.zeros(self.config["hidden_size"])
        for token in token_ids:
            state = self._read(token)
        return self.logits(state)

    def decode(self, token: int) -> Array:
        return self.logits(self._read(token))

    def logits(self, state: Array) -> Array:
        output = self.tensors.get("output", self.tensors["embedding"])
        return self._multiply("logits", output, _norm(state) * self.tensors["norm"])

    def _read(self, token: int) -> Array:
        state = self.tensors["embedding"][token]
        for index in range(self.config["num_hidden_layers"]):
            state = state + self._attend(index, _norm(state) * self.tensors[f"{index}.norm1"])
            state = state + self._feed(index, _norm(state) * self.tensors[f"{index}.norm2"])
        return state

    def _attend(self, index: int, state: Array) -> Array:
        heads, kv_heads = (self.config[f"num_{n}_heads"] for n in ("attention", "key_value"))
        query, key, value = (
            self._multiply("projection", self.tensors[f"{index}.{name}"], state)
            + self.tensors.get(f"{index}.{name}_bias", 0.0)
            for name in ("query", "key", "value")
        )
        query, key, value = (x.reshape(-1, self.config["head_dim"]) for x in (query, key, value))
        if f"{index}.query_norm" in self.tensors:
            query = _norm(query) * self.tensors[f"{index}.query_norm"]
            key = _norm(key) * self.tensors[f"{index}.key_norm"]
        self.caches[index].append((key, value))
        outputs: list[Array] = []
        for head in range(heads):
            shared = head // (heads // kv_heads)
            keys = np.stack([k[shared] for k, _ in self.caches[index]])
            values = np.stack([v[shared] for _, v in self.caches[index]])
            weights = np.exp(self._multiply("scores", keys, query[head]))
            outputs.append(self._multiply("mix", values.T, weights / weights.sum()))
        return self._multiply(
            "projection", self.tensors[f"{index}.out"], np.concatenate(outputs)
        ) + self.tensors.get(f"{index}.out_bias", 0.0)

    def _feed(self, index: int, state: Array) -> Array:
        result = np.zeros_like(state)
        if f"{index}.router" in self.tensors:
            scores = self._multiply("router", self.tensors[f"{index}.router"], state)
            for expert in np.argsort(scores)[-self.config["num_experts_per_tok"] :]:
                result += self._gated(f"{index}.expert{expert}", state)
        if f"{index}.mlp.up" in self.tensors:
            shared = self._gated(f"{index}.mlp", state)
            if f"{index}.shared_gate" in self.tensors:
                shared *= self._multiply("gate", self.tensors[f"{index}.shared_gate"], state)
            result += shared
        return result

    def _gated(self, name: str, state: Array) -> Array:
        if f"{name}.gate" not in self.tensors:
            up = self._multiply("feed", self.tensors[f"{name}.up"], state)
            return self._multiply("feed", self.tensors[f"{name}.down"], np.maximum(up, 0) ** 2)
        gate, up = (
            self._multiply("feed", self.tensors[f"{name}.{part}"], state) for part in ("gate", "up")
        )
        return self._multiply("feed", self.tensors[f"{name}.down"], gate / (1 + np.exp(-gate)) * up)

    def _multiply(self, kind: str, matrix: Array, vector: Array) -> Array:
        self.flops[kind] += 2 * matrix.shape[0] * matrix.shape[1]
        return matrix @ vector

    def _window(self, index: int) -> int | None:
        types = self.config.get("layer_types")
        is_sliding = types is not None and types[index] == "sliding_attention"
        if is_sliding or self.config["model_type"] == "mistral":
            return self.config["sliding_window"]
        return None

    def _new(self, name: str, *shape: int) -> None:
        self.tensors[name] = self._rng.normal(0, 0.3, shape)

    def _new_layer(self, index: int) -> None:
        config = self.config
        kind, hidden, head = config["model_type"], config["hidden_size"], config["head_dim"]
        rows = {
            "query": config["num_attention_heads"] * head,
            "key": config["num_key_value_heads"] * head,
            "value": config["num_key_value_heads"] * head,
        }
        has_bias = kind in ("qwen2", "qwen2_moe") or config.get("attention_bias", False)
        for name, n_rows in rows.items():
            self._new(f"{index}.{name}", n_rows, hidden)
            if has_bias:
                self._new(f"{index}.{name}_bias", n_rows)
        self._new(f"{index}.out", hidden, rows["query"])
        if has_bias and kind in ("qwen3", "qwen3_moe"):
            self._new(f"{index}.out_bias", hidden)
        if kind in ("qwen3", "qwen3_moe"):
            self._new(f"{index}.query_norm", head)
            self._new(f"{index}.key_norm", head)
        self._new(f"{index}.norm1", hidden)
        self._new(f"{index}.norm2", hidden)
        self._new_feed_forward(index, kind, hidden)

    def _new_feed_forward(self, index: int, kind: str, hidden: int) -> None:
        config = self.config
        if not _has_experts(config, index):
            self._new_gated(f"{index}.mlp", hidden, config["intermediate_size"])
            return
        n_experts = config.get("num_experts") or config["n_routed_experts"]
        self._new(f"{index}.router", n_experts, hidden)
        for expert in range(n_experts):
            self._new_gated(f"{index}.expert{expert}", hidden, config["moe_intermediate_size"])
        if kind == "qwen2_moe":
            self._new_gated(f"{index}.mlp", hidden, config["shared_expert_intermediate_size"])
            self._new(f"{index}.shared_gate", 1, hidden)
        if kind == "glm4_moe" and config["n_shared_experts"]:
            width = config["n_shared_experts"] * config["moe_intermediate_size"]
            self._new_gated(f"{index}.mlp", hidden, width)

    def _new_gated(self, name: str, hidden: int, inner: int) -> None:
        if self.config["model_type"] != "arcee":
            self._new(f"{name}.gate", inner, hidden)
        self._new(f"{name}.up", inner, hidden)
        self._new(f"{name}.down", hidden, inner)


def _norm(x: Array) -> Array:
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-6)


def _has_experts(config: dict[str, Any], index: int) -> bool:
    if config["model_type"] == "glm4_moe":
        return index >= config["first_k_dense_replace"]
    if config["model_type"] in ("qwen2_moe", "qwen3_moe"):
        is_turn = (index + 1) % config["decoder_sparse_step"] == 0
        return is_turn and index not in config["mlp_only_layers"]
    return False


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw tiny dense, grouped-query, windowed and mixture-of-experts architectures."""
    small = st.integers(1, 4)
    kind = draw(
        st.sampled_from(
            ["llama", "arcee", "mistral", "qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "glm4_moe"]
        )
    )
    kv_heads, n_layers = draw(small), draw(st.integers(1, 3))
    config: dict[str, Any] = {
        "model_type": kind,
        "hidden_size": draw(st.integers(1, 9)),
        "vocab_size": draw(st.integers(2, 11)),
        "num_hidden_layers": n_layers,
        "num_attention_heads": kv_heads * draw(small),
        "num_key_value_heads": kv_heads,
        "head_dim": draw(st.integers(1, 5)),
        "intermediate_size": draw(st.integers(1, 9)),
        "tie_word_embeddings": draw(st.booleans()),
    }
    if kind == "mistral":
        config["sliding_window"] = draw(st.none() | st.integers(1, 6))
    if kind in ("qwen3", "qwen3_moe", "glm4_moe"):
        config["attention_bias"] = draw(st.booleans())
    if kind in ("qwen2", "qwen3", "qwen2_moe") and draw(st.booleans()):
        layer_type = st.sampled_from(["full_attention", "sliding_attention"])
        config["layer_types"] = draw(st.lists(layer_type, min_size=n_layers, max_size=n_layers))
        config |= {"use_sliding_window": True, "sliding_window": draw(st.integers(1, 6))}
    if kind.endswith("_moe"):
        n_experts = draw(small)
        config["n_routed_experts" if kind == "glm4_moe" else "num_experts"] = n_experts
        config["num_experts_per_tok"] = draw(st.integers(1, n_experts))
        config["moe_intermediate_size"] = draw(small)
        config["shared_expert_intermediate_size"] = draw(small) if kind == "qwen2_moe" else 0
        config["n_shared_experts"] = draw(st.integers(0, 2)) if kind == "glm4_moe" else 0
        config["first_k_dense_replace"] = draw(st.integers(0, n_layers))
        config["decoder_sparse_step"] = draw(st.integers(1, 2))
        config["mlp_only_layers"] = draw(st.lists(st.integers(0, 2), max_size=2))
    return config


@given(configs(), st.data())
@settings(max_examples=150, deadline=None)
def test_formula_equals_the_products_a_transformer_executes(
    config: dict[str, Any], data: st.DataObject
) -> None:
    prompt = data.draw(st.integers(1, 12), "prompt")
    completion = data.draw(st.integers(1, 8), "completion")
    cached = data.draw(st.integers(0, prompt - 1), "cached")
    architecture = Architecture.from_config(config)
    model = ReferenceTransformer(config)
    tokens = [token % config["vocab_size"] for token in range(prompt + completion)]
    if cached:
        model.prefill(tokens[:cached])
        model.flops.clear()
    model.prefill(tokens[cached:prompt])
    prefill = model.total
    for token in tokens[prompt : prompt + completion - 1]:
        model.decode(token)
    assert prefill_flops(architecture, prompt, cached) == prefill
    assert decode_flops(architecture, prompt, completion) == model.total - prefill
    assert request_flops(architecture, prompt, completion, cached) == model.total


@given(configs(), st.integers(1, 10))
@settings(max_examples=50, deadline=None)
def test_training_is_three_forward_passes_with_logits_everywhere(
    config: dict[str, Any], n_tokens: int
) -> None:
    model = ReferenceTransformer(config)
    for token in range(n_tokens):
        model.decode(token % config["vocab_size"])
    flops = training_flops(Architecture.from_config(config), n_tokens // 2, (n_tokens + 1) // 2)
    assert flops == 3 * model.total


@given(configs())
@settings(max_examples=150, deadline=None)
def test_parameter_count_is_the_sum_of_real_tensors(config: dict[str, Any]) -> None:
    model = ReferenceTransformer(config)
    architecture = Architecture.from_config(config)
    assert architecture.n_params == model.n_params
    per_expert = 3 * config["hidden_size"] * config.get("moe_intermediate_size", 0)
    n_experts = config.get("num_experts") or config.get("n_routed_experts") or 0
    n_idle = sum(
        n_experts - config["num_experts_per_tok"]
        for index in range(config["num_hidden_layers"])
        if _has_experts(config, index)
    )
    assert architecture.n_active_params == model.n_params - n_idle * per_expert
    embeddings = config["vocab_size"] * config["hidden_size"]
    n_embeddings = embeddings * (1 if config["tie_word_embeddings"] else 2)
    assert architecture.n_non_embedding_params == model.n_params - n_embeddings


@given(configs(), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_cache_size_is_that_of_the_reference(config: dict[str, Any], n_tokens: int) -> None:
    config = {**config, "use_sliding_window": False, "layer_types": None, "sliding_window": None}
    model = ReferenceTransformer(config)
    for token in range(n_tokens):
        model.decode(token % config["vocab_size"])
    values = sum(k.size + v.size for cache in model.caches for k, v in cache)
    assert kv_bytes_per_token(Architecture.from_config(config), 4) * n_tokens == 4 * values


def test_reference_gives_the_same_logits_with_and_without_a_cached_prefix() -> None:
    config = {
        "model_type": "qwen3",
        "hidden_size": 8,
        "vocab_size": 11,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "intermediate_size": 12,
        "tie_word_embeddings": True,
        "layer_types": ["sliding_attention", "full_attention"],
        "use_sliding_window": True,
        "sliding_window": 3,
    }
    model = ReferenceTransformer(config)
    whole = model.prefill([1, 2, 3, 4, 5, 6])
    model.reset()
    model.prefill([1, 2, 3])
    stepwise = [model.decode(token) for token in (4, 5, 6)][-1]
    np.testing.assert_allclose(stepwise, whole, rtol=1e-12)


token_counts = st.integers(0, 10**7)


@given(configs(), token_counts, token_counts, token_counts, token_counts)
def test_flops_grow_with_tokens_and_shrink_with_the_cache(
    config: dict[str, Any], prompt: int, completion: int, more: int, cached: int
) -> None:
    architecture = Architecture.from_config(config)
    cached = min(cached, prompt)
    base = request_flops(architecture, prompt, completion, cached)
    assert base == prefill_flops(architecture, prompt, cached) + decode_flops(
        architecture, prompt, completion
    )
    assert request_flops(architecture, prompt + more, completion, cached) >= base
    assert request_flops(architecture, prompt, completion + more, cached) >= base
    assert base <= request_flops(architecture, prompt, completion)
    if 0 < cached < prompt:
        assert base < request_flops(architecture, prompt, completion)
    if completion > 1:
        assert request_flops(architecture, prompt, completion + 1) > request_flops(
            architecture, prompt, completion
        )


@given(configs(), st.lists(st.tuples(token_counts, token_counts, token_counts), max_size=5))
def test_batch_equals_single_requests(
    config: dict[str, Any], requests: list[tuple[int, int, int]]
) -> None:
    architecture = Architecture.from_config(config)
    requests = [(prompt, completion, min(c, prompt)) for prompt, completion, c in requests]
    columns = np.array(requests, dtype=np.int64).reshape(-1, 3).T
    batch = request_flops_batch(architecture, *columns)
    single = [float(request_flops(architecture, *request)) for request in requests]
    np.testing.assert_allclose(batch, np.array(single), rtol=1e-12)


def test_batch_broadcasts() -> None:
    architecture = known_architecture("Qwen2.5-3B")
    batch = request_flops_batch(architecture, np.array([[100], [200]]), [1, 50, 1000])
    assert batch.shape == (2, 3)
    assert batch[1, 2] == request_flops(architecture, 200, 1000)


def test_a_fully_cached_prompt_still_computes_its_last_position() -> None:
    architecture = known_architecture("Qwen3-8B")
    assert prefill_flops(architecture, 500, 500) == prefill_flops(architecture, 500, 499)
    assert prefill_flops(architecture, 500, 500) > 2 * architecture.n_matmul_params


def test_an_empty_completion_costs_the_prefill() -> None:
    architecture = known_architecture("Qwen3-8B")
    assert request_flops(architecture, 500, 0) == prefill_flops(architecture, 500)
    assert request_flops(architecture, 500, 1) == prefill_flops(architecture, 500)


def test_calls_of_a_policy_cost_the_sum_of_their_requests_not_of_their_tokens() -> None:
    architecture = known_architecture("Qwen3-0.6B")
    calls = [Usage(500, 8000), Usage(8600, 100, cached_tokens=500), Usage(300, 0)]
    cost = request_flops_calls(architecture, iter(calls))
    assert cost == (
        request_flops(architecture, 500, 8000)
        + request_flops(architecture, 8600, 100, 500)
        + request_flops(architecture, 300, 0)
    )
    total = calls[0] + calls[1] + calls[2]
    assert cost < request_flops(architecture, total.prompt_tokens, total.completion_tokens, 500)
    assert request_flops_calls(architecture, []) == 0


@pytest.mark.parametrize("counts", [(-1, 1, 0), (1, -1, 0), (1, 1, -1), (5, 1, 6)])
def test_impossible_token_counts_are_refused(counts: tuple[int, int, int]) -> None:
    architecture = known_architecture("Qwen2.5-0.5B")
    with pytest.raises(InvalidInputError):
        request_flops(architecture, *counts)
    with pytest.raises(InvalidInputError):
        request_flops_batch(architecture, *([count] for count in counts))


def test_batch_refuses_fractional_tokens() -> None:
    with pytest.raises(InvalidInputError, match="integers"):
        request_flops_batch(known_architecture("Qwen2.5-0.5B"), [1.5], [2])


def test_comparison_formulas_refuse_what_they_cannot_count() -> None:
    with pytest.raises(InvalidInputError, match="mixture"):
        paper_flops(known_architecture("Qwen3-30B-A3B"), 10, 10)
    for formula in (two_n_flops, paper_flops, training_flops):
        with pytest.raises(InvalidInputError, match="negative"):
            formula(known_architecture("Qwen2.5-0.5B"), -1, 10)


@pytest.mark.skipif(not TABLE.exists(), reason="needs ../shared/tables beside the repository")
def test_derived_table_is_reproduced_digit_by_digit() -> None:
    with TABLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    for row in rows:
        architecture = known_architecture(f"Qwen2.5-{row['size']}")
        tokens = int(row["prompt_tokens"]), int(row["generated_tokens"])
        ours = {
            "exact_matmul_causal": request_flops(architecture, *tokens),
            "two_N_total": two_n_flops(architecture, *tokens),
            "two_N_nonembedding": two_n_flops(architecture, *tokens, counts_embedding=False),
            "paper_eq4_6": paper_flops(architecture, *tokens),
        }
        assert {name: f"{flops:.4e}" for name, flops in ours.items()} == {
            name: row[name] for name in ours
        }


@pytest.mark.parametrize(
    ("name", "completion_tokens", "ratio"),
    [
        ("Qwen3-8B", 200, 0.89),
        ("Qwen3-8B", 16_000, 1.21),
        ("Qwen3-8B", 32_000, 1.50),
        ("Qwen3-30B-A3B", 16_000, 1.86),
        ("Qwen3-30B-A3B", 32_000, 2.79),
        ("Qwen3-0.6B", 16_000, 2.56),
        ("Qwen3-0.6B", 32_000, 4.10),
    ],
)
def test_shortcut_misprices_long_reasoning(name: str, completion_tokens: int, ratio: float) -> None:
    """Ratios computed independently for the design, printed to two digits; 200-token prompt."""
    architecture = known_architecture(name)
    exact = request_flops(architecture, 200, completion_tokens)
    assert exact / two_n_flops(architecture, 200, completion_tokens) == pytest.approx(
        ratio, abs=0.006
    )
