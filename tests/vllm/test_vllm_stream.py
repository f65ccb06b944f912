"""Streams of the `vllm` backend: what a real engine hands out token by token."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.vllm.in_process import MODEL
from tests.vllm.serving import PYTHON, ROOT

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

OPTIONS: dict[str, Any] = {
    "name": "vllm",
    "model": "pocket-m",
    "directory": str(MODEL),
    "dtype": "float32",
    "max_model_len": 1024,
    "enforce_eager": True,
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run all streams in one process: an engine takes a minute to start."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing: run scripts/make_venv_vllm.sh")
    script = Path(__file__).with_name("streaming.py")
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", **os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [str(PYTHON), str(script), json.dumps(OPTIONS)],
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("vllm"),
        env={**environment, "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def test_the_backend_keeps_its_contract(found: dict[str, Any]) -> None:
    assert found["failures"] == []
    assert found["skipped"] == ["effort", "switch-penalty"]


def test_streams_of_all_kinds_are_the_answers_of_generate(found: dict[str, Any]) -> None:
    assert not found["problems"], "\n".join(found["problems"])


def test_pieces_come_while_the_rest_is_generated(found: dict[str, Any]) -> None:
    for times, n_tokens in ((found["alone"], 800), *((one, 100) for one in found["together"])):
        assert times["n_parts"] > n_tokens / 10
        assert times["first_s"] < times["last_s"] / 2


def test_a_consumer_that_leaves_frees_the_engine_and_disturbs_nobody(
    found: dict[str, Any],
) -> None:
    left = found["left"]
    assert left["n_before"] >= 4
    assert left["freed_s"] < found["alone"]["last_s"] / 2
    assert left["other"] == left["alone"]
    assert left["n_tasks"] == 1
