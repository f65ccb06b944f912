"""Requests as spans of the real OpenTelemetry SDK, with the names of its conventions."""

import dataclasses
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes

from policies import Usage
from router.server import ServedRequest
from router.server._telemetry import Telemetry

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
RECORD = ServedRequest(
    decision_id="d1",
    time_s=1_700_000_000.25,
    endpoint="chat",
    asked="thinkroute:cheap",
    arm="Qwen/Qwen3-8B:reasoning@512",
    status=200,
    seconds=1.5,
    caller="team-a",
    conversation="c0ffee",
    mode="reasoning",
    budget=512,
    reasons=("best-tradeoff", "task-guessed"),
    p=0.75,
    expected_tokens=400.0,
    reference_arm="Qwen/Qwen3-8B:reasoning@max",
    reference_tokens=1000.0,
    max_tokens=2048,
    usage=Usage(20, 300, 250),
    is_streamed=True,
    finish_reason="stop",
    upstream="https://gpu.local:8443/v1",
    n_attempts=2,
    decision_s=0.0008,
    added_s=0.002,
    first_token_s=0.3,
)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def telemetry(exporter: InMemorySpanExporter) -> Telemetry:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Telemetry(provider)


def only(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    return span


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_request_becomes_a_span_with_the_conventions_names(
    telemetry: Telemetry, exporter: InMemorySpanExporter
) -> None:
    telemetry.note(RECORD)
    span = only(exporter)
    found = attributes(span)
    names = gen_ai_attributes
    expected: dict[str, Any] = {
        names.GEN_AI_OPERATION_NAME: "chat",
        names.GEN_AI_PROVIDER_NAME: "thinkroute",
        names.GEN_AI_CONVERSATION_ID: "c0ffee",
        names.GEN_AI_REQUEST_MODEL: "thinkroute:cheap",
        names.GEN_AI_REQUEST_MAX_TOKENS: 2048,
        names.GEN_AI_REQUEST_STREAM: True,
        names.GEN_AI_RESPONSE_MODEL: "Qwen/Qwen3-8B",
        names.GEN_AI_RESPONSE_FINISH_REASONS: ("stop",),
        names.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: 0.3,
        names.GEN_AI_USAGE_INPUT_TOKENS: 20,
        names.GEN_AI_USAGE_OUTPUT_TOKENS: 300,
        names.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: 250,
        server_attributes.SERVER_ADDRESS: "gpu.local",
        server_attributes.SERVER_PORT: 8443,
        http_attributes.HTTP_RESPONSE_STATUS_CODE: 200,
    }
    assert {name: value for name, value in found.items() if "thinkroute." not in name} == expected
    assert {name: value for name, value in found.items() if "thinkroute." in name} == {
        "thinkroute.decision_id": "d1",
        "thinkroute.endpoint": "chat",
        "thinkroute.caller": "team-a",
        "thinkroute.arm": "Qwen/Qwen3-8B:reasoning@512",
        "thinkroute.mode": "reasoning",
        "thinkroute.budget": "512",
        "thinkroute.reasons": ("best-tradeoff", "task-guessed"),
        "thinkroute.p": 0.75,
        "thinkroute.expected_tokens": 400.0,
        "thinkroute.reference_arm": "Qwen/Qwen3-8B:reasoning@max",
        "thinkroute.saved_tokens": 700.0,
        "thinkroute.n_attempts": 2,
        "thinkroute.decision_s": 0.0008,
        "thinkroute.added_s": 0.002,
    }
    assert span.name == "chat thinkroute:cheap"
    assert span.kind is trace.SpanKind.CLIENT
    assert span.status.status_code is trace.StatusCode.UNSET


def test_the_span_lasts_as_long_as_the_request(
    telemetry: Telemetry, exporter: InMemorySpanExporter
) -> None:
    telemetry.note(RECORD)
    span = only(exporter)
    assert span.start_time == 1_700_000_000_250_000_000
    assert span.end_time == span.start_time + 1_500_000_000


def test_the_clients_trace_goes_on(telemetry: Telemetry, exporter: InMemorySpanExporter) -> None:
    telemetry.note(RECORD, TRACEPARENT)
    span = only(exporter)
    assert span.parent is not None
    assert span.context is not None
    assert f"{span.parent.trace_id:032x}" == f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == SPAN
    assert span.parent.is_remote


@pytest.mark.parametrize("header", ["", "nonsense", f"00-{'0' * 32}-{SPAN}-01", "00-é-ß-01"])
def test_a_header_that_names_no_trace_begins_a_new_one(
    telemetry: Telemetry, exporter: InMemorySpanExporter, header: str
) -> None:
    telemetry.note(RECORD, header)
    assert only(exporter).parent is None


def test_a_span_of_this_process_is_the_parent(exporter: InMemorySpanExporter) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("web server").start_as_current_span("POST") as outer:
        Telemetry(provider).note(RECORD, TRACEPARENT)
    inner = exporter.get_finished_spans()[0]
    assert inner.parent == outer.get_span_context()


def test_a_failure_is_an_error_with_its_code(
    telemetry: Telemetry, exporter: InMemorySpanExporter
) -> None:
    failed = ServedRequest("d2", 1.0, "responses", "nothing", "", 404, 0.1, error="model_not_found")
    telemetry.note(failed)
    span = only(exporter)
    found = attributes(span)
    assert found[error_attributes.ERROR_TYPE] == "model_not_found"
    assert span.status.status_code is trace.StatusCode.ERROR
    assert found["thinkroute.endpoint"] == "responses"
    assert span.kind is trace.SpanKind.INTERNAL
    absent = {"gen_ai.response.model", "gen_ai.usage.input_tokens", "server.address"}
    assert not absent & found.keys()


def test_a_text_completion_is_named_so(
    telemetry: Telemetry, exporter: InMemorySpanExporter
) -> None:
    telemetry.note(dataclasses.replace(RECORD, endpoint="completions"))
    assert only(exporter).name == "text_completion thinkroute:cheap"
    found = attributes(only(exporter))
    assert found[gen_ai_attributes.GEN_AI_OPERATION_NAME] == "text_completion"


def test_long_names_that_clients_make_up_are_cut(
    telemetry: Telemetry, exporter: InMemorySpanExporter
) -> None:
    telemetry.note(dataclasses.replace(RECORD, asked="x" * 500))
    assert len(only(exporter).name) < 250


def test_no_text_of_the_prompt_is_told(router: Any, exporter: InMemorySpanExporter) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    decision = router.decide("Who is the boss of SECRETNAME?")
    assert decision.prompt is not None
    Telemetry(provider).note(dataclasses.replace(RECORD, decision=decision))
    span = only(exporter)
    assert "SECRETNAME" not in span.to_json()
    assert attributes(span)["gen_ai.response.model"] == decision.model


def test_a_sampler_decides_by_model_and_operation(exporter: InMemorySpanExporter) -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Telemetry(provider).note(RECORD)
    assert not exporter.get_finished_spans()


_UNCONFIGURED = """
import sys
from router.server import ServedRequest
from router.server._telemetry import Telemetry
telemetry = Telemetry()
telemetry.note(ServedRequest("d", 1.0, "chat", "m", "m:direct", 200, 0.1))
print("opentelemetry.sdk" in sys.modules)
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
telemetry.note(ServedRequest("d", 1.0, "chat", "m", "m:direct", 200, 0.1))
print(len(exporter.get_finished_spans()))
"""
_NOT_INSTALLED = """
import sys
sys.modules["opentelemetry"] = None
from router.server import ServedRequest
from router.server._telemetry import Telemetry
Telemetry().note(ServedRequest("d", 1.0, "chat", "m", "m:direct", 200, 0.1), "x")
print("nothing")
"""


def test_spans_begin_when_the_application_sets_a_provider_up() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _UNCONFIGURED], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "1"]


def test_without_opentelemetry_nothing_happens() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NOT_INSTALLED], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["nothing"]
