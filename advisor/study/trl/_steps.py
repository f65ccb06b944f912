"""Steps of several runs told as those of one student."""

from collections.abc import Callable

from .._lab import Step

__all__ = ["Steps"]


class Steps:
    """Counts the steps of a student's stages."""

    def __init__(self, on_step: Callable[[Step], None], n_stages: int) -> None:
        """Start before the first step; stages have equally many."""
        self._on_step = on_step
        self._n_stages = n_stages
        self._before = 0
        self.of_stage = 0

    def skip(self, n_steps: int) -> None:
        """Count the steps of a finished stage."""
        self._before += n_steps

    def tell(self, n_done: int, loss: float) -> None:
        """Tell that a step of the present stage is done."""
        total = self.of_stage * self._n_stages
        self._on_step(Step(self._before + n_done, total, loss))
