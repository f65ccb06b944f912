"""Draw docs/pocket_frontier.svg from a run: `python scripts/draw_frontier.py RUN OUT.svg`.

Needs the extra `report`. One panel per task type; a line per mode joins the three sizes.
"""

import sys
from pathlib import Path
from typing import Any

from calibration import Cell, MeasuredTable

SETTINGS: dict[Any, Any] = {"svg.hashsalt": "thinkroute", "svg.fonttype": "none", "font.size": 9}

TASK_TYPES = ("math-oe", "math-mc", "general-oe", "general-mc")
STYLES = {"direct": ("#3465a4", "o", "direct"), "reasoning@max": ("#c4501b", "s", "reasoning")}


def draw(cells: list[Cell], target: Path) -> None:
    """Draw accuracy with 95% intervals against mean inference FLOPs."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(SETTINGS)
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(TASK_TYPES), figsize=(10, 2.7), sharey=True)
    for axis, task_type in zip(axes, TASK_TYPES, strict=True):
        for policy, (color, marker, label) in STYLES.items():
            line = sorted(
                (c for c in cells if (c.task_type, c.policy) == (task_type, policy)),
                key=lambda c: c.size or 0,
            )
            flops = [cell.mean_flops or 0.0 for cell in line]
            accuracy = [cell.accuracy for cell in line]
            below = [cell.accuracy - cell.ci_low for cell in line]
            above = [cell.ci_high - cell.accuracy for cell in line]
            axis.errorbar(
                flops, accuracy, (below, above), color=color, marker=marker, ms=4, label=label
            )
        axis.set(title=task_type, xscale="log", ylim=(0, 1.03), xlabel="FLOPs per answer")
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("accuracy on held-out questions")
    axes[0].legend(frameon=False, loc="center right")
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    draw(list(MeasuredTable.load(Path(sys.argv[1])).cells), Path(sys.argv[2]))
