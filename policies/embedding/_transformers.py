"""Embeddings of an encoder that runs here, through transformers."""

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .._errors import BackendError, InvalidInputError
from ..backends._checkpoint import checked_model, checkpoint_identity, resolve_checkpoint
from ..backends.transformers._encoder import Encoded, LoadedEncoder
from ._protocol import MAX_BYTES, Vectors, prepared, unit_rows

__all__ = ["LocalEmbedder"]

_POOLING = "mean of the last hidden states"
_LOG = logging.getLogger("thinkroute.policies")


class LocalEmbedder:
    """An encoder run by transformers, on the CPU or one GPU.

    A text's vector is the mean of the last hidden states over its tokens. That fits encoders
    trained with mean pooling; of one trained with another pooling the vectors still tell texts
    apart, less sharply. One batch runs at a time; calls from other tasks and threads wait. Code
    that comes with a model is never run.

    Needs the extra `transformers`.

    Example:
        >>> embedder = LocalEmbedder("sentence-transformers/all-MiniLM-L6-v2", device="cpu")
        >>> embedder.name, embedder.dimensions
        ('transformers', None)
    """

    name = "transformers"

    def __init__(
        self,
        model: str | Path,
        *,
        revision: str | None = None,
        prefix: str = "",
        dtype: str = "float32",
        device: str | None = None,
        max_batch: int = 32,
        max_tokens: int | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Prepare a model; nothing is loaded yet.

        Args:
            model: A folder, or `owner/name` of a model hub.
            revision: Branch, tag or commit on the hub.
            prefix: What the model wants before each text, such as `query: `.
            dtype: Of the weights: a name of torch, or `auto` for the model's own.
            device: Such as `cpu` or `cuda:0`; `None` takes a GPU if there is one.
            max_batch: Most texts that are encoded together, 1 or more.
            max_tokens: How many tokens of a text are read, 1 or more; `None` for as many as the
                model reads.
            max_bytes: How much of a text is read, in bytes of UTF-8, 1 or more.

        Raises:
            InvalidInputError: A value is out of range, or a folder is not there.
        """
        for what, value in (
            ("max_batch", max_batch),
            ("max_tokens", max_tokens),
            ("max_bytes", max_bytes),
        ):
            if value is not None and value < 1:
                raise InvalidInputError(f"{what} is {value!r}, expected >= 1")
        self.model = checked_model(model, None)
        self._revision = revision
        self._prefix = prefix
        self._dtype, self._device = dtype, device
        self._max_batch, self._max_tokens, self._max_bytes = max_batch, max_tokens, max_bytes
        self._n_truncated = 0
        self._is_closed = False
        self._lock = threading.RLock()
        self._encoder: LoadedEncoder | None = None
        self._place: tuple[Path, Mapping[str, str]] | None = None
        self._hashes: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        """Return the model's name."""
        return f"LocalEmbedder({self.model!r})"

    @property
    def dimensions(self) -> int | None:
        """Length of a vector; `None` until the model is loaded."""
        return self._encoder.dimensions if self._encoder is not None else None

    @property
    def n_truncated(self) -> int:
        """How many of the texts so far were longer than what is read of them."""
        return self._n_truncated

    def identity(self) -> Mapping[str, str]:
        """Return hashes of weights and tokenizer, pooling and lengths; reads the files once.

        The folder and the device are left out: the same files give the same vectors elsewhere.
        """
        with self._lock:
            folder, _ = self._resolved()
            if self._hashes is None:
                self._hashes = checkpoint_identity(folder, None)
            return {
                "embedder": self.name,
                **self._hashes,
                "pooling": _POOLING,
                "prefix": self._prefix,
                "dtype": self._dtype,
                "max_tokens": str(self._max_tokens or "own"),
                "max_bytes": str(self._max_bytes),
            }

    async def aembed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts, shape `(n_texts, dimensions)`, rows of length 1.

        Raises:
            InvalidInputError: A text is blank, or the model cannot be loaded.
            BackendError: The embedder is closed, or transformers failed.
            MissingPrerequisiteError: transformers, torch or the device is not there.
        """
        return await asyncio.to_thread(self.embed, texts)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Do what `aembed` does, and block until it is done."""
        kept, is_cut = prepared(texts, prefix=self._prefix, max_bytes=self._max_bytes)
        with self._lock:
            encoder = self._loaded()
            if not kept:
                return np.empty((0, encoder.dimensions), dtype=np.float32)
            # Texts of like length share a batch, so that little of it is padding.
            order = sorted(range(len(kept)), key=lambda index: len(kept[index]))
            rows = np.empty((len(kept), encoder.dimensions), dtype=np.float32)
            for start in range(0, len(order), self._max_batch):
                batch = order[start : start + self._max_batch]
                made = self._encoded(encoder, [kept[index] for index in batch])
                rows[batch] = made.rows
                for index, is_cut_again in zip(batch, made.is_cut, strict=True):
                    is_cut[index] |= is_cut_again
            n_truncated = sum(is_cut)
            self._n_truncated += n_truncated
        if n_truncated:
            _LOG.info("%d of %d texts were cut before they were embedded", n_truncated, len(kept))
        return unit_rows(rows, backend=self.name, model=self.model)

    async def aclose(self) -> None:
        """Let the weights go; later calls fail."""

        def close() -> None:
            with self._lock:
                self._is_closed = True
                self._encoder = None

        await asyncio.to_thread(close)

    def _encoded(self, encoder: LoadedEncoder, texts: Sequence[str]) -> Encoded:
        try:
            return encoder.encode(texts)
        except (RuntimeError, IndexError) as error:
            raise BackendError(
                f"transformers failed: {' '.join(str(error).split())}",
                backend=self.name,
                model=self.model,
                hint="lower max_batch or max_tokens if memory ran out",
            ) from error

    def _resolved(self) -> tuple[Path, Mapping[str, str]]:
        if self._place is None:
            self._place = resolve_checkpoint(self.model, self._revision, backend=self.name)
        return self._place

    def _loaded(self) -> LoadedEncoder:
        if self._is_closed:
            raise BackendError("the embedder is closed", backend=self.name, model=self.model)
        if self._encoder is None:
            self._encoder = LoadedEncoder(
                self._resolved()[0],
                dtype=self._dtype,
                device=self._device,
                max_tokens=self._max_tokens,
            )
        return self._encoder
