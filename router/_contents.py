"""Reading what an artifact's manifest and small members say."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from policies import ArtifactCorruptError, ArtifactError, ArtifactTooNewError, InvalidInputError

from ._artifact import canonical_json, one_line, parse_json
from ._document import FEATURE_VERSIONS, RouterDocument
from .cascade._cascade import Cascade
from .cascade._cascade_parameters import CASCADE_MEMBER, CascadeParameters

if TYPE_CHECKING:
    from .model._embedding import PromptEmbedding

__all__ = ["check_drift", "check_embedding", "check_features", "content_id", "read_cascade"]


def read_cascade(members: Mapping[str, bytes], n_arms: int) -> Cascade | None:
    """Return the cascade of an artifact, if it has one.

    Raises:
        ArtifactCorruptError: The member does not hold what it must.
    """
    if CASCADE_MEMBER not in members:
        return None
    try:
        parameters = CascadeParameters.from_json(parse_json(members[CASCADE_MEMBER]))
        if parameters.n_arms != n_arms:
            raise InvalidInputError(f"cascade: {parameters.n_arms} arms, expected {n_arms}")
    except (ValueError, RecursionError) as error:  # InvalidInputError is a ValueError
        raise ArtifactCorruptError(f"{CASCADE_MEMBER!r}: {one_line(error)}") from error
    return Cascade(parameters)


def check_drift(members: Mapping[str, bytes]) -> None:
    """Check the member that only the drift monitor reads, so that a broken one is found at once.

    Raises:
        ArtifactCorruptError: The member does not hold what it must.
    """
    from .feedback._drift_reference import DRIFT_MEMBER, DriftReference

    if DRIFT_MEMBER in members:
        DriftReference.from_bytes(members[DRIFT_MEMBER])


def check_embedding(embedding: "PromptEmbedding | None", n_extra: int) -> None:
    """Check that an artifact's embedding gives the features that its model was fitted on.

    Args:
        embedding: What the embedding's members say, `None` without any.
        n_extra: Extra features of the model.

    Raises:
        ArtifactCorruptError: There are more or fewer.
    """
    found = 0 if embedding is None else embedding.projection.n_components
    if found != n_extra:
        raise ArtifactCorruptError(
            f"'model.json': {n_extra} extra features, but the embedding gives {found}"
        )


def check_features(features: Mapping[str, int]) -> None:
    """Check that this version computes the features of an artifact.

    Raises:
        ArtifactTooNewError: One of them is newer.
        ArtifactError: They are older.
    """
    if features == FEATURE_VERSIONS:
        return
    text = f"the router's features are {one_line(dict(features))}, this version computes {FEATURE_VERSIONS}"
    if any(number > FEATURE_VERSIONS.get(name, 0) for name, number in features.items()):
        raise ArtifactTooNewError(text, hint='pip install --upgrade "thinkroute"')
    raise ArtifactError(text, hint="fit the router again")


def content_id(document: RouterDocument, members: Mapping[str, bytes]) -> str:
    """Return a hash of everything that decides."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    content = document.model_dump(exclude={"created", "producer"}) | {"members": digests}
    return hashlib.sha256(canonical_json(content)).hexdigest()[:16]
