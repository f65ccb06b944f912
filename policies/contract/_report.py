"""Run the checks and collect what they find."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from .._backend import Backend
from .._errors import BackendRequestError, BackendResponseError
from .._messages import user_message
from .._policy import DecodingOptions, Policy
from ._backend_checks import BACKEND_CHECKS
from ._backend_probe import BackendProbe
from ._outcome import Failed, Skipped
from ._policy_checks import POLICY_CHECKS, PolicyProbe

__all__ = ["CheckReport", "CheckResult", "check_backend", "check_policy"]

_Subject = TypeVar("_Subject")

DEFAULT_PROMPT = "Compute mod ten, left to right: 7+5*3+2*4"
DEFAULT_BUDGETS = (0, 1, 3, 8, 16)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check.

    Attributes:
        name: What was checked, such as `budget`.
        status: Whether it held.
        reason: Why it failed or was skipped; empty if it passed.
    """

    name: str
    status: Literal["passed", "failed", "skipped"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The outcomes of all checks of one backend or policy.

    Attributes:
        subject: What was checked.
        backend: Name of the backend.
        model: Name of the model.
        results: One result per check, in the order they ran.
    """

    subject: str
    backend: str
    model: str
    results: tuple[CheckResult, ...]

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The checks that did not hold."""
        return tuple(result for result in self.results if result.status == "failed")

    @property
    def skipped(self) -> tuple[CheckResult, ...]:
        """The checks that could not be made."""
        return tuple(result for result in self.results if result.status == "skipped")

    def raise_on_failure(self) -> None:
        """Do nothing if no check failed.

        Raises:
            BackendResponseError: At least one failed; all of them are named.
        """
        if self.failures:
            reasons = "; ".join(f"{result.name}: {result.reason}" for result in self.failures)
            raise BackendResponseError(
                f"{self.subject} breaks its contract: {reasons}",
                backend=self.backend,
                model=self.model,
                retryable=False,
            )


async def check_backend(
    backend: Backend,
    *,
    prompt: str = DEFAULT_PROMPT,
    budgets: Sequence[int] = DEFAULT_BUDGETS,
    max_tokens: int = 256,
    n_concurrent: int = 8,
) -> CheckReport:
    """Run every check against a backend; about 60 short requests.

    A backend that streams gets 30 more.

    Args:
        backend: The backend; it stays open.
        prompt: A question that makes the model think for a while.
        budgets: Thinking budgets to try, in tokens.
        max_tokens: Cap of each request; must fit the model's context.
        n_concurrent: Requests sent at once by the concurrency check.

    Returns:
        One result per check. Nothing is raised for a bad backend: errors are results.

    Example:
        >>> import asyncio
        >>> from policies.backends.fake import FakeAnswer, FakeBackend
        >>> backend = FakeBackend(lambda request: FakeAnswer("It is 5", thinking="2 and 3 is 5"))
        >>> asyncio.run(check_backend(backend)).failures
        ()
    """
    subject = BackendProbe(backend, prompt, tuple(budgets), max_tokens, n_concurrent)
    results = [await _run(name, check, subject) for name, check in BACKEND_CHECKS.items()]
    return CheckReport(f"backend {backend.name!r}", backend.name, backend.model, tuple(results))


async def check_policy(
    policy: Policy,
    backend: Backend,
    *,
    prompt: str = DEFAULT_PROMPT,
    options: DecodingOptions | None = None,
) -> CheckReport:
    """Run every check against a policy, on a backend that passes its own.

    Args:
        policy: The policy.
        backend: A backend with the capabilities that the policy needs.
        prompt: The question to ask.
        options: How to decode; short caps by default.

    Example:
        >>> import asyncio
        >>> from policies import build_policy
        >>> from policies.backends.fake import FakeAnswer, FakeBackend
        >>> backend = FakeBackend(lambda request: FakeAnswer("It is 5", thinking="2 and 3 is 5"))
        >>> asyncio.run(check_policy(build_policy("reasoning@2"), backend)).failures
        ()
    """
    chosen = options or DecodingOptions(max_answer_tokens=64, max_thinking_tokens=192)
    subject = PolicyProbe(policy, backend, user_message(prompt), chosen)
    results = [await _run(name, check, subject) for name, check in POLICY_CHECKS.items()]
    return CheckReport(f"policy {str(policy.spec)!r}", backend.name, backend.model, tuple(results))


async def _run(
    name: str, check: Callable[[_Subject], Awaitable[None]], subject: _Subject
) -> CheckResult:
    try:
        await check(subject)
    except Skipped as outcome:
        return CheckResult(name, "skipped", str(outcome))
    except Failed as outcome:
        return CheckResult(name, "failed", str(outcome))
    except BackendRequestError as error:
        # A recording cannot know every answer; that is no breach of its contract.
        status = "skipped" if error.code == "not-recorded" else "failed"
        return CheckResult(name, status, f"{type(error).__name__}: {error}")
    except Exception as error:  # noqa: BLE001  -- what a broken plug-in raises is the finding
        return CheckResult(name, "failed", f"{type(error).__name__}: {error}")
    return CheckResult(name, "passed")
