"""What a request wants of its decision: from the model's name, its fields and its headers.

The more specific word wins: a header over the field `thinkroute` of the body, that over
`reasoning_effort`, and all of them over what the model's name says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from policies import MAX, Budget, InvalidInputError, Mode, UnknownNameError

from .._arms import Arm
from .._objective import Objective
from ._problems import ProblemError

__all__ = ["EFFORTS", "HEADERS", "NAME", "TIERS", "Wish", "Wishes"]

NAME = "thinkroute"
"""The model that the router stands behind."""

TIERS: Mapping[str, float] = {"cheap": 0.05, "balanced": 0.01, "best": 0.0}
"""Accuracy that each tier may lose, as the router expects it, against the best arm each time."""

EFFORTS: Mapping[str, str] = {
    "none": "ift",
    "minimal": "cheap",
    "low": "cheap",
    "medium": "balanced",
    "high": "best",
    "xhigh": "best",
    "max": "best",
}
"""What OpenAI's `reasoning_effort` comes to: a mode or a tier."""

HEADERS: Mapping[str, str] = {
    f"x-thinkroute-{name}": name
    for name in ("mode", "budget", "objective", "task", "explain", "conversation")
}
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no", "")


@dataclass(frozen=True, slots=True)
class Wish:
    """What one request wants.

    Attributes:
        objective: What to optimise, `None` for the router's default.
        among: Names of the arms it allows, `None` for all.
        task: Its task or task type, `None` where nobody said.
        explain: Whether the answer says why.
        conversation: The client's own name for the conversation, "" without one.
        is_exact: Whether one arm was named, so that no other may stand in for it.
    """

    objective: Objective | None = None
    among: frozenset[str] | None = None
    task: str | None = None
    explain: bool = False
    conversation: str = ""
    is_exact: bool = False


