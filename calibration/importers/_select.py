"""Outcomes of some models, arms and tasks among many."""

from collections.abc import Callable, Collection, Iterable, Sequence
from fnmatch import fnmatchcase

from policies import InvalidPolicyError, PolicySpec, UnknownNameError

from .._outcomes import OutcomeRecord

__all__ = ["select_outcomes"]


def select_outcomes(
    records: Iterable[OutcomeRecord],
    *,
    models: Sequence[str] = (),
    arms: Sequence[str] = (),
    tasks: Sequence[str] = (),
) -> list[OutcomeRecord]:
    """Return the outcomes that fit one wanted name of each kind, in their order.

    A name may hold the wildcards `*` and `?`; it is taken literally where it is one of the names.

    Args:
        records: Outcomes.
        models: Wanted models, all if empty.
        arms: Wanted policies (`direct`, `reasoning@*`) or arms (`qwen:reasoning@1000`).
        tasks: Wanted tasks.

    Raises:
        UnknownNameError: One of the names fits no outcome.

    Example:
        >>> select_outcomes([], models=[])
        []
    """
    kept = list(records)
    if models:
        wanted = _wanted("model", models, {record.model for record in kept})
        kept = [record for record in kept if record.model in wanted]
    if tasks:
        wanted = _wanted("task", tasks, {record.task for record in kept})
        kept = [record for record in kept if record.task in wanted]
    if arms:
        pairs = {(record.model, record.policy) for record in kept}
        policies = {policy for _, policy in pairs}
        names = {f"{model}:{policy}" for model, policy in pairs}
        known = policies | names
        wanted = _wanted("arm", [_canonical(arm, known) for arm in arms], known)
        chosen = {pair for pair in pairs if pair[1] in wanted or f"{pair[0]}:{pair[1]}" in wanted}
        kept = [record for record in kept if (record.model, record.policy) in chosen]
    return kept


def _wanted(kind: str, patterns: Iterable[str], known: Collection[str]) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        fitting = {pattern} if pattern in known else set(filter(_matcher(pattern), known))
        if not fitting:
            raise UnknownNameError(kind, pattern, known)
        found |= fitting
    return found


def _matcher(pattern: str) -> Callable[[str], bool]:
    # `[` would begin a set of characters, and is part of some models' names.
    literal = pattern.replace("[", "[[]")
    return lambda name: fnmatchcase(name, literal)


def _canonical(arm: str, known: Collection[str]) -> str:
    """Return the arm as policies are spelled; as it is where it is a name or holds wildcards."""
    if arm in known:
        return arm
    try:
        return str(PolicySpec.parse(arm))
    except InvalidPolicyError:
        return arm
