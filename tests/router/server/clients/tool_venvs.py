"""Tools that live in environments of their own, made by scripts/make_venv_clients.sh."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

__all__ = ["program_of", "run_tool"]

ROOT = Path(__file__).resolve().parents[4]
VARIABLE = "THINKROUTE_CLIENTS_DIR"
TIMEOUT_S = 240


def program_of(tool: str, program: str) -> str:
    """Return the path of a program of a tool's environment; skip the test where it is not there."""
    folder = Path(os.environ.get(VARIABLE) or ROOT / ".venv-clients")
    path = folder / tool / "bin" / program
    if not path.exists():
        pytest.skip(
            f"{path} is not there; run scripts/make_venv_clients.sh {tool}, or set {VARIABLE}"
        )
    return str(path)


def run_tool(
    command: list[str], folder: Path, environ: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run a tool in a folder with nothing of ours on its path and no way to any hub.

    Raises:
        subprocess.TimeoutExpired: It did not end in time.
    """
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return subprocess.run(
        command,
        cwd=folder,
        env={**inherited, **offline, "HOME": str(folder), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )
