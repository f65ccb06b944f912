"""The public class of the backend: requests in, completions out."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pydantic import SecretStr

from ..._backend import Capability, GenerationRequest, ThoughtMarkers, require
from ..._errors import (
    CONTEXT_EXCEEDED,
    BackendError,
    BackendRequestError,
)
from ..._messages import Completion, user_message
from ..._vocabulary import ModelSize
from .._json import Json, fields_of
from .._switch_arguments import SwitchArguments
from .._switching import switch_spellings
from ..http_errors import TOO_LONG_HINT, Origin
from ..thinking import Dialect, customised, dialect_named
from ._chat_answer import read_completion
from ._chat_body import chat_body, completion_body, refuse_unfit, tokenize_body, wire_of
from ._client import ClientSettings, OpenAIClient, checked_url
from ._continuation import PromptCache, read_continuation, read_tokenized
from ._document import ids_to_stop, read_token_ids
from ._markers import MarkerSearch
from ._options import checked_effort, own_fields, read_key, refuse_key_in_body
from ._served import ServedModel, read_models, read_version
from ._thought import END, START
from ._tokenizer import ServedTokenizer

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
        penalises_switches: bool = False,
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
            penalises_switches: The server is a vLLM that runs
                `policies.backends.vllm.switch_penalty:SwitchPenaltyProcessor`; `probe` checks it.

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
            penalises_switches=penalises_switches,
        )
        key = read_key(api_key, key_variable)
        refuse_key_in_body(key, self.dialect)
        self._effort = checked_effort(effort, self.dialect)
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
        self._own = own_fields(row, self.dialect, self._effort)
        self._server: dict[str, str] = {}
        self._context: int | None = None
        self._prompts = PromptCache()
        self._tokenizer = ServedTokenizer(self._client, self._root, model)
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
                self.model, self.dialect.fix, self.encode, self._prompt_ids, self._ids_of
            )
            self._search = search = loop.create_task(find.run())
        # Callers share one search, and one that is cancelled leaves it to the others.
        markers = await asyncio.shield(search)
        self._markers = markers
        return markers

    async def encode(self, text: str, *, is_once: bool = False) -> tuple[int, ...]:
        """Return the ids of a text, from the server; asked once for each text.

        Args:
            text: What to tokenize.
            is_once: Whether the caller repeats failures itself.

        Raises:
            CapabilityError: Servers of this dialect tell no token ids.
            BackendError: The server could not be asked.
        """
        require(self, frozenset({Capability.PREFIX_CONTINUATION}))
        return await self._tokenizer.encode(text, is_once=is_once)

    async def decode(self, token_ids: Sequence[int], *, is_once: bool = False) -> str:
        """Return the text of token ids, special tokens included, from the server.

        Args:
            token_ids: Ids of the model's tokens.
            is_once: Whether the caller repeats failures itself.

        Raises:
            CapabilityError: Servers of this dialect take no token ids.
            BackendError: The server could not be asked, or an id is none of the model's.
        """
        require(self, frozenset({Capability.PREFIX_CONTINUATION}))
        return await self._tokenizer.decode(token_ids, is_once=is_once)

    async def reads_effort(self) -> bool | None:
        """Tell whether the model's chat template makes anything of an effort.

        Returns:
            `None` where the server does not show how it renders a conversation.

        Raises:
            BackendError: The server could not be asked.
        """
        efforts = self.dialect.efforts
        if not self.dialect.continues or len(efforts) < 2:
            return None
        prompts = {
            await self._prompt_ids(
                GenerationRequest(
                    user_message(_TEMPLATE_PROBE), max_tokens=1, thinking=True, effort=effort
                )
            )
            for effort in efforts
        }
        return len(prompts) > 1

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
        served = (await self._served()).get(self.model, ServedModel())
        facts = {"served_root": served.root} if served.root else {}
        if self.dialect.version_path:
            version = await self._client.call(self._root + self.dialect.version_path, read_version)
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
        xargs = await self._switch_xargs(request, is_once=is_once)
        body = chat_body(request, self.model, self.dialect, self._effort, xargs)
        wire = self._client.hidden(wire_of(body))

        def read(document: object, origin: Origin, said: str | None = None) -> Completion:
            completion = read_completion(
                document, request, self.dialect, origin, self._markers, said=said
            )
            if self.dialect.continues:
                prompt = fields_of(document).get("prompt_token_ids")
                self._prompts.put(request, read_token_ids(prompt))
            self._refuse_too_long(completion.usage.prompt_tokens, request, origin)
            return replace(completion, wire=wire)

        return await self._read_whole("/chat/completions", read, body, request, is_once=is_once)

    async def _continue(
        self,
        request: GenerationRequest,
        markers: ThoughtMarkers | None,
        *,
        is_once: bool = False,
    ) -> Completion:
        prompt = await self._prompt_ids(request, is_once=is_once)
        begun = await self.decode(request.continuation, is_once=is_once)
        xargs = await self._switch_xargs(request, is_once=is_once)
        whole = (*prompt, *request.continuation)
        body = completion_body(request, self.model, self.dialect, whole, xargs)
        wire = self._client.hidden(wire_of(body))

        def read(document: object, origin: Origin, said: str | None = None) -> Completion:
            completion = read_continuation(
                document, request, self.dialect, origin, begun=begun, markers=markers, said=said
            )
            self._refuse_too_long(completion.usage.prompt_tokens, request, origin)
            return replace(completion, wire=wire)

        return await self._read_whole("/completions", read, body, request, is_once=is_once)

    async def _read_whole(
        self,
        path: str,
        read: "_Read",
        body: Mapping[str, Json],
        request: GenerationRequest,
        *,
        is_once: bool,
    ) -> Completion:
        """Send a request; where a stop has ended the answer, have its ids turned into text.

        The server's text ends before the stop, with it (`include_stop_str_in_output`) in the
        middle of the token that holds it, and then also has the end of turn where none came.
        """

        def first(document: object, origin: Origin) -> "Completion | _Stopped":
            ids = ids_to_stop(fields_of(document), request, origin)
            return read(document, origin) if ids is None else _Stopped(document, origin, ids)

        found = await self._client.call(path, first, body, is_once=is_once)
        if isinstance(found, Completion):
            return found
        return read(found.document, found.origin, await self._tokenizer.decode(found.ids))

    async def _switch_xargs(
        self, request: GenerationRequest, *, is_once: bool
    ) -> Mapping[str, Json] | None:
        """Return what the server's logits processor needs to know, in token ids."""
        penalty = request.switch_penalty
        if penalty is None:
            return None
        texts = [text for word in penalty.words for text in (word, f" {word}")]
        known = {text: await self.encode(text, is_once=is_once) for text in (*texts, START, END)}
        return SwitchArguments(
            amount=penalty.amount,
            window=penalty.window,
            spellings=switch_spellings(penalty.words, known.__getitem__),
            start=known[START],
            end=known[END][-1],
            n_given=len(request.continuation),
            everywhere=not request.thinking,
        ).to_xargs()

    async def _served(self) -> Mapping[str, ServedModel]:
        return await self._client.call("/models", read_models)

    def _refuse_too_long(self, n_prompt: int, request: GenerationRequest, origin: Origin) -> None:
        """Refuse an answer whose cap was not the one that was asked for.

        It depends on the question alone, not on how long the model's answer turned out to be:
        otherwise the longest answers would be missing from what is measured.
        """
        if self._context is not None and n_prompt + request.max_tokens > self._context:
            error = BackendRequestError(
                f"a prompt of {n_prompt} tokens and max_tokens={request.max_tokens} exceed the"
                f" server's context of {self._context}",
                backend=self.name,
                model=self.model,
                request_id=origin.request_id,
                hint=TOO_LONG_HINT,
            )
            error.code = CONTEXT_EXCEEDED
            raise error

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

    async def _ids_of(self, request: GenerationRequest) -> tuple[int, ...]:
        """Return generated ids; unlike `generate`, without need of the markers."""
        if request.continuation:
            return (await self._continue(request, None)).token_ids or ()
        return (await self.generate(request)).token_ids or ()


class _Read(Protocol):
    """Makes a completion of a document; `said` is its text where a stop has ended it."""

    def __call__(self, document: object, origin: Origin, said: str | None = None) -> Completion: ...


@dataclass(frozen=True, slots=True)
class _Stopped:
    """An answer that a stop has ended, and the ids it was generated with."""

    document: object
    origin: Origin
    ids: tuple[int, ...]
