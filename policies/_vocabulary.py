"""Words that every layer shares: mode, model size, task type."""

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from ._errors import InvalidInputError, InvalidSizeError

__all__ = ["TASK_TYPES", "Mode", "ModelSize", "check_task_type"]


class Mode(StrEnum):
    """How the model is asked: for the answer alone, or to reason first."""

    IFT = "ift"
    REASONING = "reasoning"


TASK_TYPES = ("general-mc", "general-oe", "math-mc", "math-oe", "code-oe")
"""Built-in task types; users may add their own."""

_TASK_TYPE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([kKmMbBtT]?)")
_SCALE = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}


def check_task_type(name: str) -> str:
    """Return `name` if it can name a task type (built-in or the user's own).

    Raises:
        InvalidInputError: It is not made of lower-case words joined by hyphens.
    """
    if not _TASK_TYPE.fullmatch(name):
        raise InvalidInputError(
            f"task type {name!r} is not a name",
            hint=f"use lower-case words joined by hyphens, such as {', '.join(TASK_TYPES)}",
            code="invalid-task-type",
        )
    return name


@dataclass(frozen=True, slots=True, order=True)
class ModelSize:
    """A model's parameter count.

    Attributes:
        n_params: Number of parameters, a positive integer.
    """

    n_params: int

    def __post_init__(self) -> None:
        """Refuse models without parameters."""
        if self.n_params < 1:
            raise InvalidSizeError(f"model size {self.n_params!r} is not a positive number")

    @classmethod
    def parse(cls, text: str) -> "ModelSize":
        """Parse `"3B"`, `"0.5b"`, `"494K"` or `"3000000000"`.

        Raises:
            InvalidSizeError: It is not a positive number with an optional K, M, B or T.
        """
        match = _SIZE.fullmatch(text.strip())
        n_params = round(Decimal(match.group(1)) * _SCALE[match.group(2).lower()]) if match else 0
        if n_params <= 0:
            raise InvalidSizeError(
                f"model size {text!r} is not a size",
                hint="write a positive number with K, M, B or T, such as 0.5B, 3B or 480K",
            )
        return cls(n_params)

    def __str__(self) -> str:
        """Return the shortest usual spelling, such as `3B`, `0.5B`, `1.73M` or `109K`."""
        for suffix in ("T", "B", "M", "K"):
            value = self.n_params / _SCALE[suffix.lower()]
            rounded = float(f"{value:.3g}")
            if rounded >= 1 or (suffix == "B" and rounded >= 0.1):
                return f"{value:.3g}{suffix}" if rounded < 1000 else f"{value:.0f}{suffix}"
        return str(self.n_params)
