"""Latency at a stated load: the loop stays closed, nothing slow is left out."""

import asyncio
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from calibration.cost import measure_load
from calibration.cost._quantiles import quantile_interval
from policies import (
    BackendConnectionError,
    BackendError,
    Capability,
    CapabilityError,
    GenerationRequest,
    InvalidInputError,
    build_backend,
    user_message,
)
from policies.backends.fake import FakeBackend, Reply

POCKET = Path(__file__).resolve().parents[2] / "models" / "pocket-xs"


def requests(n: int) -> list[GenerationRequest]:
    return [GenerationRequest(user_message(f"{i}?"), max_tokens=8) for i in range(n)]


def say(request: GenerationRequest) -> Reply:
    return "one two three" if request.messages else "none"


def down(message: str = "no route") -> BackendConnectionError:
    return BackendConnectionError(message, backend="fake", model="fake")


class Uneven(FakeBackend):
    """Takes longer for some prompts, and tells how many were under way at each moment."""

    def __init__(self, slow: dict[str, float], base_s: float = 0.002) -> None:
        super().__init__(say)
        self.slow = slow
        self.base_s = base_s
        self.under_way = 0
        self.history: list[tuple[str, int]] = []
        self.done: list[str] = []

    async def generate(self, request: GenerationRequest):
        prompt = request.messages[-1].content
        self.under_way += 1
        self.history.append((prompt, self.under_way))
        try:
            await asyncio.sleep(self.slow.get(prompt, self.base_s))
            completion = await super().generate(request)
        finally:
            self.under_way -= 1
        self.done.append(prompt)
        return completion


async def test_latency_and_throughput_are_those_of_the_backend() -> None:
    backend = FakeBackend(say, latency_s=0.05)
    report = await measure_load(backend, requests(64), concurrency=4, n_warmup=4)
    assert backend.most_in_flight == 4
    assert report.n_completions == 60
    assert report.n_warmup == 4
    assert report.n_errors == report.n_unmeasured_errors == 0
    assert report.first_error is None
    # A pause is never shorter than asked for; on a busy machine it is longer, by no set amount.
    assert 0.05 <= report.p50_s.low <= report.p50_s.estimate <= report.p50_s.high
    assert report.p95_s.estimate >= report.p50_s.estimate
    # Little's law: requests under way = rate x seconds.
    assert report.requests_per_s * report.mean_s == pytest.approx(4, rel=0.2)
    # Three words and the end of the turn.
    assert report.completion_tokens == 4
    assert report.tokens_per_s == pytest.approx(4 * report.requests_per_s)
    assert report.label == "closed loop, 4 requests under way, n = 60"


async def test_a_report_is_json_with_an_open_end_as_null() -> None:
    report = await measure_load(FakeBackend(say), requests(22), concurrency=2)
    assert math.isinf(report.p95_s.high)
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["p95_s"]["high"] is None
    assert document["concurrency"] == 2


async def test_exactly_the_stated_number_is_under_way_until_the_last_measured_answer() -> None:
    backend = Uneven({"24?": 0.2})
    report = await measure_load(backend, requests(25), concurrency=3, n_warmup=3)
    assert report.n_completions == 22
    assert backend.under_way == 0
    # From the third on, each request begins while two others run: no drain, no gap.
    assert [n for _, n in backend.history[:2]] == [1, 2]
    assert {n for _, n in backend.history[2:]} == {3}
    # The slow last request is in the report, and others kept it company.
    assert "24?" in backend.done
    assert report.n_filler > 20
    assert report.window_s > 0.2


async def test_warmup_is_in_no_figure() -> None:
    backend = Uneven({f"{i}?": 0.5 for i in range(4)})
    report = await measure_load(backend, requests(44), concurrency=4, n_warmup=4)
    assert report.n_completions == 40
    assert report.mean_s < 0.3


async def test_errors_are_counted_apart() -> None:
    backend = FakeBackend(say, failures=[None, None, down(), None, down("late")])
    report = await measure_load(backend, requests(32), concurrency=2, n_warmup=2)
    assert report.n_errors == 2
    assert report.n_completions == 28
    assert report.first_error == "no route"


async def test_a_failing_warmup_shows() -> None:
    backend = FakeBackend(say, failures=[down(), down()])
    report = await measure_load(backend, requests(32), concurrency=2, n_warmup=2)
    assert report.n_unmeasured_errors == 2
    assert report.n_errors == 0


async def test_too_few_answers_are_the_backends_error_and_no_report() -> None:
    backend = FakeBackend(say, failures=[None, *[down()] * 15])
    with pytest.raises(BackendError, match=r"15 of 30 requests were answered.*no route") as caught:
        await measure_load(backend, requests(31), concurrency=1)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("n", "concurrency", "n_warmup", "named"),
    [
        (21, 2, None, "19 to measure"),
        (0, 1, 0, "0 to measure"),
        (40, 0, 0, "concurrency=0"),
        (40, 1, -1, "n_warmup=-1"),
        (400, 65, 0, "more than the 64"),
    ],
)
async def test_loads_that_cannot_be_measured_are_refused(
    n: int, concurrency: int, n_warmup: int | None, named: str
) -> None:
    backend = FakeBackend(say)
    with pytest.raises(InvalidInputError, match=named):
        await measure_load(backend, requests(n), concurrency=concurrency, n_warmup=n_warmup)
    assert not backend.calls


