"""How a conformance check ends early."""

__all__ = ["Failed", "Skipped", "expect", "is_a"]


class Failed(Exception):  # noqa: N818  -- an outcome of a check, not an error of the product
    """The subject breaks a promise."""


class Skipped(Exception):  # noqa: N818  -- an outcome of a check, not an error of the product
    """The check cannot be made here."""


def expect(holds: bool, problem: str) -> None:
    """Go on if a promise is kept.

    Raises:
        Failed: It is not.
    """
    if not holds:
        raise Failed(problem)


def is_a(value: object, kind: type) -> bool:
    """Tell whether a plug-in's value has the promised type, whatever its annotation says."""
    return isinstance(value, kind)