class Wishes:
    """Reads wishes for the arms of one router."""

    def __init__(
        self,
        arms: Sequence[Arm],
        tiers: Mapping[str, Objective],
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        """Keep what can be wished for.

        Args:
            arms: The router's arms.
            tiers: Objective of each tier.
            aliases: More names for models, each with the name it stands for.

        Raises:
            InvalidInputError: An alias stands for nothing.
        """
        self._arms = tuple(arms)
        self._tiers = dict(tiers)
        self._models = {arm.model for arm in arms}
        self._aliases = dict(aliases or {})
        for alias, name in self._aliases.items():
            if self._named(name) is None:
                raise InvalidInputError(
                    f"the alias {alias!r} stands for {name!r}, which is no model here",
                    hint=f"give one of {', '.join(self.names())}",
                )

    def names(self) -> list[str]:
        """Return the names of all models, as `/v1/models` lists them."""
        tiers = [f"{NAME}:{tier}" for tier in self._tiers]
        own = [NAME, *tiers, *sorted(self._models), *(arm.name for arm in self._arms)]
        return list(dict.fromkeys([*own, *self._aliases]))

    def model_named(self, name: str) -> str | None:
        """Return the one model that a name stands for, `None` where the router chooses."""
        name = self._aliases.get(name, name)
        return name if name in self._models else None

    def read(self, name: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Wish:
        """Return the wish of a request.

        Args:
            name: The model it names.
            body: Its JSON body.
            headers: Its headers, names in lower case.

        Raises:
            ProblemError: There is no such model, or a value cannot be used.
        """
        named = self._named(self._aliases.get(name, name))
        if named is None:
            raise ProblemError(
                404,
                "model_not_found",
                f"there is no model {name!r}; GET /v1/models lists them",
                param="model",
            )
        fields = _fields(body, headers)
        if not fields and body.get("reasoning_effort") is None:
            return named
        try:
            return self._refined(named, fields, body.get("reasoning_effort"))
        except (InvalidInputError, UnknownNameError) as error:
            raise ProblemError(400, error.code, str(error), param=NAME) from error

    def _named(self, name: str) -> Wish | None:
        if name == NAME:
            return Wish()
        head, _, tier = name.partition(":")
        if head == NAME and tier in self._tiers:
            return Wish(objective=self._tiers[tier])
        if name in self._models:
            return Wish(among=frozenset(arm.name for arm in self._arms if arm.model == name))
        exact = [arm.name for arm in self._arms if name in (arm.name, arm.policy)]
        if name in exact or len(exact) == 1:
            return Wish(among=frozenset([name if name in exact else exact[0]]), is_exact=True)
        return None

    def _refined(self, named: Wish, fields: Mapping[str, Any], effort: object) -> Wish:
        mode, budget = _mode(fields.get("mode")), _budget(fields.get("budget"))
        objective = self._objective(fields.get("objective"))
        if effort is not None and not named.is_exact:
            meant = EFFORTS.get(effort) if isinstance(effort, str) else None
            if meant is None:
                raise InvalidInputError(
                    f"reasoning_effort is {effort!r}, expected one of {', '.join(EFFORTS)}"
                )
            if meant == "ift":
                mode = mode or ("ift" if budget is None and objective is None else "")
            elif objective is None:
                objective = self._tiers[meant]
        among = named.among
        if mode or budget is not None:
            among = self._within(among, mode, budget)
        return Wish(
            objective=objective or named.objective,
            among=among,
            task=_text("task", fields.get("task")) or None,
            explain=_flag(fields.get("explain")),
            conversation=_text("conversation", fields.get("conversation")),
            is_exact=named.is_exact,
        )

    def _objective(self, value: object) -> Objective | None:
        if value is None or value in ("", "default"):
            return None
        if isinstance(value, str) and value in self._tiers:
            return self._tiers[value]
        if isinstance(value, dict):
            return Objective.from_json(cast("dict[str, Any]", value))
        raise InvalidInputError(
            f"objective is {value!r}, expected default, {', '.join(self._tiers)} or an object"
            ' such as {"target_accuracy": 0.9}'
        )

    def _within(
        self, among: frozenset[str] | None, mode: str, budget: Budget | None
    ) -> frozenset[str]:
        fitting = frozenset(
            arm.name
            for arm in self._arms
            if (among is None or arm.name in among)
            and mode in ("", str(arm.mode))
            and (budget in (None, MAX) or _thinks_at_most(arm, budget))
        )
        if not fitting:
            raise InvalidInputError(
                f"no arm has mode={mode or 'any'} and budget={'any' if budget is None else budget}",
                hint=f"the arms are {', '.join(arm.name for arm in self._arms)}",
            )
        return fitting


def _thinks_at_most(arm: Arm, budget: int) -> bool:
    if arm.mode is Mode.IFT:
        return True
    return isinstance(arm.budget, int) and arm.budget <= budget


def _fields(body: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    given: Any = body.get(NAME)
    fields: dict[str, Any] = {}
    if given is not None:
        if not isinstance(given, dict):
            raise ProblemError(
                400, "invalid-input", f"{NAME} is {given!r}, expected an object", param=NAME
            )
        fields = dict(cast("dict[str, Any]", given))
        unknown = sorted(set(fields) - set(HEADERS.values()))
        if unknown:
            known = ", ".join(HEADERS.values())
            raise ProblemError(
                400,
                "invalid-input",
                f"{NAME} has no field {unknown[0]!r}, only {known}",
                param=NAME,
            )
    for header, name in HEADERS.items():
        if (value := headers.get(header)) is not None:
            fields[name] = value
    return fields


def _mode(value: object) -> str:
    if value in (None, "", "auto"):
        return ""
    if value not in tuple(map(str, Mode)):
        raise InvalidInputError(f"mode is {value!r}, expected auto, {', '.join(map(str, Mode))}")
    return str(value)


def _budget(value: object) -> Budget | None:
    if value is None or value == "":
        return None
    if value == MAX:
        return MAX
    if isinstance(value, str) and value.isdecimal() and len(value) < 16:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise InvalidInputError(f"budget is {value!r:.60}, expected tokens, 0 or more, or max")


def _text(name: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 200:
        raise InvalidInputError(f"{name} is {value!r:.60}, expected a text of at most 200 signs")
    return value


def _flag(value: object) -> bool:
    word = str(value).lower() if value is not None else ""
    if word not in (*_TRUE, *_FALSE):
        raise InvalidInputError(f"explain is {value!r}, expected true or false")
    return word in _TRUE
