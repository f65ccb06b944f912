"""`advisor calibrate` against real vLLM gives the same table as the embedded ONNX model.

The model is the same and decoding is greedy, so the two backends should agree question by
question; what remains is the rounding of two different kernels.
"""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from calibration import OutcomeRecord, RunStore, store_path
from tests.vllm.serving import PYTHON, ROOT, VllmServer, serve_vllm

pytestmark = pytest.mark.vllm

POLICIES = "direct,reasoning@16,reasoning@max"
LIMIT = "100"
CAPS = ("--max-answer-tokens", "32", "--max-thinking-tokens", "320")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    directory = ROOT / "models" / "pocket-m"
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing: run scripts/make_venv_vllm.sh")
    with serve_vllm(
        directory, tmp_path_factory.mktemp("vllm") / "server.log", model="pocket-m"
    ) as running:
        yield running


def calibrate(out: Path, *more: str) -> dict[str, Any]:
    command = [
        *(sys.executable, "-m", "advisor", "calibrate", "--model", "pocket-m"),
        *("--tasks", "pocket", "--policies", POLICIES, "--limit", LIMIT, "--seed", "3"),
        *("--out", str(out), *CAPS, *more, "--json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def outcomes(out: Path) -> dict[tuple[str, str], OutcomeRecord]:
    with RunStore.open(store_path(out)) as store:
        return {(record.question_id, record.policy): record for record in store.records()}


def test_both_backends_give_one_table(server: VllmServer, tmp_path: Path) -> None:
    config = str(ROOT / "models" / "pocket-m" / "config.json")
    served = calibrate(
        tmp_path / "vllm", "--backend", "openai", "--base-url", server.base_url, "--config", config
    )
    embedded = calibrate(tmp_path / "onnx", "--backend", "pocket")
    left, right = outcomes(tmp_path / "vllm"), outcomes(tmp_path / "onnx")
    assert left.keys() == right.keys()
    assert served["summary"]["n_error"] == 0

    n_same = sum(left[key].outcome is right[key].outcome for key in left)
    assert n_same >= 0.98 * len(left), f"{n_same} of {len(left)} outcomes agree"
    for a, b in zip(served["cells"], embedded["cells"], strict=True):
        assert (a["task"], a["policy"], a["n"]) == (b["task"], b["policy"], b["n"])
        spread = math.sqrt(2 * 0.25 / a["n"])  # standard error of a difference, at its widest
        assert abs(a["accuracy"] - b["accuracy"]) <= 2 * spread
        assert a["mean_flops"] == pytest.approx(b["mean_flops"], rel=0.05)
        assert a["size"] == b["size"]


def test_thinking_is_split_off_and_a_budget_holds(server: VllmServer, tmp_path: Path) -> None:
    import sqlite3

    out = tmp_path / "run"
    calibrate(out, "--backend", "openai", "--base-url", server.base_url)
    with sqlite3.connect(store_path(out)) as connection:
        rows = connection.execute(
            "SELECT a.policy, g.text, g.thinking, g.thinking_tokens FROM generation g "
            "JOIN arm a ON a.id = g.arm"
        ).fetchall()
    assert len(rows) == 4 * int(LIMIT) * 3
    for policy, text, thinking, n_thinking in rows:
        assert "think>" not in text
        if policy == "direct":
            assert not thinking
        else:
            assert thinking
        if policy == "reasoning@16":
            assert n_thinking <= 16
