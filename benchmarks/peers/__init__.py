"""Other routers on the same questions: `python -m benchmarks.peers`, or `make bench-peers`.

Each router runs in an environment of its own (`.venv-peers/NAME`) as a process of its own, and
answers questions that it gets as a file; nothing of it is imported here. Licences differ, and so
do the versions of what they depend on.
"""

import json
from pathlib import Path
from typing import Any

from .._report import Report

__all__ = ["TABLE", "run"]

TABLE = Path(__file__).resolve().parents[2] / "runs" / "peers" / "table.json"
"""Where `python -m benchmarks.peers` leaves its figures."""


def run(report: Report, table: Path = TABLE) -> None:
    """Add our and the best peer's headroom from the last `make bench-peers`, which takes long."""
    if not table.is_file():
        report.skip("all", "make bench-peers measures them (3 GB, half an hour)")
        return
    sets: dict[str, list[dict[str, Any]]] = json.loads(table.read_text(encoding="utf-8"))
    for name, rows in sets.items():
        known = [row for row in rows if row.get("headroom") is not None]
        ours = [row for row in known if row["router"] == "thinkroute"]
        peers = [row for row in known if row["router"] not in {"thinkroute", "references"}]
        best = max(peers, key=lambda row: row["headroom"], default=None)
        for row in ours:
            report.add(
                f"{name}: share of the oracle's headroom, {row['variant']}",
                row["headroom"],
                "",
                baseline=(f"{best['router']}, {best['variant']}", best["headroom"])
                if best
                else None,
                note="from the last make bench-peers",
            )
