"""A made-up model behind vLLM's endpoints: what it answers follows from the request alone.

Every character is a token, so ids mean the same in every process. A question is a sum such as
`17+25`. The model thinks for a while that the question decides, and its answer is right if the
thought before it, cut or not, was long enough for that question; so budgets matter, cut thoughts
are worse than whole ones, and a budget that is told from a longer trace has one right answer.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["MadeUpModel"]

_START, _END, _TURN, _FIRST = 1, 2, 3, 16
_TAGS = {_START: "<think>", _END: "</think>", _TURN: "<turn>"}
_PIECE = re.compile(r"<think>|</think>|<turn>|.", re.DOTALL)
_ASKED = re.compile(r"user: (.*?)<turn>", re.DOTALL)
_SUM = re.compile(r"(\d+)\+(\d+)")
_SHORTEST_THOUGHT, _LONGEST_THOUGHT = 8, 40


@dataclass
class MadeUpModel:
    """Reads requests and writes answers; has no state that an answer could depend on.

    Attributes:
        name: The name under which it is served.
        root: Where its weights come from.
        version: Version of the server.
        system: What the chat template writes before every conversation.
        answer_prefix: What every answer begins with.
    """

    name: str = "m"
    root: str = "org/weights"
    version: str = "0.32.0"
    system: str = ""
    answer_prefix: str = ""

    def tokenize(self, body: Any) -> list[int]:
        """Return the ids of a text or of a rendered conversation."""
        if "prompt" in body:
            return _ids(body["prompt"])
        turns = "".join(f"{m['role']}: {m['content']}<turn>" for m in body["messages"])
        thinks = body.get("chat_template_kwargs", {}).get("enable_thinking", True)
        opening = "" if thinks else "<think>\n\n</think>\n\n"
        return _ids(f"{self.system}<turn>{turns}assistant: {opening}")

    def detokenize(self, body: Any) -> str:
        """Return the text of ids."""
        return _text(body["tokens"])

    def question(self, path: str, body: Any) -> str:
        """Return what the user asks in a request."""
        if body is None or "tokens" in body:
            return ""
        text = _text(body["prompt"]) if path == "/v1/completions" else _text(self.tokenize(body))
        found = _ASKED.search(text)
        return found.group(1) if found else ""

    def chat(self, body: Any) -> dict[str, Any]:
        """Return the document of `/v1/chat/completions`."""
        prompt = self.tokenize(body)
        ids, finish = self._generate(prompt, body)
        text = _text(ids).removesuffix("<turn>")
        thought, content = None, text
        if text.startswith("<think>"):
            thought, _, content = text.removeprefix("<think>").partition("</think>")
        n_thinking = 0 if thought is None else len(thought)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": content or None, "reasoning": thought},
            "finish_reason": finish,
            "token_ids": ids,
        }
        usage = _usage(prompt, ids)
        usage["completion_tokens_details"] = {"reasoning_tokens": n_thinking}
        document = {"id": "chatcmpl-1", "model": self.name, "choices": [choice], "usage": usage}
        return {**document, "prompt_token_ids": prompt}

    def complete(self, body: Any) -> dict[str, Any]:
        """Return the document of `/v1/completions`."""
        ids, finish = self._generate(body["prompt"], body)
        text = _text(ids).removesuffix("<turn>")
        choice = {"index": 0, "text": text, "finish_reason": finish, "token_ids": ids}
        return {"model": self.name, "choices": [choice], "usage": _usage(body["prompt"], ids)}

    def _generate(self, prompt: Sequence[int], body: Any) -> tuple[list[int], str]:
        """Return generated ids and why they end."""
        asked = self.question("/v1/completions", {"prompt": prompt})
        salt = body.get("seed") if body.get("temperature") else None
        digest = hashlib.sha256(json.dumps([asked, salt]).encode()).digest()
        last = len(prompt) - list(reversed(prompt)).index(_TURN)
        turn = list(prompt[last:])
        n_prompt = len(turn)
        is_direct = _START in turn and turn[turn.index(_START) + 1 :][:3] == _ids("\n\n</think>")
        if _START not in turn:
            turn.append(_START)
        if _END not in turn:
            self._think(turn, digest, body.get("thinking_token_budget"))
        first, end = turn.index(_START), turn.index(_END)
        n_thought = 0 if is_direct else end - first - 1
        script = _ids(("" if is_direct else "\n\n") + self._answer(asked, n_thought, digest))
        begun = len(turn) - end - 1 - (2 if is_direct else 0)
        generated = [*turn[n_prompt:], *script[begun:], _TURN]
        cap = body.get("max_tokens", 16)
        return generated[:cap], "stop" if len(generated) <= cap else "length"

    def _think(self, turn: list[int], digest: bytes, budget: int | None) -> None:
        first = turn.index(_START) + 1
        span = _LONGEST_THOUGHT - _SHORTEST_THOUGHT
        longest = _SHORTEST_THOUGHT + digest[0] % span
        n = longest if budget is None else min(longest, budget)
        for place in range(len(turn) - first, n):
            turn.append(_FIRST + ord("a") + digest[place % 32] % 26)
        turn.append(_END)

    def _answer(self, asked: str, n_thought: int, digest: bytes) -> str:
        found = _SUM.search(asked)
        right = sum(map(int, found.groups())) if found else 0
        needed = digest[1] % _LONGEST_THOUGHT
        is_right = n_thought >= needed if n_thought else digest[2] % 3 == 0
        return f"{self.answer_prefix}Answer: {right if is_right else right + 1}"


def _ids(text: str) -> list[int]:
    tags = {tag: number for number, tag in _TAGS.items()}
    return [tags.get(piece) or _FIRST + ord(piece) for piece in _PIECE.findall(text)]


def _text(ids: Sequence[int]) -> str:
    return "".join(_TAGS.get(i) or chr(i - _FIRST) for i in ids)


def _usage(prompt: Sequence[int], ids: Sequence[int]) -> dict[str, Any]:
    n_prompt, n = len(prompt), len(ids)
    return {"prompt_tokens": n_prompt, "completion_tokens": n, "total_tokens": n_prompt + n}
