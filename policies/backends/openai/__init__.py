"""Backend `openai`: any server that speaks OpenAI's chat completions, vLLM above all."""

from ._backend import OpenAIBackend
from ._client import checked_url

__all__ = ["OpenAIBackend", "checked_url"]
