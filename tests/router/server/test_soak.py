"""A short soak: faults, leaving clients and a stop in the middle of load, about 40 seconds."""

from pathlib import Path

import pytest

from benchmarks.serving.soak import run_soak


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_server_under_faults_loses_no_request_and_leaks_nothing(tmp_path: Path) -> None:
    soak = run_soak(0.2, 20, tmp_path)

    assert soak.is_passed, [check for check in soak.checks if not check.is_met]
    # That it had something to bear.
    assert sum(soak.figures["upstream"]["faults"].values()) > 3
    assert any("499" in row for row in soak.figures["rows"])
