"""Texts as vectors, from a server's `/v1/embeddings` or from a local encoder."""

from ._openai import OpenAIEmbedder
from ._protocol import Embedder, Vectors
from ._registry import build_embedder, embedder_names
from ._transformers import LocalEmbedder

__all__ = [
    "Embedder",
    "LocalEmbedder",
    "OpenAIEmbedder",
    "Vectors",
    "build_embedder",
    "embedder_names",
]
