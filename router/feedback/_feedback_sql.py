"""What writes decisions and outcomes, whichever database holds the tables."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from policies import InvalidInputError

from ._logged import LoggedDecision, LoggedOutcome, hash_prompt

__all__ = ["Statements", "insert_decisions", "insert_outcome", "salt_mark", "unknown_decision"]

_INSERT_ROUTER = """
INSERT INTO router (artifact_id, arms, unit) VALUES (:artifact_id, :arms, :unit)
ON CONFLICT DO NOTHING
"""
_INSERT_DECISION = """
INSERT INTO decision (id, time_s, router, arm, p, tokens, cost, propensities, posterior, is_hinted,
    features, prompt_sha256, prompt_bytes, prompt)
VALUES (:id, :time_s,
    (SELECT id FROM router WHERE artifact_id = :artifact_id AND arms = :arms AND unit = :unit),
    :arm, :p, :tokens, :cost, :propensities, :posterior, :is_hinted, :features, :prompt_sha256,
    :prompt_bytes, :prompt)
ON CONFLICT DO NOTHING
"""
_INSERT_OUTCOME = """
INSERT INTO outcome (decision, time_s, outcome, score, completion_tokens, seconds)
VALUES (:decision, :time_s, :outcome, :score, :completion_tokens, :seconds)
"""


class Statements(Protocol):
    """Runs statements inside an open transaction; parameters are written `:name`."""

    def execute(self, sql: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        ...

    def execute_many(self, sql: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Run an `INSERT ... VALUES (...)` for each row of parameters."""
        ...


def insert_decisions(
    statements: Statements, entries: Iterable[LoggedDecision], *, salt: bytes, store_prompts: bool
) -> None:
    """Write decisions, without their outcomes; what is there already is left as it is.

    Args:
        statements: The database.
        entries: The decisions.
        salt: Secret that keys the hashes of prompts.
        store_prompts: Whether the texts are kept.
    """
    rows = [_decision_row(entry, salt, store_prompts) for entry in entries]
    routers = {(row["artifact_id"], row["arms"], row["unit"]) for row in rows}
    names = ("artifact_id", "arms", "unit")
    # In one order everywhere, so that two writers never wait for each other.
    for router in sorted(routers, key=str):
        statements.execute(_INSERT_ROUTER, dict(zip(names, router, strict=True)))
    statements.execute_many(_INSERT_DECISION, rows)


def insert_outcome(
    statements: Statements, decision_id: str, new: LoggedOutcome, *, replace: bool
) -> None:
    """Write what became of a decision; the same outcome again changes nothing.

    Args:
        statements: The database.
        decision_id: The decision.
        new: What became of it.
        replace: Whether another outcome, told before, is replaced.

    Raises:
        InvalidInputError: There is no such decision, or it has another outcome.
    """
    key = {"decision": decision_id}
    if not statements.execute("SELECT 1 FROM decision WHERE id = :decision", key):
        raise unknown_decision(decision_id)
    values = (
        None if new.outcome is None else str(new.outcome),
        new.score,
        new.completion_tokens,
        new.seconds,
    )
    found = statements.execute(
        "SELECT outcome, score, completion_tokens, seconds FROM outcome WHERE decision = :decision",
        key,
    )
    if found and tuple(found[0]) == values:
        return
    if found and not replace:
        raise InvalidInputError(
            f"decision {decision_id!r} has the outcome {tuple(found[0])!r} already",
            hint="pass replace=True to record_outcome to correct it",
            code="outcome-recorded",
        )
    # A corrected outcome is a new row: it arrives now.
    statements.execute("DELETE FROM outcome WHERE decision = :decision", key)
    names = ("outcome", "score", "completion_tokens", "seconds")
    row = dict(zip(names, values, strict=True))
    statements.execute(_INSERT_OUTCOME, {**key, "time_s": new.time_s, **row})


def unknown_decision(decision_id: str) -> InvalidInputError:
    """Return the error for a decision that the log does not have."""
    return InvalidInputError(
        f"the log has no decision {decision_id!r}",
        hint="record the decision first",
        code="unknown-decision",
    )


def salt_mark(salt: bytes) -> str:
    """Return what a log keeps of its salt, to refuse another one: hashes would not compare."""
    return hash_prompt("thinkroute feedback log", salt)


def _decision_row(entry: LoggedDecision, salt: bytes, store_prompts: bool) -> dict[str, object]:
    digest, length = entry.prompt_sha256, entry.prompt_bytes
    if entry.prompt is not None:
        digest = hash_prompt(entry.prompt, salt)
        length = len(entry.prompt.encode("utf-8", "surrogatepass"))
    return {
        "id": entry.decision_id,
        "time_s": entry.time_s,
        "artifact_id": entry.artifact_id,
        "arms": json.dumps(entry.arms),
        "unit": entry.unit,
        "arm": entry.position,
        "p": json.dumps(entry.p),
        "tokens": json.dumps(entry.tokens),
        "cost": json.dumps(entry.cost),
        "propensities": None if entry.propensities is None else json.dumps(entry.propensities),
        "posterior": json.dumps(dict(entry.posterior)),
        "is_hinted": int(entry.is_hinted),
        "features": json.dumps(dict(entry.features)),
        "prompt_sha256": digest,
        "prompt_bytes": length,
        "prompt": _storable(entry.prompt) if store_prompts else None,
    }


def _storable(text: str | None) -> str | None:
    """Return text that a database can hold; it has no halves of surrogate pairs."""
    return None if text is None else text.encode("utf-8", "replace").decode()
