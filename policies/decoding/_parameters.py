"""Checks that the simple policies share."""

from .._errors import InvalidPolicyError
from .._spec import PolicySpec

__all__ = ["refuse_parameters"]


def refuse_parameters(spec: PolicySpec, *, takes_budget: bool) -> None:
    """Check that a spec has no parameters, members or inner policy.

    Args:
        spec: The spec to check.
        takes_budget: Whether a budget must be there (True) or must not (False).

    Raises:
        InvalidPolicyError: It has something the policy does not take, or lacks its budget.
    """
    if spec.params or spec.members or spec.inner is not None:
        raise InvalidPolicyError(f"policy {str(spec)!r}: {spec.name!r} takes no parameters")
    if takes_budget and spec.budget is None:
        raise InvalidPolicyError(
            f"policy {str(spec)!r} has no budget",
            hint=f"write {spec.name}@1024 or {spec.name}@max",
        )
    if not takes_budget and spec.budget is not None:
        raise InvalidPolicyError(
            f"policy {str(spec)!r}: {spec.name!r} takes no budget", hint=f"write {spec.name}"
        )
