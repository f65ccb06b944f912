"""Decisions of requests that arrive together, made together.

One decision is dozens of operations on tiny arrays, whose cost hardly grows with their number of
rows: sixteen prompts take little longer than one. Under load many requests are read in one turn of
the event loop, so that the others would wait for each decision before theirs.
"""

import asyncio
from dataclasses import replace

from policies import ThinkrouteError

from .._admission import Admission, Conditions
from .._router import Router

__all__ = ["Deciding"]

_MOST_TOGETHER = 64


class Deciding:
    """Gathers the requests of one turn of the event loop; none waits for a later one.

    Belongs to one event loop.
    """

    def __init__(self, router: Router) -> None:
        """Start with nothing to decide."""
        self._router = router
        self._waiting: dict[Conditions, list[_Asking]] = {}

    async def admit(self, prompt: str, conditions: Conditions) -> Admission:
        """Return what `Router.admit` returns.

        Raises:
            ThinkrouteError: See `Router.admit`.
        """
        if conditions.caller is not None or self._router.needs_embedder:
            return await self._router.admit(prompt, conditions)
        loop = asyncio.get_running_loop()
        asking = _Asking(prompt, conditions, loop.create_future())
        if not self._waiting:
            loop.call_soon(self._decide)
        self._waiting.setdefault(replace(conditions, more_bytes=0), []).append(asking)
        return await asking.answer

    def _decide(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for conditions, group in waiting.items():
            for start in range(0, len(group), _MOST_TOGETHER):
                self._decide_together(conditions, group[start : start + _MOST_TOGETHER])

    def _decide_together(self, conditions: Conditions, group: "list[_Asking]") -> None:
        prompts = [one.prompt for one in group]
        lengths = [one.conditions.more_bytes for one in group]
        try:
            admissions = self._router.admit_together(prompts, lengths, conditions)
        except ThinkrouteError as error:
            if len(group) == 1:
                group[0].fail(error)
                return
            # One of them cannot be decided; each is told for itself.
            for one in group:
                self._decide_together(conditions, [one])
        except Exception as error:  # noqa: BLE001 - the callers get it, who wait for it
            for one in group:
                one.fail(error)
        else:
            for one, admission in zip(group, admissions, strict=True):
                if not one.answer.done():
                    one.answer.set_result(admission)


class _Asking:
    """One request that waits for its decision."""

    __slots__ = ("answer", "conditions", "prompt")

    def __init__(
        self, prompt: str, conditions: Conditions, answer: "asyncio.Future[Admission]"
    ) -> None:
        self.prompt = prompt
        self.conditions = conditions
        self.answer = answer

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
