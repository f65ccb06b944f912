"""Architectures read from configurations, against real networks and published counts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.cost import (
    Architecture,
    Layer,
    decode_flops,
    known_architecture,
    known_architecture_names,
    kv_bytes_per_token,
    prefill_flops,
)
from policies import DataFileError, InvalidInputError, UnknownNameError

BASE: dict[str, Any] = {
    "hidden_size": 48,
    "vocab_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 80,
}
ABSENT = object()
PAD = {"pad_token_id": 0}
LATENT = {"kv_lora_rank": 20, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 10}
EXPERTS = {"moe_intermediate_size": 24, "num_experts_per_tok": 2}
NETWORKS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "llama, biases": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "llama, wide heads": {"model_type": "llama", "head_dim": 20, "tie_word_embeddings": True},
    "granite": {"model_type": "granite", "mlp_bias": True},
    "smollm3": {"model_type": "smollm3", "pad_token_id": 0},
    "mistral": {"model_type": "mistral", "sliding_window": None},
    "mixtral": {"model_type": "mixtral", "num_local_experts": 5, "num_experts_per_tok": 2},
    "phi3": {"model_type": "phi3", "pad_token_id": 0, "sliding_window": 2047},
    "olmo2": {"model_type": "olmo2", "pad_token_id": 0},
    "gemma2": {"model_type": "gemma2", "head_dim": 16, "sliding_window": 8},
    "gemma3": {"model_type": "gemma3_text", "head_dim": 16, "sliding_window": 8},
    "qwen2": {"model_type": "qwen2"},
    "qwen2, tied, no groups": {
        "model_type": "qwen2",
        "tie_word_embeddings": True,
        "num_key_value_heads": None,
    },
    "qwen2_moe": {
        "model_type": "qwen2_moe",
        "num_experts": 6,
        "shared_expert_intermediate_size": 32,
        "mlp_only_layers": [0],
        **EXPERTS,
    },
    "qwen2_moe, steps": {
        "model_type": "qwen2_moe",
        "num_experts": 6,
        "shared_expert_intermediate_size": 32,
        "decoder_sparse_step": 2,
        "qkv_bias": False,
        **EXPERTS,
    },
    "qwen3": {"model_type": "qwen3", "head_dim": 32},
    "qwen3, bias": {"model_type": "qwen3", "head_dim": 8, "attention_bias": True},
    "qwen3_moe": {"model_type": "qwen3_moe", "num_experts": 6, "head_dim": 16, **EXPERTS},
    "qwen3_moe, steps": {
        "model_type": "qwen3_moe",
        "num_experts": 6,
        "head_dim": 16,
        "decoder_sparse_step": 2,
        "mlp_only_layers": [3],
        **EXPERTS,
    },
    "glm4_moe": {
        "model_type": "glm4_moe",
        "n_routed_experts": 6,
        "n_shared_experts": 2,
        "first_k_dense_replace": 1,
        **EXPERTS,
    },
    "glm4_moe, norms": {
        "model_type": "glm4_moe",
        "n_routed_experts": 6,
        "n_shared_experts": 1,
        "first_k_dense_replace": 0,
        "use_qk_norm": True,
        "attention_bias": True,
        "head_dim": 20,
        **EXPERTS,
    },
    "apertus": {"model_type": "apertus", "attention_bias": True},
    "arcee": {"model_type": "arcee", "mlp_bias": True, "head_dim": 20},
    "cohere": {"model_type": "cohere"},
    "cohere, norms": {"model_type": "cohere", "use_qk_norm": True, "attention_bias": True},
    "cohere2": {"model_type": "cohere2", "sliding_window": 8},
    "deepseek_v2": {
        "model_type": "deepseek_v2",
        "n_routed_experts": 6,
        "n_shared_experts": 2,
        "first_k_dense_replace": 1,
        "q_lora_rank": None,
        "num_key_value_heads": 4,
        "n_group": 1,
        "topk_group": 1,
        **LATENT,
        **EXPERTS,
    },
    "deepseek_v3": {
        "model_type": "deepseek_v3",
        "n_routed_experts": 6,
        "n_shared_experts": 1,
        "first_k_dense_replace": 2,
        "q_lora_rank": 14,
        "n_group": 2,
        "topk_group": 1,
        "num_key_value_heads": 4,
        **LATENT,
        **EXPERTS,
    },
    "deepseek_v3, biases": {
        "model_type": "deepseek_v3",
        "n_routed_experts": 6,
        "n_shared_experts": 1,
        "first_k_dense_replace": 0,
        "q_lora_rank": 14,
        "n_group": 1,
        "topk_group": 1,
        "num_key_value_heads": 4,
        "attention_bias": True,
        **LATENT,
        **EXPERTS,
    },
    "dots1": {
        "model_type": "dots1",
        "n_routed_experts": 6,
        "n_shared_experts": 2,
        "first_k_dense_replace": 1,
        "sliding_window": None,
        **EXPERTS,
    },
    "dots1, windows": {
        "model_type": "dots1",
        "n_routed_experts": 6,
        "n_shared_experts": 1,
        "first_k_dense_replace": 0,
        "sliding_window": 8,
        "max_window_layers": 2,
        "attention_bias": True,
        **EXPERTS,
    },
    "ernie4_5": {"model_type": "ernie4_5", "head_dim": 16},
    "ernie4_5, biases": {"model_type": "ernie4_5", "head_dim": 8, "use_bias": True},
    "exaone4": {"model_type": "exaone4", "sliding_window": 8},
    "exaone4, no windows": {
        "model_type": "exaone4",
        "sliding_window": None,
        "layer_types": ["full_attention"] * 4,
    },
    "flex_olmo": {"model_type": "flex_olmo", "num_experts": 6, "num_experts_per_tok": 2, **PAD},
    "gemma": {"model_type": "gemma", "head_dim": 16},
    "glm": {"model_type": "glm", "head_dim": 16, **PAD},
    "glm4": {"model_type": "glm4", "head_dim": 16, "attention_bias": False, **PAD},
    "granitemoe": {"model_type": "granitemoe", "num_local_experts": 6, "num_experts_per_tok": 2},
    "hunyuan_v1_dense": {"model_type": "hunyuan_v1_dense", "head_dim": 16},
    "minimax_m2": {
        "model_type": "minimax_m2",
        "head_dim": 16,
        "num_local_experts": 6,
        "num_experts_per_tok": 2,
    },
    "ministral": {"model_type": "ministral", "head_dim": 16, "sliding_window": 8},
    "ministral3": {"model_type": "ministral3", "head_dim": 16},
    "nemotron": {"model_type": "nemotron", "head_dim": 12},
    "nemotron, biases": {
        "model_type": "nemotron",
        "head_dim": 12,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "olmo": {"model_type": "olmo", "attention_bias": True},
    "olmo3": {"model_type": "olmo3", "sliding_window": 8, **PAD},
    "olmoe": {"model_type": "olmoe", "num_experts": 6, "num_experts_per_tok": 2},
    "phimoe": {"model_type": "phimoe", "num_local_experts": 6, "num_experts_per_tok": 2},
    "phimoe, biases": {
        "model_type": "phimoe",
        "num_local_experts": 6,
        "num_experts_per_tok": 2,
        "attention_bias": True,
        "lm_head_bias": True,
    },
    "seed_oss": {"model_type": "seed_oss", "head_dim": 16},
    "seed_oss, biases": {
        "model_type": "seed_oss",
        "head_dim": 16,
        "attention_bias": False,
        "attention_out_bias": True,
        "mlp_bias": True,
    },
    "starcoder2": {"model_type": "starcoder2", "sliding_window": 8},
    "starcoder2, no biases": {
        "model_type": "starcoder2",
        "use_bias": False,
        "sliding_window": None,
        "tie_word_embeddings": False,
    },
    "vaultgemma": {"model_type": "vaultgemma", "head_dim": 16, "sliding_window": 8},
    "gpt_oss": {
        "model_type": "gpt_oss",
        "num_local_experts": 6,
        "num_experts_per_tok": 2,
        "head_dim": 16,
        "sliding_window": 8,
    },
}


@pytest.mark.train
@pytest.mark.parametrize("name", NETWORKS)
def test_parameter_count_equals_the_network_of_transformers(name: str) -> None:
    torch: Any = pytest.importorskip("torch")
    transformers: Any = pytest.importorskip("transformers")
    config = BASE | NETWORKS[name]
    network_config = transformers.AutoConfig.for_model(**config)
    with torch.device("meta"):
        network = transformers.AutoModelForCausalLM.from_config(network_config)
    if network_config.tie_word_embeddings:
        network.tie_weights()
    n_params = sum(parameter.numel() for parameter in network.parameters())
    architecture = Architecture.from_config(config)
    assert architecture.n_params == n_params
    types = getattr(network_config, "layer_types", None)
    if types is not None:
        is_sliding = [kind == "sliding_attention" for kind in types]
        assert [layer.window is not None for layer in architecture.layers] == is_sliding


@pytest.mark.train
@pytest.mark.parametrize("name", NETWORKS)
def test_decode_step_equals_the_products_torch_counts(name: str) -> None:
    torch: Any = pytest.importorskip("torch")
    transformers: Any = pytest.importorskip("transformers")
    from torch.utils.flop_counter import FlopCounterMode  # pyright: ignore[reportMissingImports]

    config = BASE | NETWORKS[name]
    network = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**config),
        attn_implementation="eager",
        experts_implementation="eager",
    )
    network.eval()
    architecture = Architecture.from_config(config)
    with torch.no_grad():
        # More tokens than any window but phi3's, so that windows must show.
        cache = network(torch.ones((1, 12), dtype=torch.long), use_cache=True).past_key_values
        counter: Any = FlopCounterMode(display=False)
        with counter:
            network(torch.ones((1, 1), dtype=torch.long), past_key_values=cache)
    # One more token is a decode step, or a prefill with all but one token cached. The two differ
    # for latent attention, which transformers always runs expanded.
    assert counter.get_total_flops() == prefill_flops(architecture, 13, 12)
    if architecture.layers[0].latent is None:
        assert counter.get_total_flops() == decode_flops(architecture, 12, 2)


@pytest.mark.parametrize(
    ("name", "n_params"),
    [
        ("Qwen2.5-0.5B", 494_032_768),
        ("Qwen2.5-1.5B", 1_543_714_304),
        ("Qwen2.5-3B", 3_085_938_688),
        ("Qwen2.5-7B", 7_615_616_512),
        ("Qwen2.5-14B", 14_770_033_664),
        ("Qwen2.5-32B", 32_763_876_352),
        ("Qwen3-0.6B", 596_049_920),
        ("Qwen3-1.7B", 1_720_574_976),
        ("Qwen3-4B", 4_022_468_096),
        ("Qwen3-8B", 8_190_735_360),
        ("Qwen3-14B", 14_768_307_200),
        ("Qwen3-32B", 32_762_123_264),
        ("Qwen3-30B-A3B", 30_532_122_624),
    ],
)
def test_known_architectures_have_the_published_parameter_counts(name: str, n_params: int) -> None:
    assert known_architecture(name).n_params == n_params


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        # "Number of Parameters (Non-Embedding)" of the model cards.
        ("Qwen2.5-0.5B", 0.36),
        ("Qwen2.5-1.5B", 1.31),
        ("Qwen2.5-3B", 2.77),
        ("Qwen2.5-7B", 6.53),
        ("Qwen2.5-14B", 13.2),
        ("Qwen3-0.6B", 0.44),
        ("Qwen3-1.7B", 1.4),
        ("Qwen3-4B", 3.6),
        ("Qwen3-8B", 6.95),
        ("Qwen3-14B", 13.2),
        ("Qwen3-32B", 31.2),
        ("Qwen3-30B-A3B", 29.9),
    ],
)
def test_known_architectures_have_the_published_non_embedding_counts(
    name: str, billions: float
) -> None:
    n_params = known_architecture(name).n_non_embedding_params
    assert n_params / 1e9 == pytest.approx(billions, rel=0.01)


def test_every_known_architecture_can_be_built() -> None:
    names = known_architecture_names()
    assert len(names) == len(set(names)) == 13
    assert all(known_architecture(name).n_params > 0 for name in names)


def test_cache_and_active_parameters_match_published_figures() -> None:
    assert kv_bytes_per_token(known_architecture("Qwen3-8B")) == 147_456
    moe = known_architecture("Qwen3-30B-A3B")
    assert moe.is_moe
    assert moe.n_active_params / 1e9 == pytest.approx(3.35, abs=0.005)


@pytest.mark.parametrize("name", ["Qwen/Qwen3-8B-Base", "qwen3-8b", " QWEN3-8B ", "Qwen3-8B"])
def test_known_architecture_ignores_case_owner_and_tuning(name: str) -> None:
    assert known_architecture(name) is known_architecture("Qwen3-8B")


def test_unknown_architecture_lists_close_names() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'Qwen3-8B'") as caught:
        known_architecture("Qwen-3-8B")
    assert caught.value.code == "unknown-architecture"


def test_config_is_read_from_a_file_or_its_folder(tmp_path: Path) -> None:
    config = BASE | NETWORKS["qwen3"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    expected = Architecture.from_config(config)
    assert Architecture.from_config(tmp_path / "config.json") == expected
    assert Architecture.from_config(str(tmp_path)) == expected


def test_absent_key_value_heads_mean_no_groups_where_the_class_says_so() -> None:
    config = {"model_type": "llama", **BASE}
    del config["num_key_value_heads"]
    assert {layer.n_kv_heads for layer in Architecture.from_config(config).layers} == {4}


def test_nested_text_config_is_read() -> None:
    inner = BASE | NETWORKS["gemma3"]
    outer = {"model_type": "gemma3", "text_config": inner, "vision_config": {"hidden_size": 9}}
    assert Architecture.from_config(outer) == Architecture.from_config(inner)
    untied = Architecture.from_config(outer | {"tie_word_embeddings": False})
    assert untied.n_params == Architecture.from_config(inner).n_params + 96 * 48


@pytest.mark.parametrize(
    ("changes", "windows"),
    [
        (
            {"model_type": "qwen2", "use_sliding_window": False, "sliding_window": 5},
            [None, None, None, None],
        ),
        ({"model_type": "qwen2", "sliding_window": 5}, [None, None, None, None]),
        (
            {
                "model_type": "qwen2",
                "use_sliding_window": True,
                "sliding_window": 5,
                "max_window_layers": 3,
            },
            [None, None, None, 5],
        ),
        ({"model_type": "mistral", "sliding_window": 5}, [5, 5, 5, 5]),
        ({"model_type": "gemma2", "head_dim": 8, "sliding_window": 5}, [5, None, 5, None]),
        (
            {
                "model_type": "gemma3_text",
                "head_dim": 8,
                "sliding_window": 5,
                "sliding_window_pattern": 3,
            },
            [5, 5, None, 5],
        ),
        (
            {
                "model_type": "gemma2",
                "head_dim": 8,
                "sliding_window": 5,
                "layer_types": ["full_attention"] * 3 + ["sliding_attention"],
            },
            [None, None, None, 5],
        ),
    ],
)
def test_windows_are_read_per_layer(changes: dict[str, Any], windows: list[int | None]) -> None:
    layers = Architecture.from_config(BASE | changes).layers
    assert [layer.window for layer in layers] == windows


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": None}, "model_type is missing"),
        (
            {"hidden_size": None, "vocab_size": None},
            "hidden_size is missing; vocab_size is missing",
        ),
        ({"num_attention_heads": None}, "num_attention_heads is missing"),
        ({"intermediate_size": None}, "intermediate_size is missing"),
        ({"hidden_size": "48"}, "hidden_size='48'"),
        ({"hidden_size": True}, "hidden_size=True"),
        ({"num_hidden_layers": 0}, "num_hidden_layers=0"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000 is more than"),
        ({"hidden_size": 50}, "head_dim is missing"),
        ({"num_key_value_heads": 3}, "cannot share 3"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings='yes'"),
        ({"model_type": "qwen3"}, "head_dim is missing"),
        ({"model_type": "qwen2", "num_key_value_heads": ABSENT}, "num_key_value_heads is missing"),
        ({"model_type": "mistral"}, "sliding_window is missing"),
        ({"model_type": "gemma2", "head_dim": 8}, "sliding_window is missing"),
        ({"model_type": "qwen2", "layer_types": ["full_attention"]}, "1 entries for 4 layers"),
        ({"model_type": "qwen2", "layer_types": "full"}, "layer_types is not a list"),
        (
            {"model_type": "smollm3", "use_sliding_window": True, "sliding_window": 4},
            "layer_types is missing",
        ),
        (NETWORKS["qwen3_moe"] | {"num_experts": None}, "num_experts or num_local_experts or"),
        (
            NETWORKS["qwen3_moe"] | {"moe_intermediate_size": None},
            "moe_intermediate_size is missing",
        ),
        (NETWORKS["deepseek_v3"] | {"q_lora_rank": ABSENT}, "q_lora_rank is missing"),
        (NETWORKS["deepseek_v3"] | {"v_head_dim": None}, "v_head_dim is missing"),
        (NETWORKS["deepseek_v3"] | {"moe_layer_freq": 2}, "moe_layer_freq=2 is not known"),
        (NETWORKS["qwen3_moe"] | {"num_experts_per_tok": 7}, "top_k=7 of 6"),
        (NETWORKS["qwen3_moe"] | {"n_shared_experts": 1}, "n_shared_experts is not known"),
        (NETWORKS["qwen3_moe"] | {"mlp_only_layers": [[]]}, "mlp_only_layers is not a list of int"),
    ],
)
def test_unusable_configurations_are_refused_by_field(
    changes: dict[str, Any], named: str, tmp_path: Path
) -> None:
    config: dict[str, Any] = {"model_type": "llama", **BASE, **changes}
    config = {name: value for name, value in config.items() if value is not ABSENT}
    with pytest.raises(InvalidInputError, match=named.replace("(", r"\(")):
        Architecture.from_config(config)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    with pytest.raises(DataFileError) as caught:
        Architecture.from_config(path)
    assert caught.value.path == path
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "minicpm3"}, "minicpm3 has latent attention"),
        ({"model_type": "kimi_k2"}, "kimi_k2 has latent attention"),
        ({"model_type": "llama", "q_lora_rank": 16}, "q_lora_rank=16 means latent attention"),
        ({"model_type": "deepseek_v32", "kv_lora_rank": 512}, "selects its keys"),
        ({"model_type": "qwen3_next"}, "qwen3_next has linear attention"),
        ({"model_type": "qwen3_5_text"}, "linear attention"),
        ({"model_type": "nemotron_h"}, "state-space"),
        ({"model_type": "mamba2"}, "state-space"),
        ({"model_type": "qwen3", "layer_types": ["linear_attention"] * 4}, "linear attention"),
        ({"model_type": "new", "mamba_d_state": 16}, "mamba_d_state=16 means linear attention"),
        ({"model_type": "llama4", "layer_types": ["chunked_attention"] * 4}, "chunked"),
        ({"model_type": "llama", "layer_types": ["odd"] * 4}, "layers of type odd"),
        ({"model_type": "gemma3n_text"}, "share keys and values"),
        ({"model_type": "tomorrow"}, "'tomorrow'; supported: apertus, arcee"),
    ],
)
def test_networks_that_are_not_modelled_are_refused_with_the_reason(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidInputError, match="not modelled") as caught:
        Architecture.from_config(BASE | changes)
    assert caught.value.code == "unsupported-architecture"
    assert reason in caught.value.message
    assert caught.value.hint


def test_a_feature_that_is_switched_off_is_no_reason_to_refuse() -> None:
    config = BASE | {"model_type": "llama", "kv_lora_rank": None, "attention_chunk_size": None}
    assert Architecture.from_config(config) == Architecture.from_config(
        BASE | {"model_type": "llama"}
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, "\xff"])
def test_files_that_are_no_configuration_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataFileError, match=r"config\.json"):
        Architecture.from_config(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="cannot be read"):
        Architecture.from_config(tmp_path / "nowhere" / "config.json")


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 70)
    | st.floats()
    | st.sampled_from(["", "8", "full_attention"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "hidden_size"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.sampled_from(sorted(NETWORKS)), st.data())
def test_damaged_configurations_raise_only_our_error(name: str, data: st.DataObject) -> None:
    config = BASE | NETWORKS[name]
    fields = [*config, "layer_types", "use_sliding_window", "tie_word_embeddings", "text_config"]
    for field in data.draw(st.lists(st.sampled_from(fields), max_size=3)):
        config[field] = data.draw(junk)
    try:
        architecture = Architecture.from_config(config)
    except InvalidInputError:
        return
    assert architecture.n_params >= architecture.n_active_params > 0


def test_layers_can_be_given_by_hand() -> None:
    layer = Layer(n_heads=2, n_kv_heads=1, head_dim=8, intermediate=32)
    architecture = Architecture(hidden=16, vocab=100, layers=(layer,) * 2, is_tied=False)
    assert architecture.n_params == 2 * 100 * 16 + 2 * (16 * (16 + 16) + 16 * 16 + 3 * 16 * 32)
    assert architecture.prefill_pair_flops == architecture.decode_pair_flops == ((None, 4 * 32),)


@pytest.mark.parametrize(
    "sizes",
    [
        {"n_heads": 0},
        {"n_heads": 3},
        {"window": 0},
        {"intermediate": 0},
        {"intermediate": -1},
        {"n_experts": 4},
        {"n_experts": 4, "top_k": 5, "moe_intermediate": 8},
        {"n_experts": 4, "top_k": 2},
        {"n_other_params": -1},
    ],
)
def test_contradictory_layers_are_refused(sizes: dict[str, int]) -> None:
    given_sizes: dict[str, Any] = {
        "n_heads": 4,
        "n_kv_heads": 2,
        "head_dim": 8,
        "intermediate": 32,
        **sizes,
    }
    with pytest.raises(InvalidInputError):
        Layer(**given_sizes)


def test_architecture_without_layers_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="0 layers"):
        Architecture(hidden=4, vocab=4, layers=(), is_tied=True)


def test_costs_need_no_numeric_library() -> None:
    program = (
        "import sys\n"
        "from calibration.cost import known_architecture, request_flops\n"
        "request_flops(known_architecture('Qwen3-8B'), 10, 10)\n"
        "print([m for m in ('numpy', 'scipy', 'torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.stdout.strip() == "[]"
