"""What a sample may cost before it is asked, and what it has cost afterwards."""

from policies import BackendError, Usage

from ._arm import Arm
from ._ceilings import Reservation
from ._plan import Plan, Sample
from .cost.prices import cost_usd, max_cost_usd

__all__ = ["lost_with", "spent_on", "worst_case"]

# A token is at least a byte in every tokenizer in use; the template adds a few.
_TEMPLATE_TOKENS = 256


def worst_case(sample: Sample, plan: Plan) -> Reservation:
    """Return the most that a sample can cost; prompts are bounded by their bytes."""
    n_prompt = len(sample.question.prompt.encode()) + _TEMPLATE_TOKENS
    n_generated, price = sample.arm.policy.max_tokens(plan.options), sample.arm.price
    usd = 0.0 if price is None else max_cost_usd(n_prompt, n_generated, price)
    return Reservation(n_prompt + n_generated, n_generated, usd)


def spent_on(arm: Arm, usage: Usage) -> Reservation:
    """Return what one request has cost."""
    usd = 0.0 if arm.price is None else cost_usd(usage, arm.price)
    n_tokens = usage.prompt_tokens + usage.completion_tokens
    return Reservation(n_tokens, usage.completion_tokens, usd)


def lost_with(error: BackendError, worst: Reservation) -> Reservation:
    """Return what a failed request may have cost: all of it, if it may have been answered."""
    is_refused = error.status_code is not None and error.status_code >= 400
    return Reservation(0) if is_refused else worst
