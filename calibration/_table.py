"""Measured tables: cells with intervals and provenance, as CSV beside a JSON manifest."""

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

from policies import ArtifactCorruptError, ArtifactTooNewError, StoreError

from ._outcomes import Cell, Outcome, OutcomeRecord
from ._store import RunStore
from .statistics import wilson_interval

__all__ = ["MeasuredTable", "aggregate"]

SCHEMA_VERSION = 1
_KIND = "thinkroute-measured-table"
_TEXT = ("task", "task_type", "model", "policy", "recipe")
_REBUILD = "make it again from the run store: advisor tables rebuild RUN"
_COUNTS = ("n", "n_correct", "n_cut", "n_error")


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
        """Aggregate a run store; a million outcomes take seconds and little memory."""
        return cls(
            tuple(_cell_from_sums(row) for row in store.cell_sums()),
            store.get_meta("provenance") or {},
        )

    def save(self, directory: Path) -> Path:
        """Write `table.csv` and then `table.json`, each atomically; return the CSV's path.

        Raises:
            StoreError: The folder cannot be written.
        """
        text = _to_csv(self.cells)
        manifest = {
            "kind": _KIND,
            "schema_version": SCHEMA_VERSION,
            "cells": "table.csv",
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "provenance": dict(self.provenance),
        }
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _write_atomically(directory / "table.csv", text)
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
            path: The folder, `table.csv` or `table.json` in it.

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
        try:
            data = (directory / "table.csv").read_bytes()
        except OSError as error:
            raise ArtifactCorruptError(
                f"{directory / 'table.csv'} cannot be read: {error.strerror}", hint=_REBUILD
            ) from error
        if hashlib.sha256(data).hexdigest() != manifest.get("sha256"):
            raise ArtifactCorruptError(
                f"{directory / 'table.csv'} is not the file its manifest describes",
                hint=_REBUILD,
            )
        text = data.decode(errors="replace")
        return cls(tuple(_from_csv(directory / "table.csv", text)), manifest["provenance"])


def aggregate(records: Iterable[OutcomeRecord], *, recipe: str = "") -> list[Cell]:
    """Aggregate outcome records into cells, for records that lie in no store.

    Cells come in the order of a store's: by size, model, task and policy.
    """
    sums: dict[tuple[str, str, str, int | None, str], dict[str, Any]] = {}
    for record in records:
        key = (record.task, record.task_type, record.model, record.size, record.policy)
        row = sums.setdefault(
            key,
            {
                **dict(zip(("task", "task_type", "model", "size", "policy"), key, strict=True)),
                **dict.fromkeys((*_COUNTS, "prompt_tokens", "tokens", "n_without_flops"), 0),
                "recipe": recipe,
                "flops": 0.0,
                "seconds": 0.0,
            },
        )
        if record.outcome is Outcome.ERROR:
            row["n_error"] += 1
            continue
        row["n"] += 1
        row["n_correct"] += record.outcome is Outcome.CORRECT
        row["n_cut"] += record.outcome is Outcome.CUT
        row["prompt_tokens"] += record.prompt_tokens
        row["tokens"] += record.completion_tokens
        row["flops"] += record.flops or 0.0
        row["n_without_flops"] += record.flops is None
        row["seconds"] += record.seconds

    def order(key: tuple[str, str, str, int | None, str]) -> tuple[object, ...]:
        task, task_type, model, size, policy = key
        return (-1 if size is None else size, model, task, policy, task_type)

    return [_cell_from_sums(sums[key]) for key in sorted(sums, key=order)]


def _cell_from_sums(row: Mapping[str, Any]) -> Cell:
    n, n_correct = int(row["n"]), int(row["n_correct"])
    low, high = wilson_interval(n_correct, n)

    def mean(name: str) -> float:
        return (row[name] or 0) / n if n else math.nan

    texts: dict[str, Any] = {name: row[name] for name in (*_TEXT, "size")}
    counts: dict[str, Any] = {name: int(row[name]) for name in _COUNTS}
    return Cell(
        **texts,
        **counts,
        accuracy=n_correct / n if n else math.nan,
        ci_low=low,
        ci_high=high,
        mean_prompt_tokens=mean("prompt_tokens"),
        mean_tokens=mean("tokens"),
        mean_flops=mean("flops") if n and not row["n_without_flops"] else None,
        mean_seconds=mean("seconds"),
    )


def _to_csv(cells: Sequence[Cell]) -> str:
    names = [field.name for field in fields(Cell)]
    rows = [["" if value is None else value for value in asdict(cell).values()] for cell in cells]
    return "".join(map(_csv_line, [names, *rows]))


def _csv_line(values: Sequence[object]) -> str:
    # The writer quotes a carriage return in a cell only if its line ends have one too.
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerow(values)
    return out.getvalue().removesuffix("\r\n") + "\n"


def _from_csv(path: Path, text: str) -> Iterable[Cell]:
    names = [field.name for field in fields(Cell)]
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            yield Cell(**{name: _parse(name, row[name]) for name in names})
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise ArtifactCorruptError(
            f"{path}:{reader.line_num} is not a cell: {error}", hint=_REBUILD
        ) from error


def _parse(name: str, value: str) -> Any:
    if name in _TEXT:
        return value
    if name in _COUNTS:
        return int(value)
    if name in ("size", "mean_flops") and value == "":
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
