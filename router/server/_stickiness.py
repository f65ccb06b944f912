"""Which model and mode each conversation is in, so that its prefix cache is not thrown away."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from policies import Mode

from ._conversation import Conversation

__all__ = ["Conversations"]


class _Place(NamedTuple):
    model: str
    mode: Mode
    at_s: float


class Conversations:
    """Remembers what answered each conversation last. Belongs to one event loop.

    A conversation is found again by what was said up to an earlier answer, so that clients need
    to send nothing new; one that branches is followed on each branch.
    """

    def __init__(
        self,
        *,
        most: int = 50_000,
        ttl_s: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start empty.

        Args:
            most: Conversations remembered; the one that was touched least recently is forgotten.
            ttl_s: How long a prefix is taken to stay in an engine's cache, in seconds.
            clock: Seconds that never go back.
        """
        self._most = most
        self._ttl_s = ttl_s
        self._clock = clock
        self._places: OrderedDict[str, _Place] = OrderedDict()

    def find(self, conversation: Conversation) -> tuple[str, Mode] | None:
        """Return the model and mode in whose cache a conversation lies, `None` for neither."""
        since_s = self._clock() - self._ttl_s
        for key in conversation.earlier:
            place = self._places.get(key)
            if place is not None and place.at_s >= since_s:
                return place.model, place.mode
        return None

    def note(self, conversation: Conversation, model: str, mode: Mode) -> None:
        """Remember what has answered a conversation."""
        self._places[conversation.key] = _Place(model, mode, self._clock())
        self._places.move_to_end(conversation.key)
        if len(self._places) > self._most:
            self._places.popitem(last=False)

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._places)
