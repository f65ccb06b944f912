"""An arm: a model asked in one way."""

from dataclasses import dataclass, field

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
        name: Model and policy, such as `pocket-m:reasoning@max`.
    """

    backend: Backend
    policy: Policy
    facts: ModelFacts
    price: Price | None = None
    name: str = field(init=False)

    def __post_init__(self) -> None:
        """Spell the name once: it is looked up for every sample."""
        object.__setattr__(self, "name", f"{self.facts.model}:{self.policy.spec}")
