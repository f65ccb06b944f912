"""Finding an arm by what people call it."""

from collections.abc import Sequence

from policies import InvalidInputError, UnknownNameError

from ._arms import Arm

__all__ = ["find_arm"]


def find_arm(arms: Sequence[Arm], name: str) -> int:
    """Return the position of an arm, by its name or, if unique, by its policy alone.

    Raises:
        UnknownNameError: There is no such arm.
        InvalidInputError: Several models have an arm of this policy.
    """
    for position, arm in enumerate(arms):
        if arm.name == name:
            return position
    found = [position for position, arm in enumerate(arms) if arm.policy == name]
    if len(found) > 1:
        names = ", ".join(arms[position].name for position in found)
        raise InvalidInputError(f"{name!r} could be any of {names}", hint="give the whole name")
    if not found:
        raise UnknownNameError("arm", name, [arm.name for arm in arms])
    return found[0]
