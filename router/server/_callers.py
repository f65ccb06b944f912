"""Who calls, and what they may have: bearer keys with caps."""

import math
import os
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from policies import ConfigError

from .._caps import CallerCaps, CapLimits
from ._problems import ProblemError

__all__ = ["Caller", "Callers", "KeySettings", "read_keys"]

_DAY_S = 86_400.0


class KeySettings(BaseModel):
    """One key, and what its holder may have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{64}$")
    """Hash of the key: `printf %s "$KEY" | sha256sum`."""
    variable: str | None = None
    """Environment variable that holds the key, in the place of its hash."""
    is_admin: bool = False
    """Whether it opens the status page and the metrics."""
    max_requests: int | None = Field(default=None, ge=1)
    """Requests in `window_s`."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Generated tokens in `window_s`."""
    max_usd: float | None = Field(default=None, gt=0)
    """US dollars in `window_s`; needs prices."""
    max_dear_share: float = Field(default=1.0, ge=0, le=1)
    """Largest share of its calls that may go to dear arms, see `router.CapLimits`."""
    dear_arms: frozenset[str] | None = None
    """Names of the dear arms, in the place of the usual ratio."""
    window_s: float = Field(default=3600.0, gt=0, le=366 * _DAY_S)
    """Seconds in which what was used comes back."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.sha256 is None) == (self.variable is None):
            raise ValueError("give either sha256 or variable")
        return self

    @property
    def has_caps(self) -> bool:
        """Whether arms or tokens are limited."""
        return self.max_tokens is not None or self.max_dear_share < 1.0


def read_keys(path: Path) -> dict[str, KeySettings]:
    """Read a file of keys: a table `[keys.NAME]` for each.

    Raises:
        ConfigError: It cannot be read, or something in it cannot be used; all of it is named.
    """
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    tables = document.pop("keys", None)
    if document or not isinstance(tables, dict) or not tables:
        raise ConfigError(
            f"{path} holds {', '.join(sorted(document)) or 'no keys'}, expected tables [keys.NAME]"
        )
    keys: dict[str, KeySettings] = {}
    problems: list[str] = []
    for name, fields in cast("dict[str, Any]", tables).items():
        try:
            keys[name] = KeySettings.model_validate(fields)
        except ValidationError as error:
            problems += [
                f"keys.{name}{''.join(f'.{part}' for part in one['loc'])}: {one['msg']}"
                for one in error.errors(include_input=False, include_url=False)
            ]
    if problems:
        raise ConfigError(f"{path}: {'; '.join(problems)}")
    return keys


class _Allowance:
    """So much in a window, refilled by the clock; one that is overdrawn waits until it is not."""

    def __init__(self, most: float, window_s: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._rate = most / window_s
        self._clock = clock
        self._left = most
        self._at_s = clock()

    def wait_s(self, least: float) -> float:
        """Return the seconds until `least` is there; 0 if it is."""
        now_s = self._clock()
        self._left = min(self._left + (now_s - self._at_s) * self._rate, self._most)
        self._at_s = now_s
        return max(least - self._left, 0.0) / self._rate

    def take(self, amount: float) -> None:
        """Take an amount, whether or not it is there."""
        self._left -= amount


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """Whoever holds a key.

    Attributes:
        name: The key's name, "" where no keys are asked for.
        is_admin: Whether it may see the status page and the metrics.
        caps: Which arms and how many tokens it may have, `None` for no limit.
    """

    name: str = ""
    is_admin: bool = True
    caps: CallerCaps | None = None
    _requests: _Allowance | None = None
    _usd: _Allowance | None = None

    @property
    def is_metered(self) -> bool:
        """Whether what its calls use is counted."""
        return self.caps is not None or self._usd is not None

    def admit(self, n: int = 1) -> None:
        """Count a request.

        Args:
            n: As how many it counts; more than are left become a debt.

        Raises:
            ProblemError: The caller has had its requests or its money for now.
        """
        for allowance, least, what in (
            (self._requests, 1.0, "requests"),
            (self._usd, 0.0, "money"),
        ):
            wait_s = 0.0 if allowance is None else allowance.wait_s(least)
            if wait_s > 0:
                raise ProblemError(
                    429,
                    "caller-cap",
                    f"the {what} of the key {self.name!r} are used up; try again in"
                    f" {math.ceil(wait_s)} s",
                    retry_after_s=wait_s,
                )
        if self._requests is not None:
            self._requests.take(n)

    def pay(self, usd: float) -> None:
        """Count what a request has cost; more than was left becomes a debt."""
        if self._usd is not None:
            self._usd.take(usd)


class Callers:
    """Finds the caller of a request. Without keys, everybody is one caller without limits."""

    def __init__(
        self,
        keys: Mapping[str, KeySettings],
        *,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the books of each key.

        Args:
            keys: Keys by name.
            environ: Where variables are looked up, the process's environment by default.
            clock: Seconds that never go back.

        Raises:
            ConfigError: A variable is not set, or two names have one key.
        """
        self._by_hash: dict[bytes, Caller] = {}
        values = os.environ if environ is None else environ
        for name, one in keys.items():
            digest = _digest_of(name, one, values)
            if digest in self._by_hash:
                raise ConfigError(f"keys.{name} is the same key as another one")
            self._by_hash[digest] = _caller(name, one, clock)

    @property
    def asks_for_keys(self) -> bool:
        """Whether a request needs a key."""
        return bool(self._by_hash)

    def identify(self, headers: Mapping[str, str], *, as_admin: bool = False) -> Caller:
        """Return who sent a request.

        Args:
            headers: Its headers, names in lower case.
            as_admin: Whether only keys will do that open the status page; a browser sends one as
                the password of HTTP's basic authentication.

        Raises:
            ProblemError: The key is missing or wrong (401), or does not suffice (403).
        """
        if not self._by_hash:
            return Caller()
        given = _given_key(headers)
        # Found by its hash: how long that takes says nothing about the keys.
        caller = self._by_hash.get(sha256(given.encode()).digest()) if given else None
        if caller is None:
            what = "the API key is not known here" if given else "an API key is needed"
            raise ProblemError(401, "invalid_api_key", what)
        if as_admin and not caller.is_admin:
            raise ProblemError(
                403, "permission-denied", f"the key {caller.name!r} may not see this"
            )
        return caller


def _given_key(headers: Mapping[str, str]) -> str:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        import base64
        import binascii

        try:
            return base64.b64decode(value).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return headers.get("x-api-key", "") or headers.get("api-key", "")


def _digest_of(name: str, key: KeySettings, environ: Mapping[str, str]) -> bytes:
    if key.sha256 is not None:
        return bytes.fromhex(key.sha256)
    value = environ.get(key.variable or "", "")
    if not value:
        raise ConfigError(f"keys.{name}: the environment variable {key.variable} is not set")
    return sha256(value.encode()).digest()


def _caller(name: str, key: KeySettings, clock: Callable[[], float]) -> Caller:
    caps = None
    if key.has_caps:
        limits = CapLimits(
            max_dear_share=key.max_dear_share,
            dear_arms=key.dear_arms,
            max_tokens=key.max_tokens,
            window_s=key.window_s,
        )
        caps = CallerCaps(limits, clock=clock)
    return Caller(
        name,
        key.is_admin,
        caps,
        None if key.max_requests is None else _Allowance(key.max_requests, key.window_s, clock),
        None if key.max_usd is None else _Allowance(key.max_usd, key.window_s, clock),
    )
