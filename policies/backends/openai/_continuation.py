"""Answers that go on after given token ids, through `/tokenize` and `/completions`."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import cast

from ..._backend import GenerationRequest, ThoughtMarkers
from ..._messages import Completion, Evidence, FinishReason, Message
from .._json import fields_of
from ..http_errors import Origin
from ..thinking import Dialect
from ._chat_evidence import evidence_of, gap_of_top_two, token_logprob
from ._document import (
    as_object,
    check_model,
    first_choice,
    read_finish_reason,
    read_token_ids,
)
from ._thought import END, split_thought
from ._usage import read_usage

__all__ = ["PromptCache", "read_continuation", "read_detokenized", "read_tokenized"]

_N_PROMPTS = 256
_Asked = tuple[tuple[Message, ...], bool, str | None]
"""What decides how a conversation is rendered: messages, thinking, effort."""


class PromptCache:
    """Token ids of the prompts asked lately, so that many budgets tokenise one prompt once."""

    def __init__(self, n_prompts: int = _N_PROMPTS) -> None:
        """Keep at most `n_prompts` of them."""
        self._n_prompts = n_prompts
        self._known: OrderedDict[_Asked, tuple[int, ...]] = OrderedDict()

    def get(self, request: GenerationRequest) -> tuple[int, ...] | None:
        """Return the ids of a request's prompt, `None` if they are not known."""
        key = (request.messages, request.thinking, request.effort)
        if key not in self._known:
            return None
        self._known.move_to_end(key)
        return self._known[key]

    def put(self, request: GenerationRequest, prompt: tuple[int, ...] | None) -> None:
        """Keep a prompt's ids, if there are any."""
        if not prompt:
            return
        key = (request.messages, request.thinking, request.effort)
        self._known[key] = prompt
        self._known.move_to_end(key)
        while len(self._known) > self._n_prompts:
            self._known.popitem(last=False)


def read_tokenized(document: object, origin: Origin) -> tuple[int, ...]:
    """Return the ids in an answer of `/tokenize` to a text that is not empty.

    Raises:
        BackendResponseError: There are none.
    """
    ids = read_token_ids(fields_of(document).get("tokens"))
    if ids is None:
        raise origin.nonsense("it has no tokens", hint="continuing needs vLLM's /tokenize")
    return ids


def read_detokenized(document: object, origin: Origin) -> str:
    """Return the text in an answer of `/detokenize`.

    Raises:
        BackendResponseError: There is none.
    """
    text = fields_of(document).get("prompt")
    if not isinstance(text, str):
        raise origin.nonsense("it has no text", hint="continuing needs vLLM's /detokenize")
    return text


def read_continuation(
    document: object,
    request: GenerationRequest,
    dialect: Dialect,
    origin: Origin,
    *,
    begun: str,
    markers: ThoughtMarkers | None,
    said: str | None = None,
) -> Completion:
    """Return the completion that an answer of `/completions` describes.

    Thought and answer are told apart over the continuation and what was generated together;
    usage, ids and log-probabilities are those of what was generated.

    Args:
        document: The parsed JSON.
        request: What was asked; its continuation is not empty.
        dialect: The kind of server.
        origin: Where it came from and how long that took.
        begun: The continuation as text.
        markers: How thoughts lie in the ids; needed if the request thinks.
        said: All that was generated, as text, where a stop has ended it: the document's own
            text leaves the stop out.

    Raises:
        BackendResponseError: It is no completion, or it lacks what must not be guessed.
    """
    fields = as_object(document, "the document", origin)
    choice = first_choice(fields, origin)
    if dialect.echoes_model:
        check_model(fields, origin)
    finish_reason = read_finish_reason(choice.get("finish_reason"), origin)
    usage = read_usage(fields.get("usage"), origin)
    text, ids = choice.get("text"), read_token_ids(choice.get("token_ids"))
    if not isinstance(text, str):
        raise origin.nonsense("choices[0].text is no text")
    if ids is None or len(ids) != usage.completion_tokens:
        raise origin.nonsense(
            f"it has {len(ids or ())} token ids of {usage.completion_tokens} completion tokens",
            hint="continuing needs a vLLM that knows return_token_ids",
        )
    if said is not None:
        text = said
    elif not text and usage.completion_tokens > 1:
        raise origin.nonsense(
            f"the text is empty although {usage.completion_tokens} tokens were generated"
        )
    split = split_thought(
        begun + text,
        None,
        asked_to_think=request.thinking,
        was_cut=finish_reason is FinishReason.LENGTH or said is not None,
        # Where the answer itself opens its thoughts, text without tags is no thought.
        is_split=markers is None or bool(markers.start),
    )
    whole = (*request.continuation, *ids)
    if markers is not None and split.text:
        # A model whose thought was cut may go on with it and write the end tag once more; the
        # chat endpoint leaves that token out of the content.
        n_stray = ids.count(markers.end[-1])
        split = replace(split, text=split.text.replace(END, "", n_stray))
    is_thought = request.thinking and markers is not None and split.thinking is not None
    # Of the thought, too, only what was generated counts.
    n_thinking = _count(markers, whole) - _count(markers, request.continuation)
    return Completion(
        text=split.text,
        finish_reason=finish_reason,
        usage=replace(usage, thinking_tokens=n_thinking if is_thought else 0),
        seconds=origin.seconds,
        thinking=split.thinking or None,  # at budget 0 there is none, as in a chat's answer
        thinking_closed=split.is_closed,
        token_ids=ids,
        evidence=_evidence(
            choice.get("logprobs"), request, markers, ids, text, finish_reason, origin
        )
        if request.logprobs and split.text
        else None,
    )


def _count(markers: ThoughtMarkers | None, ids: Sequence[int]) -> int:
    """Return the tokens inside the thought and inside those that the answer opens anew."""
    if markers is None:
        return 0
    n_thinking = markers.n_thinking(ids)
    if not markers.start or not markers.is_closed(ids):
        return n_thinking
    n_inside, is_inside, is_first = 0, False, True
    for token in ids[len(markers.start) + n_thinking :]:
        if token == markers.end[-1]:
            is_inside = is_first = False
        elif not is_first and token == markers.start[-1]:
            is_inside = True
        else:
            n_inside += is_inside
    return n_thinking + n_inside


def _evidence(
    value: object,
    request: GenerationRequest,
    markers: ThoughtMarkers | None,
    ids: tuple[int, ...],
    text: str,
    finish_reason: FinishReason,
    origin: Origin,
) -> Evidence | None:
    """Return the evidence of the generated tokens after the last thought."""
    fields = fields_of(value)
    tokens, logprobs = fields.get("tokens"), fields.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(logprobs, list):
        raise origin.nonsense(
            "log-probabilities were asked for and none came",
            hint="run without logprobs, or use a server that returns them",
        )
    listed = fields.get("top_logprobs")
    likely = cast("list[object]", listed) if isinstance(listed, list) else []
    gaps = [gap_of_top_two(list(fields_of(one).values())) for one in likely]
    read = [
        token_logprob(token, logprob, origin, gap)
        for token, logprob, gap in zip(
            cast("list[object]", tokens),
            cast("list[object]", logprobs),
            chain(gaps, repeat(None)),
            strict=False,
        )
    ]
    if len(read) != len(ids):
        raise origin.nonsense(f"it has {len(read)} log-probabilities of {len(ids)} tokens")
    start = 0
    if request.thinking and markers is not None and markers.end[-1] in ids:
        start = len(ids) - ids[::-1].index(markers.end[-1])
    return evidence_of(read[start:], text, finish_reason)
