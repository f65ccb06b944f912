"""`advisor calibrate` that cannot go on: what it says, and that nothing measured is lost."""

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.advisor.conftest import Advisor
from tests.servers.fault_server import Fault, FaultServer, Seen
from tests.servers.runs import arguments, is_question, write_questions


@pytest.fixture
def server() -> Iterator[FaultServer]:
    running = FaultServer()
    yield running
    running.close()


def test_a_server_that_shuts_the_door_leaves_a_run_that_says_how_to_go_on(
    server: FaultServer, tmp_path: Path, advisor: Advisor
) -> None:
    once = ("--concurrency", 1, "--backend-option", "max_retries=0", "--no-replay")
    command = arguments(
        *(server, write_questions(tmp_path, 4), tmp_path / "run", *once), policies="direct"
    )
    is_shut = True

    def fault(seen: Seen) -> Fault | None:
        n_asked = len(server.generations(of=is_question))
        return Fault(403, raw=b"{}") if is_shut and is_question(seen) and n_asked > 2 else None

    server.fault = fault
    stopped = advisor(*command)
    assert stopped.code == 5
    assert f"finished samples are in {tmp_path / 'run'}: the same command resumes" in stopped.err
    is_shut = False
    whole = advisor(*command)
    assert whole.code == 0, whole.err
    assert whole.json()["summary"]["n_resumed"] >= 1


def test_a_run_that_has_nothing_yet_promises_nothing(
    server: FaultServer, tmp_path: Path, advisor: Advisor
) -> None:
    server.fault = lambda seen: Fault(403, raw=b"{}")
    stopped = advisor(
        *arguments(server, write_questions(tmp_path, 2), tmp_path / "run", policies="direct")
    )
    assert stopped.code == 5
    assert "resumes" not in stopped.err


def test_a_source_folder_that_was_never_installed_can_measure(
    server: FaultServer, tmp_path: Path, advisor: Advisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = importlib.metadata.version

    def version(name: str) -> str:
        if name == "thinkroute":
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    out = tmp_path / "run"
    done = advisor(*arguments(server, write_questions(tmp_path, 2), out, policies="direct"))
    assert done.code == 0, done.err
