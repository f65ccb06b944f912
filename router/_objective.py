"""What a decision optimises."""

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from policies import InvalidInputError

__all__ = ["CostUnit", "Objective", "Price"]

CostUnit = Literal["flops", "tokens", "seconds", "usd"]
_RULES = ("tradeoff", "target_accuracy", "max_cost", "max_mean_cost")
# Small enough that no product with a cost overflows.
_MAX_NUMBER = 1e100


@dataclass(frozen=True, slots=True)
class Price:
    """What a model's tokens cost.

    Attributes:
        prompt_usd: US dollars per prompt token.
        completion_usd: US dollars per generated token.
    """

    prompt_usd: float
    completion_usd: float

    def __post_init__(self) -> None:
        """Refuse negative and infinite prices."""
        if not all(0 <= value <= _MAX_NUMBER for value in (self.prompt_usd, self.completion_usd)):
            raise InvalidInputError(f"price {self!r} is not made of finite numbers >= 0")


@dataclass(frozen=True, slots=True)
class Objective:
    """One rule for choosing an arm; exactly one of the first four is set.

    Build it with `Objective.trade`, `at_least`, `within` or `on_average`.

    Attributes:
        tradeoff: Probability given up to save one unit of cost: the arm with the highest
            `p - tradeoff * cost` is chosen.
        target_accuracy: The cheapest arm with `p >=` this value in [0, 1] is chosen.
        max_cost: The arm with the highest p whose cost is at most this is chosen.
        max_mean_cost: The smallest trade-off is used at which the questions that the router was
            fitted on cost at most this on average.
        unit: Unit of cost: inference FLOPs, generated tokens, wall seconds or US dollars.
        is_strict: Whether a target that no arm reaches is an error; otherwise the arm with the
            highest p is chosen and the decision says `target-unreachable`.
        max_seconds: Latency ceiling on top of the rule: only arms are chosen that are expected
            to answer within it nine times out of ten.
    """

    tradeoff: float | None = None
    target_accuracy: float | None = None
    max_cost: float | None = None
    max_mean_cost: float | None = None
    unit: CostUnit = "tokens"
    is_strict: bool = False
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse zero or several rules and numbers that make no sense."""
        given = {rule: getattr(self, rule) for rule in _RULES if getattr(self, rule) is not None}
        if len(given) != 1:
            raise InvalidInputError(
                f"an objective needs exactly one of {', '.join(_RULES)}, got {sorted(given)}"
            )
        ((rule, value),) = given.items()
        upper = 1.0 if rule == "target_accuracy" else _MAX_NUMBER
        if not 0.0 <= value <= upper:
            raise InvalidInputError(
                f"{rule} is {value!r}, expected a finite number >= 0",
                hint=(
                    "an accuracy is a probability in [0, 1]" if rule == "target_accuracy" else ""
                ),
            )
        if self.max_seconds is not None and not 0.0 < self.max_seconds < math.inf:
            raise InvalidInputError(
                f"max_seconds is {self.max_seconds!r}, expected a finite number > 0"
            )
        if self.unit not in get_args(CostUnit):
            raise InvalidInputError(
                f"cost unit {self.unit!r} is unknown",
                hint=f"known: {', '.join(get_args(CostUnit))}",
            )

    @classmethod
    def trade(cls, tradeoff: float, unit: CostUnit = "tokens") -> "Objective":
        """Maximise `p - tradeoff * cost`.

        Raises:
            InvalidInputError: The trade-off is negative or not finite.

        Example:
            >>> Objective.trade(1e-4).tradeoff  # 1 point of accuracy is worth 100 tokens
            0.0001
        """
        return cls(tradeoff=tradeoff, unit=unit)

    @classmethod
    def at_least(
        cls, accuracy: float, unit: CostUnit = "tokens", *, is_strict: bool = False
    ) -> "Objective":
        """Choose the cheapest arm whose probability of being right is at least `accuracy`.

        Raises:
            InvalidInputError: The accuracy is not in [0, 1].
        """
        return cls(target_accuracy=accuracy, unit=unit, is_strict=is_strict)

    @classmethod
    def within(cls, max_cost: float, unit: CostUnit = "tokens") -> "Objective":
        """Choose the arm most likely to be right among those that cost at most `max_cost`.

        Raises:
            InvalidInputError: The cost is negative or not finite.
        """
        return cls(max_cost=max_cost, unit=unit)

    @classmethod
    def on_average(cls, max_mean_cost: float, unit: CostUnit = "tokens") -> "Objective":
        """Get the most for a mean cost, as over 1,000 questions like those of the fit.

        Raises:
            InvalidInputError: The cost is negative or not finite.

        Example:
            >>> Objective.on_average(2.5 / 1000, "usd").max_mean_cost  # $2.50 per 1,000
            0.0025
        """
        return cls(max_mean_cost=max_mean_cost, unit=unit)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Objective":
        """Read the form written by `to_json`.

        Raises:
            InvalidInputError: A key is unknown or a value cannot be used.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(document) - set(known))
        if unknown:
            raise InvalidInputError(
                f"an objective has no field {unknown[0]!r}", hint=f"known: {', '.join(known)}"
            )
        try:
            return cls(**document)
        except TypeError as error:
            raise InvalidInputError(f"objective {document!r} cannot be read: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; rules that are not set are left out."""
        document: dict[str, Any] = {
            rule: getattr(self, rule) for rule in _RULES if getattr(self, rule) is not None
        }
        document |= {"unit": self.unit, "is_strict": self.is_strict}
        if self.max_seconds is not None:
            document["max_seconds"] = self.max_seconds
        return document
