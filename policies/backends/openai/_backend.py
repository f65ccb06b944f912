"""The public class of the backend: requests in, completions out."""

import os
from collections.abc import Mapping
from typing import cast

from pydantic import SecretStr

from ..._backend import Capability, GenerationRequest, require
from ..._messages import Completion
from ..._vocabulary import ModelSize
from .._http_errors import Origin
from .._json import fields_of
from ..thinking import Dialect, dialect_named
from ._chat_answer import read_completion
from ._chat_body import chat_body
from ._client import ClientSettings, OpenAIClient, checked_url

__all__ = ["OpenAIBackend"]

# Raised when the wire body or the reading of answers changes in a way that changes results.
_WIRE_VERSION = "1"


class OpenAIBackend:
    """A model behind an OpenAI-compatible server.

    Safe to call from many tasks at once; at most `max_concurrency` requests are under way.
    A request is sent at most `max_retries + 1` times, with growing random pauses, and again
    only after failures that may pass; the SDK's own retries are off. Redirects are not followed
    and no key is taken from the environment unasked.

    Example:
        >>> backend = OpenAIBackend("Qwen/Qwen3-8B", "http://127.0.0.1:8000/v1")
        >>> backend.identity()["base_url"]
        'http://127.0.0.1:8000/v1'
    """

    name = "openai"

    def __init__(
        self,
        model: str,
        base_url: str,
        api_key: str | SecretStr | None = None,
        *,
        dialect: str | Dialect = "vllm",
        timeout_s: float = 600.0,
        max_retries: int = 4,
        max_concurrency: int = 64,
        size: ModelSize | str | None = None,
        key_variable: str | None = None,
    ) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            model: The name under which the server serves the model.
            base_url: Root of the API, usually ending in `/v1`; http or https, without
                credentials or a query.
            api_key: Sent as a bearer token; `None` sends none unless `key_variable` is given.
            dialect: How thinking is switched: a name from `policies.backends.thinking.DIALECTS`
                or a row of your own.
            timeout_s: Longest time for one attempt, in seconds, positive.
            max_retries: Attempts after the first, 0 or more.
            max_concurrency: Most requests under way at once, 1 or more.
            size: The model's size, for cost and tables.
            key_variable: Name of an environment variable to read the key from; nothing is sent
                if it is not set. Unlike a key, the name may be stored.

        Raises:
            InvalidInputError: A value is out of its range, or the URL cannot be used.
            UnknownNameError: There is no such dialect.
        """
        self.model = model
        self.max_concurrency = max_concurrency
        self.size = ModelSize.parse(size) if isinstance(size, str) else size
        self.dialect = dialect_named(dialect) if isinstance(dialect, str) else dialect
        self._base_url = checked_url(base_url)
        self._client = OpenAIClient(
            ClientSettings(
                backend=self.name,
                model=model,
                base_url=self._base_url,
                key=_key(api_key, key_variable),
                timeout_s=timeout_s,
                max_retries=max_retries,
                max_concurrency=max_concurrency,
            )
        )
        self._server: dict[str, str] = {}

    def __repr__(self) -> str:
        """Return a form without secrets."""
        return f"OpenAIBackend({self.model!r}, {self._base_url!r}, dialect={self.dialect.name!r})"

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What servers of this dialect can do; `probe` finds out whether this one does."""
        return self.dialect.capabilities

    def identity(self) -> Mapping[str, str]:
        """Return model, server and dialect, and what `describe_server` has learnt."""
        return {
            "backend": self.name,
            "model": self.model,
            "base_url": self._base_url,
            "dialect": self.dialect.name,
            "wire_version": _WIRE_VERSION,
            **self._server,
        }

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return one completion; its seconds are those of the attempt that succeeded.

        Raises:
            CapabilityError: Servers of this dialect cannot do what the request needs.
            BackendError: The server could not be asked, refused, or answered nonsense.
            MissingPrerequisiteError: The package openai is not installed.
        """
        needed = request.needs()
        if request.thinking:
            needed |= {Capability.THINKING_SWITCH}
        require(self, needed)

        def read(document: object, origin: Origin) -> Completion:
            return read_completion(document, request, origin)

        body = chat_body(request, self.model, self.dialect)
        return await self._client.call("/chat/completions", read, body)

    async def served_models(self) -> Mapping[str, str]:
        """Return the models that the server lists, each with where it was loaded from.

        Raises:
            BackendError: The server could not be asked, or it keeps no list.
        """
        return await self._client.call("/models", _model_list)

    async def describe_server(self) -> Mapping[str, str]:
        """Ask the server what it serves and add that to `identity()`.

        Call it before the first request of a run: what the server tells (the path or
        repository of the weights, its version) becomes part of what identifies a sample.

        Raises:
            BackendError: The server could not be asked.
        """
        served = await self.served_models()
        facts = {"served_root": served[self.model]} if served.get(self.model) else {}
        if self.dialect.version_path:
            root = self._base_url.removesuffix("/v1")
            version = await self._client.call(root + self.dialect.version_path, _version)
            facts |= {"server_version": version} if version else {}
        self._server = facts
        return dict(facts)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _key(api_key: str | SecretStr | None, variable: str | None) -> SecretStr | None:
    if api_key is None and variable is not None:
        api_key = os.environ.get(variable)
    return SecretStr(api_key) if isinstance(api_key, str) else api_key


def _model_list(document: object, origin: Origin) -> Mapping[str, str]:
    data = fields_of(document).get("data")
    if not isinstance(data, list):
        raise origin.nonsense("it is no list of models")
    models: dict[str, str] = {}
    for item in cast("list[object]", data):
        entry = fields_of(item)
        name, root = entry.get("id"), entry.get("root")
        if isinstance(name, str):
            models[name] = root if isinstance(root, str) else ""
    return models


def _version(document: object, _origin: Origin) -> str:
    version = fields_of(document).get("version")
    return version if isinstance(version, str) else ""
