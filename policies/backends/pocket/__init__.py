"""Backend `pocket`: the embedded tiny models, run on the CPU through onnxruntime-genai."""

from ._backend import (
    POCKET_OPTIONS,
    SKILLS_OPTIONS,
    PocketBackend,
    pocket_directory,
    pocket_model_names,
    pocket_options,
    pocket_tokenizer,
)
from ._chat import render_chat

__all__ = [
    "POCKET_OPTIONS",
    "SKILLS_OPTIONS",
    "PocketBackend",
    "pocket_directory",
    "pocket_model_names",
    "pocket_options",
    "pocket_tokenizer",
    "render_chat",
]
