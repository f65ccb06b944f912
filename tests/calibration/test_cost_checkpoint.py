"""Parameter counts against headers of checkpoints, real and broken ones."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.cost import (
    Architecture,
    TensorHeader,
    check_parameters,
    known_architecture,
    read_checkpoint_header,
)
from policies import DataFileError, InvalidInputError

MODELS = Path(__file__).resolve().parents[2] / "models"
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 8,
    "vocab_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 12,
    "tie_word_embeddings": False,
}
BITS = {"F32": 32, "BF16": 16, "F8_E4M3": 8, "U8": 8, "I32": 32}
Tensors = dict[str, tuple[str, list[int]]]


def llama(**changes: tuple[str, list[int]]) -> Tensors:
    """Tensors of CONFIG's network, by the names that checkpoints use."""
    tensors: Tensors = {
        "model.embed_tokens.weight": ("BF16", [20, 8]),
        "lm_head.weight": ("BF16", [20, 8]),
        "model.norm.weight": ("BF16", [8]),
    }
    for layer in range(2):
        shapes = {
            "self_attn.q_proj": [8, 8],
            "self_attn.k_proj": [4, 8],
            "self_attn.v_proj": [4, 8],
            "self_attn.o_proj": [8, 8],
            "mlp.gate_proj": [12, 8],
            "mlp.up_proj": [12, 8],
            "mlp.down_proj": [8, 12],
            "input_layernorm": [8],
            "post_attention_layernorm": [8],
        }
        for name, shape in shapes.items():
            tensors[f"model.layers.{layer}.{name}.weight"] = ("BF16", shape)
    return {**tensors, **changes}


def write(path: Path, tensors: Tensors) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = BITS[dtype] // 8
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(end))


def headers(tensors: Tensors) -> dict[str, TensorHeader]:
    return {name: TensorHeader(dtype, tuple(shape)) for name, (dtype, shape) in tensors.items()}


@pytest.mark.parametrize("name", ["pocket-xs", "pocket-s", "pocket-m"])
def test_shipped_models_hold_what_their_configuration_says(name: str) -> None:
    check = check_parameters(Architecture.from_config(MODELS / name), MODELS / name)
    assert check.n_expected == check.n_found


def test_a_single_file_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", llama())
    architecture = Architecture.from_config(CONFIG)
    for path in (tmp_path, tmp_path / "model.safetensors", str(tmp_path)):
        check = check_parameters(architecture, path)
        assert check.n_found == check.n_expected == architecture.n_params
        assert check.set_aside == ()


