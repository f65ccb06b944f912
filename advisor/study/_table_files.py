"""A study as files: one row per cell, the bit of every answer, the design, and a manifest."""

import base64
import binascii
import contextlib
import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, cast

from pydantic import ValidationError

from policies import (
    ArtifactCorruptError,
    ArtifactTooNewError,
    InvalidInputError,
    StoreError,
    ThinkrouteError,
)

from ._design import StudyDesign
from ._results import StudentResult, StudyCell
from ._student import Student, StudyOrder
from ._table import StudyTable

__all__ = ["MANIFEST", "read_study", "write_study"]

SCHEMA_VERSION = 1
MANIFEST = "study.json"
_CELLS, _ANSWERS, _PLAN = "study.csv", "answers.csv", "plan.json"
_KIND = "thinkroute-study"
_AGAIN = "get the study's folder again, or save its table anew: advisor study --run"

_STUDENT = ("size", "n_params", "corpus", "ratio", "order", "seed", "label")
_TRAINING = ("train_tokens", "train_flops")
_MEASURED = tuple(field.name for field in fields(StudyCell) if field.name != "correct")
_COLUMNS = (*_STUDENT, *_TRAINING, *_MEASURED)
_ANSWER_COLUMNS = ("student", "task_type", "policy", "answers")
_WHOLE = frozenset({"n_params", "seed", "train_tokens", "n", "n_correct", "n_cut"})
_TEXT = frozenset({"size", "corpus", "order", "label", "task_type", "mode", "policy"})
_MAY_BE_EMPTY = frozenset({"mean_tokens_correct", "mean_tokens_wrong"})


class _Document(NamedTuple):
    """The files of a study, read but not yet understood; what a migration takes and returns.

    Attributes:
        manifest: The manifest.
        plan: The design.
        rows: Rows of the cells, values as text.
        answers: Rows of the answers.
    """

    manifest: dict[str, Any]
    plan: Any
    rows: list[dict[str, str]]
    answers: list[dict[str, str]]


_MIGRATIONS: Mapping[int, Callable[[_Document], _Document]] = {}
"""From a schema version to the next one; a version that is read is never taken away."""


