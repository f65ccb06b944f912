"""thinkbudget: asked over HTTP, as its users ask it; nothing of it is imported.

It is licensed under the AGPL, so it runs as a program of its own, started by the server that its
environment brings along, and only its public endpoint is spoken to. A decision's time therefore
holds a request over the loopback interface.
"""

import http.client
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

from ._job import Job, Variant, main, timed

DEAR_TIERS = frozenset({"complex", "deep"})
START_S = 60.0


def run(job: Job) -> dict[str, Variant]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [
        *(str(Path(sys.executable).with_name("uvicorn")), "thinkbudget.proxy:create_app"),
        *("--factory", "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        connection = _connect(port, server)
        answers = [_classify(connection, text) for text in job.test_texts]
        latency = timed(lambda text: _classify(connection, text), job.test_texts, job.n_timed)
        connection.close()
    finally:
        server.terminate()
        server.wait(10)
    return {
        "five tiers": Variant(
            score=[budget for _, budget in answers],
            is_strong=[tier in DEAR_TIERS for tier, _ in answers],
            latency_ms=latency,
            note="its budget is the score; COMPLEX and DEEP take the dear arm; time with HTTP",
        )
    }


def _connect(port: int, server: subprocess.Popen[bytes]) -> http.client.HTTPConnection:
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1.0):
                return http.client.HTTPConnection("127.0.0.1", port, timeout=30.0)
        except OSError:
            time.sleep(0.1)
    sys.exit("thinkbudget's server did not start")


def _classify(connection: http.client.HTTPConnection, text: str) -> tuple[str, float]:
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/api/classify", json.dumps({"query": text}), headers)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        sys.exit(f"thinkbudget answered {response.status}: {body[:200]!r}")
    answer = json.loads(body)
    return str(answer["tier"]).lower(), float(answer["thinking_budget"])


if __name__ == "__main__":
    main(run)
