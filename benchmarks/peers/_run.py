"""Ask everybody about every set, and judge what they say."""

import sys
import time
from collections.abc import Collection
from pathlib import Path

import numpy as np

from ._data import PairSet
from ._metrics import Metrics, measure, pooled_ranks
from ._peers import Peer
from ._protocol import ROOT, Answer, Mode, RunnerError, ask
from ._table import Row, SetResult

__all__ = ["CACHE", "ONE_THREAD", "TIMEOUT_S", "ask_all", "judge"]

CACHE = ROOT / "runs" / "peers"
TIMEOUT_S = 3600.0
ONE_THREAD: dict[str, str] = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
"""For everybody: a decision of a millisecond gains nothing from a pool of threads."""
Answers = dict[str, list[Answer]]


def ask_all(
    pairs: PairSet, peer: Peer, *, mode: Mode, cache: Path = CACHE
) -> dict[str, list[Answer]] | str:
    """Return each configuration's answers on all folds, or why there are none."""
    started = time.perf_counter()
    try:
        asked = ask(
            peer.command,
            pairs.splits,
            cache=cache,
            identity=peer.identity,
            timeout_s=TIMEOUT_S,
            environment=ONE_THREAD,
            mode=mode,
        )
    except RunnerError as error:
        print(f"{pairs.name}: {peer.name}: {error}", file=sys.stderr)
        return str(error)
    if asked is None:
        return "not run"
    found: Answers = {}
    for answers in asked:
        for name, answer in answers.items():
            found.setdefault(name, []).append(answer)
    if mode != "cached":
        took = time.perf_counter() - started
        print(f"{pairs.name}: {peer.name} ({took:.0f} s)", file=sys.stderr)
    return found


def judge(
    pairs: PairSet, asked: Collection[tuple[Peer, dict[str, list[Answer]] | str]]
) -> SetResult:
    """Return the figures of everybody on one set."""
    labels = pairs.labels
    n = len(labels.weak)
    everybody_equal = measure(labels, np.zeros(n), None, None)
    rows = [Row("references", "random order", everybody_equal, None)]
    for peer, found in asked:
        if isinstance(found, str):
            rows.append(Row(peer.name, "", None, None, found))
            continue
        for name, answers in found.items():
            metrics = _measure(pairs, answers)
            rows.append(Row(peer.name, name, metrics, answers[0].latency_ms))
    gain, by_cost = labels.strong - labels.weak, None
    if labels.weak_tokens is not None and labels.strong_tokens is not None:
        by_cost = gain / np.maximum(labels.strong_tokens - labels.weak_tokens, 1.0)
    oracle = measure(labels, gain, by_cost, gain > 0)
    rows.append(Row("references", "oracle", oracle, None))
    # Everything to the dear arm: its accuracy minus that of the cheap arm is the gap.
    everything = measure(labels, None, None, np.ones(n, dtype=np.bool_))
    nothing = measure(labels, None, None, np.zeros(n, dtype=np.bool_))
    return SetResult(pairs, tuple(rows), everything.difference(nothing, "accuracy"))


def _measure(pairs: PairSet, answers: list[Answer]) -> Metrics | None:
    """Return one configuration's figures over all folds, None if it was not on all of them."""
    if len(answers) != len(pairs.splits):
        return None
    scores = [np.array(a.score) for a in answers if a.score is not None]
    by_cost = [np.array(a.score_by_cost) for a in answers if a.score_by_cost is not None]
    decided = [np.array(a.is_strong) for a in answers if a.is_strong is not None]
    n = len(answers)
    return measure(
        pairs.labels,
        pooled_ranks(scores) if len(scores) == n else None,
        pooled_ranks(by_cost) if len(by_cost) == n else None,
        np.concatenate(decided) if len(decided) == n else None,
    )
