"""The command line as a user runs it, and one small measured run to work with."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from advisor.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Return stdout, which must be one JSON document."""
        return json.loads(self.out)


Advisor = Callable[..., Outcome]


@pytest.fixture
def advisor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Advisor:
    """Run `advisor ARGUMENTS` in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["advisor", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


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
