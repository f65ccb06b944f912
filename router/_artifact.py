"""Artifacts on disk: a flat folder of members under one manifest, written whole or not at all.

The manifest names every member with its size and SHA-256 and ends with a checksum of itself, so
a change of any byte is found. Nothing read from an artifact is ever executed.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn, cast

from pydantic import ValidationError

from policies import ArtifactCorruptError, ArtifactError, ArtifactTooNewError

__all__ = [
    "Artifact",
    "canonical_json",
    "one_line",
    "parse_json",
    "read_artifact",
    "write_artifact",
]

MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 16 * 2**20
# Parsed, JSON and trees take many times their size; arrays take what they are.
_MAX_MEMBER_BYTES = {".json": 32 * 2**20, ".txt": 64 * 2**20, ".npy": 512 * 2**20}
_MAX_TOTAL_BYTES = 2**30
_MAX_MEMBERS = 4096
_MEMBER_NAME = re.compile(r"[a-z0-9_]{1,64}\.(json|npy|txt)")
_MAX_LINE = 500
_OWN_KEYS = frozenset({"kind", "schema_version", "members", "checksum"})


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a folder holds, integrity checked.

    Attributes:
        schema_version: Version of its layout.
        body: The manifest without its own bookkeeping.
        members: Content of each member.
    """

    schema_version: int
    body: Mapping[str, Any]
    members: Mapping[str, bytes]


def canonical_json(document: Any) -> bytes:
    """Return the one JSON text of a document: sorted keys, UTF-8, one space of indent.

    Raises:
        ValueError: It holds NaN or infinity.
    """
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def parse_json(data: bytes) -> Any:
    """Parse JSON without the NaN and infinity that Python would let through.

    Raises:
        ValueError: It is no such JSON, or nested too deeply.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a number that JSON knows")

    def finite(number: str) -> float:
        value = float(number)
        return value if isfinite(value) else refuse(number)

    try:
        return json.loads(data.decode(), parse_constant=refuse, parse_float=finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def one_line(problem: object) -> str:
    """Return a problem as one printable line of bounded length, whatever is inside it."""
    if isinstance(problem, ValidationError):
        details = problem.errors(include_url=False, include_context=False, include_input=False)
        places = [(".".join(map(str, each["loc"])), each["msg"]) for each in details[:3]]
        problem = "; ".join(f"{place}: {text}" if place else text for place, text in places)
        problem += f"; and {len(details) - 3} more" * (len(details) > 3)
    text = " ".join(str(problem).split())
    text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:_MAX_LINE])
    return text if len(text) < _MAX_LINE else f"{text[:_MAX_LINE]}..."


def write_artifact(
    path: Path,
    *,
    kind: str,
    schema_version: int,
    body: Mapping[str, Any],
    members: Mapping[str, bytes],
    overwrite: bool = False,
) -> None:
    """Write a folder that is complete the moment it exists under its name.

    Everything goes to a sibling folder first, is flushed to disk, and is renamed at the end.

    Args:
        path: The folder to create.
        kind: What the artifact is.
        schema_version: Version of its layout.
        body: What the manifest says about the content.
        members: Content by member name.
        overwrite: Whether an artifact of the same kind that is already there is replaced;
            any other file or folder is never touched.

    Raises:
        ArtifactError: There is something at `path` that may not be replaced.
    """
    if path.exists() or path.is_symlink():
        _check_replaceable(path, kind, overwrite)
    manifest = dict(body) | {
        "kind": kind,
        "schema_version": schema_version,
        "members": {
            name: {"n_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in members.items()
        },
    }
    manifest["checksum"] = _checksum(manifest)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = secrets.token_hex(4)
    fresh = path.with_name(f".{path.name}.new-{suffix}")
    fresh.mkdir()
    try:
        for name, data in members.items():
            _write_synced(fresh / name, data)
        _write_synced(fresh / MANIFEST, canonical_json(manifest))
        _sync_folder(fresh)
        _rename_over(fresh, path, path.with_name(f".{path.name}.old-{suffix}"))
        _sync_folder(path.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def read_artifact(path: Path, *, kind: str, schema_version: int) -> Artifact:
    """Read a folder written by `write_artifact` and check every byte of it.

    Args:
        path: The folder.
        kind: What the artifact must be.
        schema_version: The newest layout that this code reads.

    Raises:
        ArtifactError: There is no artifact, or one of another kind.
        ArtifactTooNewError: Its layout is newer; told before anything else is checked.
        ArtifactCorruptError: Something is missing, added or changed; all such members are named.
    """
    if not path.is_dir():
        raise ArtifactError(f"there is no artifact folder at {path}", code="artifact-missing")
    manifest = _read_manifest(path, kind, schema_version)
    listed = cast("dict[str, dict[str, Any]]", manifest["members"])
    found = {entry.name for entry in path.iterdir()} - {MANIFEST}
    problems = [f"{name!r} is missing" for name in sorted(set(listed) - found)]
    problems += [f"{name!r} does not belong there" for name in sorted(found - set(listed))]
    members: dict[str, bytes] = {}
    for name in sorted(found & set(listed)):
        problem, members[name] = _read_member(path / name, listed[name])
        problems += [f"{name!r} {problem}"] * bool(problem)
    if problems:
        raise _corrupt(path, "; ".join(problems))
    body = {key: value for key, value in manifest.items() if key not in _OWN_KEYS}
    return Artifact(manifest["schema_version"], body, members)


def _read_manifest(path: Path, kind: str, schema_version: int) -> dict[str, Any]:
    file = path / MANIFEST
    if file.is_symlink() or not file.is_file():
        raise _corrupt(path, f"{MANIFEST!r} is missing or not a file")
    if file.stat().st_size > _MAX_MANIFEST_BYTES:
        raise _corrupt(path, f"{MANIFEST!r} is larger than {_MAX_MANIFEST_BYTES} bytes")
    data = file.read_bytes()
    try:
        manifest = parse_json(data)
    except ValueError as error:
        raise _corrupt(path, f"{MANIFEST!r} is not JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise _corrupt(path, f"{MANIFEST!r} is not an object")
    fields = cast("dict[str, Any]", manifest)
    version = fields.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise _corrupt(path, f"{MANIFEST!r} has the schema_version {version!r}")
    if version > schema_version:
        raise ArtifactTooNewError(
            f"{path} has schema_version {one_line(version)}; this version reads up to {schema_version}",
            hint='pip install --upgrade "thinkroute"',
        )
    if not _is_as_written(fields, data):
        raise _corrupt(path, f"{MANIFEST!r} was changed after it was written")
    if fields.get("kind") != kind:
        found = one_line(repr(fields.get("kind")))
        raise ArtifactError(f"{path} holds a {found}, expected a {kind!r}")
    _check_listing(path, fields.get("members"))
    return fields


def _check_listing(path: Path, listing: Any) -> None:
    """Check that members are plain names with a size and a hash, so that no path escapes."""
    entries = cast("dict[str, Any]", listing) if isinstance(listing, dict) else {"": None}
    if len(entries) > _MAX_MEMBERS:
        raise _corrupt(path, f"{MANIFEST!r} lists more than {_MAX_MEMBERS} members")
    n_bytes = 0
    for name, entry in entries.items():
        fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        size = fields.get("n_bytes")
        is_sound = (
            _MEMBER_NAME.fullmatch(name) is not None
            and name != MANIFEST
            and type(size) is int
            and 0 <= size <= _MAX_MEMBER_BYTES[Path(name).suffix]
            and isinstance(fields.get("sha256"), str)
        )
        if not is_sound:
            raise _corrupt(path, f"{MANIFEST!r} lists the unusable member {name!r}")
        n_bytes += fields["n_bytes"]
    if n_bytes > _MAX_TOTAL_BYTES:
        raise _corrupt(path, f"{MANIFEST!r} lists more than {_MAX_TOTAL_BYTES} bytes")


def _read_member(file: Path, entry: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return what is wrong with a member ("" if nothing) and its content."""
    if file.is_symlink() or not file.is_file():
        return "is not a file", b""
    if file.stat().st_size != entry["n_bytes"]:
        return f"has {file.stat().st_size} bytes, expected {entry['n_bytes']}", b""
    with file.open("rb") as stream:
        data = stream.read(entry["n_bytes"] + 1)  # it may have grown since
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        return "was changed after it was written", b""
    return "", data


