"""Run the peers side by side: `python -m benchmarks.peers [--only NAMES] [--sets NAMES]`.

Environments are made where they are missing, results are kept (one for each router, version,
runner and split), and what fails is printed in the place of its figures. With `--only` the
others are shown as far as they were run before.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from . import TABLE
from ._data import DATA, SETS, load_set
from ._document import write_between_markers
from ._peers import OURS, PEERS, REFERENCES, Footprint, Peer, footprint, install
from ._protocol import Answer, Mode, RunnerError
from ._run import CACHE, ask_all, judge
from ._speed import measure_speed
from ._table import Row, SetResult, footprint_table, render_set, speed_table, summary_table

EVERYBODY = (REFERENCES, *PEERS, OURS)


def main() -> int:
    """Ask, judge, print."""
    arguments = _arguments()
    chosen = [peer for peer in EVERYBODY if not arguments.only or peer.name in arguments.only]
    problems = _install(chosen)
    results: list[SetResult] = []
    for name in arguments.sets or SETS:
        try:
            pairs = load_set(name, arguments.data)
        except OSError as error:
            print(f"{name}: no data: {error}", file=sys.stderr)
            continue
        asked: list[tuple[Peer, dict[str, list[Answer]] | str]] = []
        for peer in EVERYBODY:
            if peer.name in problems:
                asked.append((peer, problems[peer.name]))
                continue
            asked.append((peer, ask_all(pairs, peer, mode=_mode(peer, chosen, arguments.fresh))))
        results.append(judge(pairs, asked))
    if not results:
        print(f"no recorded outcomes at {arguments.data}", file=sys.stderr)
        return 4
    text = _text(results, arguments.data, with_speed=not arguments.no_speed)
    print(text)
    _save(results)
    if arguments.document:
        write_between_markers(arguments.document, text)
    return 1 if problems else 0


def _arguments() -> argparse.Namespace:
    names = [peer.name for peer in EVERYBODY]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="NAME", help=f"run only: {', '.join(names)}"
    )
    parser.add_argument(
        "--sets", nargs="+", choices=SETS, metavar="NAME", help=f"of {', '.join(SETS)}"
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder of recorded outcomes")
    parser.add_argument("--fresh", action="store_true", help="run again what was run before")
    parser.add_argument("--no-speed", action="store_true", help="without times and sizes")
    parser.add_argument(
        "--document", type=Path, help="write the tables between the markers of this page, too"
    )
    return parser.parse_args()


def _mode(peer: Peer, chosen: Collection[Peer], is_fresh: bool) -> Mode:
    """Return whether to run; ours runs anew, since nothing tells whether its code has changed."""
    if peer not in chosen:
        return "cached"
    return "fresh" if is_fresh or peer is OURS else "resume"


def _install(peers: list[Peer]) -> dict[str, str]:
    problems: dict[str, str] = {}
    for peer in peers:
        try:
            install(peer)
        except RunnerError as error:
            print(f"{peer.name}: {error}", file=sys.stderr)
            problems[peer.name] = str(error)
    return problems


def _text(results: list[SetResult], data: Path, *, with_speed: bool) -> str:
    parts = [f"Measured on {time.strftime('%d %B %Y', time.gmtime())}."]
    titles = {
        "apgr": "APGR (0.5 is a random order; sets whose dear arm is better beyond chance)",
        "headroom": "Share of the oracle's headroom over extra tokens (0 is a random order)",
        "saved": "Tokens saved at no more than one point lost",
        "lift": "Lift of the default decision over a coin with the same share of dear calls",
    }
    for name, title in titles.items():
        parts += [f"### {title}", summary_table(results, name)]
    parts += [render_set(result) for result in results]
    if with_speed:
        parts += ["### One decision, all measured in this run", speed_table(measure_speed(data))]
        footprints = [(peer, _footprint(peer)) for peer in (*PEERS, OURS)]
        parts += ["### What it takes to have them", footprint_table(footprints)]
    return "\n\n".join(parts)


def _footprint(peer: Peer) -> Footprint | str:
    """Return what a participant takes, measured once for a version of a peer."""
    kept = CACHE / f"footprint-{peer.name}-{peer.version}.json"
    if kept.is_file() and not peer.is_ours:
        return Footprint(**json.loads(kept.read_text(encoding="utf-8")))
    try:
        found = footprint(peer)
    except RunnerError as error:
        return str(error)
    CACHE.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(asdict(found)), encoding="utf-8")
    return found


def _save(results: list[SetResult]) -> None:
    document = {
        result.pairs.name: [
            {
                "router": row.peer,
                "variant": row.variant,
                "problem": row.problem,
                "latency_ms": row.latency_ms,
                **_figures(row),
            }
            for row in result.rows
        ]
        for result in results
    }
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")


def _figures(row: Row) -> dict[str, float | None]:
    """Return what was measured; null where it is undefined."""
    if row.metrics is None:
        return {}
    # NamedTuple's only way to a dictionary has an underscore.
    figures: dict[str, float] = row.metrics.point._asdict()
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


if __name__ == "__main__":
    sys.exit(main())
