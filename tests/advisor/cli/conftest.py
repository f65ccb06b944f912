"""One small measured run to work with."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def _calibrate(out: Path, **changes: object) -> list[str]:
    options: dict[str, object] = {
        "backend": "pocket",
        "model": "pocket-m",
        "tasks": "pocket",
        "policies": "direct,reasoning@max",
        "limit": 40,
        "seed": 1,
        "out": out,
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    return ["calibrate", *(text for k, v in options.items() for text in (f"--{k}", str(v)))]


@pytest.fixture(scope="session")
def calibrate_arguments() -> Callable[..., list[str]]:
    """Build the arguments of a small pocket run into a folder, with changes."""
    return _calibrate


@pytest.fixture(scope="session")
def measured_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder measured once per session with the real pocket model."""
    out = tmp_path_factory.mktemp("measured") / "run"
    command = [sys.executable, "-m", "advisor", *_calibrate(out, limit=120)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return out


@pytest.fixture(scope="session")
def router_folder(measured_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a router fitted once per session from the measured run; not to be changed."""
    out = tmp_path_factory.mktemp("fitted") / "router"
    command = [sys.executable, "-m", "advisor", "fit", str(measured_run), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return out
