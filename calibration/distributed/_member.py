"""One worker of a cluster, as the process that drives the plan sees it."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Member:
    """A worker, how many requests it has now, and which of its lives they belong to.

    A request sent in an earlier life may come back, well or badly, after Ray has started the
    worker anew; neither says anything about the life that it has now.
    """

    number: int
    actor: Any
    n_under_way: int = field(default=0)
    _life: int = field(default=0)
    _is_lost: bool = field(default=False)

    def sent(self) -> int:
        """Return the life that a request which is sent now belongs to."""
        self.n_under_way += 1
        return self._life

    def answered(self, life: int) -> None:
        """Note that a request of this life was answered."""
        if life == self._life:
            self._is_lost = False

    def failed(self, life: int) -> bool:
        """Note that a request failed with the worker; return whether that loss is news."""
        is_news = life == self._life and not self._is_lost
        if is_news:
            self._life += 1
            self._is_lost = True
        return is_news
