"""Canonical policy strings: `direct`, `reasoning@2048`, `sc(n=5)/reasoning@1024`.

Grammar (whitespace is ignored, names and keys are lower-cased):

    policy   := wrapper "/" policy | atom
    wrapper  := name [ "(" arguments ")" ]
    atom     := name [ "(" arguments ")" ] [ "@" budget ]
    budget   := digits | "max"
    argument := key "=" value | policy

The canonical form lists member policies in their order, then parameters sorted by key.
`parse(str(spec)) == spec` for every spec, and equal policies have equal strings.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from ._errors import InvalidPolicyError

__all__ = ["MAX", "Budget", "ParameterValue", "PolicySpec"]

Budget: TypeAlias = int | Literal["max"]
ParameterValue: TypeAlias = bool | int | float | str

MAX: Literal["max"] = "max"
"""The unlimited thinking budget."""

_TOKEN = re.compile(r"\s*([A-Za-z0-9_.+-]+|[()=,/@])")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_WORD = re.compile(r"[a-z0-9_.+-]{1,64}")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(e[+-]?[0-9]+)?")
_MAX_DEPTH = 16
_MAX_INTEGER = 10**18


@dataclass(frozen=True, slots=True, eq=False)
class PolicySpec:
    """A decoding strategy by name and parameters, not yet bound to code.

    Attributes:
        name: What is done, such as `direct` or `sc`.
        budget: Cap on thinking tokens, `"max"` for none; `None` where the policy has no budget.
        params: Parameters sorted by key; whole numbers are integers, also if given as 1.0.
        members: Policies given as arguments, such as the two of a cascade.
        inner: The policy that this one wraps, after the slash.
    """

    name: str
    budget: Budget | None = None
    params: tuple[tuple[str, ParameterValue], ...] = ()
    members: tuple["PolicySpec", ...] = ()
    inner: "PolicySpec | None" = field(default=None)

    def __post_init__(self) -> None:
        """Refuse what has no canonical string."""
        params = tuple((key, _normal(value)) for key, value in self.params)
        object.__setattr__(self, "params", params)
        _check(self)

    def __eq__(self, other: object) -> bool:
        """Compare canonical strings, so that `true` and `1` stay apart."""
        return isinstance(other, PolicySpec) and str(self) == str(other)

    def __hash__(self) -> int:
        """Return the canonical string's hash."""
        return hash(str(self))

    @classmethod
    def parse(cls, text: str) -> "PolicySpec":
        """Parse a policy string.

        Raises:
            InvalidPolicyError: It does not follow the grammar; the message marks the place.
        """
        return _Parser(text).parse()

    @classmethod
    def from_json(cls, document: Any) -> "PolicySpec":
        """Read the form written by `to_json`.

        Raises:
            InvalidPolicyError: A key is unknown or a value has the wrong type.
        """
        return _from_json(document)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; absent parts are left out."""
        document: dict[str, Any] = {"name": self.name}
        if self.budget is not None:
            document["budget"] = self.budget
        if self.params:
            document["params"] = dict(self.params)
        if self.members:
            document["members"] = [member.to_json() for member in self.members]
        if self.inner is not None:
            document["inner"] = self.inner.to_json()
        return document

    def __str__(self) -> str:
        """Return the canonical string."""
        arguments = [str(member) for member in self.members]
        arguments += [f"{key}={_format(value)}" for key, value in self.params]
        text = self.name + (f"({','.join(arguments)})" if arguments else "")
        if self.budget is not None:
            text += f"@{self.budget}"
        return f"{text}/{self.inner}" if self.inner is not None else text


def _check(spec: PolicySpec) -> None:
    if not _NAME.fullmatch(spec.name):
        raise InvalidPolicyError(
            f"policy name {spec.name!r} is not a name", hint="use lower-case letters and digits"
        )
    if isinstance(spec.budget, bool) or (
        isinstance(spec.budget, int) and not 0 <= spec.budget < _MAX_INTEGER
    ):
        raise InvalidPolicyError(f"budget of {spec.name!r} is not 'max' or in [0, 10^18)")
    if _depth(spec) > _MAX_DEPTH:
        raise InvalidPolicyError(f"policy {spec.name!r} is nested deeper than {_MAX_DEPTH}")
    if spec.inner is not None and spec.budget is not None:
        raise InvalidPolicyError(
            f"{spec.name!r} wraps a policy and has a budget of its own",
            hint="put the budget behind the innermost policy, as in sc(n=5)/reasoning@1024",
        )
    keys = [key for key, _ in spec.params]
    if keys != sorted(set(keys)):
        raise InvalidPolicyError(f"parameters of {spec.name!r} are not sorted and distinct: {keys}")
    for key, value in spec.params:
        if not _NAME.fullmatch(key):
            raise InvalidPolicyError(f"parameter {key!r} of {spec.name!r} is not a name")
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidPolicyError(f"parameter {key}={value} of {spec.name!r} is not finite")
        if isinstance(value, int) and abs(value) >= _MAX_INTEGER:
            raise InvalidPolicyError(f"parameter {key!r} of {spec.name!r} is 10^18 or more")
        if isinstance(value, str) and _parse_value(value) != value:
            raise InvalidPolicyError(f"parameter {key}={value!r} of {spec.name!r} is not a word")


def _depth(spec: PolicySpec) -> int:
    children = spec.members if spec.inner is None else (*spec.members, spec.inner)
    return 1 + max(map(_depth, children)) if children else 0


def _normal(value: ParameterValue) -> ParameterValue:
    """Return the one spelling of a number."""
    is_whole = isinstance(value, float) and abs(value) < _MAX_INTEGER and value.is_integer()
    return int(value) if is_whole else value


def _format(value: ParameterValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parse_value(text: str) -> ParameterValue | None:
    """Return the value a word stands for, `None` if it is not a word."""
    word = text.lower()
    if word in ("true", "false"):
        return word == "true"
    if _INTEGER.fullmatch(word):
        return int(word)
    if _FLOAT.fullmatch(word):
        return float(word)
    return word if _WORD.fullmatch(word) else None


class _Parser:
    """Recursive descent over the tokens of one policy string."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, int]] = []
        self._next = 0
        position = 0
        stripped = text.rstrip()
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            if match is None:
                raise self._error(position, "unexpected character")
            self._tokens.append((match.group(1), match.start(1)))
            position = match.end()

    def parse(self) -> PolicySpec:
        spec = self._policy(0)
        if self._peek() is not None:
            raise self._error(self._position(), "expected the end of the policy")
        return spec

    def _policy(self, depth: int) -> PolicySpec:
        if depth > _MAX_DEPTH:
            raise self._error(self._position(), f"nested deeper than {_MAX_DEPTH}")
        name = self._word("a policy name")
        members: list[PolicySpec] = []
        params: dict[str, ParameterValue] = {}
        if self._accept("("):
            self._arguments(members, params, depth)
        budget: Budget | None = self._budget() if self._accept("@") else None
        inner = self._policy(depth + 1) if self._accept("/") else None
        return PolicySpec(name, budget, tuple(sorted(params.items())), tuple(members), inner)

    def _arguments(
        self, members: list[PolicySpec], params: dict[str, ParameterValue], depth: int
    ) -> None:
        while True:
            following = self._tokens[self._next + 1][0] if self._has(1) else None
            if following == "=":
                position = self._position()
                key = self._word("a parameter name")
                self._expect("=")
                if key in params:
                    raise self._error(position, f"parameter {key!r} is given twice")
                word = self._word("a value")
                value = _parse_value(word)
                params[key] = word if value is None else value
            else:
                members.append(self._policy(depth + 1))
            if self._accept(")"):
                return
            self._expect(",")

    def _budget(self) -> Budget:
        position = self._position()
        word = self._word("a budget")
        if word == MAX:
            return MAX
        if not word.isascii() or not word.isdigit():
            raise self._error(position, f"budget {word!r} is neither a whole number nor 'max'")
        return int(word)

    def _has(self, ahead: int) -> bool:
        return self._next + ahead < len(self._tokens)

    def _peek(self) -> str | None:
        return self._tokens[self._next][0] if self._has(0) else None

    def _position(self) -> int:
        return self._tokens[self._next][1] if self._has(0) else len(self._text)

    def _accept(self, token: str) -> bool:
        if self._peek() != token:
            return False
        self._next += 1
        return True

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise self._error(self._position(), f"expected {token!r}")

    def _word(self, what: str) -> str:
        token = self._peek()
        if token is None or not _WORD.fullmatch(token.lower()):
            raise self._error(self._position(), f"expected {what}")
        self._next += 1
        return token.lower()

    def _error(self, position: int, problem: str) -> InvalidPolicyError:
        return InvalidPolicyError(
            f"policy {self._text!r}: {problem} at character {position + 1}",
            hint="write for example direct, reasoning@2048, reasoning@max",
        )


