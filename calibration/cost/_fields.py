"""Fields of a configuration, read one by one; what is wrong with them is told all at once."""

from collections.abc import Mapping
from typing import TypeVar, cast

from policies import InvalidInputError

__all__ = ["Fields"]

_Entry = TypeVar("_Entry", str, int)


class Fields:
    """Fields of one configuration; collects what is wrong with them, to say it all at once."""

    def __init__(self, config: Mapping[str, object]) -> None:
        self._config = config
        self.problems: list[str] = []

    def has(self, name: str) -> bool:
        """Return whether a field is present and not null."""
        return self._config.get(name) is not None

    def mentions(self, name: str) -> bool:
        """Return whether a field is present, null included."""
        return name in self._config

    def integer(self, *names: str, default: int | None = None, minimum: int = 1) -> int:
        """Return the first field present; without a default its absence is a problem."""
        for name in names:
            value = self._config.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
                self.problems.append(f"{name}={value!r} is not an integer >= {minimum}")
                return minimum
            return value
        if default is None:
            self.problems.append(f"{' or '.join(names)} is missing")
            return minimum
        return default

    def boolean(self, name: str, *, default: bool) -> bool:
        """Return a field that is true or false."""
        value = self._config.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problems.append(f"{name}={value!r} is not true or false")
            return default
        return value

    def sequence(self, name: str, kind: type[_Entry]) -> list[_Entry] | None:
        """Return a list field, `None` if it is absent or null."""
        value = self._config.get(name)
        if value is None:
            return None
        entries = cast("list[object]", value) if isinstance(value, list | tuple) else [None]
        found = [entry for entry in entries if isinstance(entry, kind)]
        if len(found) < len(entries):
            self.problems.append(f"{name} is not a list of {kind.__name__}")
            return None
        return found

    def raise_problems(self) -> None:
        """Raise one error that names everything collected.

        Raises:
            InvalidInputError: There is anything.
        """
        if self.problems:
            raise InvalidInputError(
                f"configuration cannot be used: {'; '.join(self.problems)}",
                hint="give the checkpoint's own config.json",
                code="invalid-model-config",
            )
