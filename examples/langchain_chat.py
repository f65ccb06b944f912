"""LangChain against `advisor serve`: the base URL is all that changes.

pip install langchain-openai
advisor serve --backend pocket
python examples/langchain_chat.py
"""

import os

from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    model="thinkroute",
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8400/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "none"),  # any text, for a server without keys
    include_response_headers=True,
)
question = "Compute mod ten, left to right: 7+5*3-4*9+2"

answer = model.invoke(question)
print(answer.content)
print("arm:", answer.response_metadata["headers"]["x-thinkroute-arm"])

# Streamed, by the cheap tier: `low` is `thinkroute:cheap`.
for chunk in model.bind(reasoning_effort="low").stream(question):
    print(chunk.content, end="")
print()