def _from_json(document: Any, depth: int = 0) -> PolicySpec:
    if depth > _MAX_DEPTH:
        raise InvalidPolicyError(f"policy document is nested deeper than {_MAX_DEPTH}")
    if not isinstance(document, dict):
        raise InvalidPolicyError(f"policy document of type {type(document).__name__} is no object")
    fields = cast("dict[str, Any]", document)
    unknown = set(fields) - {"name", "budget", "params", "members", "inner"}
    if unknown or not isinstance(fields.get("name"), str):
        raise InvalidPolicyError(f"policy document has wrong keys: {sorted(map(str, fields))}")
    budget, params = fields.get("budget"), fields.get("params", {})
    members, inner = fields.get("members", []), fields.get("inner")
    if budget is not None and budget != MAX and not isinstance(budget, int):
        raise InvalidPolicyError(f"budget {budget!r} is neither a whole number nor 'max'")
    if not isinstance(params, dict) or not isinstance(members, list):
        raise InvalidPolicyError("policy document: params must be an object, members a list")
    pairs = cast("dict[Any, Any]", params)
    for key, value in pairs.items():
        if not isinstance(key, str) or not isinstance(value, bool | int | float | str):
            raise InvalidPolicyError(f"parameter {key!r} has the unusable value {value!r}")
    return PolicySpec(
        fields["name"],
        budget,
        tuple(sorted(pairs.items())),
        tuple(_from_json(member, depth + 1) for member in cast("list[Any]", members)),
        None if inner is None else _from_json(inner, depth + 1),
    )
