"""What a run's models said, text by text: for those who make data of it, not only counts."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from policies import InvalidPolicyError, PolicySpec, StoreError

from ._aggregate import JOIN
from ._outcomes import Outcome
from ._rows import Source
from ._schema import connect

__all__ = ["Generation", "read_generations"]

_GENERATIONS = f"""
    SELECT g.key, g.question, q.grp, q.task, q.prompt, a.model, a.policy, g.repeat, s.outcome,
           s.extracted, g.text, g.thinking, g.completion_tokens, g.thinking_tokens, g.source
    {JOIN} ORDER BY g.question, a.model, a.policy, g.repeat, g.key
"""


@dataclass(frozen=True, slots=True)
class Generation:
    """One sample with its texts.

    Attributes:
        key: The sample's key.
        question_id: Identifier of the question.
        group: What questions of one source share; by default the question's own id.
        task: Task name.
        prompt: The user's text.
        model: Model that answered.
        policy: Canonical policy string.
        repeat: Which of the arm's answers to this question, from 0.
        outcome: What became of it.
        extracted: The answer that the grader read, `None` where it kept none.
        text: The answer, `None` for an error or where it was not recorded.
        thinking: The thought, `None` without one.
        completion_tokens: Generated tokens, thinking included; `None` if unknown.
        is_forced: Whether the thought filled its budget, so that the decoder may have closed it.
        is_shared: Whether it is a longer trace's own answer under the name of a smaller budget,
            and no sample of its own.
    """

    key: str
    question_id: str
    group: str
    task: str
    prompt: str
    model: str
    policy: str
    repeat: int
    outcome: Outcome
    extracted: str | None
    text: str | None
    thinking: str | None
    completion_tokens: int | None
    is_forced: bool
    is_shared: bool

    @property
    def arm(self) -> str:
        """Model and policy as one string, such as `pocket-m:reasoning@max`."""
        return f"{self.model}:{self.policy}"


def read_generations(store: Path) -> Iterator[Generation]:
    """Yield every sample of a store, errors included, question by question in a fixed order.

    The file is read while it is iterated over; memory is that of one sample. Its order does not
    depend on the order in which the samples were asked.

    Args:
        store: The SQLite file of a run, see `store_path`.

    Raises:
        StoreError: It cannot be read.
        ArtifactTooNewError: A newer version wrote it.
    """
    with contextlib.closing(connect(store, writable=False)) as connection:
        try:
            for row in connection.execute(_GENERATIONS):
                yield _generation(row)
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(
                f"{store} cannot be read: {error}",
                hint="save what can be trusted: advisor tables repair RUN",
            ) from error


def _generation(row: Sequence[Any]) -> Generation:
    *texts, n_tokens, n_thinking, source = row
    key, question_id, group, task, prompt, model, policy, repeat, outcome = texts[:9]
    budget = _budget(policy)
    return Generation(
        *(key, question_id, group, task, prompt, model, policy, repeat, Outcome(outcome)),
        *texts[9:],
        completion_tokens=n_tokens,
        is_forced=budget is not None and n_thinking is not None and n_thinking >= budget,
        is_shared=source == Source.SHARED,
    )


@cache
def _budget(policy: str) -> int | None:
    """Return the thinking budget of the innermost policy, `None` without a number."""
    try:
        spec = PolicySpec.parse(policy)
    except InvalidPolicyError:  # an imported arm may be named in any way
        return None
    while spec.inner is not None:
        spec = spec.inner
    return spec.budget if isinstance(spec.budget, int) else None
