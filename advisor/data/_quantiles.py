"""Quantiles of lengths by nearest rank, and the longest sequence they ask for."""

import math
from collections.abc import Sequence

from policies import InvalidInputError

from ._tokens import TEMPLATE_TOKENS, TokenCounter

__all__ = ["nearest_rank", "row_tokens"]


def nearest_rank(ordered: Sequence[int], share: float) -> int:
    """Return the smallest value that at least `share` of all values do not exceed.

    It is always one of the values: the ceil(share n)-th. Below 100 values the 99th percentile is
    the largest.

    Args:
        ordered: Values in ascending order, one or more.
        share: In (0, 1].

    Raises:
        InvalidInputError: There is no value, or the share is not in (0, 1].

    Source: the nearest-rank definition, definition 1 of Hyndman and Fan, The American
        Statistician 50 (1996), 361-365 (the inverse of the empirical distribution function).

    Example:
        >>> nearest_rank(range(1, 101), 0.99), nearest_rank([3, 5, 9], 0.99)
        (99, 9)
    """
    if not ordered or not 0 < share <= 1:
        raise InvalidInputError(
            f"no {share!r} quantile of {len(ordered)} values",
            hint="give at least one value and a share above 0, at most 1",
        )
    # 0.99 * 100 is 99.00000000000001 in some orders of rounding; a rank must not slip by that.
    return ordered[max(1, math.ceil(share * len(ordered) - 1e-9)) - 1]


def row_tokens(n_tokens: int, counter: TokenCounter) -> int:
    """Return how long a row may be as a sequence: its texts on the long side, and the template."""
    return math.ceil(n_tokens * counter.upper_factor - 1e-9) + TEMPLATE_TOKENS
