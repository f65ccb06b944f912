"""Hard caps per caller: how often, and for how many tokens, one caller may get the dear arms.

Prompts can be written so that any learned router takes them for hard ones, and no feature can be
trusted to see it. What such a caller can cost is therefore bounded here, by counting and without
looking at the prompt.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from policies import InvalidInputError, NoAdmissibleArmError, UnknownNameError

__all__ = ["CallerCaps", "CallerUsage", "CapLimits", "Reservation"]

# Credit is counted in whole millionths of a dear call: sums of floats would drift over the cap.
_ONE = 1_000_000


@dataclass(frozen=True, slots=True)
class CapLimits:
    """What one caller may have.

    Attributes:
        max_dear_share: Largest share in [0, 1] of a caller's calls that may go to dear arms,
            counted in millionths, rounded down.
        burst: Most dear calls in a row that a caller can save up by calling cheap arms, >= 1.
        dear_ratio: An arm is dear for a prompt when its expected tokens are more than this many
            times the cheapest arm's, >= 1.
        dear_arms: Names of the dear arms, in the place of the ratio.
        max_tokens: Tokens a caller may use at once, and again in every `window_s`; `None` for
            no limit.
        window_s: Seconds in which `max_tokens` come back.
    """

    max_dear_share: float = 1.0
    burst: int = 10
    dear_ratio: float = 4.0
    dear_arms: frozenset[str] | None = None
    max_tokens: int | None = None
    window_s: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse limits that make no sense."""
        sound = {
            "max_dear_share": 0.0 <= self.max_dear_share <= 1.0,
            "burst": self.burst >= 1,
            "dear_ratio": 1.0 <= self.dear_ratio < math.inf,
            "max_tokens": self.max_tokens is None or self.max_tokens >= 1,
            "window_s": 0.0 < self.window_s < math.inf,
        }
        wrong = [
            f"{name} is {getattr(self, name)!r}" for name, is_sound in sound.items() if not is_sound
        ]
        if wrong:
            raise InvalidInputError(
                f"caps cannot be used: {', '.join(wrong)}",
                hint="a share lies in [0, 1], a ratio is >= 1, counts and seconds are positive",
            )


@dataclass(frozen=True, slots=True)
class CallerUsage:
    """What a caller has had since it was first seen, or since it was forgotten.

    Attributes:
        n_calls: Its calls.
        n_dear: Those that went to dear arms.
        tokens_left: Tokens it may use now, infinite without a limit; negative in debt.
    """

    n_calls: int
    n_dear: int
    tokens_left: float


class _Account:
    """The books of one caller; only touched under the lock."""

    __slots__ = ("credit", "n_calls", "n_dear", "outstanding", "tokens", "updated_s")

    def __init__(self, tokens: float, now_s: float) -> None:
        self.credit = 0
        self.n_calls = 0
        self.n_dear = 0
        self.tokens = tokens
        self.outstanding = 0.0
        self.updated_s = now_s


@dataclass(frozen=True, slots=True, eq=False)
class Reservation:
    """One call that was let through; give it to `CallerCaps.note` when its tokens are known.

    Attributes:
        arm: Position of the arm it may use.
        is_capped: Whether a better arm was refused; decisions then say `caller-cap`.
        is_dear: Whether the arm is a dear one.
        tokens: Tokens set aside for it.
        account: Its caller's books, for `CallerCaps` alone.
    """

    arm: int
    is_capped: bool
    is_dear: bool
    tokens: float
    account: _Account