def _is_as_written(fields: Mapping[str, Any], data: bytes) -> bool:
    try:
        return fields.get("checksum") == _checksum(fields) and canonical_json(fields) == data
    except (ValueError, RecursionError):  # lone surrogates, depth: nothing we would have written
        return False


def _checksum(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(canonical_json(rest)).hexdigest()


def _corrupt(path: Path, problem: str) -> ArtifactCorruptError:
    return ArtifactCorruptError(
        f"{path}: {one_line(problem)}", hint="write or download the artifact again"
    )


def _check_replaceable(path: Path, kind: str, overwrite: bool) -> None:
    if not overwrite:
        raise ArtifactError(
            f"{path} exists already",
            hint="pass overwrite=True to replace it",
            code="artifact-exists",
        )
    try:
        manifest = parse_json((path / MANIFEST).read_bytes())
        is_ours = not path.is_symlink() and manifest["kind"] == kind
    except (OSError, ValueError, TypeError, KeyError):
        is_ours = False
    if not is_ours:
        raise ArtifactError(
            f"{path} is not a {kind!r} artifact and is not replaced", code="artifact-exists"
        )


def _rename_over(fresh: Path, path: Path, aside: Path) -> None:
    """Put `fresh` in the place of `path`; a failure leaves the old folder there."""
    if not path.exists():
        fresh.rename(path)
        return
    path.rename(aside)
    try:
        fresh.rename(path)
    except OSError:
        aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _write_synced(file: Path, data: bytes) -> None:
    with file.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
