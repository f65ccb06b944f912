"""The table that benchmarks fill: each value beside a baseline measured in the same run."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One measured value.

    Attributes:
        benchmark: Module that measured it.
        case: What was measured.
        value: The number, or None when it could not be measured; `note` then says why.
        unit: Unit of `value` and `baseline_value`, for example `ms`.
        baseline: What it is compared with, measured in the same run.
        baseline_value: The baseline's number.
        target: What we hold ourselves to, in words, for example `< 150 ms`.
        is_met: Whether the target is met; None without one.
        note: Remarks.
    """

    benchmark: str
    case: str
    value: float | None
    unit: str
    baseline: str | None = None
    baseline_value: float | None = None
    target: str | None = None
    is_met: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Return value / baseline."""
        return self.value / self.baseline_value if self.value and self.baseline_value else None


@dataclass(slots=True)
class Report:
    """Collects rows; a benchmark is a module with `run(report: Report) -> None`."""

    rows: list[Row] = field(default_factory=list[Row])
    has_failures: bool = False
    _benchmark: str = ""

    def begin(self, benchmark: str) -> None:
        """Name the benchmark that the next rows belong to."""
        self._benchmark = benchmark

    def add(
        self,
        case: str,
        value: float,
        unit: str,
        *,
        baseline: tuple[str, float] | None = None,
        at_most: float | None = None,
        at_least: float | None = None,
        of_ratio: bool = False,
        note: str = "",
    ) -> None:
        """Add a value.

        Args:
            case: What was measured.
            value: The number.
            unit: Its unit.
            baseline: Name and value of what it is compared with, from the same run.
            at_most: Upper target.
            at_least: Lower target.
            of_ratio: The targets speak about value / baseline instead of the value.
            note: Remarks.
        """
        name, number = baseline if baseline is not None else (None, None)
        aim = at_most if at_most is not None else at_least
        is_met = None
        target = None
        if aim is not None:
            judged = value / number if of_ratio and number else value
            is_met = judged <= aim if at_most is not None else judged >= aim
            target = f"{'<=' if at_most is not None else '>='} {aim:g}{'x' if of_ratio else ''}"
        self.rows.append(
            Row(self._benchmark, case, value, unit, name, number, target, is_met, note)
        )

    def fail(self, case: str, reason: str) -> None:
        """Add a case that could not be measured."""
        self.has_failures = True
        self.rows.append(Row(self._benchmark, case, None, "", note=f"not measured: {reason}"))

    def skip(self, case: str, reason: str) -> None:
        """Add a case that this machine cannot measure; that is no failure."""
        self.rows.append(Row(self._benchmark, case, None, "", note=f"not measured: {reason}"))

    def to_json(self) -> str:
        """Return one document with the rows and the machine."""
        rows: list[dict[str, Any]] = [{**asdict(row), "ratio": row.ratio} for row in self.rows]
        document = {"schema_version": SCHEMA_VERSION, "machine": machine(), "rows": rows}
        return json.dumps(document, indent=2)

    def to_text(self) -> str:
        """Return a plain table."""
        header = ("benchmark", "case", "value", "baseline", "ratio", "target", "")
        lines = [header, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        text = "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )
        return f"{text}\n\n{', '.join(f'{key}: {value}' for key, value in machine().items())}"


def machine() -> dict[str, str]:
    """Return what the numbers depend on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
    }


def _cells(row: Row) -> tuple[str, ...]:
    verdict = {True: "met", False: "MISSED", None: ""}[row.is_met]
    return (
        row.benchmark,
        row.case,
        f"{row.value:.4g} {row.unit}" if row.value is not None else "-",
        f"{row.baseline}: {row.baseline_value:.4g}" if row.baseline_value is not None else "",
        f"{row.ratio:.2f}x" if row.ratio is not None else "",
        f"{row.target} {verdict}" if row.target else "",
        row.note,
    )
