"""Importing a package is quick and quiet: no heavy library, no socket, no log set-up."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "lightgbm",
    "litellm",
    "datasets",
    "huggingface_hub",
    "math_verify",
    "matplotlib",
    "onnxruntime_genai",
    "openai",
    "pandas",
    "pyarrow",
    "ray",
    "scipy",
    "sklearn",
    "sympy",
    "torch",
    "transformers",
    "vllm",
}
# An audit hook sees every socket, whoever opens it, and cannot be removed.
PROBE = """
import json, logging, sys
sockets = []
sys.addaudithook(lambda name, args: sockets.append(name) if name.startswith("socket.") else None)
{code}
print(json.dumps({{
    "modules": sorted({{name.partition(".")[0] for name in sys.modules}}),
    "sockets": sockets,
    "handlers": len(logging.getLogger().handlers),
}}))
"""


class Probe(NamedTuple):
    """What was there after some code had run."""

    modules: set[str]
    sockets: list[str]
    handlers: int


def probe(code: str) -> Probe:
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE.format(code=code)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    seen = json.loads(answer.stdout.splitlines()[-1])
    return Probe(set(seen["modules"]), seen["sockets"], seen["handlers"])


@pytest.mark.parametrize("package", ["policies", "calibration", "router", "advisor"])
def test_import_brings_no_heavy_library_and_opens_no_socket(package: str) -> None:
    after = probe(f"import {package}")
    assert not after.modules & HEAVY
    assert not after.sockets
    assert after.handlers == 0


def test_policies_need_only_pydantic_and_numpy() -> None:
    before = probe("import pydantic, numpy, numpy.typing").modules
    after = probe("import policies").modules
    foreign = after - before - set(sys.stdlib_module_names) - {"policies"}
    assert not foreign


def test_importing_the_cli_brings_no_heavy_library() -> None:
    after = probe("import advisor.cli")
    assert not after.modules & HEAVY
    assert not after.sockets


def test_help_brings_no_heavy_library() -> None:
    after = probe(
        "from advisor.cli import main\n"
        "sys.argv = ['advisor', '--help']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
    )
    assert not after.modules & HEAVY
    assert not after.sockets
