"""A router's folder: what kind of artifact it is, and reading and writing one."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from policies import ArtifactCorruptError, ArtifactError

from ._artifact import Artifact, one_line, read_artifact, write_artifact
from ._contents import check_drift
from ._document import RouterDocument

__all__ = ["read_folder", "read_router", "write_router"]

KIND = "router"
SCHEMA_VERSION = 2


def read_folder(path: Path) -> Artifact:
    """Return the artifact in a router's folder, its manifest not looked into.

    Raises:
        ArtifactError: There is no artifact, or one of another kind.
        ArtifactTooNewError: A newer version wrote it.
        ArtifactCorruptError: A byte was changed, or a member is missing or added.
    """
    return read_artifact(path, kind=KIND, schema_version=SCHEMA_VERSION)


def read_router(path: Path) -> tuple[RouterDocument, Mapping[str, bytes]]:
    """Return manifest and members of a router's folder.

    Raises:
        ArtifactError: There is no artifact, or one of another kind, or it is of an older version.
        ArtifactTooNewError: A newer version wrote it.
        ArtifactCorruptError: A byte was changed, or a member is missing or added.
    """
    artifact = read_folder(path)
    if artifact.schema_version < SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} was written by an older version, whose features are no longer computed",
            hint="fit the router again",
            code="artifact-too-old",
        )
    try:
        document = RouterDocument.model_validate(dict(artifact.body))
    except ValidationError as error:
        raise ArtifactCorruptError(f"'manifest.json': {one_line(error)}") from error
    check_drift(artifact.members)
    return document, artifact.members


def write_router(
    path: Path, document: RouterDocument, members: Mapping[str, bytes], *, overwrite: bool
) -> None:
    """Write a router's folder, whole or not at all.

    Raises:
        ArtifactError: There is something at `path` that may not be replaced.
    """
    write_artifact(
        path,
        kind=KIND,
        schema_version=SCHEMA_VERSION,
        body=document.model_dump(),
        members=members,
        overwrite=overwrite,
    )
