"""Random LoRA adapters for the pocket model, in the form in which peft saves them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.vllm.in_process import MODEL


def write_adapter(folder: Path, *, seed: int, rank: int = 4) -> Path:
    """Write a random LoRA adapter for every layer's query and value projections."""
    config = json.loads((MODEL / "config.json").read_text("utf-8"))
    width, head = config["hidden_size"], config["head_dim"]
    outputs = {
        "q_proj": config["num_attention_heads"] * head,
        "v_proj": config["num_key_value_heads"] * head,
    }
    rng = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for layer in range(config["num_hidden_layers"]):
        for name, n_out in outputs.items():
            stem = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{stem}.lora_A.weight"] = rng.normal(size=(rank, width), scale=0.3)
            tensors[f"{stem}.lora_B.weight"] = rng.normal(size=(n_out, rank), scale=0.3)
    folder.mkdir()
    _write_safetensors(folder / "adapter_model.safetensors", tensors)
    adapter = {
        "base_model_name_or_path": "pocket-m",
        "bias": "none",
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": sorted(outputs),
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(adapter), "utf-8")
    return folder


def _write_safetensors(path: Path, tensors: dict[str, "np.ndarray[Any, Any]"]) -> None:
    """Write float32 tensors: 8 bytes of header length, the header as JSON, the data."""
    header: dict[str, Any] = {}
    data = b""
    for name, tensor in tensors.items():
        part = tensor.astype("<f4").tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(part)],
        }
        data += part
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
