"""Embeddings as features: projected to the few directions in which the fitting texts differ most.

An embedder gives hundreds of numbers, far more than a few hundred questions can weigh. The
projection is fitted once, stored as plain arrays, and remembers whose embeddings it was fitted on.

Source: principal components by singular value decomposition; above `_EXACT` on both sides by
randomised range finding with power iterations: Halko, Martinsson and Tropp, "Finding structure
with randomness", SIAM Review 53(2), 2011, algorithms 4.4 and 5.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from policies import ArtifactCorruptError, InvalidInputError

__all__ = ["EMBEDDING_VERSION", "EmbeddingProjection"]

EMBEDDING_VERSION = 1
"""Raised whenever the same embeddings give another projection or other features."""

_EXACT = 256
_MOST_ROWS = 16_384
_N_MORE = 16
_N_POWERS = 6
# Directions with less than this share of the first one's spread are rounding.
_LEAST_SPREAD = 1e-6
_ORTHONORMAL_WITHIN = 1e-4


class _ProjectionDocument(BaseModel):
    """The small part of `to_parts`, fields of the same names."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1]
    identity: Annotated[dict[str, str], Field(max_length=100)]
    dimensions: Annotated[int, Field(gt=0, le=100_000)]
    n_components: Annotated[int, Field(gt=0, le=1_000)]
    explained: Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingProjection:
    """Embeddings to `n_components` numbers.

    Attributes:
        mean: Mean of the fitting embeddings, shape `(dimensions,)`.
        components: Orthonormal directions, most spread first, each with its largest entry
            positive, shape `(n_components, dimensions)`.
        explained: Share of the fitting embeddings' variance that the projection keeps, in [0, 1].
        identity: `Embedder.identity()` of the embedder that gave them.

    Example:
        >>> rows = np.eye(4, dtype=np.float32)
        >>> projection = EmbeddingProjection.fit(rows, 2, 0, identity={"model": "m"})
        >>> projection.apply(rows).shape
        (4, 2)
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    explained: float
    identity: Mapping[str, str]

    @classmethod
    def fit(
        cls,
        embeddings: NDArray[np.float32],
        k: int = 32,
        seed: int = 0,
        *,
        identity: Mapping[str, str],
    ) -> "EmbeddingProjection":
        """Fit the projection; the same arguments give the same one.

        Args:
            embeddings: Of the fitting texts, shape `(n_texts, dimensions)`.
            k: Most directions to keep, 1 or more. There are fewer where the texts span fewer:
                at most one less than there are texts.
            seed: Of the sample (above 16,384 texts) and of the random start (above 256 texts
                and dimensions).
            identity: `Embedder.identity()` of the embedder that gave them.

        Raises:
            InvalidInputError: There are fewer than 2 texts, `k` is out of range, a number is not
                finite, or all texts have the same embedding.
        """
        rows = _checked(embeddings)
        if k < 1:
            raise InvalidInputError(f"k is {k!r}, expected >= 1")
        if len(rows) < 2:
            raise InvalidInputError(
                f"{len(rows)} embeddings cannot be projected, expected 2 or more"
            )
        rng = np.random.default_rng(seed)
        if len(rows) > _MOST_ROWS:
            rows = rows[np.sort(rng.choice(len(rows), _MOST_ROWS, replace=False))]
        values = rows.astype(np.float64)
        mean = values.mean(axis=0)
        values -= mean
        total = float(np.einsum("ij,ij->", values, values))
        spread, directions = _top_directions(values, k, rng)
        n_kept = int((spread > _LEAST_SPREAD * max(spread[0], _LEAST_SPREAD)).sum())
        if not n_kept:
            raise InvalidInputError(
                f"all {len(rows)} embeddings are the same", hint="check the embedder"
            )
        largest = np.abs(directions[:n_kept]).argmax(axis=1)
        signs = np.sign(directions[np.arange(n_kept), largest])
        return cls(
            mean.astype(np.float32),
            np.ascontiguousarray(directions[:n_kept] * signs[:, np.newaxis], dtype=np.float32),
            min(1.0, float((spread[:n_kept] ** 2).sum()) / total),
            dict(identity),
        )

    @property
    def dimensions(self) -> int:
        """Length of the embeddings it takes."""
        return len(self.mean)

    @property
    def n_components(self) -> int:
        """How many numbers it makes of one."""
        return len(self.components)

    def apply(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the features of texts, shape `(n_texts, n_components)`.

        A text's features do not depend on which others are in the batch. Zeros, the features of
        the mean, say that nothing is known: use them for a text that could not be embedded.

        Args:
            embeddings: Of an embedder of the same identity, shape `(n_texts, dimensions)`.

        Raises:
            InvalidInputError: They have another length or are not finite.
        """
        rows = _checked(embeddings)
        if rows.shape[1] != self.dimensions:
            raise InvalidInputError(
                f"embeddings have {rows.shape[1]} dimensions, the projection was fitted on"
                f" {self.dimensions}",
                hint="use the embedder that the router was fitted with",
                code="other-embedder",
            )
        # Not a matrix product: BLAS adds in another order for one row than for many.
        centred = rows.astype(np.float32) - self.mean
        projected = np.einsum("nd,kd->nk", centred, self.components, optimize=False)
        return projected.astype(np.float64)

    def refuse_other(self, identity: Mapping[str, str]) -> None:
        """Refuse an embedder that is not the one it was fitted with.

        Raises:
            InvalidInputError: The identities differ; says where.
        """
        ours = dict(self.identity)
        differing = sorted(key for key in {*ours, *identity} if ours.get(key) != identity.get(key))
        if differing:
            # Ours come from an artifact: their length and characters are a stranger's.
            told = "; ".join(
                f"{ascii(key)[1:-1]:.80} is {identity.get(key, 'missing')!r:.80}, "
                f"expected {ours.get(key, 'none')!r:.80}"
                for key in differing[:5]
            )
            raise InvalidInputError(
                f"the router was fitted with another embedder: {told}",
                hint="use that one, or fit again",
                code="other-embedder",
            )

    def to_parts(self) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
        """Return a JSON document and arrays that `from_parts` reads, both fit for an artifact."""
        document: dict[str, Any] = {
            "version": EMBEDDING_VERSION,
            "identity": dict(sorted(self.identity.items())),
            "dimensions": self.dimensions,
            "n_components": self.n_components,
            "explained": self.explained,
        }
        return document, {"mean": self.mean, "components": self.components}

    @classmethod
    def from_parts(
        cls, document: object, arrays: Mapping[str, NDArray[Any]]
    ) -> "EmbeddingProjection":
        """Rebuild a projection that gives the same features bit for bit.

        Args:
            document: Parsed JSON.
            arrays: `mean` and `components`, as they were written.

        Raises:
            ArtifactCorruptError: The parts are not what `to_parts` gives.
        """
        try:
            read = _ProjectionDocument.model_validate(document)
        except ValueError as error:  # pydantic's ValidationError is one
            raise _corrupt(str(error)) from error
        mean = _read_array(arrays, "mean", (read.dimensions,))
        components = _read_array(arrays, "components", (read.n_components, read.dimensions))
        wide = components.astype(np.float64)
        if np.abs(wide @ wide.T - np.eye(read.n_components)).max() > _ORTHONORMAL_WITHIN:
            raise _corrupt("its components are not orthonormal")
        return cls(mean, components, read.explained, dict(read.identity))


