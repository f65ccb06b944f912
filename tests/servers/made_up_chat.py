"""What a made-up model says in a chat: the documents and events of OpenAI's API.

A token is a word. The answer repeats what the user said last; the thought before it, where
thinking is on, counts up. So everything can be told from the request alone.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["MadeUpChat"]


@dataclass
class MadeUpChat:
    """Reads requests and writes answers; without state.

    Attributes:
        name: Name of the model.
        thought_tokens: How long it thinks where nothing cuts it.
        thinks_by_default: Whether it thinks where a request does not say.
        reasoning_field: `reasoning` (vLLM), `reasoning_content` (DeepSeek, older vLLM) or both,
            with a comma.
    """

    name: str = "m"
    thought_tokens: int = 12
    thinks_by_default: bool = False
    reasoning_field: str = "reasoning"

    def chat(self, body: Any) -> dict[str, Any]:
        """Return the document of `/v1/chat/completions`."""
        says = self._says(body)
        message: dict[str, Any] = {"role": "assistant", "content": " ".join(says.words) or None}
        if says.thought:
            message |= self._reasoning(" ".join(says.thought))
        if says.calls:
            message["tool_calls"] = says.calls
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": says.finish}
            for index in range(body.get("n") or 1)
        ]
        return {**self._head("chat.completion", body), "choices": choices, "usage": says.usage}

    def chat_events(self, body: Any) -> Iterator[dict[str, Any]]:
        """Yield the events of a streamed chat, one per word."""
        says = self._says(body)
        head = self._head("chat.completion.chunk", body)

        def event(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return {**head, "choices": [choice]}

        yield event({"role": "assistant", "content": ""})
        for word in _spaced(says.thought):
            yield event(self._reasoning(word))
        for word in _spaced(says.words):
            yield event({"content": word})
        for index, call in enumerate(says.calls):
            yield event({"tool_calls": [{"index": index, **call}]})
        yield event({}, says.finish)
        if (body.get("stream_options") or {}).get("include_usage"):
            yield {**head, "choices": [], "usage": says.usage}

    def completion(self, body: Any) -> dict[str, Any]:
        """Return the document of `/v1/completions`."""
        says = self._says(body)
        choice = {"index": 0, "text": " ".join(says.words), "finish_reason": says.finish}
        return {**self._head("text_completion", body), "choices": [choice], "usage": says.usage}

    def completion_events(self, body: Any) -> Iterator[dict[str, Any]]:
        """Yield the events of a streamed text completion, one per word."""
        says = self._says(body)
        head = self._head("text_completion", body)
        for word in _spaced(says.words):
            yield {**head, "choices": [{"index": 0, "text": word, "finish_reason": None}]}
        yield {**head, "choices": [{"index": 0, "text": "", "finish_reason": says.finish}]}
        if (body.get("stream_options") or {}).get("include_usage"):
            yield {**head, "choices": [], "usage": says.usage}

    def models(self) -> dict[str, Any]:
        """Return the document of `/v1/models`."""
        model = {"id": self.name, "object": "model", "created": 0, "owned_by": "tests"}
        return {"object": "list", "data": [model]}

    def _says(self, body: Any) -> "_Saying":
        prompt, asked = _prompt(body)
        thought = [f"t{place}" for place in range(self._thought_length(body))]
        words, calls = asked.split(), _calls(body, asked)
        if calls:
            words = []
        cap = body.get("max_completion_tokens") or body.get("max_tokens")
        finish = "tool_calls" if calls else "stop"
        if cap is not None and len(thought) + len(words) > cap:
            thought, words, finish = thought[:cap], words[: max(cap - len(thought), 0)], "length"
        n_generated = len(thought) + len(words) + len(calls)
        usage = {
            "prompt_tokens": len(prompt.split()),
            "completion_tokens": n_generated,
            "total_tokens": len(prompt.split()) + n_generated,
            "completion_tokens_details": {"reasoning_tokens": len(thought)},
        }
        return _Saying(thought, words, calls, finish, usage)

    def _thought_length(self, body: Any) -> int:
        if "prompt" in body:
            return 0
        budget = body.get("thinking_token_budget")
        switch = (body.get("chat_template_kwargs") or {}).get("enable_thinking")
        if switch is None:
            switch = self.thinks_by_default if budget is None else budget > 0
        if not switch:
            return 0
        return self.thought_tokens if budget is None else min(self.thought_tokens, budget)

    def _reasoning(self, text: str) -> dict[str, Any]:
        return dict.fromkeys(self.reasoning_field.split(","), text)

    def _head(self, kind: str, body: Any) -> dict[str, Any]:
        return {
            "id": "chatcmpl-1",
            "object": kind,
            "created": 0,
            "model": body.get("model") or self.name,
        }


@dataclass
class _Saying:
    thought: list[str]
    words: list[str]
    calls: list[dict[str, Any]]
    finish: str
    usage: dict[str, Any]


def _prompt(body: Any) -> tuple[str, str]:
    """Return the whole prompt, and what the user said last."""
    if "prompt" in body:
        prompt = body["prompt"]
        text = prompt if isinstance(prompt, str) else " ".join(map(str, prompt))
        return text, text
    texts = [(one["role"], _text(one.get("content"))) for one in body["messages"]]
    asked = next((text for role, text in reversed(texts) if role == "user"), "")
    return " ".join(text for _, text in texts), asked


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content)
    return content or ""


def _calls(body: Any, asked: str) -> list[dict[str, Any]]:
    """Return a call of the first tool, with what the user said; none after a tool answered."""
    tools, last = body.get("tools"), (body.get("messages") or [{}])[-1]
    if not tools or body.get("tool_choice") == "none" or last.get("role") == "tool":
        return []
    function = {"name": tools[0]["function"]["name"], "arguments": json.dumps({"said": asked})}
    return [{"id": "call_1", "type": "function", "function": function}]


def _spaced(words: list[str]) -> Iterator[str]:
    for place, word in enumerate(words):
        yield word if place == 0 else f" {word}"
