"""Which model and mode each conversation is in, so that its prefix cache is not thrown away."""

import time
from collections.abc import Callable

from policies import Mode

from ._conversation import Conversation

__all__ = ["Conversations"]


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
        # By key, least recently touched first; plain tuples of a number and a time, of which
        # there are many, and which the garbage collector does not need to follow.
        self._places: dict[bytes, tuple[int, float]] = {}
        self._modes: list[tuple[str, Mode]] = []

    def find(self, conversation: Conversation) -> tuple[str, Mode] | None:
        """Return the model and mode in whose cache a conversation lies, `None` for neither."""
        since_s = self._clock() - self._ttl_s
        for key in conversation.earlier:
            place = self._places.get(bytes.fromhex(key))
            if place is not None and place[1] >= since_s:
                return self._modes[place[0]]
        return None

    def note(self, conversation: Conversation, model: str, mode: Mode) -> None:
        """Remember what has answered a conversation."""
        if (model, mode) not in self._modes:
            self._modes.append((model, mode))
        key = bytes.fromhex(conversation.key)
        self._places.pop(key, None)
        self._places[key] = self._modes.index((model, mode)), self._clock()
        if len(self._places) > self._most:
            del self._places[next(iter(self._places))]

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._places)
