"""A JSON value that knows where it lies, so that whoever sent it can be told what is wrong with it."""

import math
from collections.abc import Iterable, Mapping
from typing import Final, Self, cast

from policies import BackendResponseError, InvalidInputError, ThinkrouteError

__all__ = ["LEAST_SEED", "AnswerField", "Field", "JsonObject"]

JsonObject = dict[str, object]

LEAST_SEED: Final = -(2**63)

_MISSING: Final = object()
_MAX_SHOWN: Final = 60


class Field:
    """One value of a request, read as what it must be.

    A field that is missing can still be asked for: the method that needs it tells so, with the
    whole path, such as `input[2].content[0].text`.

    Attributes:
        value: The value itself.
    """

    __slots__ = ("_name", "_parent", "value")

    def __init__(self, value: object, parent: "Field | None" = None, name: str | int = "") -> None:
        self.value = value
        # Streams read many fields and complain of few: the path is only put together then.
        self._parent = parent
        self._name = name

    def __getitem__(self, name: str) -> Self:
        """Return a field of this object, which may be missing."""
        return type(self)(self.fields().get(name, _MISSING), self, name)

    @property
    def path(self) -> str:
        """Where it lies, "" for the whole document."""
        if self._parent is None:
            return ""
        before = self._parent.path
        if isinstance(self._name, int):
            return f"{before}[{self._name}]"
        return f"{before}.{self._name}" if before else self._name

    @property
    def is_given(self) -> bool:
        """Whether it is there; `null` means that it is not."""
        return self.value is not _MISSING and self.value is not None

    def fields(self) -> Mapping[str, object]:
        """Return the fields of an object.

        Raises:
            ThinkrouteError: It is none; `error` says of which kind.
        """
        # Asking for a Mapping alone takes ten times as long as for a dict.
        if isinstance(self.value, dict) or isinstance(self.value, Mapping):  # noqa: SIM101
            return cast("Mapping[str, object]", self.value)
        raise self.wrong_type("an object")

    def items(self) -> list[Self]:
        """Return the members of a list.

        Raises:
            ThinkrouteError: It is none.
        """
        if not isinstance(self.value, list | tuple):
            raise self.wrong_type("a list")
        members = cast("Iterable[object]", self.value)
        return [type(self)(member, self, n) for n, member in enumerate(members)]

    def text(self) -> str:
        """Return a text.

        Raises:
            ThinkrouteError: It is none.
        """
        if isinstance(self.value, str):
            return self.value
        raise self.wrong_type("a text")

    def flag(self) -> bool:
        """Return true or false.

        Raises:
            ThinkrouteError: It is neither.
        """
        if isinstance(self.value, bool):
            return self.value
        raise self.wrong_type("true or false")

    def number(self) -> float:
        """Return a finite number, whole ones as such.

        Raises:
            ThinkrouteError: It is none.
        """
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.wrong_type("a number")
        if not math.isfinite(self.value):
            raise self.error(f"is {self.value!r}, expected a finite number")
        return self.value

    def count(self, least: int = 0, most: int | None = None) -> int:
        """Return a whole number.

        Raises:
            ThinkrouteError: It is none, or not from `least` to `most`.
        """
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.wrong_type("a whole number")
        if self.value < least:
            raise self.error(f"is {self.value}, expected at least {least}")
        if most is not None and self.value > most:
            raise self.error(f"is {self.value}, expected at most {most}")
        return self.value

    def choice(self, known: Iterable[str], hint: str = "") -> str:
        """Return one of several texts.

        Raises:
            ThinkrouteError: It is another one, or no text.
        """
        names = tuple(known)
        if (text := self.text()) in names:
            return text
        shown = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
        raise self.error(f"is {shown!r}, expected {' or '.join(names)}", hint)

    def wrong_type(self, expected: str) -> ThinkrouteError:
        """Return the error for a value that is missing or of another type."""
        if self.value is _MISSING:
            return self.error(f"is missing, expected {expected}")
        found = "null" if self.value is None else f"a {type(self.value).__name__}"
        return self.error(f"is {found}, expected {expected}")

    def error(self, what: str, hint: str = "") -> ThinkrouteError:
        """Return the error for this value: `what` continues the sentence that its path begins."""
        return InvalidInputError(f"{self.path or 'the request'} {what}", hint=hint)


class AnswerField(Field):
    """One value of a model's answer: what is wrong with it is the server's doing."""

    __slots__ = ()

    def error(self, what: str, hint: str = "") -> ThinkrouteError:
        """Return the error for this value."""
        return BackendResponseError(
            f"the chat completion cannot be used: {self.path or 'it'} {what}",
            backend="chat",
            model="",
            hint=hint,
        )
