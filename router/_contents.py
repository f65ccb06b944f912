"""Reading what an artifact's manifest and small members say."""

import hashlib
from collections.abc import Mapping

from policies import ArtifactCorruptError, ArtifactError, ArtifactTooNewError, InvalidInputError

from ._artifact import canonical_json, one_line, parse_json
from ._cascade import Cascade
from ._cascade_parameters import CASCADE_MEMBER, CascadeParameters
from ._document import FEATURE_VERSIONS, RouterDocument

__all__ = ["check_features", "content_id", "read_cascade"]


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
    except ValueError as error:  # InvalidInputError is one
        raise ArtifactCorruptError(f"{CASCADE_MEMBER!r}: {one_line(error)}") from error
    return Cascade(parameters)


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
