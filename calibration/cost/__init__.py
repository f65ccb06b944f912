"""What a request costs, computed from a model's `config.json` and its token counts."""

from .architecture import Architecture, Layer
from .flops import (
    decode_flops,
    kv_bytes_per_token,
    paper_flops,
    prefill_flops,
    request_flops,
    request_flops_batch,
    training_flops,
    two_n_flops,
)
from .known import known_architecture, known_architecture_names

__all__ = [
    "Architecture",
    "Layer",
    "decode_flops",
    "known_architecture",
    "known_architecture_names",
    "kv_bytes_per_token",
    "paper_flops",
    "prefill_flops",
    "request_flops",
    "request_flops_batch",
    "training_flops",
    "two_n_flops",
]
