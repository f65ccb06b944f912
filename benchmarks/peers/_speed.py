"""Decision times of everybody that decides locally, one after the other in one run."""

import sys
from dataclasses import replace
from pathlib import Path

from ._data import load_set
from ._peers import OURS, PEERS, REFERENCES, Peer
from ._protocol import Answer, RunnerError, ask
from ._run import CACHE, ONE_THREAD, TIMEOUT_S

__all__ = ["measure_speed"]

SET = "pair-A"
N_TIMED = 500
# Its fits take minutes, and its times, of the same order as aurelio's, stand in the sets' tables.
_LEFT_OUT = "llmrouter-lib"


def measure_speed(data: Path) -> list[tuple[Peer, dict[str, Answer]]]:
    """Return what each said, newly asked; who cannot be asked is left out with a message."""
    (split,) = load_set(SET, data).splits
    split = replace(split, name=f"{SET}/speed", n_timed=N_TIMED)
    found: list[tuple[Peer, dict[str, Answer]]] = []
    for peer in (OURS, *PEERS, REFERENCES):
        if peer.name == _LEFT_OUT:
            continue
        try:
            answers = ask(
                peer.command,
                [split],
                cache=CACHE,
                identity=peer.identity,
                timeout_s=TIMEOUT_S,
                environment=ONE_THREAD,
                mode="fresh",
            )
        except RunnerError as error:
            print(f"speed: {peer.name}: {error}", file=sys.stderr)
            continue
        found.append((peer, answers[0] if answers else {}))
    return found
