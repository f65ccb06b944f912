"""The legacy Completions API: prompts to chats of one turn, and their answers to its documents."""

from collections.abc import Mapping, Sequence
from typing import Final, cast

from ._fields import LEAST_SEED, AnswerField, Field, JsonObject
from ._responses_answer import GIVEN_UP, first_given, own_fields

__all__ = [
    "CompletionStream",
    "chat_body_of_completion",
    "completion_chunk_of",
    "completion_of_chats",
]

_REFUSED: Final = {
    "suffix": "a chat model cannot write what goes before a text: leave it out",
    "logprobs": "they cannot be told apart from those of the thought: use chat completions",
    "tools": "a text completion has no place for calls: use chat completions",
}
_UNUSED: Final = ("best_of", "echo", "prompt")
_TEXTS: Final = ("model", "user")
_NUMBERS: Final = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_FINISH_REASONS: Final = ("stop", "length", "content_filter")


def chat_body_of_completion(body: Mapping[str, object]) -> list[JsonObject]:
    """Return the chat completion requests that ask the same, one for each prompt.

    A prompt becomes the turn of a user. The other fields mean the same in both APIs: the types of
    the known ones are checked, and all are passed along, `thinkroute` among them.

    Args:
        body: Body of a request to `/v1/completions`.

    Raises:
        InvalidInputError: The prompts are no texts, a field has the wrong type, or it means
            something that a chat completion cannot do.

    Example:
        >>> chat_body_of_completion({"model": "m", "prompt": "7+9?", "max_tokens": 50})
        [{'model': 'm', 'max_tokens': 50, 'messages': [{'role': 'user', 'content': '7+9?'}]}]
    """
    request = Field(body)
    prompts = _prompts(request["prompt"])
    _refuse(request)
    _check(request)
    shared = {
        name: value
        for name, value in request.fields().items()
        if name not in _UNUSED and name not in _REFUSED and value is not None
    }
    return [{**shared, "messages": [{"role": "user", "content": text}]} for text in prompts]


def _prompts(prompt: Field) -> list[str]:
    if isinstance(prompt.value, str):
        return [prompt.value]
    if not isinstance(prompt.value, list | tuple):
        raise prompt.wrong_type("a text or a list of texts")
    prompts = prompt.items()
    if not prompts:
        raise prompt.error("is empty, expected a text or a list of texts")
    for each in prompts:
        if isinstance(each.value, int | list | tuple):
            raise each.error("is a token id, or a list of them, expected a text", "send text")
    return [each.text() for each in prompts]


def _refuse(request: Field) -> None:
    for name, hint in _REFUSED.items():
        if request[name].is_given and request[name].value != "":
            raise request[name].error("is not supported", hint)
    if request["messages"].is_given:
        raise request["messages"].error("is no field of this API", "use prompt")
    if request["echo"].is_given and request["echo"].flag():
        raise request["echo"].error(
            "is true, which is not supported", "put the prompt before the text yourself"
        )
    n = _n_choices(request)
    if request["best_of"].is_given and request["best_of"].count(least=n) > n:
        raise request["best_of"].error(
            f"is {request['best_of'].count()}, more than n = {n}, which is not supported",
            "ask for all of them with n",
        )


def _check(request: Field) -> None:
    for name in _TEXTS:
        if request[name].is_given:
            request[name].text()
    for name in _NUMBERS:
        if request[name].is_given:
            request[name].number()
    if request["max_tokens"].is_given:
        request["max_tokens"].count(least=1)
    if request["seed"].is_given:
        request["seed"].count(least=LEAST_SEED)
    if request["stream"].is_given:
        request["stream"].flag()
    if request["stream_options"].is_given:
        request["stream_options"].fields()
    if request["logit_bias"].is_given:
        for token in request["logit_bias"].fields():
            request["logit_bias"][token].number()
    stop = request["stop"]
    if stop.is_given and not isinstance(stop.value, str):
        for text in stop.items():
            text.text()


def _n_choices(request: Field) -> int:
    return request["n"].count(least=1) if request["n"].is_given else 1


def completion_of_chats(
    documents: Sequence[Mapping[str, object]],
    request: Mapping[str, object],
    *,
    completion_id: str,
    created: int,
) -> JsonObject:
    """Return the text completion that the answers to all prompts make.

    Args:
        documents: The chat completions, one for each prompt, in their order.
        request: The request to `/v1/completions`.
        completion_id: Name of the completion.
        created: When it was made, seconds since 1970.

    Returns:
        Choice j of prompt i has the index `i * n + j`. The thought is left out of `text`, but not
        of `usage`, which is the sum over all prompts, `None` where one of them does not tell.
        `thinkroute`, where the chats have it, is a list if `prompt` is one.

    Raises:
        BackendResponseError: A document is no chat completion.
    """
    n = _n_choices(Field(request))
    answers = [AnswerField(document) for document in documents]
    choices: list[JsonObject] = []
    for number, answer in enumerate(answers):
        for choice in answer["choices"].items():
            reason = _finish_reason(choice) or "stop"
            choices.append(_choice(choice, _said(choice["message"]), number * n, reason))
    completion: JsonObject = {
        "id": completion_id,
        "object": "text_completion",
        "created": created,
        "model": _first(answers, "model") or request.get("model") or "",
        "choices": choices,
        "system_fingerprint": _first(answers, "system_fingerprint"),
        "usage": _total([_usage(answer) for answer in answers]),
    }
    if isinstance(request.get("prompt"), str):
        return completion | own_fields(answers[0])
    said = [own_fields(answer).get("thinkroute") for answer in answers]
    return completion | ({"thinkroute": said} if any(said) else {})


