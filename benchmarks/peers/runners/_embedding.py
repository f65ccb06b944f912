"""The embedding that stands in for the neural ones: weighted words, then 256 dimensions.

The peers that need an embedding ship with encoders of hundreds of megabytes, downloaded when
first used. They get this one, learned from the training questions, which scikit-learn in their
environment computes.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

__all__ = ["N_DIMENSIONS", "Embedding"]

N_DIMENSIONS = 256


class Embedding:
    """Latent semantic analysis of words and word pairs."""

    def __init__(self, texts: Sequence[str]) -> None:
        text: Any = import_module("sklearn.feature_extraction.text")
        decomposition: Any = import_module("sklearn.decomposition")
        self._words = text.TfidfVectorizer(
            ngram_range=(1, 2), min_df=2, sublinear_tf=True, max_features=50_000
        )
        terms = self._words.fit_transform(texts)
        n_dimensions = min(N_DIMENSIONS, terms.shape[1] - 1, terms.shape[0] - 1)
        self._axes = decomposition.TruncatedSVD(n_dimensions, random_state=0)
        self._axes.fit(terms)

    def __call__(self, texts: Sequence[str]) -> Any:
        """Return unit vectors, shape `(n, n_dimensions + 1)`.

        One more dimension is a small constant: a text without a known word would otherwise be
        all zeros, and an index by cosine would answer NaN for every later question.
        """
        numpy: Any = import_module("numpy")
        axes = self._axes.transform(self._words.transform(texts))
        vectors = numpy.hstack([axes, numpy.full((len(texts), 1), 1e-3)])
        return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)
