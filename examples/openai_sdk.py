"""OpenAI's own SDK against `advisor serve`: the base URL is all that changes.

advisor serve --backend pocket
python examples/openai_sdk.py
"""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8400/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "none"),  # any text, for a server without keys
)
question = "Compute mod ten, left to right: 7+5*3-4*9+2"

# The router decides; what it decided is in the headers.
raw = client.chat.completions.with_raw_response.create(
    model="thinkroute",
    messages=[{"role": "user", "content": question}],
)
answer = raw.parse()
print(answer.choices[0].message.content)
print("arm:", raw.headers["x-thinkroute-arm"])

# Streamed, and with a wish of this request alone: at most 16 thinking tokens.
stream = client.chat.completions.create(
    model="thinkroute",
    messages=[{"role": "user", "content": question}],
    stream=True,
    extra_body={"thinkroute": {"budget": 16}},
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="")
print()

# What became of an answer, by its decision: what `advisor drift` watches.
client.post(
    "/feedback",
    cast_to=object,
    body={"decision_id": raw.headers["x-thinkroute-decision"], "outcome": "correct"},
)
