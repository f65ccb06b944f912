"""Which policy a mode of a recorded file is; two modes never become one arm."""

import re
from pathlib import Path

from policies import MAX, Budget, DataFileError, InvalidPolicyError, PolicySpec

from ._record import UnusableRowError, count_of, number_of

__all__ = ["PolicyNames", "read_budget"]

_DIRECT = ("direct", "ift")
_THINK = re.compile(r"(?:think|thinking|reasoning)(?:[_-]?(\d+))?")
_OTHER = re.compile(r"[^a-z0-9]+")


def read_budget(value: object, column: str) -> Budget | None:
    """Return a thinking budget: a count, `max`, or `None` where there is none.

    Raises:
        UnusableRowError: It is neither.
    """
    if isinstance(value, str) and value.strip().lower() == MAX:
        return MAX
    budget = count_of(value, column)
    if budget is None and number_of(value, column) is not None:
        raise UnusableRowError(f"{column!r} is no whole number")
    return budget


class PolicyNames:
    """The policies of one file's modes.

    `direct` and `ift` are `direct`. `think` and `reasoning` are `reasoning@N` with a budget of N
    and `reasoning@max` without; so is `think_N` if the budget says the same N. A canonical policy
    string such as `sc(n=5)/reasoning@1024` is itself. Every other mode gets a name of its own,
    lower case with hyphens: `cot_single` is `cot-single`, with a budget `cot-single@N`.
    """

    def __init__(self, path: Path) -> None:
        """Start without modes.

        Args:
            path: The file, for errors.
        """
        self._path = path
        self._known: dict[tuple[str, Budget | None], str] = {}
        self._modes: dict[str, str] = {}

    def of(self, mode: str, budget: Budget | None, row: int) -> str:
        """Return the policy of a mode.

        Raises:
            UnusableRowError: The mode cannot name a policy.
            DataFileError: Another mode of the file has the same policy.
        """
        known = self._known.get((mode, budget))
        if known is not None:
            return known
        policy = str(_spec(mode, budget))
        other = self._modes.setdefault(policy, mode)
        if other != mode:
            raise DataFileError(
                f"the modes {other!r} and {mode!r} would both become the policy {policy}",
                path=self._path,
                line=row,
                hint="rename one of them, or import them as two files into two runs",
            )
        self._known[mode, budget] = policy
        return policy


def _spec(mode: str, budget: Budget | None) -> PolicySpec:
    word = mode.strip().lower()
    if any(mark in word for mark in "@(/"):
        return _canonical(word, budget)
    if word in _DIRECT and not budget:
        return PolicySpec("direct")
    thought = _THINK.fullmatch(word)
    if thought is not None:
        named = thought.group(1)
        if named is None:
            return PolicySpec("reasoning", MAX if budget is None else budget)
        if budget is not None:
            if str(budget) != (named.lstrip("0") or "0"):
                raise UnusableRowError("the mode names another budget than the budget column")
            return PolicySpec("reasoning", budget)
    try:
        return PolicySpec(_OTHER.sub("-", word).strip("-"), budget)
    except InvalidPolicyError as error:
        raise UnusableRowError("the mode cannot name a policy") from error


def _canonical(word: str, budget: Budget | None) -> PolicySpec:
    try:
        spec = PolicySpec.parse(word)
    except InvalidPolicyError as error:
        raise UnusableRowError("the mode is no policy of the grammar") from error
    inner = spec
    while inner.inner is not None:
        inner = inner.inner
    if budget is not None and inner.budget != budget:
        raise UnusableRowError("the mode names another budget than the budget column")
    return spec
