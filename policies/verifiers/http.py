"""Verifiers behind an HTTP endpoint: reward models of vLLM, or a service of one's own.

Four forms of request (`api`), with the scores that are read:

    plain     {"inputs": [...]} to the URL itself; {"scores": [...]}, one number each
    classify  vLLM's /classify; the probability of the class `label`
    pooling   vLLM's /pooling; of a list of rows, as process reward models give, the last
    score     vLLM's /score, the conversation as query and the answers as documents

An input is the conversation with the answer as its last turn, as messages or as text.
Source: the request and response models of vLLM 0.32, entrypoints/pooling.
"""

import asyncio
import math
import os
from collections.abc import Awaitable, Mapping, Sequence
from typing import Literal, TypeAlias, TypeVar, cast

from pydantic import SecretStr

from .._backend import Capability
from .._bill import Bill
from .._errors import CONTEXT_EXCEEDED, BackendError, InvalidInputError, VerifierError
from .._messages import Message, Usage
from ..backends._json import Json, fields_of
from ..backends.http_errors import Origin
from ..backends.openai._client import ClientSettings, OpenAIClient, checked_url
from ._protocol import Candidate, VerifierNotAskedError
from ._sigmoid import sigmoid

__all__ = ["Activation", "Api", "HttpVerifier", "Rewards", "Shows"]

Api: TypeAlias = Literal["plain", "classify", "pooling", "score"]
Activation: TypeAlias = Literal["none", "sigmoid"]
Shows: TypeAlias = Literal["messages", "text"]
Rewards: TypeAlias = Literal["outcome", "process"]

_T = TypeVar("_T")
_Part: TypeAlias = tuple[list[float], Usage | None]

# Raised when what is sent or how scores are read changes in a way that changes scores.
_WIRE_VERSION = "1"