def _top_directions(
    values: NDArray[np.float64], k: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return singular values and right singular vectors of centred rows, at most `k`."""
    most = min(k, len(values) - 1, values.shape[1])
    if min(values.shape) <= _EXACT:
        _, spread, directions = np.linalg.svd(values, full_matrices=False)
        return spread[:most], directions[:most]
    basis = rng.standard_normal((values.shape[1], most + _N_MORE))
    for _ in range(_N_POWERS):
        basis, _ = np.linalg.qr(values.T @ np.linalg.qr(values @ basis)[0])
    _, spread, small = np.linalg.svd(values @ basis, full_matrices=False)
    return spread[:most], (small @ basis.T)[:most]


def _checked(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    if embeddings.ndim != 2 or not embeddings.shape[1]:
        raise InvalidInputError(
            f"embeddings have shape {embeddings.shape}, expected (n_texts, dimensions)"
        )
    if not np.isfinite(embeddings).all():
        raise InvalidInputError("an embedding holds NaN or infinity")
    return embeddings


def _read_array(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    if name not in arrays:
        raise _corrupt(f"its array {name!r} is missing")
    array = arrays[name]
    if array.dtype != np.float32 or array.shape != shape:
        raise _corrupt(
            f"its array {name!r} is {array.dtype} of shape {array.shape}, expected float32 of"
            f" shape {shape}"
        )
    if not np.isfinite(array).all():
        raise _corrupt(f"its array {name!r} holds NaN or infinity")
    return array


def _corrupt(problem: str) -> ArtifactCorruptError:
    return ArtifactCorruptError(f"embedding projection: {problem}")