async def test_what_the_backend_cannot_do_is_refused_before_anything_is_sent() -> None:
    backend = FakeBackend(say, capabilities=frozenset({Capability.SAMPLES}))
    asked = [GenerationRequest(user_message("?"), max_tokens=8, logprobs=True)] * 30
    with pytest.raises(CapabilityError, match="logprobs"):
        await measure_load(backend, asked, concurrency=1)
    assert not backend.calls


async def test_a_defect_of_the_backend_is_raised_and_no_error_of_the_model() -> None:
    def broken(request: GenerationRequest) -> Reply:
        raise ZeroDivisionError(request.max_tokens)

    with pytest.raises(ZeroDivisionError):
        await measure_load(FakeBackend(broken), requests(30), concurrency=2)


async def test_cancelling_leaves_nothing_under_way() -> None:
    backend = Uneven({}, base_s=10)
    task = asyncio.create_task(measure_load(backend, requests(30), concurrency=3))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.under_way == 0


@pytest.mark.skipif(not POCKET.exists(), reason="needs models/pocket-xs")
async def test_a_real_model_is_measured() -> None:
    pytest.importorskip("onnxruntime_genai", reason="needs the extra pocket")
    backend = build_backend("pocket", model="pocket-xs")
    asked = [
        GenerationRequest(user_message(f"What is {i} + {i % 7} ?"), max_tokens=24, thinking=True)
        for i in range(28)
    ]
    try:
        report = await measure_load(backend, asked, concurrency=4)
    finally:
        await backend.aclose()
    assert report.n_completions == 24
    assert report.n_errors == 0
    assert 0 < report.p50_s.estimate <= report.p95_s.estimate < 30
    assert report.completion_tokens > 1


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=60),
    st.floats(0.01, 0.99),
    st.floats(0.5, 0.999),
)
def test_a_quantile_lies_inside_its_interval(
    values: list[float], probability: float, confidence: float
) -> None:
    interval = quantile_interval(values, probability, confidence)
    assert interval.low <= interval.estimate <= interval.high
    assert interval.estimate in values
    wider = quantile_interval(values, probability, (1 + confidence) / 2)
    assert wider.low <= interval.low
    assert wider.high >= interval.high


@pytest.mark.parametrize(("n", "probability"), [(20, 0.5), (100, 0.5), (200, 0.95), (40, 0.95)])
def test_intervals_cover_the_true_quantile(n: int, probability: float) -> None:
    rng = np.random.default_rng(7)
    true = -math.log(1 - probability)  # of the exponential distribution
    n_trials = 2000
    covered = 0
    for _ in range(n_trials):
        low, high = quantile_interval(list(rng.exponential(size=n)), probability)
        covered += low <= true <= high
    # Never below 95% but for chance: 3 standard errors of 2000 trials are 1.5 points.
    assert covered / n_trials >= 0.935
    assert covered / n_trials <= 1.0


@pytest.mark.parametrize("probability", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("n", [73, 100, 250])
def test_intervals_are_those_of_scipy(n: int, probability: float) -> None:
    values = [float(i) for i in range(1, n + 1)]
    theirs = stats.quantile_test(values, q=0, p=probability).confidence_interval(0.95)
    low, high = quantile_interval(values, probability)
    assert (low, high) == (theirs.low, theirs.high)


def test_a_high_quantile_of_few_values_is_open_above() -> None:
    # 0.95^71 > 0.025 >= 0.95^72
    assert math.isinf(quantile_interval([1.0] * 71, 0.95).high)
    assert quantile_interval([1.0] * 72, 0.95).high == 1.0
    assert quantile_interval([1.0] * 5, 0.05).low == 0.0


@pytest.mark.parametrize(
    ("values", "probability", "confidence"),
    [
        ([], 0.5, 0.95),
        ([math.nan], 0.5, 0.95),
        ([-1.0], 0.5, 0.95),
        ([1.0], 1.0, 0.95),
        ([1.0], 0.5, 0),
    ],
)
def test_impossible_quantiles_are_refused(
    values: list[float], probability: float, confidence: float
) -> None:
    with pytest.raises(InvalidInputError):
        quantile_interval(values, probability, confidence)


async def test_a_load_ends_when_the_server_goes_down() -> None:
    backend = FakeBackend(say, failures=[*[None] * 50, *[down()] * 900])
    with pytest.raises(BackendError, match=r"50 of 150 requests .* 100 in a row .* no route"):
        await measure_load(backend, requests(950), concurrency=1, n_warmup=0)


async def test_many_errors_between_answers_end_no_load() -> None:
    backend = FakeBackend(say, failures=[*[down()] * 99, None] * 2)
    report = await measure_load(backend, requests(230), concurrency=1, n_warmup=0)
    assert (report.n_errors, report.n_completions) == (198, 32)
