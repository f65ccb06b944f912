"""What requests cost, and what always reasoning would have."""

import math
from collections.abc import Mapping, Sequence

from policies import Mode, Usage

from .._arms import Arm
from .._decision import Candidate, Decision
from .._objective import Price
from .._reference_arm import find_arm
from ._conversation import Conversation

__all__ = ["Books", "CallBefore"]

CallBefore = tuple[str, Usage]
"""Model and tokens of a call that came before the one that answers."""

_BYTES_PER_TOKEN = 4
"""Of prompts whose tokens nobody told, for their price alone."""


class Books:
    """Prices tokens, and tells them where nobody did."""

    def __init__(
        self, arms: Sequence[Arm], prices: Mapping[str, Price], reference: str | None = None
    ) -> None:
        """Keep the prices.

        Args:
            arms: The arms.
            prices: US dollars per token by model.
            reference: The arm that savings are told against; by default `reasoning@max`, or what
                comes closest, of the largest model.

        Raises:
            UnknownNameError: The reference is no arm.
            InvalidInputError: The reference could be several.
        """
        self._models = {arm.name: arm.model for arm in arms}
        self._prices = prices
        self._reference = _reference_name(arms, reference)

    def reference_of(self, decision: Decision) -> Candidate | None:
        """Return what always reasoning was expected to take, `None` without a reasoning arm."""
        return next((one for one in decision.candidates if one.arm == self._reference), None)

    def expected(self, decision: Decision, talk: Conversation, *, least: int = 0) -> Usage:
        """Return the tokens of a call that did not tell them: the expected ones, `least` or more."""
        tokens = round(decision.chosen.tokens)
        return Usage(math.ceil(talk.n_bytes / _BYTES_PER_TOKEN), max(tokens, least))

    def usd(self, model: str, usage: Usage | None, before: CallBefore | None) -> float | None:
        """Return what tokens have cost, `None` where there is no price.

        Args:
            model: The model that answered.
            usage: All tokens.
            before: The call that came before, whose tokens are part of them.
        """
        if usage is None:
            return None
        parts = [(model, usage)]
        if before is not None:
            first = before[1]
            rest = Usage(
                usage.prompt_tokens - first.prompt_tokens,
                usage.completion_tokens - first.completion_tokens,
            )
            parts = [before, (model, rest)]
        prices = [self._prices.get(name) for name, _ in parts]
        costs = [
            _cost(price, used) for price, (_, used) in zip(prices, parts, strict=True) if price
        ]
        return sum(costs) if len(costs) == len(parts) else None

    def usd_of(self, expected: Candidate | None, usage: Usage | None) -> float | None:
        """Return what an arm was expected to cost on the prompt of an answer, `None` if unknown."""
        if expected is None or usage is None:
            return None
        price = self._prices.get(self._models[expected.arm])
        if price is None:
            return None
        return usage.prompt_tokens * price.prompt_usd + expected.tokens * price.completion_usd


def _reference_name(arms: Sequence[Arm], name: str | None) -> str:
    if name is not None:
        return arms[find_arm(arms, name)].name
    thinking = [arm for arm in arms if arm.mode is Mode.REASONING]
    plain = [arm for arm in thinking if arm.policy.startswith("reasoning")]
    return max(plain or thinking, key=lambda arm: arm.order).name if thinking else ""


def _cost(price: Price, usage: Usage) -> float:
    return usage.prompt_tokens * price.prompt_usd + usage.completion_tokens * price.completion_usd
