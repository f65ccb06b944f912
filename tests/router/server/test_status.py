"""The numbers of the status page; a plain recomputation from a list is the second source."""

import json
import math
import statistics
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Usage
from router.server._record import ServedRequest
from router.server._status import (
    MOST_CHARACTERS,
    MOST_NAMES,
    N_DECISIONS,
    N_LATENCIES,
    OTHER,
    StatusBoard,
)
from router.server.decision_log import ServedRow, savings
from tests.router.server.status_site import DOWN, LOG, NOON, UP, Clock, busy_day, served

MAYBE_COUNT = st.none() | st.integers(0, 10**6).map(float) | st.just(math.nan)
RECORDS = st.builds(
    served,
    st.just(1),
    st.just(NOON),
    arm=st.sampled_from(["a:direct", "a:reasoning@512", "b:reasoning@max", ""]),
    status=st.sampled_from([200, 200, 200, 429, 502]),
    error=st.sampled_from(["", "", "", "client-disconnected", "upstream-failed"]),
    reasons=st.sampled_from([(), ("target-met",), ("escalated", "target-met")]),
    usage=st.none() | st.builds(Usage, st.integers(0, 10**6), st.integers(0, 10**6)),
    expected_flops=MAYBE_COUNT,
    reference_flops=MAYBE_COUNT,
    reference_tokens=MAYBE_COUNT,
    reference_arm=st.sampled_from(["", "b:reasoning@max", "a:reasoning@512"]),
    max_tokens=st.none() | st.integers(1, 10**6),
    finish_reason=st.sampled_from(["stop", "length"]),
    added_s=st.integers(0, 10**6).map(lambda us: us / 1e6),
    decision_s=st.sampled_from([0.0, 0.001, 0.002, 0.5]),
)
# Whole numbers of 1/8 s are exact, so that both sides cut windows at the same place.
WAITS_S = st.sampled_from(
    [0.0, 0.0, 0.125, 0.5, 1.0, 9.875, 30.0, 59.0, 60.0, 300.0, 900.0, 5000.0]
)
DAYS = st.lists(st.tuples(WAITS_S, RECORDS), max_size=60)


def document_of(board: StatusBoard, **state: Any) -> dict[str, Any]:
    """Return the document as a client reads it; it has to be plain JSON."""
    return json.loads(json.dumps(board.snapshot(**state), allow_nan=False))


def as_shares(arms: list[str]) -> dict[str, tuple[int, float]]:
    return {arm: (n, n / len(arms)) for arm, n in Counter(arms).items()}


def read_shares(rows: list[dict[str, Any]]) -> dict[str, tuple[int, float]]:
    assert [row["n"] for row in rows] == sorted((row["n"] for row in rows), reverse=True)
    return {row["arm"]: (row["n"], row["share"]) for row in rows}


def least_covering(values: list[float], percent: int) -> float | None:
    """The definition itself: the least value that `percent` of all do not exceed."""
    return min(
        (v for v in values if sum(other <= v for other in values) * 100 >= percent * len(values)),
        default=None,
    )