def test_shards_are_counted_through_their_index(tmp_path: Path) -> None:
    tensors = llama()
    places = {name: f"model-{index % 2}.safetensors" for index, name in enumerate(tensors)}
    for shard in set(places.values()):
        write(tmp_path / shard, {n: t for n, t in tensors.items() if places[n] == shard})
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert check_parameters(Architecture.from_config(CONFIG), tmp_path).difference == 0
    index.write_text(json.dumps({"weight_map": {**places, "more": "model-0.safetensors"}}))
    with pytest.raises(DataFileError, match="1 tensors are not in both index and shards, 'more'"):
        read_checkpoint_header(tmp_path)
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(DataFileError, match=r"model-1\.safetensors"):
        read_checkpoint_header(tmp_path)


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/passwd", "", "..", 3, None])
def test_an_index_cannot_point_outside_its_folder(shard: object, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(DataFileError, match="expected a file name"):
        read_checkpoint_header(tmp_path)


def test_another_models_configuration_is_refused_with_both_counts() -> None:
    architecture = Architecture.from_config({**CONFIG, "intermediate_size": 24})
    with pytest.raises(InvalidInputError) as caught:
        check_parameters(architecture, headers(llama()))
    assert caught.value.code == "parameter-mismatch"
    n_found = Architecture.from_config(CONFIG).n_params
    assert f"{architecture.n_params:,}" in caught.value.message
    assert f"{n_found:,}" in caught.value.message


def test_a_difference_within_one_percent_passes() -> None:
    architecture = Architecture.from_config(CONFIG)
    n_extra = architecture.n_params // 101
    check = check_parameters(architecture, headers(llama(extra=("BF16", [n_extra]))))
    assert 0 < check.difference <= 0.01


def test_what_is_no_part_of_the_text_network_is_set_aside_by_name() -> None:
    others: Tensors = {
        "visual.blocks.0.weight": ("BF16", [99, 99]),
        "model.vision_tower.weight": ("BF16", [99, 99]),
        "model.layers.0.self_attn.rotary_emb.inv_freq": ("F32", [99]),
        "model.layers.0.mlp.gate.e_score_correction_bias": ("F32", [99]),
        "model.layers.2.mlp.up_proj.weight": ("BF16", [99, 99]),
        "mtp.layers.0.weight": ("BF16", [99, 99]),
    }
    check = check_parameters(Architecture.from_config(CONFIG), headers(llama(**others)))
    assert check.difference == 0
    assert set(check.set_aside) == set(others)


def test_a_tied_embedding_that_is_stored_twice_counts_once() -> None:
    architecture = Architecture.from_config({**CONFIG, "tie_word_embeddings": True})
    check = check_parameters(architecture, headers(llama()))
    assert check.difference == 0
    assert check.set_aside == ("lm_head.weight",)
    alone = llama()
    del alone["lm_head.weight"]
    assert check_parameters(architecture, headers(alone)).set_aside == ()
    # A checkpoint may keep the shared matrix under its other name only.
    del alone["model.embed_tokens.weight"]
    alone["lm_head.weight"] = ("BF16", [20, 8])
    assert check_parameters(architecture, headers(alone)).difference == 0


@pytest.mark.parametrize("dtype", ["F8_E4M3", "I8"])
def test_eight_bit_weights_count_and_their_scales_do_not(dtype: str) -> None:
    tensors = llama()
    for name in list(tensors):
        if name.endswith("proj.weight"):
            tensors[name] = (dtype, tensors[name][1])
            tensors[f"{name}_scale_inv"] = ("F32", [1, 1])
    check = check_parameters(Architecture.from_config(CONFIG), headers(tensors))
    assert check.difference == 0
    assert len(check.set_aside) == 14


def test_four_bit_blocks_of_gpt_oss_hold_two_weights_a_byte() -> None:
    tensors = llama()
    for name in [name for name in tensors if ".mlp." in name]:
        rows, columns = tensors.pop(name)[1]
        plain = name.removesuffix(".weight")
        tensors[f"{plain}_blocks"] = ("U8", [rows, columns // 4, 2])
        tensors[f"{plain}_scales"] = ("U8", [rows, columns // 4])
    check = check_parameters(Architecture.from_config(CONFIG), headers(tensors))
    assert check.difference == 0


@pytest.mark.parametrize(
    ("name", "dtype"), [("qweight", "I32"), ("weight_packed", "I32"), ("weight", "U8")]
)
def test_packed_weights_are_refused_by_name(name: str, dtype: str) -> None:
    tensors = llama()
    del tensors["model.layers.0.mlp.up_proj.weight"]
    tensors[f"model.layers.0.mlp.up_proj.{name}"] = (dtype, [12, 1])
    with pytest.raises(InvalidInputError, match=rf"up_proj\.{name}' is {dtype}") as caught:
        check_parameters(Architecture.from_config(CONFIG), headers(tensors))
    assert caught.value.code == "quantised-checkpoint"


def test_a_checkpoint_without_text_weights_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no weights of a text network among 1"):
        check_parameters(known_architecture("Qwen3-8B"), {"visual.a": TensorHeader("BF16", (3, 3))})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x05",
        b"\xff" * 8,
        (2).to_bytes(8, "little") + b"[]",
        (3).to_bytes(8, "little") + b"{x}",
        (10**9).to_bytes(8, "little") + b"{}",
    ],
)
def test_files_that_are_no_safetensors_are_refused(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw)
    with pytest.raises(DataFileError, match=r"model\.safetensors"):
        read_checkpoint_header(tmp_path)


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write(path, llama())
    raw = path.read_bytes()
    path.write_bytes(raw[:-1])
    with pytest.raises(DataFileError, match=f"has {len(raw) - 1} bytes .* expects {len(raw)}"):
        read_checkpoint_header(path)


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"model\.safetensors: cannot be read"):
        read_checkpoint_header(tmp_path)


@given(st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_raise_only_our_error(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "model.safetensors"
    write(path, llama())
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, 400))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        found = read_checkpoint_header(path)
    except DataFileError:
        return
    assert all(header.n_elements >= 0 for header in found.values())


@pytest.mark.train
@pytest.mark.parametrize("is_sharded", [False, True])
def test_files_that_transformers_writes_are_counted(is_sharded: bool, tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(**CONFIG)
    network = transformers.AutoModelForCausalLM.from_config(config)
    network.save_pretrained(tmp_path, max_shard_size="2KB" if is_sharded else "1GB")
    assert (tmp_path / "model.safetensors.index.json").exists() == is_sharded
    check = check_parameters(Architecture.from_config(tmp_path), tmp_path)
    assert check.n_found == sum(parameter.numel() for parameter in network.parameters())
    assert check.difference == 0
