"""Measured tables: cells with intervals and provenance, as CSV beside a JSON manifest."""

import csv
import hashlib
import io
import json
import math
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from policies import ArtifactCorruptError, ArtifactTooNewError, StoreError

from ._aggregate import CellKey
from ._outcomes import Cell, Outcome, OutcomeRecord
from ._store import RunStore
from .statistics import (
    ClusterSums,
    Interval,
    anytime_proportion_interval,
    clustered_proportion_interval,
    wilson_interval,
)

__all__ = ["MeasuredTable", "aggregate"]

SCHEMA_VERSION = 2
_KIND = "thinkroute-measured-table"
_REBUILD = "make it again from the run store: advisor tables rebuild RUN"
_FIELDS = tuple(field.name for field in fields(Cell))
_TEXT = ("task", "task_type", "model", "policy", "recipe")
_COUNTS = ("n_correct", "n_cut", "n_error")
_TIMES = ("n_timed", "mean_seconds", "p50_seconds", "p95_seconds")
_INTEGERS = ("n", *_COUNTS, "n_replayed", "n_timed")
_MAY_BE_EMPTY = ("size", "mean_flops", "mean_usd", "mean_score", "p50_seconds", "p95_seconds")


@dataclass(frozen=True, slots=True)
class MeasuredTable:
    """Cells measured by one run.

    Attributes:
        cells: One per (task, model, policy).
        provenance: Where they come from: versions, decoding options, seed, identities.
    """

    cells: tuple[Cell, ...]
    provenance: Mapping[str, Any]

    @classmethod
    def from_store(cls, store: RunStore) -> "MeasuredTable":
        """Aggregate a run store; a million outcomes take seconds and little memory.

        Cells in which a race decided when to stop carry its anytime-valid interval.
        """
        times = store.cell_times()
        races: Mapping[str, Any] = store.get_meta("races") or {}
        cells: list[Cell] = []
        for row in store.cell_sums():
            key = CellKey(**{name: row[name] for name in CellKey._fields})
            race = races.get(key.task, {}).get(key.model)
            anytime = None
            if race is not None and row["n"]:
                # It holds at whatever moment one looks, so also for samples asked afterwards.
                counts = (row["n_correct"], row["n"])
                anytime = anytime_proportion_interval(*counts, race["confidence"])
            cells.append(_cell(row, times.get(key, ()), anytime))
        return cls(tuple(cells), store.get_meta("provenance") or {})

    def save(self, directory: Path) -> Path:
        """Write `table.csv`, `timings.csv` and then `table.json`, each atomically.

        What the clock measured lies apart: two runs with equal answers have equal tables.

        Returns:
            The path of `table.csv`.

        Raises:
            StoreError: The folder cannot be written.
        """
        texts = {
            "table.csv": _to_csv(self.cells, [n for n in _FIELDS if n not in _TIMES]),
            "timings.csv": _to_csv(self.cells, (*CellKey._fields, *_TIMES)),
        }
        manifest = {
            "kind": _KIND,
            "schema_version": SCHEMA_VERSION,
            "cells": "table.csv",
            "sha256": hashlib.sha256(texts["table.csv"].encode()).hexdigest(),
            "timings": "timings.csv",
            "timings_sha256": hashlib.sha256(texts["timings.csv"].encode()).hexdigest(),
            "provenance": dict(self.provenance),
        }
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                _write_atomically(directory / name, text)
            _write_atomically(directory / "table.json", json.dumps(manifest, indent=2) + "\n")
        except OSError as error:
            raise StoreError(
                f"{directory} cannot be written: {error.strerror}", hint="choose another folder"
            ) from error
        return directory / "table.csv"

    @classmethod
    def load(cls, path: Path) -> "MeasuredTable":
        """Read a saved table.

        Args:
            path: The folder, or a file of the table in it.

        Raises:
            ArtifactTooNewError: A newer version wrote it.
            ArtifactCorruptError: Manifest or cells are missing, changed or malformed.
        """
        if not path.exists():
            raise ArtifactCorruptError(
                f"there is no table at {path}",
                hint="give the folder that advisor calibrate --out wrote",
                code="artifact-missing",
            )
        directory = path if path.is_dir() else path.parent
        manifest = _read_manifest(directory / "table.json")
        rows = list(_read_member(directory / "table.csv", manifest.get("sha256")))
        if manifest["schema_version"] > 1:
            times = list(_read_member(directory / "timings.csv", manifest.get("timings_sha256")))
            if [[row[name] for name in CellKey._fields] for row in rows] != [
                [row[name] for name in CellKey._fields] for row in times
            ]:
                raise ArtifactCorruptError(
                    f"{directory / 'timings.csv'} has other cells than table.csv", hint=_REBUILD
                )
            rows = [{**row, **time} for row, time in zip(rows, times, strict=True)]
        try:
            cells = tuple(Cell(**row) for row in rows)
        except TypeError as error:
            raise ArtifactCorruptError(
                f"{directory / 'table.csv'} lacks a column: {error}", hint=_REBUILD
            ) from error
        return cls(cells, manifest["provenance"])

    def _repr_html_(self) -> str:
        """Return the table as a notebook shows it."""
        from ._notebook import measured_table_html

        return measured_table_html(self)


