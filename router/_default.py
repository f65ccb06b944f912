"""The router behind `router.complete`: the user's, or the one that ships with the package."""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from policies import ArtifactError, DecodingOptions, Message

from ._completion import RoutedCompletion
from ._decision import Decision
from ._objective import Objective
from ._router import Router

__all__ = ["acomplete", "complete", "decide", "default_router", "default_router_path"]

VARIABLE = "THINKROUTE_ROUTER"
_BUNDLED = Path(__file__).parent / "bundled"


def default_router_path() -> Path:
    """Return the folder of the default router, whether or not it is there."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen).expanduser() if chosen else _BUNDLED


def default_router() -> Router:
    """Return the default router, loaded once per path.

    It is the artifact that the environment variable THINKROUTE_ROUTER names, else the one that
    ships with the package: a demonstration on tiny models.

    Raises:
        ArtifactError: There is no artifact there, or it cannot be read.
    """
    path = default_router_path()
    if not path.is_dir():
        problem = (
            f"the router that ships with the package is missing: {path}"
            if path == _BUNDLED
            else f"{VARIABLE} names {path}, which is no folder"
        )
        raise ArtifactError(
            problem,
            hint=f"set {VARIABLE} to a folder that Router.save wrote",
            code="artifact-missing",
        )
    return _load(path.resolve())


@cache
def _load(path: Path) -> Router:
    return Router.load(path)


def decide(prompt: str, task: str | None = None, *, objective: Objective | None = None) -> Decision:
    """Return the default router's decision; see `Router.decide`.

    Raises:
        ArtifactError: There is no default router.
        UnknownNameError: The router was fitted on no such task or task type.
        NoAdmissibleArmError: No arm satisfies the objective.
    """
    return default_router().decide(prompt, task, objective=objective)


async def acomplete(
    prompt: str | Sequence[Message],
    *,
    task: str | None = None,
    objective: Objective | None = None,
    options: DecodingOptions | None = None,
) -> RoutedCompletion:
    """Answer with the default router; see `Router.acomplete`.

    Raises:
        ArtifactError: There is no default router.
        NoAdmissibleArmError: No arm satisfies the objective.
        BackendError: The model could not be asked.
    """
    return await default_router().acomplete(prompt, task=task, objective=objective, options=options)


def complete(
    prompt: str | Sequence[Message],
    *,
    task: str | None = None,
    objective: Objective | None = None,
    options: DecodingOptions | None = None,
) -> RoutedCompletion:
    """Answer with the default router, blocking; see `Router.complete`.

    Raises:
        ArtifactError: There is no default router.
        NoAdmissibleArmError: No arm satisfies the objective.
        BackendError: The model could not be asked.
    """
    return default_router().complete(prompt, task=task, objective=objective, options=options)
