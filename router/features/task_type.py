"""The task type of a prompt: a guess from its words, or what the caller says."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from policies import UnknownNameError

__all__ = ["hinted_posterior", "posterior_from_logits", "resolve_hint"]


def posterior_from_logits(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return class probabilities (softmax over the last axis), same shape as `logits`."""
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def hinted_posterior(index: int, n_texts: int, n_types: int) -> NDArray[np.float64]:
    """Return certainty about type `index` for every text, shape `(n_texts, n_types)`."""
    posterior = np.zeros((n_texts, n_types))
    posterior[:, index] = 1.0
    return posterior


def resolve_hint(hint: str, task_types: Sequence[str], tasks: Mapping[str, str]) -> int:
    """Return the position in `task_types` of a hint, a task type or the name of a task.

    Args:
        hint: What the caller gave as `task=`.
        task_types: Task types the router was fitted on.
        tasks: Task type of every task the router was fitted on.

    Raises:
        UnknownNameError: The router has seen neither such a task type nor such a task.
    """
    name = tasks.get(hint, hint)
    if name not in task_types:
        raise UnknownNameError("task", hint, {*task_types, *tasks})
    return task_types.index(name)