@given(DAYS, WAITS_S)
def test_the_document_equals_a_plain_recomputation(
    day: list[tuple[float, ServedRequest]], last_wait_s: float
) -> None:
    clock = Clock()
    board = StatusBoard(clock)
    seen: list[tuple[float, ServedRequest]] = []
    for wait_s, record in day:
        clock.now_s += wait_s
        board.note(record)
        seen.append((clock.now_s, record))
    clock.now_s += last_wait_s
    document = document_of(board)

    records = [record for _, record in seen]
    usages = [record.usage for record in records if record.usage is not None]
    errors = [
        record.error or f"http-{record.status}"
        for record in records
        if record.error or record.status >= 400
    ]
    assert document["totals"] == {
        "n_requests": len(records),
        "n_decisions": sum(record.arm != "" for record in records),
        "n_errors": len(errors),
        "n_usages": len(usages),
        "prompt_tokens": sum(usage.prompt_tokens for usage in usages),
        "completion_tokens": sum(usage.completion_tokens for usage in usages),
    }
    assert {row["code"]: row["n"] for row in document["errors"]} == dict(Counter(errors))

    decided = [(at, record) for at, record in seen if record.arm]
    seconds = Counter(math.floor(at) for at, _ in decided)
    now = math.floor(clock.now_s)
    per_second = [seconds[second] for second in range(now - 60, now)]
    assert document["rate"]["per_second"] == per_second
    assert document["rate"]["last_10_s"] == pytest.approx(statistics.fmean(per_second[-10:]))
    assert document["rate"]["last_60_s"] == pytest.approx(statistics.fmean(per_second))

    # Spans of ten seconds, the current one included.
    lately = [record.arm for at, record in decided if at // 10 > clock.now_s // 10 - 90]
    assert read_shares(document["arms"]["last_15_min"]) == as_shares(lately)
    every = [record.arm for _, record in decided]
    assert read_shares(document["arms"]["since_start"]) == as_shares(every)

    # Where no usage was told, the report of the decision log lets the end by length hide the
    # client's cap; and it counts FLOPs of escalated answers, of which it knows one half.
    rows = [
        ServedRow(record if record.usage else replace(record, finish_reason="stop"))
        for record in records
    ]
    halves = [row for row in rows if "escalated" not in row.request.reasons]
    for saved, compared in (
        (document["saved"]["tokens"], savings(rows).total.tokens),
        (document["saved"]["flops"], savings(halves).total.flops),
    ):
        # All numbers are whole and small: the sums are exact.
        difference = compared.reference - compared.used
        assert saved["n_known"] == compared.n
        assert saved["saved"] == difference
        assert saved["share"] == (
            difference / compared.reference if compared.reference > 0 else None
        )

    recent = [record for at, record in decided if at > clock.now_s - 900.0]
    for name, values in (
        ("added", [record.added_s for record in recent]),
        ("decision", [record.decision_s for record in recent if record.decision_s > 0]),
    ):
        assert document["latency"][name] == {
            "n": len(values),
            "p50_s": least_covering(values, 50),
            "p95_s": least_covering(values, 95),
        }
    last = [record.arm for _, record in reversed(decided)][:N_DECISIONS]
    assert [row["arm"] for row in document["decisions"]] == last


def test_the_rings_keep_what_they_promise_and_no_more() -> None:
    clock = Clock()
    board = StatusBoard(clock)
    n_requests = 2 * N_LATENCIES + 17
    for number in range(n_requests):
        board.note(served(number, NOON, added_s=float(number), decision_s=1.0))
    document = document_of(board)
    kept = range(n_requests - N_LATENCIES, n_requests)
    assert document["latency"]["added"] == {
        "n": N_LATENCIES,
        "p50_s": float(kept[N_LATENCIES // 2 - 1]),
        "p95_s": float(kept[math.ceil(0.95 * N_LATENCIES) - 1]),
    }
    numbers = [row["number"] for row in document["decisions"]]
    assert numbers == list(range(n_requests, n_requests - N_DECISIONS, -1))


def test_an_idle_hour_empties_the_windows_and_no_total() -> None:
    board, clock = busy_day()
    before = document_of(board)
    clock.now_s += 3600.0
    after = document_of(board)
    assert sum(before["rate"]["per_second"]) > 0
    assert sum(after["rate"]["per_second"]) == 0
    assert after["arms"]["last_15_min"] == []
    assert after["latency"]["added"] == {"n": 0, "p50_s": None, "p95_s": None}
    assert after["totals"] == before["totals"]
    assert after["arms"]["since_start"] == before["arms"]["since_start"]


def test_a_clock_that_is_set_back_shows_no_number_of_the_future() -> None:
    board, clock = busy_day()
    clock.now_s -= 7200.0
    board.note(served(1, clock.now_s, added_s=0.25))
    clock.now_s += 1.0
    document = document_of(board)
    assert sum(document["rate"]["per_second"]) == 1
    assert document["latency"]["added"]["n"] == 1
    assert [row["n"] for row in document["arms"]["last_15_min"]] == [1]


@pytest.mark.parametrize("percent", [50, 95])
def test_percentiles_are_those_of_the_inverted_cdf(percent: int) -> None:
    import numpy as np

    for n in (1, 2, 3, 19, 20, 21, 40, 100, 1000):
        board = StatusBoard(Clock())
        values = [float((7 * number) % 1009) for number in range(n)]
        for number, value in enumerate(values):
            board.note(served(number, NOON, added_s=value))
        got = document_of(board)["latency"]["added"][f"p{percent}_s"]
        assert got == np.percentile(values, percent, method="inverted_cdf")


def test_names_that_clients_make_up_are_bounded_in_number_and_length() -> None:
    board = StatusBoard(Clock())
    for number in range(3 * MOST_NAMES):
        board.note(
            served(
                number,
                NOON,
                asked="m" * 10_000,
                arm=f"{number}{'x' * 10_000}",
                error=f"e{number}",
            )
        )
    document = document_of(board)
    for rows, key in ((document["arms"]["since_start"], "arm"), (document["errors"], "code")):
        assert len(rows) == MOST_NAMES + 1
        assert rows[0][key] == OTHER
        assert rows[0]["n"] == 2 * MOST_NAMES
        assert max(len(row[key]) for row in rows) <= MOST_CHARACTERS
    assert {len(row["asked"]) for row in document["decisions"]} == {MOST_CHARACTERS}
    assert len(json.dumps(document)) < 150_000


def test_always_reasoning_is_compared_with_what_it_used_and_capped_as_it_was() -> None:
    reference = "b:reasoning@max"
    plain = served(
        1,
        NOON,
        arm="a:direct",
        usage=Usage(10, 40),
        expected_flops=1e12,
        reference_arm=reference,
        reference_tokens=100.0,
        reference_flops=5e12,
    )
    cases = {
        "plain": (plain, 60.0, 4e12),
        "itself": (replace(plain, arm=reference), 0.0, 0.0),
        "capped": (replace(plain, max_tokens=50), 10.0, 0.0),
        "cap-too-high": (replace(plain, max_tokens=500), 60.0, 4e12),
        "cut": (replace(plain, finish_reason="length"), 0.0, 0.0),
        "escalated": (replace(plain, arm=reference, reasons=("escalated",)), 60.0, 0.0),
    }
    for name, (record, tokens, flops) in cases.items():
        board = StatusBoard(Clock())
        board.note(record)
        saved = document_of(board)["saved"]
        assert (saved["tokens"]["saved"], saved["flops"]["saved"]) == (tokens, flops), name


def test_a_request_that_asked_no_arm_is_no_decision() -> None:
    board = StatusBoard(Clock())
    board.note(served(1, NOON, arm="", status=400, error="bad-request", added_s=3.0))
    document = document_of(board)
    assert document["totals"]["n_requests"] == document["totals"]["n_errors"] == 1
    assert document["totals"]["n_decisions"] == 0
    assert document["decisions"] == []
    assert document["latency"]["added"]["n"] == 0


def test_an_answer_that_was_cut_off_has_saved_nothing() -> None:
    board = StatusBoard(Clock())
    whole = served(1, NOON, usage=Usage(10, 40), reference_tokens=100.0)
    board.note(whole)
    board.note(replace(whole, error="client-disconnected", usage=Usage(10, 1)))
    document = document_of(board)
    assert document["saved"]["tokens"] == {"saved": 60.0, "share": 0.6, "n_known": 1}
    assert [row["saved_tokens"] for row in document["decisions"]] == [None, 60.0]
    assert document["totals"]["completion_tokens"] == 41


class Decided:
    """The part of a decision that the board may read."""

    def __init__(self, prompt: str) -> None:
        self.prompt = prompt


@pytest.mark.parametrize("show_texts", [False, True])
def test_prompts_are_kept_only_if_told_to_and_then_cut(show_texts: bool) -> None:
    board = StatusBoard(Clock(), show_texts=show_texts)
    prompt = "a secret " * 100
    board.note(served(1, NOON, decision=Decided(prompt)))
    board.note(served(2, NOON))
    document = document_of(board)
    texts = [row.get("text") for row in document["decisions"]]
    assert texts == [None, prompt[:MOST_CHARACTERS] if show_texts else None]
    assert document["are_texts_shown"] is show_texts
    assert ("secret" in repr(vars(board))) is show_texts


def test_secrets_in_the_address_of_an_upstream_are_left_out() -> None:
    addresses = {
        "https://user:hunter2@10.0.0.7:8000/v1?key=hunter2#hunter2": "https://10.0.0.7:8000/v1",
        "http://[::1]:8000": "http://[::1]:8000",
        "http://user:hunter2@[::1": "",
        "": "",
    }
    upstreams = [{**UP, "url": url} for url in addresses]
    document = document_of(StatusBoard(Clock()), upstreams=upstreams)
    assert [upstream["url"] for upstream in document["upstreams"]] == list(addresses.values())
    assert "hunter2" not in json.dumps(document)


def test_what_the_server_passes_in_is_in_the_document() -> None:
    board = StatusBoard(Clock(), needs_key=True, example_model="thinkroute:cheap")
    document = document_of(
        board, n_in_flight=4, n_waiting=9, upstreams=[UP, DOWN], decision_log=LOG
    )
    assert document["schema_version"] == 1
    assert (document["n_in_flight"], document["n_waiting"]) == (4, 9)
    assert document["upstreams"] == [UP, DOWN]
    assert document["decision_log"] == LOG
    assert document["example"] == {"model": "thinkroute:cheap", "needs_key": True}
    assert document_of(board)["decision_log"] is None


def test_a_document_is_not_changed_by_later_requests() -> None:
    board, _ = busy_day()
    document = board.snapshot()
    before = json.dumps(document)
    board.note(served(1, NOON))
    assert json.dumps(document) == before


def test_noting_takes_a_few_microseconds_however_many_came_before() -> None:
    board, _ = busy_day(show_texts=True)
    record = served(
        1,
        NOON,
        usage=Usage(200, 300),
        reference_tokens=1000.0,
        expected_flops=1e12,
        reference_flops=1e13,
        decision_s=0.001,
        added_s=0.002,
        reasons=("target-met", "cheapest"),
        decision=Decided("What is 17 * 24? " * 50),
    )

    def fastest_s(n: int) -> float:
        # The fastest of many: other processes only ever add.
        times: list[float] = []
        for _ in range(n):
            start = time.perf_counter()
            for _ in range(100):
                board.note(record)
            times.append((time.perf_counter() - start) / 100)
        return min(times)

    first = fastest_s(20)
    fastest_s(200)
    assert first < 50e-6  # about 4e-6 on a server of 2024; coverage makes it ten times as much
    assert fastest_s(20) < 5 * first
