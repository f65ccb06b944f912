"""An HTTP server for a made-up model that counts what it is asked and fails as told."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers.made_up_vllm import MadeUpModel

__all__ = ["Fault", "FaultServer", "Seen"]

_GENERATES = ("/v1/chat/completions", "/v1/completions")


@dataclass(frozen=True)
class Seen:
    """One request.

    Attributes:
        path: The endpoint.
        question: What the user asks.
        thinking: Whether thinking is on.
        budget: Thinking budget, `None` for none.
        prefix: How many ids a text completion goes on from, 0 for a chat.
        seed: Seed of the sampling.
        n_before: Equal requests seen before.
    """

    path: str
    question: str
    thinking: bool
    budget: int | None
    prefix: int
    seed: int | None
    n_before: int = 0

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes two requests ask the same."""
        return (*(self.path, self.question, self.thinking, self.budget, self.prefix, self.seed),)


@dataclass(frozen=True)
class Fault:
    """What the server does instead of answering well.

    Attributes:
        status: HTTP status.
        headers: Further headers.
        raw: Bytes sent instead of a document.
        hangs: Whether no answer ever comes.
        is_cut: Whether the connection breaks in the middle of the answer.
        change: Alters the document before it is sent.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    raw: bytes | None = None
    hangs: bool = False
    is_cut: bool = False
    change: Callable[[dict[str, Any]], None] | None = None


class FaultServer:
    """Serves a `MadeUpModel` on 127.0.0.1 until it is closed.

    Attributes:
        model: The model; may be exchanged while the server runs.
        fault: Called with every request; returns what goes wrong, `None` for nothing.
        on_seen: Called with the number of generations asked so far, this one included, before
            it is answered.
        latency_s: How long an answer takes.
        seen: All requests.
        tokens: Prompt and generated tokens of each question, also of answers that were lost.
    """

    def __init__(self, model: MadeUpModel | None = None) -> None:
        """Start to serve."""
        self.model = model or MadeUpModel()
        self.fault: Callable[[Seen], Fault | None] | None = None
        self.on_seen: Callable[[int], None] | None = None
        self.latency_s = 0.0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.reset()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                outer._answer(self)

            def do_GET(self) -> None:
                outer._answer(self)

            def log_request(self, code: object = "-", size: object = "-") -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        # A client that is killed breaks its connections; that is no news.
        self._http.handle_error = lambda request, client_address: None
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Base URL of the API."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def reset(self) -> None:
        """Forget what was asked."""
        with self._lock:
            self.seen: list[Seen] = []
            self._times: Counter[tuple[object, ...]] = Counter()
            self.tokens: Counter[str] = Counter()
            self.n_in_flight = self.most_in_flight = 0

    def generations(self, *, of: Callable[[Seen], bool] = lambda seen: True) -> list[Seen]:
        """Return the requests that generated something, of all or of some."""
        with self._lock:
            return [one for one in self.seen if one.path in _GENERATES and of(one)]

    def close(self) -> None:
        """Stop, also where an answer hangs."""
        self._stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("content-length", 0))
        content = handler.rfile.read(length)
        if len(content) < length:  # The client was killed while it was asking.
            handler.close_connection = True
            return
        body = json.loads(content) if content else None
        seen = self._count(handler.path, body)
        try:
            if handler.path in _GENERATES and self.on_seen is not None:
                self.on_seen(len(self.generations()))
            document = self._document(handler.path, body)
            with self._lock:
                total = document.get("usage", {}).get("total_tokens", 0)
                self.tokens[seen.question] += total
            fault = self.fault(seen) if self.fault is not None else None
            if self.latency_s or (fault is not None and fault.hangs):
                hangs = fault is not None and fault.hangs
                self._stopping.wait(None if hangs else self.latency_s)
            self._send(handler, document, fault or Fault())
        except OSError:  # The client has given up or was killed.
            handler.close_connection = True
        finally:
            with self._lock:
                self.n_in_flight -= handler.path in _GENERATES

    def _count(self, path: str, body: Any) -> Seen:
        body = body or {}
        prompt = body.get("prompt")
        one = Seen(
            path,
            self.model.question(path, body or None),
            bool(body.get("chat_template_kwargs", {}).get("enable_thinking", True)),
            body.get("thinking_token_budget"),
            len(prompt) if isinstance(prompt, list) else 0,
            body.get("seed"),
        )
        with self._lock:
            n_before = self._times[one.identity]
            self._times[one.identity] += 1
            one = Seen(*one.identity, n_before=n_before)  # pyright: ignore[reportArgumentType] - its fields in order
            self.seen.append(one)
            if path in _GENERATES:
                self.n_in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.n_in_flight)
        return one

    def _document(self, path: str, body: Any) -> dict[str, Any]:
        model = self.model
        if path == "/v1/models":
            return {"data": [{"id": model.name, "root": model.root}]}
        if path == "/version":
            return {"version": model.version}
        if path == "/tokenize":
            return {"tokens": model.tokenize(body)}
        if path == "/detokenize":
            return {"prompt": model.detokenize(body)}
        return model.chat(body) if path == _GENERATES[0] else model.complete(body)

    def _send(
        self, handler: BaseHTTPRequestHandler, document: dict[str, Any], fault: Fault
    ) -> None:
        if fault.change is not None:
            fault.change(document)
        payload = json.dumps(document).encode() if fault.raw is None else fault.raw
        handler.send_response(fault.status)
        for name, value in {"content-type": "application/json", **fault.headers}.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(payload)))
        handler.end_headers()
        if fault.is_cut:
            handler.wfile.write(payload[: len(payload) // 2])
            handler.close_connection = True
        else:
            handler.wfile.write(payload)
