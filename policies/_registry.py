"""Policies and backends by name, built in or from installed entry points.

The entry-point groups are `thinkroute.policies`, whose objects have a `from_spec`, and
`thinkroute.backends`, whose objects are called with `model` and the options. Code is imported
when its name is asked for, not before.
"""

import inspect
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ._backend import Backend
from ._errors import InvalidInputError, UnknownNameError
from ._policy import Policy
from ._spec import PolicySpec

__all__ = ["backend_names", "build_backend", "build_policy", "policy_names"]

_BUILT_IN_BACKENDS = {
    "fake": ("policies.backends.fake", "FakeBackend"),
    "openai": ("policies.backends.pool", "connect"),
    "pocket": ("policies.backends.pocket", "PocketBackend"),
    "replay": ("policies.backends.replay", "ReplayBackend"),
    "transformers": ("policies.backends.transformers", "TransformersBackend"),
    "vllm": ("policies.backends.vllm", "VllmBackend"),
}
_BACKEND_GROUP = "thinkroute.backends"

_BUILT_IN = {
    "direct": ("policies.decoding.direct", "Direct"),
    "reasoning": ("policies.decoding.reasoning", "Reasoning"),
    "sc": ("policies.decoding.self_consistency", "SelfConsistency"),
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
        return getattr(import_module(module), attribute).from_spec
    for point in entry_points(group=_GROUP, name=name):
        return point.load().from_spec
    raise UnknownNameError("policy", name, policy_names())


def backend_names() -> list[str]:
    """Return the names of all backends, built in and installed."""
    return sorted(
        {*_BUILT_IN_BACKENDS, *(point.name for point in entry_points(group=_BACKEND_GROUP))}
    )


def build_backend(name: str, model: str, **options: object) -> Backend:
    """Return a backend for a model.

    Args:
        name: Which backend, such as `openai`.
        model: The model as the backend names it.
        **options: What the backend's class takes besides the model.

    Raises:
        UnknownNameError: No backend has this name.
        InvalidInputError: It does not take these options, or lacks one.
        MissingPrerequisiteError: Its library is not installed.

    Example:
        >>> backend = build_backend("fake", "some-model", script=["hello"])
        >>> backend.name, backend.model
        ('fake', 'some-model')
    """
    factory = _backend_factory(name)
    try:
        inspect.signature(factory).bind(model=model, **options)
    except TypeError as error:
        raise InvalidInputError(
            f"backend {name!r} cannot be made: {error}",
            hint=f"it takes {', '.join(inspect.signature(factory).parameters)}",
            code="invalid-backend-options",
        ) from error
    return factory(model=model, **options)


def _backend_factory(name: str) -> Callable[..., Backend]:
    if name in _BUILT_IN_BACKENDS:
        module, attribute = _BUILT_IN_BACKENDS[name]
        factory: Any = getattr(import_module(module), attribute)
        return factory
    for point in entry_points(group=_BACKEND_GROUP, name=name):
        return point.load()
    raise UnknownNameError("backend", name, backend_names())
