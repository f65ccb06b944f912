"""The numbers behind the status page: in memory only, constant time and space per request.

Sums since the start, counts in spans of time, and the last decisions. Nothing here is read back:
what must survive a restart is in the decision log.
"""

import math
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict
from urllib.parse import urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray

from ._record import ServedRequest

__all__ = ["LogState", "StatusBoard", "UpstreamState"]

SCHEMA_VERSION = 1
RATE_S = 60
WINDOW_S = 900.0
N_LATENCIES = 4096
N_DECISIONS = 50
# Clients make up names of models and texts: neither their number nor their length is theirs to set.
MOST_NAMES = 100
MOST_CHARACTERS = 200
OTHER = "other"

_SPAN_S = 10.0

Floats = NDArray[np.float64]


class UpstreamState(TypedDict):
    """How one upstream server is doing."""

    model: str
    url: str
    is_up: bool
    in_flight: int
    state: Literal["closed", "open", "half-open"]
    reason: str
    n_failed: int


class LogState(TypedDict):
    """How the decision log is doing."""

    is_down: bool
    n_waiting: int
    n_dropped: int


class StatusBoard:
    """What was served so far, for the status page; belongs to one event loop.

    A decision is a request for which an arm was asked; requests refused before count as requests
    and errors only. Time is that of a request's end. Savings are counted by the rules of
    `decision_log.savings`, over requests that ended without an error: what was used against what
    always reasoning was expected to use, or did use where its arm answered. FLOPs are the
    router's expectations on both sides, as nobody measures the real ones, and unknown where a
    cap on tokens bound or two arms answered (`escalated`).
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        *,
        show_texts: bool = False,
        needs_key: bool = False,
        example_model: str = "thinkroute",
    ) -> None:
        """Begin with nothing served.

        Args:
            clock: Seconds since 1970.
            show_texts: Whether the first characters of prompts are kept and shown.
            needs_key: Whether clients need a key, for the example on the empty page.
            example_model: Model that the example asks.
        """
        self._clock = clock
        self._show_texts = show_texts
        self._needs_key = needs_key
        self._example_model = example_model
        self._started_s = clock()
        self._n_requests = self._n_decisions = self._n_errors = 0
        self._prompt_tokens = self._completion_tokens = self._n_usages = 0
        self._per_second = _Spans(RATE_S + 1, 1.0)
        self._arms_lately = _Spans(int(WINDOW_S / _SPAN_S), _SPAN_S)
        self._arms: dict[str, int] = {}
        self._errors: dict[str, int] = {}
        self._tokens_saved = _Savings()
        self._flops_saved = _Savings()
        self._latencies = _Latencies()
        self._decisions: deque[dict[str, object]] = deque(maxlen=N_DECISIONS)

    def note(self, record: ServedRequest) -> None:
        """Count a request that ended. Takes a few microseconds."""
        now_s = self._clock()
        self._n_requests += 1
        error = record.error or (f"http-{record.status}" if record.status >= 400 else "")
        if error:
            self._n_errors += 1
            _count(self._errors, error)
        usage = record.usage
        if usage is not None:
            self._n_usages += 1
            self._prompt_tokens += usage.prompt_tokens
            self._completion_tokens += usage.completion_tokens
        saved_tokens = None if error else self._compare(record)
        if not record.arm:
            return
        self._n_decisions += 1
        _count(self._arms, record.arm)
        self._per_second.add(now_s, "")
        self._arms_lately.add(now_s, record.arm)
        self._latencies.add(now_s, record.added_s, record.decision_s)
        self._decisions.appendleft(self._row(record, error, saved_tokens))

    def _compare(self, record: ServedRequest) -> float | None:
        """Count what a request saved and return its tokens, `None` where that is unknown."""
        used = None if record.usage is None else record.usage.completion_tokens
        has_escalated = "escalated" in record.reasons
        is_reference = record.arm == record.reference_arm != "" and not has_escalated
        cap = record.max_tokens
        if record.finish_reason == "length" and used is not None:
            cap = used
        expected = _finite(record.reference_tokens)
        # A cap that the client set binds every arm; what it does to FLOPs is not known.
        is_capped = expected is not None and cap is not None and cap < expected
        if not is_capped and not has_escalated:
            flops = record.expected_flops
            self._flops_saved.add(flops, flops if is_reference else record.reference_flops)
        reference = used if is_reference else cap if is_capped else expected
        return self._tokens_saved.add(used, reference)

    def _row(
        self, record: ServedRequest, error: str, saved_tokens: float | None
    ) -> dict[str, object]:
        row: dict[str, object] = {
            "number": self._n_decisions,
            "time_s": record.time_s,
            "decision_id": record.decision_id[:8],
            "asked": record.asked[:MOST_CHARACTERS],
            "arm": record.arm[:MOST_CHARACTERS],
            "budget": record.budget,
            "p": _finite(record.p),
            "reasons": record.reasons,
            "tokens": None if record.usage is None else record.usage.completion_tokens,
            "saved_tokens": saved_tokens,
            "status": record.status,
            "error": error,
            "added_s": _finite(record.added_s),
            "caller": record.caller,
        }
        if self._show_texts and record.decision is not None and record.decision.prompt:
            row["text"] = record.decision.prompt[:MOST_CHARACTERS]
        return row

    def snapshot(
        self,
        *,
        n_in_flight: int = 0,
        n_waiting: int = 0,
        upstreams: Sequence[UpstreamState] = (),
        decision_log: LogState | None = None,
    ) -> dict[str, object]:
        """Return everything as one JSON document; the page reads it once a second.

        Args:
            n_in_flight: Requests now with a model.
            n_waiting: Requests now waiting for a place.
            upstreams: The servers that answer; what their addresses hold of secrets is left out.
            decision_log: State of the decision log, `None` where there is none.
        """
        now_s = self._clock()
        # The current second is not over: its count would always look like a drop.
        per_second = [sum(counts.values()) for counts in self._per_second.last(now_s)[:-1]]
        lately: dict[str, int] = {}
        for counts in self._arms_lately.last(now_s):
            for arm, n in counts.items():
                lately[arm] = lately.get(arm, 0) + n
        return {
            "schema_version": SCHEMA_VERSION,
            "time_s": now_s,
            "started_s": self._started_s,
            "are_texts_shown": self._show_texts,
            "example": {"model": self._example_model, "needs_key": self._needs_key},
            "n_in_flight": n_in_flight,
            "n_waiting": n_waiting,
            "rate": {
                "per_second": per_second,
                "last_10_s": sum(per_second[-10:]) / 10,
                "last_60_s": sum(per_second) / RATE_S,
            },
            "totals": {
                "n_requests": self._n_requests,
                "n_decisions": self._n_decisions,
                "n_errors": self._n_errors,
                "n_usages": self._n_usages,
                "prompt_tokens": self._prompt_tokens,
                "completion_tokens": self._completion_tokens,
            },
            "arms": {"last_15_min": _shares(lately), "since_start": _shares(self._arms)},
            "saved": {
                "tokens": self._tokens_saved.to_json(),
                "flops": self._flops_saved.to_json(),
            },
            "latency": self._latencies.to_json(now_s),
            "errors": [{"code": code, "n": n} for code, n in _by_number(self._errors)],
            "decisions": list(self._decisions),
            "upstreams": [
                {**upstream, "url": _without_secrets(upstream["url"])} for upstream in upstreams
            ],
            "decision_log": decision_log,
        }


class _Spans:
    """Counts per name in the last spans of time, in a ring."""

    __slots__ = ("_counts", "_span_s", "_stamps")

    def __init__(self, n_spans: int, span_s: float) -> None:
        self._span_s = span_s
        self._stamps = [-1] * n_spans
        self._counts: list[dict[str, int]] = [{} for _ in range(n_spans)]

    def add(self, now_s: float, name: str) -> None:
        stamp = int(now_s // self._span_s)
        slot = stamp % len(self._stamps)
        if self._stamps[slot] != stamp:
            self._stamps[slot] = stamp
            self._counts[slot] = {}
        _count(self._counts[slot], name)

    def last(self, now_s: float) -> list[dict[str, int]]:
        """Return the counts of each span, the oldest first; the last one is not over."""
        n_spans = len(self._stamps)
        stamp = int(now_s // self._span_s)
        return [
            self._counts[at % n_spans] if self._stamps[at % n_spans] == at else {}
            for at in range(stamp - n_spans + 1, stamp + 1)
        ]


class _Latencies:
    """The last latencies, in a ring: arrays of numbers, so that a reading need not copy tuples."""

    __slots__ = ("_added", "_decision", "_n", "_times")

    def __init__(self) -> None:
        # No time is a number's: a place that was never written is in no window.
        self._times = array("d", [math.nan]) * N_LATENCIES
        self._added = array("d", [math.nan]) * N_LATENCIES
        self._decision = array("d", [math.nan]) * N_LATENCIES
        self._n = 0

    def add(self, now_s: float, added_s: float, decision_s: float) -> None:
        slot = self._n % N_LATENCIES
        self._n += 1
        self._times[slot] = now_s
        self._added[slot] = added_s
        # Where the client chose the arm itself, no decision took any time.
        self._decision[slot] = decision_s if decision_s > 0.0 else math.nan

    def to_json(self, now_s: float) -> dict[str, object]:
        times = np.frombuffer(self._times)
        is_recent = (times > now_s - WINDOW_S) & (times <= now_s)
        document: dict[str, object] = {}
        for name, ring in (("added", self._added), ("decision", self._decision)):
            values = np.frombuffer(ring)[is_recent]
            values = np.sort(values[np.isfinite(values)])
            document[name] = {
                "n": len(values),
                "p50_s": _percentile(values, 50),
                "p95_s": _percentile(values, 95),
            }
        return document


@dataclass(slots=True)
class _Savings:
    """What was used against what always reasoning was expected to use, where both are known."""

    n_known: int = 0
    saved: float = 0.0
    reference: float = 0.0

    def add(self, used: float | None, reference: float | None) -> float | None:
        """Count one request and return what it saved, `None` where that is unknown."""
        used, reference = _finite(used), _finite(reference)
        if used is None or reference is None:
            return None
        self.n_known += 1
        self.saved += reference - used
        self.reference += reference
        return reference - used

    def to_json(self) -> dict[str, object]:
        return {
            "saved": self.saved,
            "share": self.saved / self.reference if self.reference > 0.0 else None,
            "n_known": self.n_known,
        }


def _count(counts: dict[str, int], name: str) -> None:
    """Count a name; those beyond the first hundred are one."""
    name = name[:MOST_CHARACTERS]
    if name not in counts and len(counts) >= MOST_NAMES:
        name = OTHER
    counts[name] = counts.get(name, 0) + 1


def _by_number(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _shares(counts: dict[str, int]) -> list[dict[str, object]]:
    total = sum(counts.values())
    return [{"arm": arm, "n": n, "share": n / total} for arm, n in _by_number(counts)]


def _percentile(values: Floats, percent: int) -> float | None:
    """Return the smallest value that at least so many percent do not exceed; `values` sorted."""
    if not len(values):
        return None
    # In whole numbers: 0.95 * 20 is more than 19.
    return float(values[-(-len(values) * percent // 100) - 1])


def _finite(value: float | None) -> float | None:
    """Return the number, `None` for what JSON has no number for."""
    return value if value is not None and math.isfinite(value) else None


def _without_secrets(url: str) -> str:
    """Return an address without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
