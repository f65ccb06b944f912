"""All words of a text looked up at once, without an object for each word."""

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["HashIndex", "word_hashes"]

_BASE = 0x9E3779B97F4A7C15  # odd, so it has an inverse
_WORD = 2**64
_SPACE = 32
_MAX_MOVES = 500
_MAX_GROWTH_BITS = 4


def word_hashes(spaced: bytes) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return a 64-bit hash of each word and the place before it, shape `(n_words,)` each.

    Equal words have equal hashes wherever they stand. Others differ but for one chance in 2^64,
    or where somebody makes words of a thousand letters for it; they would then count as a word
    that could have been written at once.

    Args:
        spaced: Words between spaces, with a space at both ends; no other white space, no zeros.

    Source:
        Karp and Rabin (1987): a word is the number that its bytes are digits of, modulo 2^64. Sums
        over the whole text give all of them by one subtraction each.
    """
    codes = np.frombuffer(spaced, dtype=np.uint8)
    powers, inverses = _powers(max(len(codes), 4096).bit_length())
    is_space = codes == _SPACE
    # Before each word's first letter, and at its last one.
    edges: NDArray[np.int64] = (is_space[1:] != is_space[:-1]).nonzero()[0]
    sums = (codes * powers[: len(codes)]).cumsum()
    at_edges: NDArray[np.uint64] = sums.take(edges)
    before = edges[::2]
    return (at_edges[1::2] - at_edges[::2]) * inverses.take(before), before


class HashIndex:
    """Values of 64-bit keys, found for many keys at once. Immutable.

    A key lies in one of two places that its bits name, so that looking it up takes two reads and
    no search: a binary search mispredicts a branch at every step.

    Source:
        Cuckoo hashing (Pagh and Rodler, Journal of Algorithms 2004), at a quarter of the space.
    """

    def __init__(self, keys: NDArray[np.uint64], values: NDArray[np.int64]) -> None:
        """Place the keys; of equal ones the last counts.

        Args:
            keys: Keys whose higher bits are as good as random, shape `(n,)`.
            values: Their values, not 0, shape `(n,)`.

        Raises:
            ValueError: The keys were made to have the same places.
        """
        of_key = dict(zip(keys.tolist(), values.tolist(), strict=True))
        n_bits = max(len(of_key), 8).bit_length() + 1
        most_bits = n_bits + _MAX_GROWTH_BITS
        while (places := _place(of_key, n_bits)) is None:
            n_bits += 1
            if n_bits > most_bits:
                raise ValueError("the keys of a table cannot be told apart")
        self._shifts = np.uint64(64 - n_bits), np.uint64(64 - 2 * n_bits)
        self._half = np.uint64(2**n_bits)
        # Free places have a value of 0, whatever the key that seems to be there.
        self._keys = np.zeros(2 ** (n_bits + 1), dtype=np.uint64)
        self._values = np.zeros(2 ** (n_bits + 1), dtype=np.int64)
        slots = np.fromiter(places, np.int64, len(places))
        self._keys[slots] = np.fromiter(places.values(), np.uint64, len(places))
        self._values[slots] = np.fromiter(map(of_key.get, places.values()), np.int64, len(places))

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the values of keys, 0 for others, same shape."""
        first = (keys >> self._shifts[0]).view(np.int64)
        second = (keys >> self._shifts[1] & (self._half - _ONE) | self._half).view(np.int64)
        slot = np.where(self._keys.take(first) == keys, first, second)
        return self._values.take(slot) * (self._keys.take(slot) == keys)


_ONE = np.uint64(1)


def _place(keys: Iterable[int], n_bits: int) -> dict[int, int] | None:
    """Return the key in each slot that is taken, `None` if the keys do not fit."""
    half = 2**n_bits
    taken: dict[int, int] = {}
    for key in keys:
        homeless, slot = key, key >> 64 - n_bits
        for _ in range(_MAX_MOVES):
            if slot not in taken:
                break
            homeless, taken[slot] = taken[slot], homeless
            # Whoever was there goes to the other one of its two places.
            second = homeless >> 64 - 2 * n_bits & half - 1 | half
            slot = second if slot < half else homeless >> 64 - n_bits
        else:
            return None
        taken[slot] = homeless
    return taken


@cache
def _powers(n_bits: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the first 2^n_bits powers of the base and of its inverse, modulo 2^64."""
    inverse = pow(_BASE, -1, _WORD)
    first, second = (
        np.cumprod(np.full(2**n_bits, base, dtype=np.uint64)) for base in (_BASE, inverse)
    )
    return first, second
