"""Counts and sums of a run store per cell, computed inside SQLite."""

import sqlite3
from array import array
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["JOIN", "CellKey", "cell_sums", "cell_times", "ledger_sums"]

JOIN = """
    FROM generation g
    JOIN arm a ON a.id = g.arm
    JOIN question q ON q.id = g.question
    JOIN score s ON s.key = g.key
"""
"""Every scored generation with its arm and its question."""


class CellKey(NamedTuple):
    """What a cell is about."""

    task: str
    task_type: str
    model: str
    size: int | None
    policy: str
    recipe: str


# Errors count as nothing but errors: what an answer that could not be judged has cost is not
# part of any mean.
_SUMS = """
    sum(s.outcome != 'error') AS n, sum(s.outcome = 'correct') AS n_correct,
    sum(s.outcome = 'cut') AS n_cut, sum(s.outcome = 'error') AS n_error,
    sum(s.outcome != 'error' AND g.source IN ('continued', 'shared')) AS n_replayed,
    sum(CASE WHEN s.outcome != 'error' THEN g.prompt_tokens END) AS prompt_tokens,
    sum(s.outcome != 'error' AND g.prompt_tokens IS NOT NULL) AS n_prompt_tokens,
    sum(CASE WHEN s.outcome != 'error' THEN g.completion_tokens END) AS tokens,
    sum(s.outcome != 'error' AND g.completion_tokens IS NOT NULL) AS n_tokens,
    sum(CASE WHEN s.outcome != 'error' THEN g.flops END) AS flops,
    sum(s.outcome != 'error' AND g.flops IS NULL) AS n_without_flops,
    sum(CASE WHEN s.outcome != 'error' THEN g.usd END) AS usd,
    sum(s.outcome != 'error' AND g.usd IS NULL) AS n_without_usd,
    sum(CASE WHEN s.outcome != 'error' THEN s.credit END) AS credit,
    sum(s.outcome != 'error' AND s.credit IS NOT NULL) AS n_credit
"""
_KEY = "task, task_type, model, size, policy, recipe"
_ORDER = "ORDER BY size, model, task, policy, task_type, recipe"
_PLAIN = f"""
    SELECT q.task AS task, q.task_type AS task_type, a.model AS model, a.size AS size,
           a.policy AS policy, a.recipe AS recipe, {_SUMS},
           NULL AS n_clusters, NULL AS sum_kk, NULL AS sum_kn, NULL AS sum_nn
    {JOIN} GROUP BY q.task, q.task_type, a.model, a.size, a.policy, a.recipe {_ORDER}
"""
_ADDED = (
    *("n", "n_correct", "n_cut", "n_error", "n_replayed", "prompt_tokens", "n_prompt_tokens"),
    *("tokens", "n_tokens", "flops", "n_without_flops", "usd", "n_without_usd", "credit"),
    "n_credit",
)
_CLUSTERED = f"""
    SELECT {_KEY}, {", ".join(f"sum({name}) AS {name}" for name in _ADDED)},
           sum(n > 0) AS n_clusters, sum(n_correct * n_correct) AS sum_kk,
           sum(n_correct * n) AS sum_kn, sum(n * n) AS sum_nn
    FROM (
        SELECT q.task AS task, q.task_type AS task_type, a.model AS model, a.size AS size,
               a.policy AS policy, a.recipe AS recipe, {_SUMS}
        {JOIN} GROUP BY q.task, q.task_type, a.id, q.grp
    )
    GROUP BY {_KEY} {_ORDER}
"""  # noqa: S608 - constants only
_HAS_CLUSTERS = """
    SELECT EXISTS (SELECT 1 FROM question WHERE grp != id)
        OR EXISTS (SELECT 1 FROM generation WHERE repeat > 0)
"""


def cell_sums(connection: sqlite3.Connection) -> list[Mapping[str, Any]]:
    """Return one row of counts and sums per cell.

    Where questions share documents or were asked repeatedly, the rows also hold the sums that a
    cluster-robust interval needs; elsewhere these are `None`.
    """
    (has_clusters,) = connection.execute(_HAS_CLUSTERS).fetchone()
    cursor = connection.execute(_CLUSTERED if has_clusters else _PLAIN)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def cell_times(connection: sqlite3.Connection) -> dict[CellKey, "array[float]"]:
    """Return the measured seconds of every cell, shape `(n_timed,)`; replayed ones have none."""
    arms = {
        row[0]: row[1:]
        for row in connection.execute("SELECT id, model, size, policy, recipe FROM arm")
    }
    times: dict[tuple[str, str, int], array[float]] = {}
    query = f"""
        SELECT q.task, q.task_type, g.arm, g.seconds {JOIN}
        WHERE g.seconds IS NOT NULL AND s.outcome != 'error'
    """
    for task, task_type, arm, seconds in connection.execute(query):
        times.setdefault((task, task_type, arm), array("d")).append(seconds)
    merged: dict[CellKey, array[float]] = {}
    for (task, task_type, arm), seconds in times.items():
        model, size, policy, recipe = arms[arm]
        key = CellKey(task, task_type, model, size, policy, recipe)
        merged.setdefault(key, array("d")).extend(seconds)
    return merged


def ledger_sums(connection: sqlite3.Connection) -> Mapping[str, Any]:
    """Return tokens and money that were spent, and those that separate runs would have spent."""
    cursor = connection.execute(
        """
        SELECT coalesce(sum(spent_completion_tokens), 0) AS measurement_tokens,
               coalesce(sum(spent_prompt_tokens), 0) AS measurement_prompt_tokens,
               coalesce(sum(completion_tokens), 0) AS native_tokens,
               coalesce(sum(prompt_tokens), 0) AS native_prompt_tokens,
               sum(spent_usd) AS measurement_usd, sum(usd) AS native_usd
        FROM generation WHERE error_code IS NULL AND source != 'imported'
        """
    )
    names = [column[0] for column in cursor.description]
    return dict(zip(names, cursor.fetchone(), strict=True))
