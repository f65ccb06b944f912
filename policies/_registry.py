"""Policies by name, built in or from the entry-point group `thinkroute.policies`."""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

from ._errors import UnknownNameError
from ._policy import Policy
from ._spec import PolicySpec

__all__ = ["build_policy", "policy_names"]

_BUILT_IN = {
    "direct": ("policies.decoding.direct", "Direct"),
    "reasoning": ("policies.decoding.reasoning", "Reasoning"),
}
_GROUP = "thinkroute.policies"


def policy_names() -> list[str]:
    """Return the names of all policies, built in and installed."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=_GROUP))})


def build_policy(policy: str | PolicySpec) -> Policy:
    """Return the policy that a string or spec describes.

    Raises:
        InvalidPolicyError: It does not parse, or its parameters do not fit.
        UnknownNameError: No policy has this name.

    Example:
        >>> str(build_policy("Reasoning @ 64").spec)
        'reasoning@64'
    """
    spec = PolicySpec.parse(policy) if isinstance(policy, str) else policy
    return _factory(spec.name)(spec)


def _factory(name: str) -> Callable[[PolicySpec], Policy]:
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name]
        return cast("Any", getattr(import_module(module), attribute)).from_spec
    for point in entry_points(group=_GROUP, name=name):
        return cast("Any", point.load()).from_spec
    raise UnknownNameError("policy", name, policy_names())
