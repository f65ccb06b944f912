"""The task of a prompt: a guess from its words, or what the caller says."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import InvalidInputError, UnknownNameError

__all__ = ["Label", "label_questions", "posterior_from_logits", "resolve_hint"]

_MIN_QUESTIONS = 20
_MAX_LABELS = 64


class Label(NamedTuple):
    """What questions are told apart by: a task, or the small tasks of one task type together.

    Attributes:
        name: Name of the task, or of the task type for its small tasks.
        task_type: The task type.
    """

    name: str
    task_type: str


def label_questions(
    tasks: Sequence[str], task_types: Sequence[str]
) -> tuple[tuple[Label, ...], NDArray[np.int64]]:
    """Return the labels and the label of each question.

    A task with at least 20 questions is a label of its own, up to the 63 largest; what is left
    of each task type is one label together.

    Args:
        tasks: Task of each question.
        task_types: Task type of each question.
    """
    counts: dict[tuple[str, str], int] = {}
    for pair in zip(tasks, task_types, strict=True):
        counts[pair] = counts.get(pair, 0) + 1
    n_types = len(set(task_types))
    large = sorted(
        (pair for pair in counts if counts[pair] >= _MIN_QUESTIONS),
        key=lambda pair: (-counts[pair], pair),
    )[: max(_MAX_LABELS - n_types, 0)]
    own = set(large)
    label_of = {pair: Label(*(pair if pair in own else (pair[1], pair[1]))) for pair in counts}
    labels = tuple(sorted(set(label_of.values())))
    position = {label: index for index, label in enumerate(labels)}
    pairs = zip(tasks, task_types, strict=True)
    return labels, np.array([position[label_of[pair]] for pair in pairs], dtype=np.int64)


def posterior_from_logits(
    logits: NDArray[np.float64], allowed: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return label probabilities (softmax over the last axis), same shape as `logits`.

    Args:
        logits: Logits of the labels.
        allowed: Labels that are possible; the others get probability 0.
    """
    if allowed is not None:
        logits = np.where(allowed, logits, -np.inf)
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def resolve_hint(hint: str, labels: Sequence[Label], tasks: Mapping[str, str]) -> NDArray[np.bool_]:
    """Return which labels a hint leaves, shape `(n_labels,)`.

    The name of a task leaves its own label, or the one of its type's small tasks; a task type,
    and a task whose questions were all left out of the fit, leaves all labels of that type, and
    the text decides among them.

    Args:
        hint: What the caller gave as `task=`.
        labels: Labels of the router.
        tasks: Task type of every task the router was fitted on.

    Raises:
        UnknownNameError: The router has seen neither such a task type nor such a task.
        InvalidInputError: The hint is no text.
    """
    if not isinstance(hint, str):  # pyright: ignore[reportUnnecessaryIsInstance] - a caller's
        raise InvalidInputError(f"task is a {type(hint).__name__}, expected a text")
    task_types = {label.task_type for label in labels}
    wanted = tasks.get(hint, hint)
    if wanted not in task_types:
        known = {task for task, task_type in tasks.items() if task_type in task_types}
        raise UnknownNameError("task", hint, {*task_types, *known})
    of_type = [label.task_type == wanted for label in labels]
    for name in (hint, wanted) if hint in tasks else ():
        of_name = [label == Label(name, wanted) for label in labels]
        if any(of_name):
            return np.array(of_name, dtype=np.bool_)
    return np.array(of_type, dtype=np.bool_)
