"""Embeddings of an OpenAI-compatible server: vLLM, SGLang, llama.cpp, OpenAI and others."""

import asyncio
import logging
import os
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from pydantic import SecretStr

from .._errors import BackendError, BackendRequestError, InvalidInputError
from ..backends._json import Json, fields_of
from ..backends.http_errors import TOO_LONG_HINT, Origin, one_line
from ..backends.openai._client import ClientSettings, OpenAIClient, checked_url
from ..backends.openai._document import check_model
from ._blocking import run_blocking
from ._protocol import MAX_BYTES, Vectors, prepared, unit_rows

__all__ = ["OpenAIEmbedder"]

# Raised when what is sent or how answers are read changes in a way that changes vectors.
_WIRE_VERSION = "1"
_NO_SUCH_PATH = (404, 405, 501)
_NO_ENDPOINT_HINT = (
    "check the model's name and the base URL, and that the server embeds: vLLM needs a model of"
    " its own for that, started with --runner pooling --convert embed"
)
# How vLLM, SGLang and llama.cpp say that they serve a model that does not embed.
_DOES_NOT_EMBED = ("does not support embeddings", "not an embedding", "--embedding")
_LOG = logging.getLogger("thinkroute.policies")


class OpenAIEmbedder:
    """An encoder behind an OpenAI-compatible `/v1/embeddings`.

    Safe to call from many tasks and event loops at once. Texts go in batches, at most
    `max_concurrency` of them under way, and fewer while the server answers 429 or 503; a batch is
    sent at most `max_retries + 1` times, with growing random pauses. The SDK's own retries are
    off, redirects are not followed, no key is taken from the environment unasked.

    Example:
        >>> embedder = OpenAIEmbedder("BAAI/bge-m3", "http://127.0.0.1:8000/v1")
        >>> embedder.identity()["model"]
        'BAAI/bge-m3'
    """

    name = "openai"

    def __init__(  # noqa: PLR0913 - each is an option that users set by itself
        self,
        model: str,
        base_url: str,
        api_key: str | SecretStr | None = None,
        *,
        dimensions: int | None = None,
        prefix: str = "",
        key_variable: str | None = None,
        timeout_s: float = 60.0,
        max_retries: int = 4,
        max_concurrency: int = 8,
        max_batch: int = 64,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            model: The name under which the server serves the model.
            base_url: Root of the API, usually ending in `/v1`; http or https, without
                credentials or a query.
            api_key: Sent as a bearer token; `None` sends none unless `key_variable` is given.
            dimensions: Length that the server shortens vectors to, for models that can be
                shortened; `None` for the model's own, which is then not sent.
            prefix: What the model wants before each text, such as `query: `.
            key_variable: Name of an environment variable to read the key from; nothing is sent
                if it is not set. Unlike a key, the name may be stored.
            timeout_s: Longest time for one attempt, in seconds, positive.
            max_retries: Attempts after the first, 0 or more.
            max_concurrency: Most batches under way at once, 1 or more.
            max_batch: Most texts in a batch, 1 or more.
            max_bytes: How much of a text is embedded, in bytes of UTF-8, 1 or more; see
                `n_truncated`.

        Raises:
            InvalidInputError: A value is out of its range, or the URL cannot be used.
        """
        for what, value in (
            ("dimensions", dimensions),
            ("max_batch", max_batch),
            ("max_bytes", max_bytes),
        ):
            if value is not None and value < 1:
                raise InvalidInputError(f"{what} is {value!r}, expected >= 1")
        self.model = model
        self.max_concurrency = max_concurrency
        self._base_url = checked_url(base_url)
        self._settings = ClientSettings(
            backend=self.name,
            model=model,
            base_url=self._base_url,
            key=_key(api_key, key_variable),
            timeout_s=timeout_s,
            max_retries=max_retries,
            max_concurrency=max_concurrency,
            key_variable=key_variable if api_key is None else None,
        )
        self._wanted = dimensions
        self._seen: int | None = None
        self._prefix = prefix
        self._max_batch, self._max_bytes = max_batch, max_bytes
        self._n_truncated = 0
        self._is_closed = False
        # `embed` runs in a loop of its own, and connections belong to a loop.
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, OpenAIClient] = (
            WeakKeyDictionary()
        )

    def __repr__(self) -> str:
        """Return a form without secrets."""
        return f"OpenAIEmbedder({self.model!r}, {self._base_url!r})"

    @property
    def dimensions(self) -> int | None:
        """Length of a vector; `None` until it is asked for or seen."""
        return self._wanted or self._seen

    @property
    def n_truncated(self) -> int:
        """How many of the texts so far were longer than `max_bytes`."""
        return self._n_truncated

    def identity(self) -> Mapping[str, str]:
        """Return model, prefix and lengths; not the URL, since a server may move."""
        return {
            "embedder": self.name,
            "model": self.model,
            "prefix": self._prefix,
            "dimensions": str(self._wanted or "own"),
            "max_bytes": str(self._max_bytes),
            "wire_version": _WIRE_VERSION,
        }

    async def aembed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts, shape `(n_texts, dimensions)`, rows of length 1.

        Without texts the array is empty; it has no columns while `dimensions` is unknown.

        Raises:
            InvalidInputError: A text is blank.
            BackendRequestError: The server refused, for example because it does not embed.
            BackendResponseError: The vectors are not those of the texts: another number of
                them, other lengths, NaN.
            BackendError: The server could not be asked.
            MissingPrerequisiteError: The package openai is not installed.
        """
        kept, is_cut = prepared(texts, prefix=self._prefix, max_bytes=self._max_bytes)
        if n_truncated := sum(is_cut):
            self._n_truncated += n_truncated
            _LOG.info("%d of %d texts cut to %d bytes", n_truncated, len(kept), self._max_bytes)
        if not kept:
            return np.empty((0, self.dimensions or 0), dtype=np.float32)
        starts = range(0, len(kept), self._max_batch)
        rows = await _all([self._batch(kept[i : i + self._max_batch]) for i in starts])
        # Two batches may have been the first to tell a length.
        self._check_lengths({one.shape[1] for one in rows})
        return unit_rows(np.concatenate(rows), backend=self.name, model=self.model)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Do what `aembed` does, and block until it is done."""
        return run_blocking(self.aembed(texts))

    async def aclose(self) -> None:
        """Close the connections; later calls fail."""
        self._is_closed = True
        clients = dict(self._clients)
        self._clients.clear()
        here = asyncio.get_running_loop()
        for loop, client in clients.items():
            if loop is here:
                await client.aclose()
            elif loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(client.aclose(), loop)
                await asyncio.wrap_future(closing)

    async def _batch(self, texts: Sequence[str]) -> NDArray[np.float64]:
        body: dict[str, Json] = {
            "model": self.model,
            "input": list(texts),
            "encoding_format": "float",
        }
        if self._wanted is not None:
            body["dimensions"] = self._wanted

        def read(document: object, origin: Origin) -> NDArray[np.float64]:
            rows = _read_rows(document, len(texts), origin)
            self._check_lengths({rows.shape[1]}, origin)
            return rows

        try:
            return await self._client().call("/embeddings", read, body)
        except BackendRequestError as error:
            if error.status_code in _NO_SUCH_PATH or _says_no(error.message):
                error.hint = _NO_ENDPOINT_HINT
            elif error.hint == TOO_LONG_HINT:
                error.hint = f"lower max_bytes, which is {self._max_bytes}"
            raise

    def _check_lengths(self, found: set[int], origin: Origin | None = None) -> None:
        if self._seen is None and len(found) == 1:
            [self._seen] = found
        expected = self.dimensions
        if found != {expected}:
            where = origin or Origin(self.name, self.model)
            lengths = ", ".join(map(str, sorted(found)))
            raise where.nonsense(
                f"the vectors have {lengths} dimensions, expected {expected}",
                hint="another model may have taken the name; make a new embedder",
            )

    def _client(self) -> OpenAIClient:
        if self._is_closed:
            raise BackendError("the embedder is closed", backend=self.name, model=self.model)
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = OpenAIClient(self._settings)
        return client


async def _all(
    batches: Sequence[Coroutine[Any, Any, NDArray[np.float64]]],
) -> list[NDArray[np.float64]]:
    """Return all results; the first failure ends the others."""
    tasks = [asyncio.ensure_future(batch) for batch in batches]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _read_rows(document: object, n_texts: int, origin: Origin) -> NDArray[np.float64]:
    """Return the vectors in the order of the texts, shape `(n_texts, dimensions)`.

    Servers may answer in any order; `index` tells whose vector it is.
    """
    fields = fields_of(document)
    check_model(fields, origin)
    data = fields.get("data")
    if not isinstance(data, list):
        reported = fields.get("error")
        detail = f"; it says {one_line(str(reported))!r}" if reported else ""
        raise origin.nonsense(f"it has no list of embeddings{detail}", retryable=True)
    entries = [fields_of(item) for item in cast("list[object]", data)]
    places = [entry.get("index") for entry in entries]
    is_whole = all(isinstance(place, int) and not isinstance(place, bool) for place in places)
    if not is_whole or sorted(cast("list[int]", places)) != list(range(n_texts)):
        raise origin.nonsense(
            f"{len(entries)} embeddings for {n_texts} texts, with indices {_excerpt(places)}"
        )
    ordered = sorted(entries, key=lambda entry: cast("int", entry["index"]))
    return _as_rows([entry.get("embedding") for entry in ordered], origin)


def _as_rows(vectors: list[object], origin: Origin) -> NDArray[np.float64]:
    lengths = {len(cast("list[object]", v)) if isinstance(v, list) else 0 for v in vectors}
    if 0 in lengths:
        raise origin.nonsense("an embedding is no list of numbers")
    if len(lengths) > 1:
        raise origin.nonsense(f"the vectors have different dimensions: {sorted(lengths)[:5]}")
    try:
        # `null`, which some servers write for NaN, becomes NaN here, text an error.
        rows = np.array(vectors, dtype=np.float64)
    except (TypeError, ValueError):
        # The cause would repeat what the server wrote.
        raise origin.nonsense("an embedding holds something that is no number") from None
    if rows.ndim != 2:
        raise origin.nonsense("an embedding is no flat list of numbers", hint="one vector a text")
    if not np.isfinite(rows).all():
        raise origin.nonsense("an embedding holds NaN or infinity")
    return rows


def _excerpt(values: Sequence[object]) -> str:
    return one_line(repr(list(values[:8])) + ("..." if len(values) > 8 else ""))


def _says_no(message: str) -> bool:
    return any(words in message.lower() for words in _DOES_NOT_EMBED)


def _key(api_key: str | SecretStr | None, variable: str | None) -> SecretStr | None:
    if api_key is None and variable is not None:
        api_key = os.environ.get(variable)
    return SecretStr(api_key) if isinstance(api_key, str) else api_key
