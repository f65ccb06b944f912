"""Backend `vllm`: a model in vLLM's own engine, started by this process, without a server."""

from ._backend import VllmBackend

__all__ = ["VllmBackend"]
