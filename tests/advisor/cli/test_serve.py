"""`advisor serve`: what it is started with, how it stops, and what it refuses."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.advisor.conftest import Advisor
from tests.servers.made_up_chat import MadeUpChat
from tests.servers.upstream import UpstreamServer, serving

pytest.importorskip("onnxruntime_genai", reason="the pocket models need the extra pocket")

QUESTION = "Compute mod ten, left to right: 7+5*3-4*9+2"


class Running:
    """A server in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        code = "from advisor.cli import main; main()"
        command = [sys.executable, "-c", code, "serve", "--port", "0", *arguments]
        self.process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.line = self.process.stderr.readline()
        self.url = self.line.split(" at ")[1].split("/v1")[0]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Return the exit code, and how long it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        try:
            code = self.process.wait(15)
        finally:
            self.process.kill()
            assert self.process.stderr is not None
            self.process.stderr.close()
        return code, time.monotonic() - started


def body(text: str = QUESTION, **more: object) -> dict[str, object]:
    return {"model": "thinkroute", "messages": [{"role": "user", "content": text}], **more}


def test_it_serves_the_pocket_models_and_stops_at_once(tmp_path: Path) -> None:
    running = Running(tmp_path, "--backend", "pocket")
    assert "4 arms" in running.line
    assert httpx.get(f"{running.url}/readyz").json() == {"ready": True}
    answer = httpx.post(f"{running.url}/v1/chat/completions", json=body(), timeout=30)
    assert answer.json()["choices"][0]["message"]["content"] == "Answer: 0"
    code, seconds = running.stop()
    assert code == 0
    assert seconds < 10
    assert (tmp_path / "decisions.sqlite").stat().st_mode & 0o077 == 0


def test_a_head_without_end_is_cut_off(tmp_path: Path) -> None:
    running = Running(tmp_path, "--log", "none")
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nx: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                connection.sendall(b"a" * 65_536)
            assert connection.recv(1) == b""
    assert httpx.get(f"{running.url}/healthz").status_code == 200
    assert running.stop()[0] == 0


async def test_a_stop_in_the_middle_of_load_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    running = Running(tmp_path, "--log", "none")
    asked = body(reasoning_effort="high")

    async def ask(client: httpx.AsyncClient, stream: bool) -> str:
        try:
            answer = await client.post("/v1/chat/completions", json=asked | {"stream": stream})
        except httpx.ConnectError:
            return "refused"
        if answer.status_code != 200:
            return "told" if answer.json()["error"]["message"] else "lost"
        if not stream:
            return "whole" if answer.json()["choices"] else "lost"
        return "whole" if answer.text.rstrip().endswith("data: [DONE]") else "lost"

    limits = httpx.Limits(max_connections=300)
    async with httpx.AsyncClient(base_url=running.url, timeout=30, limits=limits) as client:
        tasks = [asyncio.create_task(ask(client, bool(i % 2))) for i in range(200)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        stopped = asyncio.create_task(asyncio.to_thread(running.stop))
        ends = await asyncio.gather(*tasks)
        code, seconds = await stopped
    assert (code, seconds < 10) == (0, True)
    assert "lost" not in ends
    assert ends.count("whole") > 100


def test_the_key_of_an_upstream_may_lie_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("sk-upstream-1\n")
    with serving(UpstreamServer(MadeUpChat("pocket-m"))) as upstream:
        running = Running(
            tmp_path, "--upstream", upstream.url, "--api-key-file", str(secret), "--log", "none"
        )
        answer = httpx.post(f"{running.url}/v1/chat/completions", json=body(), timeout=30)
        assert answer.status_code == 200
        assert running.stop()[0] == 0
        seen = upstream.generations()[-1]
    assert seen.headers["authorization"] == "Bearer sk-upstream-1"
    assert "sk-upstream-1" not in running.line


def test_control_c_ends_it_as_usual(tmp_path: Path) -> None:
    code, _ = Running(tmp_path, "--log", "none").stop(signal.SIGINT)
    assert code == 130


def test_the_log_of_a_server_is_read_by_the_other_commands(
    tmp_path: Path, advisor: Advisor
) -> None:
    running = Running(tmp_path)
    for text in (QUESTION, "Who is Ann's boss?"):
        httpx.post(f"{running.url}/v1/chat/completions", json=body(text), timeout=30)
    running.stop()
    log = tmp_path / "decisions.sqlite"
    done = advisor("report", "savings", log, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["schema_version"] == 1
    drift = advisor("drift", log, "--json")
    assert drift.code == 0, drift.err
    assert json.loads(drift.out)["n"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--host", "0.0.0.0"), 3, "there are no keys"),
        (("--port", "99999"), 2, "port is 99999"),
        (("--keys", "nope.toml"), 3, "nope.toml cannot be read"),
        (("--upstream", "ftp://x"), 2, "no http or https URL"),
        (("--upstream", "other=http://127.0.0.1:1/v1"), 2, "the router has no model 'other'"),
        (("--upstream", "http://127.0.0.1:1/v1", "--backend", "pocket"), 2, "has no meaning"),
        (("--base-url", "http://127.0.0.1:1/v1"), 2, "neither --backend nor --upstream"),
        (("--alias", "gpt-4o"), 2, "is not NAME=VALUE"),
        (("--alias", "gpt-4o=nope"), 2, "which is no model here"),
        (("--reference", "nope"), 2, "unknown arm"),
        (("--log", "postgresql://ho st/db"), 2, "PostgreSQL"),
        (("--router", "nowhere"), 3, "nowhere"),
        (("--backend", "pocket", "-B", "directory=/nowhere"), 3, "/nowhere cannot be loaded"),
        (("--api-key-file", "nokey"), 3, "--api-key-file nokey cannot be read"),
    ],
)
def test_what_it_cannot_be_started_with_is_told_in_a_line(
    advisor: Advisor, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = advisor("serve", "--port", "0", *arguments)
    assert done.code == code, done.err
    first = done.err.splitlines()[0]
    assert said in first
    assert first.startswith(("error[", "usage", "Usage"))


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code = "from advisor.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, "serve", "--port", port, "--log", "none"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            env=dict(os.environ),
            check=False,
        )
    assert done.returncode == 3
    assert f"127.0.0.1:{port} cannot be listened on" in done.stderr
