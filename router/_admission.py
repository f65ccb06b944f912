"""Letting a call through on an arm, and settling it when its tokens are known."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policies import Mode

from ._caps import CallerCaps, Reservation
from ._decision import Decision
from ._objective import Objective

if TYPE_CHECKING:
    from ._decider import Decider

__all__ = ["Admission", "Conditions"]


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a call asks of its decision besides the prompt.

    Attributes:
        objective: What to optimise, the router's default if `None`.
        task: Its task type, or a task the router was fitted on; `None` guesses it.
        more_bytes: Length of the conversation that is sent along with the prompt.
        among: Names of the arms that may be chosen, `None` for all.
        gone: Models that cannot be asked now.
        cached: Model and mode in whose prefix cache the conversation lies, `None` for neither.
            Another arm is then chosen only where that gains more than reading the conversation
            again costs.
        caller: Whom the call is for, `None` for nobody who has caps.
        caps: What this caller may have, in the place of the router's own caps.
    """

    objective: Objective | None = None
    task: str | None = None
    more_bytes: int = 0
    among: Collection[str] | None = None
    gone: Collection[str] = ()
    cached: tuple[str, Mode] | None = None
    caller: str | None = None
    caps: CallerCaps | None = None


class Admission:
    """A call that was let through, and the tokens set aside for it."""

    __slots__ = ("_caps", "_decider", "_ticket", "decision")

    def __init__(
        self,
        decision: Decision,
        decider: "Decider",
        ticket: Reservation | None,
        caps: CallerCaps | None,
    ) -> None:
        """Keep what settling needs."""
        self.decision = decision
        self._decider = decider
        self._ticket = ticket
        self._caps = caps

    def settle(self, tokens: int | None) -> None:
        """Give back the tokens set aside, and count those that were used; later calls do nothing.

        Args:
            tokens: Tokens generated; `None` counts those that were expected.
        """
        ticket, self._ticket = self._ticket, None
        self._decider.settle(ticket, tokens, self._caps)