def _first(answers: Sequence[AnswerField], name: str) -> str | None:
    return first_given(answers[0], (name,)) or None if answers else None


def _choice(choice: AnswerField, text: str, offset: int, finish_reason: str | None) -> JsonObject:
    return {
        "index": offset + choice["index"].count(),
        "text": text,
        "logprobs": None,
        "finish_reason": finish_reason,
    }


def _said(message: AnswerField) -> str:
    """Return what a message says: a refusal is text like any other here."""
    return first_given(message, ("content",)) + first_given(message, ("refusal",))


def _finish_reason(choice: AnswerField) -> str | None:
    """Return why a choice ended, `None` where it does not tell."""
    reason = first_given(choice, ("finish_reason",))
    if reason in GIVEN_UP:
        raise choice["finish_reason"].error(f"is {reason!r}: the model's server gave up")
    return reason if reason in _FINISH_REASONS else "stop" if reason else None


def _usage(answer: AnswerField) -> Mapping[str, object] | None:
    usage = answer["usage"]
    if not usage.is_given:
        return None
    read, generated = usage["prompt_tokens"].count(), usage["completion_tokens"].count()
    return {"total_tokens": read + generated, **usage.fields()}


def _total(usages: Sequence[Mapping[str, object] | None]) -> JsonObject | None:
    """Return the tokens of all prompts, with the details that any of them tells.

    Returns:
        `None` where one of them is unknown: part of a sum is no sum.
    """
    total: JsonObject = {}
    for usage in usages:
        if usage is None:
            return None
        _add(total, usage)
    return total or None


def _add(total: JsonObject, usage: Mapping[str, object]) -> None:
    for name, value in usage.items():
        if isinstance(value, Mapping):
            details = cast("JsonObject", total.setdefault(name, {}))
            _add(details, cast("Mapping[str, object]", value))
        elif isinstance(value, int | float):
            total[name] = cast("float", total.get(name, 0)) + value


def completion_chunk_of(
    chunk: Mapping[str, object],
    request: Mapping[str, object],
    *,
    completion_id: str | None = None,
    created: int | None = None,
    prompt_index: int = 0,
) -> JsonObject | None:
    """Return the chunk of a streamed text completion that a chunk of a chat becomes.

    Args:
        chunk: The chunk of the chat completion.
        request: The request to `/v1/completions`.
        completion_id: Name of the completion, `None` for that of the chat.
        created: When it was made, seconds since 1970, `None` for when the chat was.
        prompt_index: Which prompt it answers.

    Returns:
        `None` for a chunk that has nothing to say here: it only thinks, or tells whose turn it
        is, or tells the usage, which `CompletionStream` does once for all prompts.

    Raises:
        BackendResponseError: It is no chunk of a chat completion.
    """
    n = _n_choices(Field(request))
    answer = AnswerField(chunk)
    choices: list[JsonObject] = []
    for choice in answer["choices"].items() if answer["choices"].is_given else []:
        text, reason = _said(choice["delta"]), _finish_reason(choice)
        if text or reason:
            choices.append(_choice(choice, text, prompt_index * n, reason))
    said = own_fields(answer)
    if not choices and not said:
        return None
    told: JsonObject = {
        "id": completion_id or first_given(answer, ("id",)),
        "object": "text_completion",
        "created": answer["created"].count() if created is None else created,
        "model": first_given(answer, ("model",)) or request.get("model") or "",
        "choices": choices,
        "system_fingerprint": first_given(answer, ("system_fingerprint",)) or None,
    }
    return told | said


class CompletionStream:
    """Turns the chunks of the chats of all prompts into those of one text completion.

    The chats may be fed in any order, also at the same time. Not thread-safe.
    """

    def __init__(
        self,
        request: Mapping[str, object],
        *,
        n_prompts: int,
        completion_id: str,
        created: int,
    ) -> None:
        """Start without any chunk.

        Args:
            request: The request to `/v1/completions`.
            n_prompts: How many prompts it has.
            completion_id: Name of the completion.
            created: When it was made, seconds since 1970.
        """
        options = Field(request)["stream_options"]
        self._tells_usage = options.is_given and options["include_usage"].value is True
        self._request = request
        self._completion_id = completion_id
        self._created = created
        self._model = str(request.get("model") or "")
        self._usages: list[Mapping[str, object] | None] = [None] * n_prompts

    def feed(self, chunk: Mapping[str, object], *, prompt_index: int = 0) -> list[JsonObject]:
        """Return the chunks to send for a chunk of a chat: one, or none.

        Args:
            chunk: The chunk of the chat completion.
            prompt_index: Which prompt it answers.

        Raises:
            BackendResponseError: It is no chunk of a chat completion.
        """
        answer = AnswerField(chunk)
        self._model = first_given(answer, ("model",)) or self._model
        self._usages[prompt_index] = _usage(answer) or self._usages[prompt_index]
        told = completion_chunk_of(
            chunk,
            self._request,
            completion_id=self._completion_id,
            created=self._created,
            prompt_index=prompt_index,
        )
        if told is None:
            return []
        return [told | {"usage": None}] if self._tells_usage else [told]

    def finish(self) -> list[JsonObject]:
        """Return the chunk that tells the tokens of all prompts, where it was asked for."""
        if not self._tells_usage:
            return []
        last: JsonObject = {
            "id": self._completion_id,
            "object": "text_completion",
            "created": self._created,
            "model": self._model,
            "choices": [],
            "usage": _total(self._usages),
        }
        return [last]