def _read_member(path: Path, sha256: object) -> Iterable[dict[str, Any]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactCorruptError(
            f"{path} cannot be read: {error.strerror}", hint=_REBUILD
        ) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ArtifactCorruptError(f"{path} is not the file its manifest describes", hint=_REBUILD)
    return _from_csv(path, data.decode(errors="replace"))


def aggregate(records: Iterable[OutcomeRecord], *, recipe: str = "") -> list[Cell]:
    """Aggregate outcome records into cells, for records that lie in no store.

    Cells come in the order of a store's: by size, model, task and policy. Records know neither
    how an answer came about nor its price, so cells count no replayed answers and no money.
    """
    cells: dict[CellKey, _Sums] = {}
    for record in records:
        key = CellKey(
            record.task, record.task_type, record.model, record.size, record.policy, recipe
        )
        cells.setdefault(key, _Sums()).add(record)

    def order(key: CellKey) -> tuple[object, ...]:
        size = -1 if key.size is None else key.size
        return (size, key.model, key.task, key.policy, key.task_type)

    has_clusters = any(sums.has_clusters for sums in cells.values())
    return [
        _cell({**key._asdict(), **cells[key].row(clustered=has_clusters)}, cells[key].seconds)
        for key in sorted(cells, key=order)
    ]


class _Sums:
    """Sums of one cell's records, under the names that a store's sums have."""

    def __init__(self) -> None:
        self.seconds = array("d")
        self.has_clusters = False
        self._sums: Counter[str] = Counter()
        self._flops = 0.0
        self._groups: dict[str, list[int]] = {}

    def add(self, record: OutcomeRecord) -> None:
        sums, is_correct = self._sums, record.outcome is Outcome.CORRECT
        if record.outcome is Outcome.ERROR:
            sums["n_error"] += 1
            return
        sums["n"] += 1
        sums["n_correct"] += is_correct
        sums["n_cut"] += record.outcome is Outcome.CUT
        for name, tokens in (
            ("prompt_tokens", record.prompt_tokens),
            ("tokens", record.completion_tokens),
        ):
            sums[name] += tokens or 0
            sums[f"n_{name}"] += tokens is not None
        self._flops += record.flops or 0.0
        sums["n_without_flops"] += record.flops is None
        if record.seconds is not None:
            self.seconds.append(record.seconds)
        group = self._groups.setdefault(record.group, [0, 0])
        self.has_clusters |= group[1] > 0 or record.group != record.question_id
        group[0] += is_correct
        group[1] += 1

    def row(self, *, clustered: bool) -> Mapping[str, Any]:
        names = ("n", *_COUNTS, "prompt_tokens", "n_prompt_tokens", "tokens", "n_tokens")
        row: dict[str, Any] = {name: self._sums[name] for name in (*names, "n_without_flops")}
        row |= {"flops": self._flops, "usd": 0.0, "n_without_usd": row["n"], "credit": 0.0}
        groups = self._groups.values()
        row |= {
            "n_credit": 0,
            "n_replayed": 0,
            "n_clusters": len(groups) if clustered else None,
            "sum_kk": sum(k * k for k, _ in groups),
            "sum_kn": sum(k * n for k, n in groups),
            "sum_nn": sum(n * n for _, n in groups),
        }
        return row


def _cell(
    row: Mapping[str, Any], seconds: Sequence[float], anytime: Interval | None = None
) -> Cell:
    """Return the cell of a row of sums."""
    n, n_correct = int(row["n"]), int(row["n_correct"])
    interval, kind = wilson_interval(n_correct, n), "wilson"
    if row["n_clusters"] and (row["n_clusters"] < n or row["sum_nn"] > n):
        names = ("n_clusters", "sum_kk", "sum_kn", "sum_nn")
        sums = ClusterSums(n, n_correct, *(int(row[name]) for name in names))
        interval, kind = clustered_proportion_interval(sums), "clustered"
    if anytime is not None:
        interval, kind = anytime, "anytime"

    def mean(name: str, n_known: int) -> float | None:
        return row[name] / n if n and n_known == n else None

    texts: dict[str, Any] = {name: row[name] for name in (*_TEXT, "size")}
    counts: dict[str, Any] = {name: int(row[name]) for name in ("n", *_COUNTS, "n_replayed")}
    prompt_tokens = mean("prompt_tokens", row["n_prompt_tokens"])
    tokens = mean("tokens", row["n_tokens"])
    return Cell(
        **texts,
        **counts,
        accuracy=n_correct / n if n else math.nan,
        ci_low=interval.low,
        ci_high=interval.high,
        interval=kind,
        mean_prompt_tokens=math.nan if prompt_tokens is None else prompt_tokens,
        mean_tokens=math.nan if tokens is None else tokens,
        mean_flops=mean("flops", n - row["n_without_flops"]),
        mean_usd=mean("usd", n - row["n_without_usd"]),
        mean_score=mean("credit", row["n_credit"]),
        n_timed=len(seconds),
        mean_seconds=math.fsum(seconds) / len(seconds) if seconds else math.nan,
        p50_seconds=_quantile(seconds, 0.5),
        p95_seconds=_quantile(seconds, 0.95),
    )


def _quantile(values: Sequence[float], q: float) -> float | None:
    if not values:
        return None
    import numpy as np

    return float(np.quantile(np.asarray(values), q))


def _to_csv(cells: Sequence[Cell], names: Sequence[str]) -> str:
    rows = [
        ["" if value is None else value for value in (getattr(cell, name) for name in names)]
        for cell in cells
    ]
    return "".join(map(_csv_line, [names, *rows]))


def _csv_line(values: Sequence[object]) -> str:
    # The writer quotes a carriage return in a cell only if its line ends have one too.
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerow(values)
    return out.getvalue().removesuffix("\r\n") + "\n"


def _from_csv(path: Path, text: str) -> Iterable[dict[str, Any]]:
    """Yield a file's rows with their values parsed.

    Files of version 1 have fewer columns, and the times among them.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError("it has more or fewer values than the header")
            yield {name: _parse(name, value) for name, value in row.items()}
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise ArtifactCorruptError(
            f"{path}:{reader.line_num} is not a cell: {error}", hint=_REBUILD
        ) from error


def _parse(name: str, value: str) -> Any:
    if name not in _FIELDS:
        raise ValueError(f"there is no column {name!r}")
    if name in (*_TEXT, "interval"):
        return value
    if name in _INTEGERS:
        return int(value)
    if name in _MAY_BE_EMPTY and value == "":
        return None
    return int(value) if name == "size" else float(value)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        document: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactCorruptError(
            f"{path} is not a table manifest: {error}", hint="give the folder of a measured table"
        ) from error
    manifest = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    if manifest.get("kind") != _KIND:
        raise ArtifactCorruptError(
            f"{path} is not a table manifest", hint="give the folder of a measured table"
        )
    version: object = manifest.get("schema_version")
    if not isinstance(version, int):
        raise ArtifactCorruptError(f"{path} has no schema version", hint=_REBUILD)
    if version > SCHEMA_VERSION:
        raise ArtifactTooNewError(
            f"{path} has schema version {version}, this version reads up to {SCHEMA_VERSION}",
            hint="upgrade thinkroute",
        )
    if not isinstance(manifest.get("provenance"), dict):
        raise ArtifactCorruptError(f"{path} has no provenance", hint=_REBUILD)
    return manifest


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
