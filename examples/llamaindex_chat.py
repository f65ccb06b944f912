"""LlamaIndex against `advisor serve`: the base URL is all that changes.

pip install llama-index-llms-openai-like
advisor serve --backend pocket
python examples/llamaindex_chat.py
"""

import os

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(
    model="thinkroute",
    api_base=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8400/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "none"),  # any text, for a server without keys
    is_chat_model=True,
)
question = ChatMessage(role="user", content="Compute mod ten, left to right: 7+5*3-4*9+2")

answer = model.chat([question])
print(answer.message.content)
print("model:", answer.raw.model)

# Streamed, with a wish of this request alone: without a thought.
for chunk in model.stream_chat([question], extra_body={"thinkroute": {"mode": "ift"}}):
    print(chunk.delta, end="")
print()
