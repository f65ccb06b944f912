"""A served request as the log keeps it, to the columns of a table and back."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calibration import Outcome
from policies import MAX, StoreError, Usage

from ...feedback._feedback_schema import SERVED_COLUMNS
from ...feedback._logged import LoggedOutcome
from .._record import ServedRequest

__all__ = ["ServedRow", "columns_of", "row_of", "storable"]

# No database holds halves of surrogate pairs, and PostgreSQL no NUL.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ServedRow:
    """A served request with what became of it.

    Attributes:
        request: What was logged, without the decision.
        artifact_id: Content hash of the router that decided, "" where none did.
        outcome: What a caller told about the answer; `None` if nobody has.
    """

    request: ServedRequest
    artifact_id: str = ""
    outcome: LoggedOutcome | None = None


def storable(text: str) -> str:
    """Return text in which what a database cannot hold is a replacement character."""
    return _UNSTORABLE.sub("\ufffd", text)


def columns_of(record: ServedRequest) -> dict[str, object]:
    """Return a request's row: a value for each of `SERVED_COLUMNS`."""
    usage = record.usage
    return {
        "id": storable(record.decision_id),
        "time_s": float(record.time_s),
        "endpoint": record.endpoint,
        "asked": storable(record.asked),
        "arm": storable(record.arm),
        "status": int(record.status),
        "seconds": _number(record.seconds),
        "caller": storable(record.caller),
        "conversation": storable(record.conversation),
        "mode": record.mode,
        "budget": None if record.budget is None else str(record.budget),
        "reasons": json.dumps([storable(reason) for reason in record.reasons]),
        "p": _number(record.p),
        "expected_tokens": _number(record.expected_tokens),
        "expected_flops": _number(record.expected_flops),
        "reference_arm": storable(record.reference_arm),
        "reference_tokens": _number(record.reference_tokens),
        "reference_flops": _number(record.reference_flops),
        "reference_usd": _number(record.reference_usd),
        "max_tokens": record.max_tokens,
        "prompt_tokens": None if usage is None else usage.prompt_tokens,
        "completion_tokens": None if usage is None else usage.completion_tokens,
        "thinking_tokens": None if usage is None else usage.thinking_tokens,
        "cached_tokens": None if usage is None else usage.cached_tokens,
        "usd": _number(record.usd),
        "is_streamed": int(record.is_streamed),
        "error": storable(record.error),
        "finish_reason": storable(record.finish_reason),
        "upstream": storable(record.upstream),
        "n_attempts": int(record.n_attempts),
        "decision_s": _number(record.decision_s),
        "added_s": _number(record.added_s),
        "first_token_s": _number(record.first_token_s),
    }


def row_of(values: Sequence[Any]) -> ServedRow:
    """Rebuild a request from its columns, the router, and the outcome's four.

    Args:
        values: In the order of `SERVED_COLUMNS`, then artifact, and time, kind and score of the
            outcome.

    Raises:
        StoreError: The row is damaged.
    """
    n = len(SERVED_COLUMNS)
    row = dict(zip(SERVED_COLUMNS, values[:n], strict=True))
    artifact_id, outcome_time_s, outcome, score = values[n:]
    try:
        known = None
        if outcome_time_s is not None:
            kind = None if outcome is None else Outcome(outcome)
            tokens = row["completion_tokens"]
            known = LoggedOutcome(outcome_time_s, kind, score, tokens, row["seconds"])
        return ServedRow(_request(row), artifact_id or "", known)
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"request {row['id']!r} of the decision log is damaged: {error}", code="store-damaged"
        ) from error


def _request(row: dict[str, Any]) -> ServedRequest:
    usage = None
    if row["completion_tokens"] is not None:
        usage = Usage(
            prompt_tokens=row["prompt_tokens"],
            completion_tokens=row["completion_tokens"],
            thinking_tokens=row["thinking_tokens"],
            cached_tokens=row["cached_tokens"],
        )
    budget = row["budget"]
    own: dict[str, Any] = {
        "decision_id": row["id"],
        "budget": None if budget is None else MAX if budget == MAX else int(budget),
        "reasons": tuple(json.loads(row["reasons"])),
        "is_streamed": bool(row["is_streamed"]),
        "usage": usage,
    }
    told: dict[str, Any] = {name: row[name] for name in _AS_THEY_ARE}
    return ServedRequest(**told, **own)


_AS_THEY_ARE = tuple(
    name
    for name in ServedRequest.__dataclass_fields__
    if name in SERVED_COLUMNS and name not in {"budget", "reasons", "is_streamed"}
)


def _number(value: float | None) -> float | None:
    """Return a number that every database tells from "unknown"; NaN and infinities are none."""
    return None if value is None or not math.isfinite(value) else float(value)
