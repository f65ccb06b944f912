"""The file of a finished student: `result.json`, written whole after it was measured."""

import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from policies import ArtifactCorruptError, ArtifactTooNewError, StoreError

from ._results import StudentResult, StudyCell
from ._student import Student, StudyOrder

__all__ = ["read_result", "write_json", "write_result"]

SCHEMA_VERSION = 1
_NAME = "result.json"
_KIND = "thinkroute-study-student"


def write_result(folder: Path, result: StudentResult) -> None:
    """Write a student's result to its folder, whole or not at all.

    Raises:
        StoreError: It cannot be written.
    """
    document = {"kind": _KIND, "schema_version": SCHEMA_VERSION, **asdict(result)}
    write_json(folder / _NAME, document)


def read_result(folder: Path) -> StudentResult | None:
    """Return what a student's folder holds, `None` if it is not finished.

    Raises:
        ArtifactTooNewError: A newer version wrote it.
        ArtifactCorruptError: It is no result, or not that of the student the folder is named for.
    """
    path = folder / _NAME
    if not path.exists():
        return None
    hint = "remove it, and the student is trained again"
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = int(document.pop("schema_version"))
        is_ours = document.pop("kind") == _KIND
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactCorruptError(f"{path} is no result of a student", hint=hint) from error
    if version > SCHEMA_VERSION:
        raise ArtifactTooNewError(
            f"{path} has schema {version}, this version reads up to {SCHEMA_VERSION}",
            hint="upgrade thinkroute",
        )
    try:
        found = _result(document)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactCorruptError(f"{path} is damaged: {error}", hint=hint) from error
    if not is_ours or found.student.id != folder.name:
        raise ArtifactCorruptError(f"{path} is not the result of {folder.name}", hint=hint)
    return found


def _result(document: dict[str, Any]) -> StudentResult:
    given: dict[str, Any] = document["student"]
    student = Student(
        size=given["size"],
        corpus=given["corpus"],
        ratio=given["ratio"],
        order=StudyOrder(given["order"]),
        seed=given["seed"],
    )
    names = {field.name for field in fields(StudyCell)}
    cells = tuple(StudyCell(**cell) for cell in document["cells"])
    if not cells or any(set(cell) != names for cell in document["cells"]):
        raise ValueError("it has no cells")
    numbers = {key: document[key] for key in ("n_params", "train_tokens", "train_flops")}
    return StudentResult(student=student, cells=cells, **numbers)


def write_json(path: Path, document: object) -> None:
    """Write a JSON document by a temporary file, which takes the place of an older one at once.

    Raises:
        StoreError: It cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror}",
            hint="make room, or choose another folder",
        ) from error
