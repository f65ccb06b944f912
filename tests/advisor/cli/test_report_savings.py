"""`advisor report savings`: what it prints, what it chooses, and its exit codes."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from advisor.cli.report import _since
from policies import Usage
from router.server._record import ServedRequest
from router.server.decision_log import open_log

CHEAP, DEAR = "toy:direct", "toy:reasoning@max"
Advisor = Callable[..., Any]


def request(name: str, **changes: Any) -> ServedRequest:
    made = ServedRequest(
        decision_id=name,
        time_s=1.7e9,
        endpoint="chat",
        asked="thinkroute:cheap",
        arm=CHEAP,
        status=200,
        seconds=1.0,
        caller="team-a",
        reference_arm=DEAR,
        reference_tokens=500.0,
        usage=Usage(10, 50),
        added_s=0.001,
        decision_s=0.0002,
    )
    return replace(made, **changes)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Write a log whose reference arm uses half of what is expected of it."""
    rng = np.random.default_rng(1)
    made = [request(f"c{i}", time_s=1.7e9 + i, caller="ab"[i % 2]) for i in range(300)]
    for number, noise in enumerate(rng.lognormal(-0.02, 0.2, 100).tolist()):
        used = Usage(10, round(250 * noise))
        made.append(request(f"d{number}", time_s=1.6e9, arm=DEAR, usage=used, usd=0.01))
    made.append(request("e0", usage=None, status=503, error="no-upstream", arm=""))
    store = open_log(tmp_path / "log.sqlite")
    store.write(made)
    store.record_feedback("c0", outcome="correct")
    store.close()
    return tmp_path / "log.sqlite"


def test_savings_are_told_with_their_check(advisor: Advisor, log: Path) -> None:
    found = advisor("report", "savings", log, "--json")
    assert found.code == 0
    document = found.json()
    assert (document["schema_version"], document["log"], document["n"]) == (1, str(log), 401)
    assert document["not_compared"] == {"error": 1}
    tokens, check = document["total"]["tokens"], document["check"]
    assert tokens["n"] == 400
    assert tokens["share"]["low"] < tokens["share"]["value"] < tokens["share"]["high"]
    assert tokens["share"]["value"] == pytest.approx(1 - tokens["used"] / tokens["reference"])
    assert check["verdict"] == "too-high"
    assert check["saved_share"]["value"] < tokens["share"]["value"]
    assert [arm["arm"] for arm in document["arms"]] == [CHEAP, DEAR, ""]


def test_the_tables_say_how_far_the_savings_can_be_believed(advisor: Advisor, log: Path) -> None:
    shown = advisor("report", "savings", log)
    assert shown.code == 0
    for text in (
        CHEAP,
        DEAR,
        "(none)",
        "the savings above are overstated",
        "n = 100",
        "errors, no-upstream: 0.002",
        "not compared, error: 1",
        "401 requests in 401 conversations, 2020-09-13",
        "accuracy is not in a log",
    ):
        assert text in shown.out
    assert shown.err == ""


def test_requests_are_chosen_by_time_and_caller(advisor: Advisor, log: Path) -> None:
    def count(*options: object) -> int:
        return advisor("report", "savings", log, "--json", *options).json()["n"]

    assert count("--caller", "a") == 150
    assert count("--since", "2023-01-01") == 301
    assert count("--since", "2023-11-14T22:14:20+00:00", "--caller", "b") == 120
    assert count("--since", "900w") == 401


@pytest.mark.parametrize("options", [("--caller", "nobody"), ("--since", "7d")])
def test_without_a_request_it_exits_with_6(
    advisor: Advisor, log: Path, options: tuple[str, str]
) -> None:
    found = advisor("report", "savings", log, *options)
    assert (found.code, found.out) == (6, "")
    assert "no request" in found.err
    as_json = advisor("report", "savings", log, "--json", *options)
    assert (as_json.code, as_json.json()["n"]) == (6, 0)


@pytest.mark.parametrize("since", ["yesterday", "7", "-7d", "7y", "2026-13-01", ""])
def test_a_time_that_is_none_is_refused(advisor: Advisor, log: Path, since: str) -> None:
    found = advisor("report", "savings", log, "--since", since)
    assert (found.code, found.out) == (2, "")
    assert "--since" in found.err


def test_a_span_is_counted_back_from_now() -> None:
    now = time.time()
    assert _since("90m", now) == now - 5400
    assert _since("7d", now) == now - 604_800
    assert _since("1970-01-02", now) == 86_400


def test_a_log_that_is_not_there_exits_with_3(advisor: Advisor, tmp_path: Path) -> None:
    found = advisor("report", "savings", tmp_path / "none.sqlite")
    assert (found.code, found.out) == (3, "")
    assert "there is no decision log" in found.err
    url = "postgresql://me:CANARY@127.0.0.1:1/x"
    refused = advisor("report", "savings", url)
    assert (refused.code, refused.out) == (3, "")
    assert "CANARY" not in refused.err


def test_a_feedback_log_without_a_server_has_no_request(advisor: Advisor, tmp_path: Path) -> None:
    from router import FeedbackLog

    FeedbackLog.open(tmp_path / "feedback.sqlite").close()
    assert advisor("report", "savings", tmp_path / "feedback.sqlite").code == 6


def test_help_opens_with_an_example(advisor: Advisor) -> None:
    found = advisor("report", "savings", "--help")
    assert found.code == 0
    assert "advisor report savings decisions.sqlite --since 7d" in found.out
