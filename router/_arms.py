"""Arms: what a router can choose."""

from dataclasses import dataclass
from typing import Any

from policies import MAX, Budget, Mode, PolicySpec, UnknownNameError, build_policy

__all__ = ["Arm"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One model under one policy.

    Attributes:
        model: Model name as the backend knows it.
        policy: Canonical policy string.
        mode: Whether the policy answers directly or reasons.
        budget: Cap on thinking tokens of the innermost policy, `"max"` for none; `None` where
            the policy has no budget.
        size: Parameter count of the model, `None` if unknown.
    """

    model: str
    policy: str
    mode: Mode
    budget: Budget | None
    size: int | None

    @classmethod
    def parse(cls, model: str, policy: str, size: int | None = None) -> "Arm":
        """Describe a model under a policy string.

        A policy that this installation does not have (outcomes measured elsewhere) is described
        by its name alone: `direct` answers directly, everything else reasons.

        Args:
            model: Model name.
            policy: Policy string, canonical or not.
            size: Parameter count, `None` if unknown.

        Raises:
            InvalidPolicyError: The policy string does not parse.
        """
        spec = PolicySpec.parse(policy)
        innermost = spec
        while innermost.inner is not None:
            innermost = innermost.inner
        try:
            mode = Mode(build_policy(spec).mode)
        except UnknownNameError:
            mode = Mode.IFT if innermost.name == "direct" else Mode.REASONING
        return cls(model, str(spec), mode, innermost.budget, size)

    @property
    def name(self) -> str:
        """Model and policy as one string, such as `pocket-m:reasoning@max`."""
        return f"{self.model}:{self.policy}"

    @property
    def order(self) -> tuple[int, str, bool, float, str]:
        """Sort key from small and direct to large and long-thinking."""
        budget = float("inf") if self.budget == MAX else float(self.budget or 0)
        return (self.size or 0, self.model, self.mode is Mode.REASONING, budget, self.policy)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with the fields as keys."""
        return {
            "model": self.model,
            "policy": self.policy,
            "mode": str(self.mode),
            "budget": self.budget,
            "size": self.size,
        }
