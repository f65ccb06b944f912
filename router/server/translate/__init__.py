"""OpenAI's Responses API and its legacy Completions API on top of chat completions.

Everything here turns JSON objects into JSON objects: a request into the chat completion request
that asks the same, and the answer, whole or in chunks, into what the client of the other API
expects. Nothing is sent, stored or timed, so that one path serves all three APIs. Field names and
event order are those of OpenAI's own client (`openai.types.responses`, `openai.types.completion`).

What is refused, each with one line that names the field and says what to do:

- What would need a store: `previous_response_id`, `conversation`, `background`, `prompt`, items
  and files by reference. Clients send the whole conversation; `store` is accepted and echoed as
  false.
- What OpenAI runs by itself: web and file search, computer use, code interpreter, MCP and custom
  tools, moderation, compaction. Functions are called by the client.
- `truncation: "auto"`: no part of a conversation is dropped without being told to.
- Of text completions: token ids, `suffix`, `echo`, `logprobs`, and `best_of` above `n`, none of
  which a chat model's answer has. Tools have no place in a text.

What differs from OpenAI: thoughts are sent whole, as `reasoning_text`, so that `reasoning.summary`
and `include: ["reasoning.encrypted_content"]` are accepted and have no effect. Reasoning items of
earlier turns are dropped. Parameters that were not given are echoed as null where the served model
sets its own default. `metadata` is echoed and goes no further. Fields that the API does not know
(`thinkroute`, `top_k`, ...) are passed along to the chat.
"""

from ._completions import (
    CompletionStream,
    chat_body_of_completion,
    completion_chunk_of,
    completion_of_chats,
)
from ._responses_answer import response_of_chat
from ._responses_request import chat_body_of_response
from ._responses_stream import ResponseStream

__all__ = [
    "CompletionStream",
    "ResponseStream",
    "chat_body_of_completion",
    "chat_body_of_response",
    "completion_chunk_of",
    "completion_of_chats",
    "response_of_chat",
]
