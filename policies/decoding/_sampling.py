"""How several samples of one query are asked for: not greedily, and each with its own seed."""

import hashlib
from dataclasses import replace

from .._backend import Capability
from .._errors import InvalidInputError
from .._policy import DecodingOptions
from .._spec import PolicySpec

__all__ = ["need_sampling", "sample_seed", "with_logprobs"]


def need_sampling(spec: PolicySpec, options: DecodingOptions) -> None:
    """Refuse to draw several samples greedily.

    Raises:
        InvalidInputError: The temperature is 0, so that all samples would be equal.
    """
    if options.temperature == 0:
        raise InvalidInputError(
            f"{str(spec)!r} at temperature 0 would ask for equal answers",
            hint="set a temperature above 0, such as 0.7",
            code="greedy-samples",
        )


def sample_seed(seed: int | None, *path: object) -> int | None:
    """Return the seed of one sample; none where the caller leaves seeds to the backend.

    Args:
        seed: The query's seed.
        *path: What tells this sample from the query's others, such as a name and a number.
    """
    if seed is None:
        return None
    digest = hashlib.sha256("/".join(map(str, (*path[:1], seed, *path[1:]))).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1  # servers take signed 32 bits


def with_logprobs(options: DecodingOptions, needs: frozenset[Capability]) -> DecodingOptions:
    """Return the options, with log-probabilities if they are needed."""
    return replace(options, logprobs=options.logprobs or Capability.LOGPROBS in needs)
