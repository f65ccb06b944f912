"""An arm: a model asked in one way."""

from dataclasses import dataclass

from policies import Backend, Policy

from ._models import ModelFacts
from .cost.prices import Price

__all__ = ["Arm"]


@dataclass(frozen=True, slots=True)
class Arm:
    """A model asked in one way.

    Attributes:
        backend: How the model is reached.
        policy: What is done with a query.
        facts: What is known about the model.
        price: What its tokens cost, `None` if that does not matter.
    """

    backend: Backend
    policy: Policy
    facts: ModelFacts
    price: Price | None = None

    @property
    def name(self) -> str:
        """Model and policy, such as `pocket-m:reasoning@max`."""
        return f"{self.facts.model}:{self.policy.spec}"