class HttpVerifier:
    """A scorer behind HTTP.

    Retries, pauses, pace and secrets are those of the backend `openai`: a request is sent at
    most `max_retries + 1` times, redirects are not followed, no key is taken from the
    environment unasked. What the answers say about tokens goes on the bill under the model's name.

    Example:
        >>> verifier = HttpVerifier("reward", "http://127.0.0.1:8000", "rm", api="classify")
        >>> verifier.identity()["api"]
        'classify'
    """

    needs: frozenset[Capability] = frozenset()

    def __init__(  # noqa: PLR0913 - each is an option that users set by itself
        self,
        name: str,
        url: str,
        model: str = "",
        api_key: str | SecretStr | None = None,
        *,
        api: Api = "plain",
        shows: Shows = "messages",
        activation: Activation = "none",
        label: int = 0,
        rewards: Rewards = "outcome",
        key_variable: str | None = None,
        timeout_s: float = 60.0,
        max_retries: int = 4,
        max_concurrency: int = 8,
        max_batch: int = 32,
    ) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            name: Its name in policy specs.
            url: For `plain` the endpoint, else the root of the server, with or without `/v1`.
            model: The name under which the server serves the model; "" sends none.
            api_key: Sent as a bearer token; `None` sends none unless `key_variable` is given.
            api: The form of request.
            shows: Whether an input is a list of messages, which the server puts through its
                chat template, or their text, one paragraph a turn. `score` is always text.
            activation: `sigmoid` where the numbers are unbounded rewards; vLLM is then asked
                for them raw. `none` takes the server's numbers, which have to lie in [0, 1].
            label: Which class of a model with several counts, from 0.
            rewards: Whether the model can score beginnings of answers (`process`).
            key_variable: Name of an environment variable to read the key from; nothing is sent
                if it is not set. Unlike a key, the name may be stored.
            timeout_s: Longest time for one attempt, in seconds, positive.
            max_retries: Attempts after the first, 0 or more.
            max_concurrency: Most requests under way at once, 1 or more.
            max_batch: Most inputs in a request that takes several, 1 or more.

        Raises:
            InvalidInputError: A value is out of its range, or the URL cannot be used.
        """
        for what, value, least in (("label", label, 0), ("max_batch", max_batch, 1)):
            if value < least:
                raise InvalidInputError(f"{what} is {value!r}, expected >= {least}")
        self.name = name
        self.model = model
        self.scores_steps = rewards == "process"
        self._api: Api = api
        self._shows: Shows = "text" if api == "score" else shows
        self._activation: Activation = activation
        self._label = label
        self._max_batch = max_batch
        self._url = checked_url(url)
        if api != "plain":
            self._url = f"{self._url.removesuffix('/v1')}/{api}"
        if api_key is None and key_variable is not None:
            api_key = os.environ.get(key_variable)
        self._settings = ClientSettings(
            backend=name,
            model=model or name,
            base_url=self._url,
            key=SecretStr(api_key) if isinstance(api_key, str) else api_key,
            timeout_s=timeout_s,
            max_retries=max_retries,
            max_concurrency=max_concurrency,
            key_variable=key_variable,
        )
        self._client = OpenAIClient(self._settings)

    def __repr__(self) -> str:
        """Return a form without secrets."""
        return f"HttpVerifier({self.name!r}, {self._url!r})"

    def identity(self) -> Mapping[str, str]:
        """Return model and form of request; not the URL, since a server may move."""
        return {
            "verifier": "http",
            "model": self.model,
            "api": self._api,
            "shows": self._shows,
            "activation": self._activation,
            "label": str(self._label),
            "rewards": "process" if self.scores_steps else "outcome",
            "wire_version": _WIRE_VERSION,
        }

    def max_tokens(self) -> int:
        """Return 0: the policy's own model is not asked."""
        return 0

    async def score(
        self, messages: Sequence[Message], candidates: Sequence[Candidate], bill: Bill
    ) -> list[float]:
        """Return the server's score per candidate, after the activation.

        Raises:
            VerifierNotAskedError: A candidate is longer than the model's context, or the
                conversation has attachments.
            VerifierError: The scores are not one finite number per candidate.
            BackendError: The server could not be asked.
        """
        if any(turn.attachments for turn in messages):
            raise VerifierNotAskedError(
                f"verifier {self.name!r} cannot be shown attachments",
                backend=self.name,
                model=self.model,
            )
        size = 1 if self._is_one_by_one else self._max_batch
        batches = [candidates[i : i + size] for i in range(0, len(candidates), size)]
        parts = await _all([self._batch(messages, batch, bill) for batch in batches])
        return [self._activated(number) for part in parts for number in part]

    async def aclose(self) -> None:
        """Close the connections; requests under way fail, and a later call opens new ones."""
        old, self._client = self._client, OpenAIClient(self._settings)
        await old.aclose()

    @property
    def _is_one_by_one(self) -> bool:
        # vLLM takes many texts in a request and one conversation.
        return self._api in ("classify", "pooling") and self._shows == "messages"

    async def _batch(
        self, messages: Sequence[Message], candidates: Sequence[Candidate], bill: Bill
    ) -> list[float]:
        def read(document: object, origin: Origin) -> _Part:
            numbers = self._numbers(document, len(candidates))
            return numbers, _usage(fields_of(document).get("usage"), origin)

        try:
            numbers, usage = await self._client.call(
                self._url, read, self._body(messages, candidates)
            )
        except BackendError as error:
            if error.code == CONTEXT_EXCEEDED:
                # That another try cannot cure: no fault of the infrastructure.
                raise VerifierNotAskedError.of(self.name, 0, len(candidates)) from error
            raise
        if usage is None:
            bill.remark(
                "verifier-usage-unknown",
                f"verifier {self.name!r} tells no token counts: they are missing in the cost",
            )
        bill.charge(usage or Usage(0, 0, 0), self.model or self.name)
        return numbers

    def _body(
        self, messages: Sequence[Message], candidates: Sequence[Candidate]
    ) -> dict[str, Json]:
        body: dict[str, Json] = {"model": self.model} if self.model else {}
        if self._activation == "sigmoid" and self._api != "plain":
            body["use_activation"] = False
        if self._api == "score":
            documents: list[Json] = [one.shown for one in candidates]
            query = "\n\n".join(turn.content for turn in messages)
            return {**body, "queries": query, "documents": documents}
        if self._is_one_by_one:
            [only] = candidates
            return {**body, "messages": _turns(messages, only), "add_generation_prompt": False}
        inputs: list[Json] = [
            _turns(messages, one) if self._shows == "messages" else _text(messages, one)
            for one in candidates
        ]
        return {**body, "inputs" if self._api == "plain" else "input": inputs}

    def _numbers(self, document: object, n: int) -> list[float]:
        if self._api == "plain":
            rows: object = fields_of(document).get("scores")
        else:
            rows = self._in_order(fields_of(document).get("data"), n)
        if not isinstance(rows, list):
            raise VerifierError.nonsense(self.name, "no list of scores", n)
        found = cast("list[object]", rows)
        if len(found) != n:
            raise VerifierError.nonsense(self.name, f"{len(found)} scores", n)
        return [self._number(row, n) for row in found]

    def _in_order(self, data: object, n: int) -> list[object] | None:
        """Return what vLLM says about each input, in the order of the inputs."""
        if not isinstance(data, list):
            return None
        entries = [fields_of(entry) for entry in cast("list[object]", data)]
        places = [entry.get("index") for entry in entries]
        by_place = {
            place: entry
            for place, entry in zip(places, entries, strict=True)
            if isinstance(place, int) and not isinstance(place, bool)
        }
        if len(entries) != n or by_place.keys() != set(range(n)):
            raise VerifierError.nonsense(self.name, f"{len(entries)} scores, not one each", n)
        key = {"classify": "probs", "pooling": "data", "score": "score"}[self._api]
        return [by_place[place].get(key) for place in range(n)]

    def _number(self, row: object, n: int) -> float:
        """Return the one number of a row: the last step's, and of classes the chosen one's."""
        found = row
        if isinstance(found, list) and found and isinstance(found[0], list):
            found = cast("list[object]", found)[-1]
        if isinstance(found, list):
            classes = cast("list[object]", found)
            if self._label >= len(classes):
                what = f"{len(classes)} classes, of which number {self._label} shall count"
                raise VerifierError.nonsense(self.name, what, n)
            found = classes[self._label]
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        if not is_number or not math.isfinite(cast("float", found)):
            raise VerifierError.nonsense(self.name, f"the score {str(found)[:40]!r}", n)
        return float(cast("float", found))

    def _activated(self, number: float) -> float:
        return number if self._activation == "none" else sigmoid(number)


def _turns(messages: Sequence[Message], candidate: Candidate) -> list[Json]:
    said = (*messages, Message("assistant", candidate.shown))
    return [{"role": turn.role, "content": turn.content} for turn in said]


def _text(messages: Sequence[Message], candidate: Candidate) -> str:
    return "\n\n".join([*(turn.content for turn in messages), candidate.shown])


def _usage(value: object, origin: Origin) -> Usage | None:
    """Return the tokens that a server reports; those that it does not tell stay unknown."""
    usage = fields_of(value)
    if not usage:
        return None
    counts = [usage.get("prompt_tokens"), usage.get("completion_tokens") or 0]
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts):
        raise origin.nonsense(f"its usage is {str(dict(usage))[:80]}, expected counts of tokens")
    n_prompt, n_generated = cast("list[int]", counts)
    return Usage(n_prompt, n_generated, 0)


async def _all(parts: Sequence[Awaitable[_T]]) -> list[_T]:
    """Return all results; if one fails, the others are waited for, so that they are billed."""
    found = await asyncio.gather(*parts, return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return cast("list[_T]", found)
