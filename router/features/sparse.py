"""Word and word-pair TF-IDF with linear scores on top, stored and applied as plain numbers.

Words are looked up in a dictionary; a pair of known words is one integer, looked up by binary
search. All scores (one per fitted target) come out of one pass over a prompt's terms.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, repeat
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["SPARSE_VERSION", "LinearScores", "Terms", "Vocabulary"]

SPARSE_VERSION = 1
"""Raised whenever the same words give other term weights."""


_T = TypeVar("_T", int, bytes)


class Terms(NamedTuple):
    """Sparse TF-IDF rows in coordinate form, sorted by row and term.

    Attributes:
        rows: Text of each entry, shape `(n_entries,)`.
        terms: Term of each entry, in `[0, n_terms)`, shape `(n_entries,)`.
        values: Weight of each entry; the rows have Euclidean length 1, shape `(n_entries,)`.
    """

    rows: NDArray[np.int64]
    terms: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Known words and word pairs with their inverse document frequencies.

    Attributes:
        words: Position of each word, counted from 1; 0 stands for every other word.
        pairs: Sorted codes `first * (n_words + 1) + second` of known pairs, shape `(n_pairs,)`.
        idf: Inverse document frequency of words, then pairs, shape `(n_words + n_pairs,)`.

    Source:
        Weights `(1 + ln tf) * idf` with smoothed `idf = ln((1 + n) / (1 + df)) + 1`, rows of
        length 1, as in scikit-learn's `TfidfVectorizer(sublinear_tf=True)`.
    """

    words: dict[bytes, int]
    pairs: NDArray[np.int64]
    idf: NDArray[np.float64]

    @classmethod
    def build(
        cls,
        documents: Sequence[Sequence[bytes]],
        *,
        min_documents: int = 2,
        max_words: int = 4000,
        max_pairs: int = 4000,
    ) -> "Vocabulary":
        """Collect the most frequent terms of the fitting texts.

        Args:
            documents: Words of each text.
            min_documents: Texts a term must occur in; rarer ones are left out.
            max_words: Most words to keep.
            max_pairs: Most word pairs to keep.
        """
        words = _frequent((set(words) for words in documents), min_documents, max_words)
        position = {word: index for index, word in enumerate(words, start=1)}
        base = len(position) + 1
        coded = ([position.get(word, 0) for word in document] for document in documents)
        pair_sets = ({a * base + b for a, b in pairwise(ids) if a and b} for ids in coded)
        pairs = dict(sorted(_frequent(pair_sets, min_documents, max_pairs).items()))
        frequency = np.array([*words.values(), *pairs.values()], dtype=np.float64)
        idf = np.log((1.0 + len(documents)) / (1.0 + frequency)) + 1.0
        return cls(position, np.array(list(pairs), dtype=np.int64), idf)

    @property
    def n_terms(self) -> int:
        """Number of words and pairs."""
        return len(self.idf)

    def terms(self, documents: Sequence[list[bytes]]) -> Terms:
        """Return the TF-IDF rows of texts given as words."""
        lengths = np.fromiter(map(len, documents), np.int64, len(documents))
        found = map(self.words.get, chain.from_iterable(documents), repeat(0))
        ids = np.fromiter(found, np.int64, int(lengths.sum()))
        offsets = np.repeat(np.arange(len(documents)) * self.n_terms, lengths)
        keys = (offsets + ids - 1)[ids > 0]
        if len(self.pairs) and len(ids) > 1:
            # A code with an unknown word (0) in it is in no vocabulary.
            codes = ids[:-1] * (len(self.words) + 1) + ids[1:]
            place = np.minimum(self.pairs.searchsorted(codes), len(self.pairs) - 1)
            is_pair = self.pairs[place] == codes
            is_pair &= offsets[:-1] == offsets[1:]
            pair_keys = (offsets[:-1] + place)[is_pair] + len(self.words)
            keys = np.concatenate((keys, pair_keys))
        return self._weigh(keys, len(documents))

    def _weigh(self, keys: NDArray[np.int64], n_texts: int) -> Terms:
        keys.sort()
        starts, counts = _runs(keys)
        rows, terms = np.divmod(keys[starts], self.n_terms)
        values = (1.0 + np.log(counts)) * self.idf[terms]
        norms = np.sqrt(np.bincount(rows, weights=values * values, minlength=n_texts))
        return Terms(rows, terms, values / norms[rows])


@dataclass(frozen=True, slots=True)
class LinearScores:
    """Linear functions of TF-IDF rows.

    Attributes:
        weights: One column per score, shape `(n_terms, n_scores)`.
        intercepts: Score of a text without known terms, shape `(n_scores,)`.
    """

    weights: NDArray[np.float32]
    intercepts: NDArray[np.float64]

    def scores(self, terms: Terms, n_texts: int) -> NDArray[np.float64]:
        """Return the scores of `n_texts` texts, shape `(n_texts, n_scores)`.

        A text's scores do not depend on which other texts are in the batch.
        """
        scores = np.broadcast_to(self.intercepts, (n_texts, len(self.intercepts))).copy()
        if len(terms.rows):
            parts = self.weights[terms.terms] * terms.values[:, np.newaxis]
            starts, _ = _runs(terms.rows)
            scores[terms.rows[starts]] += np.add.reduceat(parts, starts, axis=0)
        return scores


def _runs(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each run of equal values starts, and how long it is."""
    is_edge = np.ones(len(values) + 1, dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=is_edge[1:-1])
    edges = is_edge.nonzero()[0]
    return edges[:-1], edges[1:] - edges[:-1]


def _frequent(sets: Iterable[set[_T]], min_documents: int, limit: int) -> dict[_T, int]:
    """Return the `limit` most frequent members with their counts, ties in natural order."""
    frequency: Counter[_T] = Counter()
    for members in sets:
        frequency.update(members)
    kept = [(term, count) for term, count in frequency.items() if count >= min_documents]
    kept.sort(key=lambda pair: (-pair[1], pair[0]))
    return dict(kept[:limit])
