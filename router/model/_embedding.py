"""Embeddings of prompts as more features of the outcome model, where an embedder is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import ConfigError, InvalidInputError
from policies.embedding import Embedder

from .._artifact import canonical_json, parse_json
from .._members import MemberReader, array_to_bytes
from ..features.embedding import EmbeddingProjection

__all__ = ["FittedProjection", "PromptEmbedding", "fit_projection"]

_DOCUMENT, _MEAN, _COMPONENTS = "embedding.json", "embedding_mean.npy", "embedding_components.npy"
_N_COMPONENTS = 32
Floats = NDArray[np.float64]


class FittedProjection(NamedTuple):
    """A projection, and what it makes of the questions it was fitted on.

    Attributes:
        features: Shape `(n_questions, n_components)`; zeros for blank prompts.
        embedding: Does the same for other prompts.
        members: Members of the artifact.
    """

    features: Floats
    embedding: "PromptEmbedding"
    members: dict[str, bytes]


def fit_projection(embedder: Embedder, prompts: Sequence[str], seed: int) -> FittedProjection:
    """Embed prompts and find the directions in which they differ most.

    No outcome is looked at, so that folds need no projections of their own. Questions that
    certify a guarantee must not be among the prompts: nothing may be fitted on them.

    Raises:
        InvalidInputError: Fewer than two prompts are not blank, or all have the same embedding.
        BackendError: The embedder could not be asked.
    """
    written = [row for row, prompt in enumerate(prompts) if prompt.strip()]
    if not written:
        raise InvalidInputError(
            f"all {len(prompts)} prompts are blank: there is nothing to embed",
            hint="record the prompts, or leave embedder= out",
        )
    embeddings = embedder.embed([prompts[row] for row in written])
    projection = EmbeddingProjection.fit(
        embeddings, _N_COMPONENTS, seed, identity=embedder.identity()
    )
    features = np.zeros((len(prompts), projection.n_components))
    features[written] = projection.apply(embeddings)
    document, arrays = projection.to_parts()
    members = {
        _DOCUMENT: canonical_json(document),
        _MEAN: array_to_bytes(arrays["mean"]),
        _COMPONENTS: array_to_bytes(arrays["components"]),
    }
    return FittedProjection(features, PromptEmbedding(projection, embedder), members)


@dataclass(frozen=True, slots=True)
class PromptEmbedding:
    """Computes the extra features of prompts.

    Attributes:
        projection: The projection of the artifact.
        embedder: The embedder it was fitted with, `None` if nobody gave it.
    """

    projection: EmbeddingProjection
    embedder: Embedder | None

    @classmethod
    def read(
        cls, members: Mapping[str, bytes], embedder: Embedder | None
    ) -> "PromptEmbedding | None":
        """Return what an artifact's members say, `None` for a router without embeddings.

        Args:
            members: Members of the artifact.
            embedder: The embedder that the caller gives.

        Raises:
            InvalidInputError: It is not the embedder that the router was fitted with.
            ArtifactCorruptError: A member does not hold what it must.
        """
        if _DOCUMENT not in members:
            return None
        reader = MemberReader(members)
        arrays = {
            "mean": reader.array(_MEAN, np.float32, (None,)),
            "components": reader.array(_COMPONENTS, np.float32, (None, None)),
        }
        try:
            projection = EmbeddingProjection.from_parts(parse_json(members[_DOCUMENT]), arrays)
        except ValueError as error:  # ArtifactCorruptError is one
            raise reader.corrupt(_DOCUMENT, error) from error
        if embedder is not None:
            projection.refuse_other(embedder.identity())
        return cls(projection, embedder)

    def features(self, prompts: Sequence[str]) -> Floats:
        """Embed prompts and project them, shape `(n_prompts, n_components)`; blocks.

        Raises:
            ConfigError: Nobody gave the embedder.
            BackendError: The embedder could not be asked.
        """
        written = [row for row, prompt in enumerate(prompts) if prompt.strip()]
        features = np.zeros((len(prompts), self.projection.n_components))
        if written:
            embedder = self._given()
            features[written] = self.projection.apply(
                embedder.embed([prompts[row] for row in written])
            )
        return features

    async def afeatures(self, prompt: str) -> Floats:
        """Do the same for one prompt without blocking, shape `(1, n_components)`."""
        if not prompt.strip():
            return np.zeros((1, self.projection.n_components))
        return self.projection.apply(await self._given().aembed([prompt]))

    def _given(self) -> Embedder:
        if self.embedder is None:
            raise ConfigError(
                "the router was fitted with embeddings and has no embedder",
                hint="pass embedder= to Router.load or Router.bind",
                code="missing-embedder",
            )
        return self.embedder
