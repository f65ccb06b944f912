"""A real HTTP server that answers as scripted, and what tests of the `openai` backend share."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from policies import Completion, GenerationRequest, user_message
from policies.backends.openai import OpenAIBackend

CANARY = "sk-canary-5f2c81"
USAGE = {"prompt_tokens": 7, "completion_tokens": 9}


@dataclass
class Reply:
    """What the server does with one request."""

    body: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    raw: bytes | None = None
    delay_s: float = 0.0
    drip_s: float = 0.0
    is_cut: bool = False

    def payload(self) -> bytes:
        return json.dumps(self.body).encode() if self.raw is None else self.raw


class Server:
    """A scripted HTTP server: the last reply is repeated for ever.

    `respond`, where it is set, is called with path and body instead.
    """

    def __init__(self, port: int = 0) -> None:
        self.replies: list[Reply] = []
        self.respond: Callable[[str, Any], Reply] | None = None
        self.requests: list[dict[str, Any]] = []
        self.most_in_flight = 0
        self.in_flight = 0
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.answer(self)

            def do_GET(self) -> None:
                outer.answer(self)

            def log_request(self, code: object = "-", size: object = "-") -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        content = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        with self.lock:
            number = len(self.requests)
            body = json.loads(content) if content else None
            headers = {k.lower(): v for k, v in handler.headers.items()}
            self.requests.append({"path": handler.path, "headers": headers, "body": body})
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            if self.respond is not None:
                reply = self.respond(handler.path, body)
            else:
                reply = self.replies[min(number, len(self.replies) - 1)]
        self.stopping.wait(reply.delay_s)
        payload = reply.payload()
        with self.lock:
            self.in_flight -= 1
        try:
            handler.send_response(reply.status)
            headers = {"content-type": "application/json", **reply.headers}
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("content-length", str(len(payload) * (2 if reply.is_cut else 1)))
            handler.end_headers()
            for byte in payload if reply.drip_s else b"":
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                if self.stopping.wait(reply.drip_s):
                    return
            if not reply.drip_s:
                handler.wfile.write(payload)
        except OSError:  # The client has given up.
            handler.close_connection = True
        if reply.is_cut:
            handler.close_connection = True

    def close(self) -> None:
        self.stopping.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def chat(
    content: object = "Answer: 6", finish: object = "stop", usage: object = USAGE, **message: object
) -> dict[str, object]:
    body: dict[str, object] = {
        "id": "chatcmpl-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, **message},
                "finish_reason": finish,
            }
        ],
    }
    return body if usage is None else {**body, "usage": usage}


async def ask(
    server: Server,
    *replies: Reply | dict[str, object],
    request: GenerationRequest | None = None,
    **options: Any,
) -> Completion:
    server.replies = [r if isinstance(r, Reply) else Reply(r) for r in replies]
    settings: dict[str, Any] = {"max_retries": 0, **options}
    backend = OpenAIBackend("m", server.url, **settings)
    try:
        return await backend.generate(request or asked())
    finally:
        await backend.aclose()


def asked(**changes: Any) -> GenerationRequest:
    fields: dict[str, Any] = {"max_tokens": 50, **changes}
    return GenerationRequest(user_message("7+9?"), **fields)


def logprobs(*tokens: tuple[str, float]) -> dict[str, object]:
    return {"content": [{"token": token, "logprob": value} for token, value in tokens]}
