"""Backend `openai`: any server that speaks OpenAI's chat completions, vLLM above all."""

from ._backend import OpenAIBackend

__all__ = ["OpenAIBackend"]
