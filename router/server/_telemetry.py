"""Requests as OpenTelemetry spans, by the semantic conventions for generative AI.

Where opentelemetry-api is not installed, or the application has set up no tracing, nothing happens.

Source: OpenTelemetry semantic conventions for generative AI, client spans
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/), which are still marked as in
development: the names are written out here and checked against the constants by the tests.
"""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ._record import Endpoint, ServedRequest

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer, TracerProvider

__all__ = ["Telemetry"]

_SCOPE = "thinkroute.server"
_OPERATIONS: dict[Endpoint, str] = {
    "chat": "chat",
    "completions": "text_completion",
    "responses": "chat",
}
_PORTS = {"http": 80, "https": 443}
_NS = 1e9

Value = str | bool | int | float | list[str]


class Telemetry:
    """Turns requests that have ended into spans. Safe to share among threads.

    Spans hold models, counts and times, and never a text, a key or the name of a conversation
    that a client gave.
    """

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        """Look for OpenTelemetry.

        Args:
            provider: Where spans go; by default wherever the application has told OpenTelemetry
                to send them, before or after.
        """
        self._tracer = _tracer(provider)

    def note(self, record: ServedRequest, traceparent: str = "") -> None:
        """Tell of a request that has ended; costs nothing where nobody listens.

        Args:
            record: The request.
            traceparent: The client's header of this name, which makes the span part of its trace.
        """
        if self._tracer is None:
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode

        operation = _OPERATIONS[record.endpoint]
        start_ns = int(record.time_s * _NS)
        span = self._tracer.start_span(
            f"{operation} {record.asked}".rstrip(),
            context=_parent(traceparent),
            kind=SpanKind.SERVER,
            start_time=start_ns,
            # Samplers decide by what is known at the start.
            attributes={"gen_ai.operation.name": operation, "gen_ai.request.model": record.asked},
        )
        if span.is_recording():
            span.set_attributes(_attributes(record))
            if record.error:
                span.set_status(Status(StatusCode.ERROR))
        span.end(start_ns + int(record.seconds * _NS))


def _tracer(provider: "TracerProvider | None") -> "Tracer | None":
    try:
        from opentelemetry.trace import get_tracer
    except ImportError:
        return None
    return get_tracer(_SCOPE, tracer_provider=provider)


def _parent(traceparent: str) -> Any:
    """Return the client's span as the parent; an empty context, and so a new trace, without."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())


def _attributes(record: ServedRequest) -> dict[str, Value]:
    found: dict[str, Value | None] = {
        # The kind of API that is served; which models are behind it is in the response's model.
        "gen_ai.provider.name": "openai",
        "gen_ai.request.max_tokens": record.max_tokens,
        "gen_ai.request.stream": record.is_streamed,
        "gen_ai.response.model": _model(record),
        "gen_ai.response.id": None,
        "gen_ai.response.finish_reasons": [record.finish_reason] if record.finish_reason else None,
        "gen_ai.response.time_to_first_chunk": record.first_token_s,
        "http.response.status_code": record.status,
        "error.type": record.error or None,
        **_server(record.upstream),
        "thinkroute.decision_id": record.decision_id,
        "thinkroute.endpoint": record.endpoint,
        "thinkroute.caller": record.caller or None,
        "thinkroute.arm": record.arm or None,
        "thinkroute.mode": record.mode or None,
        "thinkroute.budget": None if record.budget is None else str(record.budget),
        "thinkroute.reasons": list(record.reasons) or None,
        "thinkroute.p": record.p,
        "thinkroute.expected_tokens": record.expected_tokens,
        "thinkroute.reference_arm": record.reference_arm or None,
        "thinkroute.saved_tokens": record.saved_tokens,
        "thinkroute.cost_usd": record.usd,
        "thinkroute.n_attempts": record.n_attempts,
        "thinkroute.decision_s": record.decision_s,
        "thinkroute.added_s": record.added_s,
    }
    if record.usage is not None:
        found["gen_ai.usage.input_tokens"] = record.usage.prompt_tokens
        found["gen_ai.usage.output_tokens"] = record.usage.completion_tokens
        found["gen_ai.usage.reasoning.output_tokens"] = record.usage.thinking_tokens
    return {name: value for name, value in found.items() if value is not None}
