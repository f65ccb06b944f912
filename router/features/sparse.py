"""Word and word-pair TF-IDF with linear scores on top, stored and applied as plain numbers.

Words are looked up in a dictionary or, where there are many, all at once by their hashes; a pair of
known words is one integer, looked up likewise. All scores (one per fitted target) come out of one pass over a prompt's terms.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise, repeat
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .text import WORD_CLASSES
from .words import HashIndex, word_hashes

__all__ = ["SPARSE_VERSION", "FoundWords", "LinearScores", "Terms", "Vocabulary"]

SPARSE_VERSION = 2
"""Raised whenever the same words give other term weights."""


_T = TypeVar("_T", int, bytes)

_MAX_COUNT = 255
_HASHED_AT_ONCE = 1000
# Up to here dictionaries are as fast as arrays where all is in the processor's caches, and twice
# as fast where it is not, as between the requests of a server: they touch less code and memory.
_SHORT_BYTES = 400
_SHORT_WORDS = 64
_ODD = np.uint64(0x9E3779B97F4A7C15)
# 1 + ln(count); nothing is gained by telling higher counts apart.
_DAMPED = 1.0 + np.log(np.maximum(np.arange(_MAX_COUNT + 1), 1))


class FoundWords(NamedTuple):
    """The words of some texts, looked up once for everything that counts them.

    Attributes:
        ids: Position of each word of all texts in a row, counted from 1; 0 for unknown words.
        lengths: Number of words of each text, shape `(n_texts,)`.
        classes: Class of each word in `WORD_CLASSES`, 0 for every other word.
    """

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    classes: NDArray[np.uint8]


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


@dataclass(frozen=True)
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

    @cached_property
    def _table(self) -> tuple[dict[bytes, int], NDArray[np.int64], NDArray[np.uint8]]:
        """Return positions of known words and class words, and by position the id and the class.

        A class word that is not in the vocabulary stands behind its end; its id is 0.
        """
        positions = dict(self.words)
        classes = {
            word: k for k, members in enumerate(WORD_CLASSES.values(), 1) for word in members
        }
        for word in classes:
            positions.setdefault(word, len(positions) + 1)
        id_of_position = np.arange(len(positions) + 1)
        id_of_position[len(self.words) + 1 :] = 0
        class_of_position = np.zeros(len(positions) + 1, dtype=np.uint8)
        for word, index in classes.items():
            class_of_position[positions[word]] = index
        return positions, id_of_position, class_of_position

    @cached_property
    def _word_index(self) -> HashIndex:
        words = list(self._table[0])
        if not all(word and b" " not in word for word in words):
            raise ValueError("a word of the vocabulary is empty or has a space in it")
        hashes = [
            word_hashes(b" %b " % b" ".join(words[start : start + _HASHED_AT_ONCE]))[0]
            for start in range(0, len(words), _HASHED_AT_ONCE)
        ]
        return HashIndex(np.concatenate(hashes), np.arange(1, len(words) + 1))

    @cached_property
    def _pair_index(self) -> HashIndex:
        """Return the place of each known pair among all terms, counted from 1."""
        first = len(self.words) + 1
        return HashIndex(_mixed(self.pairs), np.arange(first, first + len(self.pairs)))

    @cached_property
    def _pair_places(self) -> dict[int, int]:
        """Return the same as a dictionary of codes."""
        first = len(self.words) + 1
        return dict(zip(self.pairs.tolist(), range(first, first + len(self.pairs)), strict=True))

    def look_up(self, documents: Sequence[list[bytes]]) -> FoundWords:
        """Look up the words of texts."""
        positions, ids, classes = self._table
        lengths = np.fromiter(map(len, documents), np.int64, len(documents))
        words = documents[0] if len(documents) == 1 else chain.from_iterable(documents)
        found = np.fromiter(map(positions.get, words, repeat(0)), np.int64, int(lengths.sum()))
        return FoundWords(ids.take(found), lengths, classes.take(found))

    def prepare(self) -> None:
        """Build the tables of `find` and `row` now rather than at their first use.

        Raises:
            ValueError: A word is empty or has a space in it.
        """
        _ = self._word_index, self._pair_index, self._pair_places

    def find(self, texts: Sequence[bytes]) -> FoundWords:
        """Look up the words of texts as `look_up` does, in half the time.

        Args:
            texts: The words between spaces, see `ReadText.spaced`.
        """
        if len(texts) == 1 and len(texts[0]) <= _SHORT_BYTES:
            return self.look_up([texts[0].split()])
        _, ids, classes = self._table
        hashes, before = word_hashes(texts[0] if len(texts) == 1 else b"".join(texts))
        ends = before.searchsorted(np.cumsum([0, *map(len, texts)]))
        found = self._word_index.find(hashes)
        return FoundWords(ids.take(found), ends[1:] - ends[:-1], classes.take(found))

    def terms(self, found: FoundWords) -> Terms:
        """Return the TF-IDF rows of texts."""
        if len(found.lengths) == 1:
            terms, values = self.row(found.ids)
            return Terms(np.zeros(len(terms), dtype=np.int64), terms, values)
        n_texts = len(found.lengths)
        offsets = np.repeat(np.arange(n_texts) * self.n_terms, found.lengths)
        pairs = self._find_pairs(found.ids)
        pairs[offsets[:-1] != offsets[1:]] = 0
        keys = np.concatenate((found.ids, pairs))
        keys_of = np.concatenate((offsets, offsets[:-1])) + keys - 1
        return self._weigh(keys_of[keys > 0])

    def row(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the TF-IDF row of one text: its terms, ascending, and their weights.

        Args:
            ids: Positions of its words, as `look_up` gives them.
        """
        if len(ids) <= _SHORT_WORDS:
            terms, counts = self._count_few(ids.tolist())
        else:
            of_term = np.bincount(np.concatenate((ids, self._find_pairs(ids))), minlength=1)[1:]
            # NumPy finds what is true five times as fast as what is not zero.
            terms = (of_term > 0).nonzero()[0]
            counts = of_term.take(terms)
        weights = _DAMPED.take(counts, mode="clip") * self.idf.take(terms)
        return terms, weights / _norms(weights, np.zeros(min(len(terms), 1), dtype=np.int64))

    def _count_few(self, ids: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the terms among a few words, ascending, and how often each occurs."""
        base = len(self.words) + 1
        codes = (first * base + second for first, second in pairwise(ids))
        places = Counter(map(self._pair_places.get, codes, repeat(0)))
        places.update(ids)
        del places[0]
        terms = sorted(places)
        counts = np.fromiter(map(places.__getitem__, terms), np.int64, len(terms))
        return np.array(terms, dtype=np.int64) - 1, counts

    def _find_pairs(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the place of each pair of neighbours among all terms, from 1, or 0."""
        # A code with an unknown word (0) in it is in no vocabulary.
        return self._pair_index.find(_mixed(ids[:-1] * (len(self.words) + 1) + ids[1:]))

    def _weigh(self, keys: NDArray[np.int64]) -> Terms:
        keys.sort()
        starts, counts = _runs(keys)
        rows, terms = np.divmod(keys[starts], self.n_terms)
        values = _DAMPED[np.minimum(counts, _MAX_COUNT)] * self.idf[terms]
        row_starts, row_counts = _runs(rows)
        return Terms(rows, terms, values / np.repeat(_norms(values, row_starts), row_counts))


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
        if n_texts == 1 and len(terms.terms):
            return self.row(terms.terms, terms.values)[np.newaxis]
        scores = np.empty((n_texts, len(self.intercepts)))
        scores[:] = self.intercepts
        starts, counts = _runs(terms.rows)
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
            part = slice(start, start + count)
            scores[terms.rows[start]] = self.row(terms.terms[part], terms.values[part])
        return scores

    def row(self, terms: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scores of one text, shape `(n_scores,)`.

        Args:
            terms: Its terms.
            values: Their weights.
        """
        # einsum and not @: BLAS rounds differently from machine to machine.
        weights = self.weights.take(terms, axis=0)
        return self.intercepts + np.einsum("t,ts->s", values.astype(np.float32), weights)


def _mixed(codes: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return codes with the higher bits as good as random, different ones for different codes."""
    return codes.view(np.uint64) * _ODD


def _norms(values: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the Euclidean length of each run of values."""
    return np.sqrt(np.add.reduceat(values * values, starts)) if len(starts) else np.ones(0)


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