def write_study(table: StudyTable, folder: Path) -> Path:
    """Write a study's files; every new file is on the disk before the first old one is replaced.

    Raises:
        StoreError: The folder cannot be written.
    """
    texts = {
        _CELLS: _cells_text(table.results),
        _ANSWERS: _answers_text(table.results),
        _PLAN: json.dumps(table.design.model_dump(mode="json"), indent=2) + "\n",
    }
    manifest: dict[str, Any] = {
        "kind": _KIND,
        "schema_version": SCHEMA_VERSION,
        "name": table.name,
        "sha256": {name: _sha256(text.encode()) for name, text in texts.items()},
        "provenance": dict(table.provenance),
    }
    manifest["manifest_sha256"] = _manifest_sha256(manifest)
    texts[MANIFEST] = json.dumps(manifest, indent=2) + "\n"
    temporary = {folder / name: folder / f"{name}.tmp" for name in texts}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for new, text in zip(temporary.values(), texts.values(), strict=True):
            _write(new, text)
        for path, new in temporary.items():
            os.replace(new, path)
    except OSError as error:
        for new in temporary.values():
            with contextlib.suppress(OSError):
                new.unlink()
        raise StoreError(
            f"{folder} cannot be written: {error.strerror}",
            hint="free space on the disk, or choose another folder",
        ) from error
    return folder


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read_study(place: Path) -> StudyTable:
    """Read a study from its folder, or from the folder of one of its files.

    Raises:
        ArtifactTooNewError: A newer version wrote it.
        ArtifactCorruptError: A file is missing, changed or malformed.
    """
    folder = place if place.is_dir() else place.parent
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtifactCorruptError(
            f"there is no study at {place}",
            hint=f"give a folder with {MANIFEST}; advisor tables ls --runs FOLDER lists them",
            code="artifact-missing",
        )
    manifest = _read_manifest(path)
    document = _Document(
        manifest,
        _json(folder / _PLAN, _member(folder, _PLAN, manifest)),
        _rows(folder / _CELLS, _member(folder, _CELLS, manifest)),
        _rows(folder / _ANSWERS, _member(folder, _ANSWERS, manifest)),
    )
    for version in range(manifest["schema_version"], SCHEMA_VERSION):
        document = _MIGRATIONS[version](document)
    try:
        return StudyTable(
            document.manifest["name"],
            StudyDesign.model_validate(document.plan),
            _results(document.rows, document.answers),
            document.manifest["provenance"],
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ArtifactCorruptError(
            f"{folder / _PLAN} is no design: {where}: {first['msg']}", hint=_AGAIN
        ) from error
    except InvalidInputError as error:
        raise ArtifactCorruptError(f"{folder}: {error.message}", hint=_AGAIN) from error


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactCorruptError(
            f"{path} cannot be read: {error.strerror}", hint="check its permissions"
        ) from error
    document = _json(path, data)
    manifest = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    if manifest.get("kind") != _KIND:
        raise ArtifactCorruptError(
            f"{path} is not the manifest of a study", hint="give the folder of a study"
        )
    version: object = manifest.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ArtifactCorruptError(
            f"{path} has schema version {version!r}, which is none", hint=_AGAIN
        )
    if version > SCHEMA_VERSION:
        raise ArtifactTooNewError(
            f"{path} has schema version {version}, this version reads up to {SCHEMA_VERSION}",
            hint="upgrade thinkroute",
        )
    kept = {name: value for name, value in manifest.items() if name != "manifest_sha256"}
    if manifest.get("manifest_sha256") != _manifest_sha256(kept):
        raise ArtifactCorruptError(f"{path} was changed after it was written", hint=_AGAIN)
    return manifest


def _manifest_sha256(manifest: Mapping[str, Any]) -> str:
    return _sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _member(folder: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
    path = folder / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactCorruptError(
            f"{path} cannot be read: {error.strerror}", hint=_AGAIN
        ) from error
    if _sha256(data) != manifest["sha256"].get(name):
        raise ArtifactCorruptError(f"{path} is not the file its manifest describes", hint=_AGAIN)
    return data


def _json(path: Path, data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArtifactCorruptError(f"{path} is not JSON: {error}", hint=_AGAIN) from error


def _rows(path: Path, data: bytes) -> list[dict[str, str]]:
    """Return the rows of a CSV file, values as text."""
    reader = csv.DictReader(io.StringIO(data.decode(errors="replace"), newline=""))
    found: list[dict[str, str]] = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError("it has more or fewer values than the header")
            found.append(cast("dict[str, str]", row))
    except (ValueError, csv.Error) as error:
        raise ArtifactCorruptError(f"{path}:{reader.line_num}: {error}", hint=_AGAIN) from error
    return found


def _cells_text(results: Sequence[StudentResult]) -> str:
    return _csv(_COLUMNS, (_cell_row(one, cell) for one in results for cell in one.cells))


def _cell_row(one: StudentResult, cell: StudyCell) -> list[object]:
    student = one.student
    return [
        *(student.size, one.n_params, student.corpus, student.ratio, student.order.value),
        *(student.seed, student.label, one.train_tokens, one.train_flops),
        *(getattr(cell, name) for name in _MEASURED),
    ]


def _answers_text(results: Sequence[StudentResult]) -> str:
    return _csv(
        _ANSWER_COLUMNS,
        (
            [one.student.id, cell.task_type, cell.policy, _packed(cell.correct)]
            for one in results
            for cell in one.cells
        ),
    )


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if value is None else value for value in row])
    return text.getvalue()


def _packed(bits: str) -> str:
    """Return bits as base64 of bytes, the first answer in the highest bit of the first byte."""
    n_bytes = -(-len(bits) // 8)
    return base64.b64encode(int(bits.ljust(8 * n_bytes, "0"), 2).to_bytes(n_bytes)).decode()


def _unpacked(text: str, n: int) -> str:
    data = base64.b64decode(text, validate=True)
    bits = f"{int.from_bytes(data):0{8 * len(data)}b}" if data else ""
    if len(data) != -(-n // 8) or "1" in bits[n:]:
        raise InvalidInputError(f"{text[:12]!r} does not hold the bits of {n} answers")
    return bits[:n]


def _results(
    rows: Sequence[Mapping[str, str]], answers: Sequence[Mapping[str, str]]
) -> tuple[StudentResult, ...]:
    """Return the students of the rows; those of one student lie together.

    Raises:
        InvalidInputError: A row is none, or rows and answers do not belong together.
    """
    if len(rows) != len(answers):
        raise InvalidInputError(f"{len(rows)} cells, but the answers of {len(answers)}")
    found: dict[str, StudentResult] = {}
    for line, (row, answer) in enumerate(zip(rows, answers, strict=True), start=2):
        try:
            one, cell = _parsed(row, answer)
        except (KeyError, ValueError, TypeError, binascii.Error, ThinkrouteError) as error:
            raise InvalidInputError(f"line {line} is no cell: {_said(error)}") from error
        name = one.student.id
        known = found.setdefault(name, one)
        if (known.n_params, known.train_tokens, known.train_flops) != (
            one.n_params,
            one.train_tokens,
            one.train_flops,
        ):
            raise InvalidInputError(f"line {line}: {name} was trained in two ways")
        found[name] = StudentResult(
            known.student,
            known.n_params,
            known.train_tokens,
            known.train_flops,
            (*known.cells, cell),
        )
    return tuple(found.values())


def _said(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no column {error.args[0]!r}"
    return error.message if isinstance(error, ThinkrouteError) else str(error)


def _parsed(row: Mapping[str, str], answer: Mapping[str, str]) -> tuple[StudentResult, StudyCell]:
    """Return a row's student without cells, and its cell."""
    values = {name: _value(name, row[name]) for name in _COLUMNS}
    student = Student(
        values["size"],
        values["corpus"],
        values["ratio"],
        StudyOrder(values["order"]),
        values["seed"],
    )
    if student.label != values["label"]:
        raise ValueError(f"{values['label']!r} is not the label of {student.id!r}")
    key = (answer["student"], answer["task_type"], answer["policy"])
    if key != (student.id, values["task_type"], values["policy"]):
        raise ValueError(f"its answers are those of {', '.join(key)}")
    measured = {name: values[name] for name in _MEASURED}
    cell = StudyCell(**measured, correct=_unpacked(answer["answers"], values["n"]))
    one = StudentResult(
        student, values["n_params"], values["train_tokens"], values["train_flops"], ()
    )
    return one, cell


def _value(name: str, text: str) -> Any:
    if name in _TEXT:
        return text
    if name in _MAY_BE_EMPTY and not text:
        return None
    return int(text) if name in _WHOLE else float(text)
