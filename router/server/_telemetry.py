"""Requests as OpenTelemetry spans, by the semantic conventions for generative AI.

Where opentelemetry-api is not installed, or the application has set up no tracing, nothing happens.

Source: OpenTelemetry semantic conventions for generative AI, inference spans
(https://github.com/open-telemetry/semantic-conventions-genai). They are marked as in development:
the names are written out here, and checked against a release's constants by the tests.
"""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ._record import Endpoint, ServedRequest

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import TracerProvider

__all__ = ["Telemetry"]

_SCOPE = "thinkroute.server"
_OPERATIONS: dict[Endpoint, str] = {
    "chat": "chat",
    "completions": "text_completion",
    "responses": "chat",
}
_MOST_CHARACTERS = 200
_PORTS = {"http": 80, "https": 443}

Value = str | bool | int | float | list[str]


class Telemetry:
    """Turns requests that have ended into spans. Safe to share among threads.

    Spans hold models, counts, times and hashes, and never a text or a key.
    """

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        """Look whether OpenTelemetry is installed.

        Args:
            provider: Where spans go; by default wherever the application has told OpenTelemetry
                to send them, before or after this.
        """
        try:
            from opentelemetry import trace
        except ImportError:
            self._trace = None
        else:
            self._trace = trace
        self._provider = provider

    def note(self, record: ServedRequest, traceparent: str = "") -> None:
        """Tell of a request that has ended; costs nothing where nobody listens.

        Args:
            record: The request.
            traceparent: The client's header of this name: the parent of the span, unless a span
                of this process is current, as where the application traces its web server.
        """
        trace = self._trace
        if trace is None:
            return
        provider = self._provider or trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            return  # Nobody has set one.
        operation, asked = _OPERATIONS[record.endpoint], record.asked[:_MOST_CHARACTERS]
        start_ns = _ns(record.time_s)
        span = provider.get_tracer(_SCOPE).start_span(
            f"{operation} {asked}".rstrip(),
            context=_context(traceparent),
            # As the conventions have it: a model in this process is no remote service.
            kind=trace.SpanKind.CLIENT if record.upstream else trace.SpanKind.INTERNAL,
            start_time=start_ns,
            # Samplers decide by what is known at the start.
            attributes={"gen_ai.operation.name": operation, "gen_ai.request.model": asked},
        )
        if span.is_recording():
            span.set_attributes(_attributes(record))
            if record.error:
                span.set_status(trace.StatusCode.ERROR)
        span.end(start_ns + _ns(record.seconds))


def _ns(seconds: float) -> int:
    # A float tells times since 1970 to a microsecond, not to less.
    return round(seconds * 1e6) * 1000


def _context(traceparent: str) -> "Context | None":
    """Return the client's context, a new one without, and `None` for the one that is current."""
    from opentelemetry.context import Context
    from opentelemetry.trace import get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if get_current_span().get_span_context().is_valid:
        return None
    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())


def _server(url: str) -> dict[str, Value | None]:
    if not url:
        return {}
    parts = urlsplit(url)
    return {
        "server.address": parts.hostname,
        "server.port": parts.port or _PORTS.get(parts.scheme),
    }


def _model(record: ServedRequest) -> str | None:
    """Return the model of an arm: its name up to the policy, which holds no model's name."""
    if record.decision is not None:
        return record.decision.model
    return record.arm.rpartition(":")[0] or None


def _attributes(record: ServedRequest) -> dict[str, Value]:
    found: dict[str, Value | None] = {
        # Whoever runs the models behind a compatible server cannot be told.
        "gen_ai.provider.name": "thinkroute",
        "gen_ai.conversation.id": record.conversation or None,
        "gen_ai.request.max_tokens": record.max_tokens,
        "gen_ai.request.stream": record.is_streamed,
        "gen_ai.response.model": _model(record),
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