class CallerCaps:
    """Counts what each caller gets, and says which arms it may still have.

    Thread-safe, in constant time and memory per caller. What it guarantees, whatever the callers
    send and however their calls interleave, for the calls let through by `reserve`:

    - of a caller's first n calls at most `max_dear_share * n` went to dear arms, for every n;
    - of any n calls in a row at most `max_dear_share * n + burst` did;
    - in any t seconds it used at most `max_tokens * (1 + t / window_s)` tokens, as long as no
      call uses more than was expected of it. What one uses beyond becomes a debt, which is paid
      before the next call is let through.

    A caller that is forgotten (`max_callers` others came after it) starts again from nothing: the
    first guarantee then still holds over its whole life, the other two since it came back. Caller
    names must be ones that callers cannot choose, such as the user of an API key.

    Source:
        Token buckets (Turner, IEEE Communications Magazine 24(10), 1986): one earns
        `max_dear_share` per call and starts empty, one earns tokens by the clock and starts full.
    """

    def __init__(
        self,
        limits: CapLimits,
        *,
        max_callers: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without any caller.

        Args:
            limits: What each caller may have.
            max_callers: Callers remembered; the one that called least recently is forgotten.
            clock: Seconds that never go back.

        Raises:
            InvalidInputError: `max_callers` is not positive.
        """
        if max_callers < 1:
            raise InvalidInputError(f"max_callers is {max_callers!r}, expected >= 1")
        self.limits = limits
        self._max_callers = max_callers
        self._clock = clock
        self._lock = Lock()
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._earned = int(limits.max_dear_share * _ONE)
        self._max_credit = limits.burst * _ONE
        self._max_tokens = math.inf if limits.max_tokens is None else float(limits.max_tokens)

    def dear(self, expected_tokens: Sequence[float], arms: Sequence[str] = ()) -> list[bool]:
        """Return which arms are dear for a prompt.

        Args:
            expected_tokens: Expected tokens of each arm, finite.
            arms: Names of the arms; needed where the limits name the dear ones.

        Raises:
            InvalidInputError: A token count is negative or not finite, or there are no arms.
            UnknownNameError: The limits name an arm that is not there.
        """
        if not expected_tokens or not all(0.0 <= each < math.inf for each in expected_tokens):
            raise InvalidInputError(
                f"expected tokens {list(expected_tokens)!r} are not finite numbers >= 0"
            )
        if self.limits.dear_arms is None:
            # Arms of less than a token would make everything else dear.
            bound = self.limits.dear_ratio * max(min(expected_tokens), 1.0)
            return [each > bound for each in expected_tokens]
        for name in sorted(self.limits.dear_arms.difference(arms)):
            raise UnknownNameError("arm", name, arms)
        if len(arms) != len(expected_tokens):
            raise InvalidInputError(f"{len(arms)} arms have {len(expected_tokens)} token counts")
        return [name in self.limits.dear_arms for name in arms]

    def admissible(
        self, caller: str, expected_tokens: Sequence[float], arms: Sequence[str] = ()
    ) -> list[bool]:
        """Return which arms the caller's next call may use, as things are now.

        Nothing is set aside: between this and the call others may come first. `reserve` does
        both in one step.

        Args:
            caller: Whom the call is for.
            expected_tokens: See `dear`.
            arms: See `dear`.

        Raises:
            InvalidInputError: See `dear`, or the caller is no text.
            UnknownNameError: See `dear`.
        """
        is_dear = self.dear(expected_tokens, arms)
        with self._lock:
            return self._admissible(self._account(caller), expected_tokens, is_dear)

    def reserve(
        self,
        caller: str,
        order: Sequence[int],
        expected_tokens: Sequence[float],
        arms: Sequence[str] = (),
    ) -> Reservation:
        """Let a call through on the best arm that its caller may have, and count it.

        Args:
            caller: Whom the call is for.
            order: Positions of the arms, the best first.
            expected_tokens: See `dear`. For a limit that no single call can overdraw, give the
                most tokens that each arm can generate.
            arms: See `dear`.

        Raises:
            NoAdmissibleArmError: The caller may have none now (code `caller-cap`); the call is
                not counted.
            InvalidInputError: See `admissible`.
            UnknownNameError: See `dear`.
        """
        is_dear = self.dear(expected_tokens, arms)
        with self._lock:
            account = self._account(caller)
            allowed = self._admissible(account, expected_tokens, is_dear)
            arm = next((each for each in order if allowed[each]), None)
            if arm is None:
                raise self._refusal(account, min(expected_tokens[each] for each in order))
            account.n_calls += 1
            account.n_dear += is_dear[arm]
            account.credit += self._earned - is_dear[arm] * _ONE
            account.credit = min(account.credit, self._max_credit)
            tokens = expected_tokens[arm]
            account.tokens -= tokens
            account.outstanding += tokens
        return Reservation(arm, arm != order[0], is_dear[arm], tokens, account)

    def note(self, reservation: Reservation, tokens: float) -> None:
        """Settle a call, once, with the tokens it really used; 0 for one that never ran.

        Args:
            reservation: What `reserve` returned.
            tokens: Tokens used; more than were set aside become a debt of the caller.

        Raises:
            InvalidInputError: The tokens are negative or not finite.
        """
        if not 0.0 <= tokens < math.inf:
            raise InvalidInputError(f"used tokens are {tokens!r}, expected a finite number >= 0")
        with self._lock:
            account = reservation.account
            self._refill(account)
            account.outstanding -= reservation.tokens
            account.tokens += reservation.tokens - tokens

    def usage(self, caller: str) -> CallerUsage:
        """Return what a caller has had so far; zeros for one that is not known."""
        with self._lock:
            if caller not in self._accounts:
                return CallerUsage(0, 0, self._max_tokens)
            account = self._accounts[caller]
            self._refill(account)
            return CallerUsage(account.n_calls, account.n_dear, account.tokens)

    def _account(self, caller: str) -> _Account:
        if not isinstance(caller, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidInputError(f"caller is a {type(caller).__name__}, expected a text")
        account = self._accounts.get(caller)
        if account is None:
            account = self._accounts[caller] = _Account(self._max_tokens, self._clock())
            if len(self._accounts) > self._max_callers:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(caller)
        self._refill(account)
        return account

    def _refill(self, account: _Account) -> None:
        """Add the tokens of the time gone by, never above what is free of reservations."""
        now_s = self._clock()
        elapsed_s = max(now_s - account.updated_s, 0.0)
        account.updated_s = max(now_s, account.updated_s)
        if self.limits.max_tokens is None:
            return
        earned = elapsed_s * self._max_tokens / self.limits.window_s
        free = max(self._max_tokens - account.outstanding, account.tokens)
        account.tokens = min(account.tokens + earned, free)

    def _admissible(
        self, account: _Account, expected_tokens: Sequence[float], is_dear: Sequence[bool]
    ) -> list[bool]:
        has_credit = account.credit + self._earned >= _ONE
        return [
            (has_credit or not dear) and tokens <= account.tokens
            for dear, tokens in zip(is_dear, expected_tokens, strict=True)
        ]

    def _refusal(self, account: _Account, fewest_tokens: float) -> NoAdmissibleArmError:
        if fewest_tokens > self._max_tokens:
            problem, hint = "one call needs more tokens than a caller may have", "raise max_tokens"
        elif fewest_tokens > account.tokens:
            missing = fewest_tokens - account.tokens
            wait_s = missing * self.limits.window_s / self._max_tokens
            problem, hint = "the caller's tokens are used up", f"try again in {wait_s:.0f} s"
        else:
            problem = "the caller may not use a dear arm now and there is no other"
            hint = "name fewer arms in dear_arms, or raise max_dear_share"
        return NoAdmissibleArmError(problem, hint=hint, code="caller-cap")
