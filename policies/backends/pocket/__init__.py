"""Backend `pocket`: the embedded tiny models, run on the CPU through onnxruntime-genai."""

from ._backend import PocketBackend, pocket_directory, pocket_model_names

__all__ = ["PocketBackend", "pocket_directory", "pocket_model_names"]
