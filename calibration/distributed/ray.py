"""Workers of a Ray cluster as one backend: the plan, the store and the table stay as they are.

Each worker is an actor with a backend of its own, one vLLM engine or one endpoint; the process
that drives the plan sends requests to whichever has the fewest, grades, and is the only one that
writes. Ray moves requests and answers and starts lost workers anew.
"""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from policies import (
    BackendConnectionError,
    Capability,
    Completion,
    GenerationRequest,
    InvalidInputError,
    MissingPrerequisiteError,
    ThoughtMarkers,
)

from ._member import Member
from ._worker import Facts, Failure, Worker, as_error

__all__ = ["RayBackend"]

_LOGGER = logging.getLogger("thinkroute.calibration")
_MAX_RESTARTS = 4
_T = TypeVar("_T")


class RayBackend:
    """A model on several workers of a Ray cluster.

    The cluster is the one that `RAY_ADDRESS` names, or one that is started on this machine. A
    request whose worker dies is done again once, on another one; Ray starts the worker anew.
    """

    def __init__(
        self,
        backend: str,
        model: str,
        options: Sequence[Mapping[str, Any]],
        *,
        cpus_per_worker: float = 1.0,
        gpus_per_worker: float = 0.0,
    ) -> None:
        """Start the workers and wait until their backends are there.

        Args:
            backend: Kind of backend in each worker.
            model: The model as the backend names it.
            options: What the backend takes besides, one mapping per worker.
            cpus_per_worker: Cores that Ray keeps for a worker.
            gpus_per_worker: Graphics processors that Ray keeps for a worker.

        Raises:
            MissingPrerequisiteError: Ray is not installed.
            InvalidInputError: There are no workers, or they would answer differently.
            ThinkrouteError: A worker's backend cannot be built.
        """
        if not options:
            raise InvalidInputError("a cluster of no workers", hint="give --workers 2 or more")
        self._ray = _ray()
        self.model = model
        actor = self._ray.remote(Worker).options(
            num_cpus=cpus_per_worker,
            num_gpus=gpus_per_worker,
            max_restarts=_MAX_RESTARTS,
            max_task_retries=0,  # Who sends a request again is decided here.
            max_concurrency=1024,
        )
        self._members = [
            Member(number, actor.remote(backend, model, dict(own)))
            for number, own in enumerate(options)
        ]
        self._facts = self._agreed(self._ray.get([m.actor.facts.remote() for m in self._members]))

    @property
    def name(self) -> str:
        """Kind of backend in the workers."""
        return self._facts.name

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the workers' backends can do."""
        return self._facts.capabilities

    @property
    def max_concurrency(self) -> int:
        """How many calls at once are useful, over all workers."""
        return self._facts.max_concurrency * len(self._members)

    @property
    def directory(self) -> Path | None:
        """Folder of the weights, as the workers see it."""
        return self._facts.directory

    def identity(self) -> Mapping[str, str]:
        """Return what identifies the workers' answers: that of one backend, without the cluster."""
        return dict(self._facts.identity)

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return one completion of the worker with the fewest requests.

        Raises:
            BackendConnectionError: Two workers in a row were lost under this request.
            BackendError: The worker's backend failed.
        """
        return await self._call("generate", request)

    async def thought_markers(self) -> ThoughtMarkers:
        """Return the markers of the model's thoughts.

        Raises:
            BackendError: The workers' backend cannot tell them.
        """
        return await self._call("thought_markers")

    async def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of a text.

        Raises:
            CapabilityError: The workers' backend tells no token ids.
            BackendError: It could not be asked.
        """
        return await self._call("encode", text)

    async def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of token ids.

        Raises:
            CapabilityError: The workers' backend takes no token ids.
            BackendError: It could not be asked.
        """
        return await self._call("decode", tuple(token_ids))

    async def served_models(self) -> Mapping[str, str]:
        """Return the models that the workers' server lists; the model itself without a server.

        Raises:
            BackendError: The server could not be asked.
        """
        if not self._facts.lists_models:
            return {self.model: ""}
        return await self._call("ask_server", "served_models")

    async def describe_server(self) -> Mapping[str, str]:
        """Let every worker ask its server what it serves, which becomes part of `identity()`.

        Raises:
            InvalidInputError: They do not serve the same.
            BackendError: A server could not be asked.
        """
        if not self._facts.lists_models:
            return {}
        found = await asyncio.gather(
            *(m.actor.ask_server.remote("describe_server") for m in self._members)
        )
        facts = [_unwrap(told) for told in found]
        self._facts = self._agreed(
            await asyncio.gather(*(m.actor.facts.remote() for m in self._members))
        )
        return facts[0]

    async def aclose(self) -> None:
        """Close the workers' backends and end them; the cluster itself stays."""
        for member in self._members:
            try:
                await member.actor.aclose.remote()
            except self._ray.exceptions.RayError as error:
                _LOGGER.info(
                    "worker %d was gone before it could be closed: %s", member.number, error
                )
            self._ray.kill(member.actor)

    async def _call(self, method: str, *arguments: object) -> Any:
        """Call a worker, and another one if the first is lost meanwhile."""
        lost: Member | None = None
        while True:
            others = [m for m in self._members if m is not lost] or self._members
            member = min(others, key=lambda m: m.n_under_way)
            life = member.sent()
            try:
                told = await getattr(member.actor, method).remote(*arguments)
                member.answered(life)
                return _unwrap(told)
            except self._ray.exceptions.RayActorError as error:
                if lost is not None:
                    raise BackendConnectionError(
                        f"two workers were lost under one request: {_first_line(error)}",
                        backend=self.name,
                        model=self.model,
                        hint="look at the workers' logs; the same command resumes",
                    ) from error
                if member.failed(life):
                    _LOGGER.warning(
                        "worker %d was lost; the %d requests it had are done again: %s",
                        *(member.number, member.n_under_way, _first_line(error)),
                    )
                lost = member
            finally:
                member.n_under_way -= 1

    def _agreed(self, told: Sequence[Facts | Failure]) -> Facts:
        """Return what all workers agree on; endpoints may differ in their address.

        Raises:
            InvalidInputError: They would answer differently.
        """
        facts = [_unwrap(one) for one in told]
        plain = [{k: v for k, v in one.identity.items() if k != "base_url"} for one in facts]
        for number, own in enumerate(plain):
            if own != plain[0]:
                differing = sorted(k for k in {*own, *plain[0]} if own.get(k) != plain[0].get(k))
                raise InvalidInputError(
                    f"workers 0 and {number} differ in {', '.join(differing)}",
                    hint="install the same versions and weights everywhere",
                    code="workers-differ",
                )
        urls = sorted({one.identity.get("base_url", "") for one in facts} - {""})
        identity = {**plain[0], **({"base_url": " ".join(urls)} if urls else {})}
        first = facts[0]
        return Facts(
            first.name,
            first.capabilities,
            first.max_concurrency,
            identity,
            first.directory,
            first.lists_models,
        )


def _ray() -> Any:
    """Return the module ray, connected to a cluster."""
    # Ray prints to stdout when a worker dies, `log_to_driver` or not, and stdout belongs to the
    # program's own answer. What it says comes with the error too. Read when ray is imported.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
    try:
        import ray
    except ImportError as error:
        raise MissingPrerequisiteError.extra("ray", "ray") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    return ray


def _unwrap(told: "_T | Failure") -> _T:
    if isinstance(told, Failure):
        raise as_error(told)
    return told


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
