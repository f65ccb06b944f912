"""What an embedder promises, and the checks that all of them share."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .._errors import BackendResponseError, InvalidInputError

__all__ = ["MAX_BYTES", "Embedder", "Prepared", "Vectors", "prepared", "unit_rows"]

Vectors: TypeAlias = "NDArray[np.float32]"
"""Embeddings, one row of Euclidean length 1 per text, shape `(n_texts, dimensions)`."""

MAX_BYTES = 8192
"""How much of a text is embedded unless told otherwise: most encoders read 512 to 8192 tokens."""

# Below this a vector is zero but for rounding.
_TINY = 1e-12


@runtime_checkable
class Embedder(Protocol):
    """A model that turns texts into vectors.

    Safe to call from many tasks and threads at once. The same text gives the same vector up to
    rounding: servers and batches add numbers in different orders.
    """

    @property
    def name(self) -> str:
        """Kind of embedder, such as `openai`."""
        ...

    @property
    def model(self) -> str:
        """Name of the model as users write it."""
        ...

    @property
    def dimensions(self) -> int | None:
        """Length of a vector; `None` until it is told or seen."""
        ...

    @property
    def n_truncated(self) -> int:
        """How many of the texts so far were longer than what is embedded of them."""
        ...

    def identity(self) -> Mapping[str, str]:
        """Return everything that decides which vector a text gets, without secrets, for hashes."""
        ...

    async def aembed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts, shape `(n_texts, dimensions)`, rows of length 1.

        Raises:
            InvalidInputError: A text is blank.
            BackendError: The model could not be asked, or answered nonsense.
        """
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Do what `aembed` does, and block until it is done."""
        ...

    async def aclose(self) -> None:
        """Let connections and weights go; later calls fail."""
        ...


class Prepared(NamedTuple):
    """Texts as they are embedded.

    Attributes:
        texts: The prefix and what is kept of each text.
        is_cut: Whether something of it was left out, for each text.
    """

    texts: list[str]
    is_cut: list[bool]


def prepared(texts: Sequence[str], *, prefix: str, max_bytes: int) -> Prepared:
    """Return texts cut to a number of bytes of UTF-8, at a character, with the prefix before.

    A lone surrogate, which UTF-8 cannot carry, becomes `?`.

    Args:
        texts: What is to be embedded.
        prefix: What the model wants before each text.
        max_bytes: Most bytes that are kept of a text, the prefix not counted.

    Raises:
        InvalidInputError: It is one string, or a text is blank: servers refuse those, and no
            vector of length 1 says "nothing".
    """
    if isinstance(texts, str):
        raise InvalidInputError("texts is one string, expected a sequence of them")
    blank = [index for index, text in enumerate(texts) if not text.strip()]
    if blank:
        raise InvalidInputError(
            f"{len(blank)} of {len(texts)} texts are blank, the first at index {blank[0]}",
            hint="leave them out: a blank text has no embedding",
            code="blank-text",
        )
    kept: list[str] = []
    is_cut: list[bool] = []
    for text in texts:
        # A character takes at least one byte, so what lies beyond cannot be kept.
        data = text[: max_bytes + 1].encode("utf-8", "replace")
        is_cut.append(len(data) > max_bytes)
        kept.append(prefix + data[:max_bytes].decode("utf-8", "ignore"))
    return Prepared(kept, is_cut)


def unit_rows(rows: NDArray[np.floating], *, backend: str, model: str) -> Vectors:
    """Return rows scaled to Euclidean length 1.

    Args:
        rows: Vectors as a model gave them, shape `(n_texts, dimensions)`.
        backend: Name of the embedder, for errors.
        model: Model that was asked, for errors.

    Raises:
        BackendResponseError: A row holds NaN or infinity, or is zero.
    """
    values = np.asarray(rows, dtype=np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", values, values))
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > _TINY)))
    if len(bad):
        raise BackendResponseError(
            f"the embedding of text {bad[0]} is zero, NaN or infinite"
            f" ({len(bad)} of {len(values)} are)",
            backend=backend,
            model=model,
            retryable=False,
            hint="check the model's precision: float16 overflows in some encoders",
        )
    return (values / norms[:, np.newaxis]).astype(np.float32)
