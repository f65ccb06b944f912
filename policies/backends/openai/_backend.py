"""The public class of the backend: requests in, completions out."""

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from pydantic import SecretStr

from ..._backend import Capability, GenerationRequest, ThoughtMarkers, require
from ..._errors import BackendError, BackendRequestError, InvalidInputError
from ..._messages import Completion, user_message
from ..._vocabulary import ModelSize
from .._http_errors import TOO_LONG_HINT, Origin
from .._json import Json, fields_of
from ..thinking import Dialect, customised, dialect_named
from ._chat_answer import read_completion
from ._chat_body import chat_body, completion_body, refuse_unfit, tokenize_body, wire_of
from ._client import ClientSettings, OpenAIClient, checked_url
from ._continuation import PromptCache, read_continuation, read_detokenized, read_tokenized
from ._document import read_token_ids
from ._markers import MarkerSearch

__all__ = ["OpenAIBackend"]

# Raised when the wire body or the reading of answers changes in a way that changes results.
_WIRE_VERSION = "2"
_TEMPLATE_PROBE = "Hello?"
_NO_SUCH_PATH = (404, 405)


class OpenAIBackend:
    """A model behind an OpenAI-compatible server.

    Safe to call from many tasks at once; at most `max_concurrency` requests are under way, and
    fewer while the server answers 429 or 503. A request is sent at most `max_retries + 1`
    times, with growing random pauses, and again only after failures that may pass; the SDK's
    own retries are off. Redirects are not followed and no key is taken from the environment
    unasked.

    Example:
        >>> backend = OpenAIBackend("Qwen/Qwen3-8B", "http://127.0.0.1:8000/v1")
        >>> backend.identity()["base_url"]
        'http://127.0.0.1:8000/v1'
    """

    name = "openai"

    def __init__(  # noqa: PLR0913 - each is an option that users set by itself
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
        effort: str | None = None,
        extra_body: Mapping[str, Json] | str | None = None,
        extra_body_on: Mapping[str, Json] | str | None = None,
        extra_body_off: Mapping[str, Json] | str | None = None,
        budget_path: Sequence[str] | str | None = None,
        is_budget_hard: bool | None = None,
        always_thinks: bool = False,
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
            effort: Level of effort while thinking, one of the dialect's.
            extra_body: Fields of every request, a mapping or a JSON object as text. This and
                the next four alter the dialect, see `policies.backends.thinking.customised`.
            extra_body_on: Fields that switch thinking on.
            extra_body_off: Fields that switch thinking off.
            budget_path: Where a budget goes, for example `options.think_tokens`.
            is_budget_hard: Whether the decoder enforces it.
            always_thinks: The model cannot answer without thinking; such requests are refused.

        Raises:
            InvalidInputError: A value is out of its range, or the URL cannot be used.
            UnknownNameError: There is no such dialect.
        """
        self.model = model
        self.max_concurrency = max_concurrency
        self.size = ModelSize.parse(size) if isinstance(size, str) else size
        row = dialect_named(dialect) if isinstance(dialect, str) else dialect
        self.dialect = customised(
            row,
            extra_body=extra_body,
            extra_body_on=extra_body_on,
            extra_body_off=extra_body_off,
            budget_path=budget_path,
            is_budget_hard=is_budget_hard,
            always_thinks=always_thinks,
        )
        key = _key(api_key, key_variable)
        _refuse_key_in_body(key, self.dialect)
        self._effort = _checked_effort(effort, self.dialect)
        self._base_url = checked_url(base_url)
        self._root = self._base_url.removesuffix("/v1")
        self._client = OpenAIClient(
            ClientSettings(
                backend=self.name,
                model=model,
                base_url=self._base_url,
                key=key,
                timeout_s=timeout_s,
                max_retries=max_retries,
                max_concurrency=max_concurrency,
                key_variable=key_variable if api_key is None else None,
            )
        )
        self.max_retries = max_retries
        self._own = _own_fields(row, self.dialect, self._effort)
        self._server: dict[str, str] = {}
        self._context: int | None = None
        self._prompts = PromptCache()
        self._markers: ThoughtMarkers | None = None
        self._search: asyncio.Task[ThoughtMarkers] | None = None

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
            **self._own,
            **self._server,
        }

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return one completion; its seconds are those of the attempt that succeeded.

        Usage and `token_ids` are of what was generated; a continuation counts as prompt.

        Raises:
            CapabilityError: Servers of this dialect cannot do what the request needs.
            BackendError: The server could not be asked, refused, or answered nonsense.
            MissingPrerequisiteError: The package openai is not installed.
        """
        return await self._generate(request, is_once=False)

    async def generate_once(self, request: GenerationRequest) -> Completion:
        """Return one completion, sent once: for callers that repeat failures themselves.

        Raises:
            CapabilityError: Servers of this dialect cannot do what the request needs.
            BackendError: The server could not be asked, refused, or answered nonsense.
            MissingPrerequisiteError: The package openai is not installed.
        """
        return await self._generate(request, is_once=True)

    def pause_s(self, error: BackendError, n_failed: int) -> float:
        """Return the pause before a failed request is sent again, in seconds.

        Args:
            error: Why it failed.
            n_failed: How often it had failed before.
        """
        return self._client.pause_s(error, n_failed)

    async def thought_markers(self) -> ThoughtMarkers:
        """Return the markers of this model's thoughts, as the server is seen to force them.

        Asked once: the tags' ids, a rendered prompt and two answers with small budgets.

        Raises:
            CapabilityError: The dialect cannot continue answers, the tags are no tokens of the
                model, or the server does not force one text at the budget.
            BackendError: The server could not be asked.
        """
        require(self, frozenset({Capability.PREFIX_CONTINUATION, Capability.HARD_BUDGET}))
        if self._markers is not None:
            return self._markers
        loop = asyncio.get_running_loop()
        search = self._search
        if search is None or search.done() or search.get_loop() is not loop:
            find = MarkerSearch(
                self.model, self.dialect.fix, self._tokenize, self._prompt_ids, self._ids_of
            )
            self._search = search = loop.create_task(find.run())
        # Callers share one search, and one that is cancelled leaves it to the others.
        markers = await asyncio.shield(search)
        self._markers = markers
        return markers

    async def served_models(self) -> Mapping[str, str]:
        """Return the models that the server lists, each with where it was loaded from.

        Raises:
            BackendError: The server could not be asked, or it keeps no list.
        """
        return {name: one.root for name, one in (await self._served()).items()}

    async def is_reachable(self) -> bool:
        """Tell whether the server answers at all; sends one short request."""
        return await self._client.is_reachable("/models")

    async def describe_server(self) -> Mapping[str, str]:
        """Ask the server what it serves and add that to `identity()`.

        Call it before the first request of a run: what the server tells (the path or
        repository of the weights, its version, how it renders a conversation) becomes part of
        what identifies a sample.
        Where it tells the length of its context, requests that may exceed it fail from now on,
        because some servers (vLLM 0.32) lower the cap of such a request without a word.

        Raises:
            BackendError: The server could not be asked.
        """
        served = (await self._served()).get(self.model, _Served())
        facts = {"served_root": served.root} if served.root else {}
        if self.dialect.version_path:
            version = await self._client.call(self._root + self.dialect.version_path, _version)
            facts |= {"server_version": version} if version else {}
        if self.dialect.continues:
            facts |= await self._template_facts()
        self._server = facts
        self._context = served.context
        return dict(facts)

    async def _template_facts(self) -> dict[str, str]:
        """Return a hash of how the server renders a conversation, without thinking and with it.

        Another chat template or tokenizer behind the same name gives other answers.
        """
        digest = hashlib.sha256()
        try:
            for thinking in (False, True):
                if thinking or self.dialect.off is not None:
                    request = GenerationRequest(
                        user_message(_TEMPLATE_PROBE), max_tokens=1, thinking=thinking
                    )
                    digest.update(repr(await self._prompt_ids(request)).encode())
        except BackendRequestError as error:
            if error.status_code in _NO_SUCH_PATH:  # It cannot continue answers either.
                return {}
            raise
        return {"template_sha256": digest.hexdigest()}

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _generate(self, request: GenerationRequest, *, is_once: bool) -> Completion:
        needed = request.needs()
        if request.thinking:
            needed |= {Capability.THINKING_SWITCH}
        require(self, needed)
        refuse_unfit(request, self.model, self.dialect)
        if request.continuation:
            markers = await self.thought_markers() if request.thinking else None
            return await self._continue(request, markers, is_once=is_once)
        body = chat_body(request, self.model, self.dialect, self._effort)
        wire = self._client.hidden(wire_of(body))

        def read(document: object, origin: Origin) -> Completion:
            completion = read_completion(document, request, self.dialect, origin, self._markers)
            if self.dialect.continues:
                prompt = fields_of(document).get("prompt_token_ids")
                self._prompts.put(request, read_token_ids(prompt))
            self._refuse_too_long(completion.usage.prompt_tokens, request, origin)
            return replace(completion, wire=wire)

        return await self._client.call("/chat/completions", read, body, is_once=is_once)

    async def _continue(
        self,
        request: GenerationRequest,
        markers: ThoughtMarkers | None,
        *,
        is_once: bool = False,
    ) -> Completion:
        prompt = await self._prompt_ids(request, is_once=is_once)
        begun = await self._detokenize(request.continuation, is_once=is_once)
        body = completion_body(request, self.model, self.dialect, (*prompt, *request.continuation))
        wire = self._client.hidden(wire_of(body))

        def read(document: object, origin: Origin) -> Completion:
            completion = read_continuation(
                document, request, self.dialect, origin, begun=begun, markers=markers
            )
            self._refuse_too_long(completion.usage.prompt_tokens, request, origin)
            return replace(completion, wire=wire)

        return await self._client.call("/completions", read, body, is_once=is_once)

    async def _served(self) -> Mapping[str, "_Served"]:
        return await self._client.call("/models", _model_list)

    def _refuse_too_long(self, n_prompt: int, request: GenerationRequest, origin: Origin) -> None:
        """Refuse an answer whose cap was not the one that was asked for.

        It depends on the question alone, not on how long the model's answer turned out to be:
        otherwise the longest answers would be missing from what is measured.
        """
        if self._context is not None and n_prompt + request.max_tokens > self._context:
            raise BackendRequestError(
                f"a prompt of {n_prompt} tokens and max_tokens={request.max_tokens} exceed the"
                f" server's context of {self._context}",
                backend=self.name,
                model=self.model,
                request_id=origin.request_id,
                hint=TOO_LONG_HINT,
            )

    async def _prompt_ids(
        self, request: GenerationRequest, *, is_once: bool = False
    ) -> tuple[int, ...]:
        """Return the ids of a rendered conversation, from the server at most once."""
        known = self._prompts.get(request)
        if known is None:
            known = await self._client.call(
                f"{self._root}/tokenize",
                read_tokenized,
                tokenize_body(request, self.model, self.dialect, self._effort),
                is_once=is_once,
            )
            self._prompts.put(request, known)
        return known

    async def _tokenize(self, text: str) -> tuple[int, ...]:
        body: dict[str, Json] = {"model": self.model, "prompt": text, "add_special_tokens": False}
        return await self._client.call(f"{self._root}/tokenize", read_tokenized, body)

    async def _detokenize(self, ids: Sequence[int], *, is_once: bool) -> str:
        body: dict[str, Json] = {"model": self.model, "tokens": list(ids)}
        return await self._client.call(
            f"{self._root}/detokenize", read_detokenized, body, is_once=is_once
        )

    async def _ids_of(self, request: GenerationRequest) -> tuple[int, ...]:
        """Return generated ids; unlike `generate`, without need of the markers."""
        if request.continuation:
            return (await self._continue(request, None)).token_ids or ()
        return (await self.generate(request)).token_ids or ()


def _key(api_key: str | SecretStr | None, variable: str | None) -> SecretStr | None:
    if api_key is None and variable is not None:
        api_key = os.environ.get(variable)
    return SecretStr(api_key) if isinstance(api_key, str) else api_key


def _refuse_key_in_body(key: SecretStr | None, dialect: Dialect) -> None:
    """Refuse to send the key where it would be stored and logged."""
    fields = json.dumps([dialect.always, dialect.on, dialect.off], default=dict)
    if key is not None and key.get_secret_value() and key.get_secret_value() in fields:
        raise InvalidInputError(
            "extra_body holds the API key, and what is sent is stored",
            hint="the key is sent as a header by itself",
        )


def _checked_effort(effort: str | None, dialect: Dialect) -> str | None:
    if effort is not None and effort not in dialect.efforts:
        known = ", ".join(dialect.efforts) or "none at all"
        raise InvalidInputError(
            f"effort is {effort!r}, and servers of dialect {dialect.name!r} take {known}"
        )
    return effort


def _own_fields(row: Dialect, dialect: Dialect, effort: str | None) -> dict[str, str]:
    """Return what the user has set beyond the dialect's name, as parts of the identity."""
    own = {} if effort is None else {"effort": effort}
    if dialect != row:
        described = {
            "always": dialect.always,
            "on": dialect.on,
            "off": dialect.off,
            "budget_path": dialect.budget_path,
            "budget_class": dialect.budget_class,
        }
        own["described"] = json.dumps(described, sort_keys=True, default=dict)
    return own


@dataclass(frozen=True, slots=True)
class _Served:
    """What a server's list tells of a model; `root` may be empty and `context` unknown."""

    root: str = ""
    context: int | None = None


def _model_list(document: object, origin: Origin) -> Mapping[str, _Served]:
    data = fields_of(document).get("data")
    if not isinstance(data, list):
        raise origin.nonsense("it is no list of models")
    models: dict[str, _Served] = {}
    for item in cast("list[object]", data):
        entry = fields_of(item)
        name, root, context = (entry.get(key) for key in ("id", "root", "max_model_len"))
        if isinstance(name, str):
            models[name] = _Served(
                root if isinstance(root, str) else "",
                context if isinstance(context, int) and context > 0 else None,
            )
    return models


def _version(document: object, _origin: Origin) -> str:
    version = fields_of(document).get("version")
    return version if isinstance(version, str) else ""
