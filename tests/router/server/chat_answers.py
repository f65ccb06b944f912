"""Answers of a model, as a chat completion in one piece and cut into chunks in any way."""

import codecs
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

USAGE: dict[str, Any] = {
    "prompt_tokens": 7,
    "completion_tokens": 9,
    "total_tokens": 16,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "name": "weather",
        "description": "Weather of a town",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
        "strict": False,
    }
]

# The token that stands for calls and the end must not be part of a text.
_TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_ARGUMENTS = st.one_of(
    _TEXTS, st.sampled_from(['{"town": "Köln"}', "{}", '{"a": {"b": [1, 2]}}', '{"cut": "o'])
)


@dataclass(frozen=True)
class Answer:
    """What a model thought, said, refused and called; how it ended."""

    thought: str = ""
    text: str = ""
    refusal: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    finish_reason: str = "stop"
    usage: dict[str, Any] | None = field(default_factory=lambda: USAGE)
    thought_key: str = "reasoning_content"
    thought_tokens: tuple[bytes, ...] | None = None
    text_tokens: tuple[bytes, ...] | None = None

    @property
    def has_logprobs(self) -> bool:
        return self.thought_tokens is not None and self.text_tokens is not None

    def document(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.thought:
            message[self.thought_key] = self.thought
        if self.refusal:
            message["refusal"] = self.refusal
        if self.calls:
            message["tool_calls"] = [
                {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}
                for call_id, name, text in self.calls
            ]
        tokens = [*(self.thought_tokens or ()), *(self.text_tokens or ()), b"\0"]
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": self.finish_reason,
            "logprobs": {"content": list(map(entry, tokens))} if self.has_logprobs else None,
        }
        document: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 5,
            "model": "served",
            "choices": [choice],
        }
        return document if self.usage is None else document | {"usage": self.usage}


def entry(token: bytes) -> dict[str, Any]:
    return {
        "token": token.decode(errors="replace"),
        "logprob": -0.5,
        "bytes": list(token),
        "top_logprobs": [{"token": "x", "logprob": -1.5, "bytes": None}],
    }


def chunk(
    delta: dict[str, Any],
    finish_reason: str | None = None,
    tokens: list[bytes] | None = None,
    **more: Any,
) -> dict[str, Any]:
    choice = {
        "index": 0,
        "delta": delta,
        "finish_reason": finish_reason,
        "logprobs": None if tokens is None else {"content": list(map(entry, tokens))},
    }
    document = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 5}
    return {**document, "model": "served", "choices": [choice], **more}


def _cut(whole: Any, places: list[int]) -> list[Any]:
    ends = sorted({place % (len(whole) + 1) for place in places} | {0, len(whole)})
    return [whole[start:end] for start, end in pairwise(ends)]


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    calls = draw(st.lists(st.tuples(st.text("abc", min_size=1), _ARGUMENTS), max_size=3))
    thought, text = draw(_TEXTS), draw(_TEXTS)
    places = st.lists(st.integers(0, 80), max_size=12)
    has_logprobs = draw(st.booleans())
    return Answer(
        thought=thought,
        text=text,
        refusal=draw(st.one_of(st.just(""), _TEXTS)),
        calls=tuple((f"call_{n}", name, given) for n, (name, given) in enumerate(calls)),
        finish_reason=draw(
            st.sampled_from(["stop", "length", "tool_calls", "content_filter", "abort"])
        ),
        usage=draw(st.sampled_from([None, USAGE, {"prompt_tokens": 1, "completion_tokens": 2}])),
        thought_key=draw(st.sampled_from(["reasoning_content", "reasoning"])),
        thought_tokens=tuple(_cut(thought.encode(), draw(places))) if has_logprobs else None,
        text_tokens=tuple(_cut(text.encode(), draw(places))) if has_logprobs else None,
    )


def _spoken(key: str, text: str, tokens: tuple[bytes, ...] | None, places: list[int]) -> list[Any]:
    """Return the pieces of a text, each with the tokens that came with it."""
    if tokens is None:
        return [({key: piece}, []) for piece in _cut(text, places)]
    decode = codecs.getincrementaldecoder("utf-8")().decode
    return [({key: decode(token)}, [token]) for token in tokens]


def _called(answer: Answer, places: list[int]) -> list[Any]:
    pieces: list[Any] = []
    for number, (call_id, name, arguments) in enumerate(answer.calls):
        head: dict[str, Any] = {"index": number, "id": call_id, "type": "function"}
        head["function"] = {"name": name, "arguments": ""}
        pieces.append(({"tool_calls": [head]}, [b"\0"]))
        for piece in _cut(arguments, places):
            later = {"index": number, "function": {"arguments": piece}}
            pieces.append(({"tool_calls": [later]}, [b"\0"]))
    return pieces


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return what both deltas say, in one."""
    joined = dict(first)
    for key, value in second.items():
        joined[key] = joined[key] + value if key in joined else value
    return joined


@st.composite
def chunkings(draw: st.DrawFn, answer: Answer) -> list[dict[str, Any]]:
    """Cut an answer in pieces, put some neighbours together, and tell its end as servers do."""
    places = st.lists(st.integers(0, 40), max_size=8)
    pieces = [
        ({"role": "assistant", "content": ""}, []),
        *_spoken(answer.thought_key, answer.thought, answer.thought_tokens, draw(places)),
        *_spoken("content", answer.text, answer.text_tokens, draw(places)),
        *[({"refusal": piece}, []) for piece in _cut(answer.refusal, draw(places))],
        *_called(answer, draw(places)),
    ]
    merged = [pieces[0]]
    for delta, tokens in pieces[1:]:
        if draw(st.booleans()):
            merged[-1] = (_joined(merged[-1][0], delta), merged[-1][1] + tokens)
        else:
            merged.append((delta, tokens))
    told = [
        chunk(delta, tokens=tokens if answer.has_logprobs else None) for delta, tokens in merged
    ]
    told.append(chunk({}, answer.finish_reason, [b"\0"] if answer.has_logprobs else None))
    if draw(st.booleans()):
        merged_end = told.pop()
        told[-1]["choices"][0]["finish_reason"] = merged_end["choices"][0]["finish_reason"]
    if answer.usage is None:
        return told
    if draw(st.booleans()):
        return [*told[:-1], told[-1] | {"usage": answer.usage}]
    return [*told, {**told[-1], "choices": [], "usage": answer.usage}]
