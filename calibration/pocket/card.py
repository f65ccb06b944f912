"""Write the model card of the pocket family: `python -m calibration.pocket.card RUN CARD`.

The figures come from a run folder; the text around them is kept in the card itself, outside
the marker lines `<!-- NAME: begin -->` and `<!-- NAME: end -->`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .._outcomes import Cell
from .._table import MeasuredTable

__all__ = ["card_table", "replace_table"]


def card_table(cells: Sequence[Cell]) -> str:
    """Return cells as a Markdown table with 95% intervals."""
    lines = [
        "| model | parameters | task type | policy | n | accuracy | 95% interval | cut | tokens | FLOPs |",
        "|---|---:|---|---|---:|---:|---|---:|---:|---:|",
    ]
    for cell in sorted(cells, key=lambda c: (c.size or 0, c.task_type, c.policy)):
        flops = "-" if cell.mean_flops is None else f"{cell.mean_flops / 1e6:.1f}M"
        lines.append(
            f"| {cell.model} | {cell.size or 0:,} | {cell.task_type} | {cell.policy} | {cell.n:,} "
            f"| {cell.accuracy:.3f} | [{cell.ci_low:.3f}, {cell.ci_high:.3f}] | {cell.n_cut} "
            f"| {cell.mean_tokens:.1f} | {flops} |"
        )
    return "\n".join(lines)


def replace_table(card: str, name: str, table: str) -> str:
    """Return the card with the text between the markers of `name` replaced.

    Raises:
        ValueError: A marker is missing.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = card.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"the card lacks the line {begin!r} or {end!r}")
    return f"{before}{begin}\n{table}\n{end}{after}"


def main() -> None:
    """Parse the command line and rewrite the card."""
    parser = argparse.ArgumentParser(prog="python -m calibration.pocket.card")
    parser.add_argument("run", type=Path, help="run folder of advisor calibrate")
    parser.add_argument("card", type=Path, help="Markdown file with the marker lines")
    parser.add_argument("--name", default="embedded", help="which table of the card")
    options = parser.parse_args()
    table = card_table(MeasuredTable.load(options.run).cells)
    text = options.card.read_text(encoding="utf-8")
    options.card.write_text(replace_table(text, options.name, table), encoding="utf-8")
    sys.stderr.write(f"written: {options.card}\n")


if __name__ == "__main__":
    main()
