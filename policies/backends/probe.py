"""Find out before a run whether the server at hand does what its kind can do.

Servers ignore fields they do not know, and a budget that is ignored in silence spoils every
number measured with it. The probe asks a few cheap questions and stops the run with what it
has seen if the answers do not fit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .._backend import Backend, Capability, GenerationRequest, require
from .._errors import BackendRequestError, CapabilityError, UnknownNameError
from .._messages import Completion, user_message

__all__ = ["ListsModels", "ProbeReport", "probe"]

_PROMPT = "Compute step by step, left to right: 7+5*3+2*4-6+9"
_BUDGET = 16
# Start and end marker: servers differ in whether they count them.
_MARKER_TOKENS = 2
_TAGS = ("<think>", "</think>")


@runtime_checkable
class ListsModels(Protocol):
    """A backend whose server tells which models it serves."""

    async def served_models(self) -> Mapping[str, str]:
        """Return the names of the models, each with where it was loaded from."""
        ...

    async def describe_server(self) -> Mapping[str, str]:
        """Ask the server what it serves and add that to `identity()`."""
        ...


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a probe has seen.

    Attributes:
        server: What the server tells about itself.
        checked: One line for each thing that was found to work.
        unsure: One line for each thing that could not be told from the answers.
    """

    server: Mapping[str, str]
    checked: tuple[str, ...]
    unsure: tuple[str, ...]


async def probe(
    backend: Backend,
    needed: Iterable[Capability] = (),
    *,
    prompt: str = _PROMPT,
    max_tokens: int = 512,
) -> ProbeReport:
    """Check that a backend is there, has its model and honours the thinking controls.

    Sends at most three short requests. Thinking is checked only where it is needed.

    Args:
        backend: What to check.
        needed: Capabilities of the policies that will run.
        prompt: A question that makes the model think for more than a few tokens.
        max_tokens: Cap of each request; must fit the model's context.

    Raises:
        UnknownNameError: The server does not serve the model; names what it serves.
        CapabilityError: A control is missing or not honoured; says what was seen.
        BackendError: The server could not be asked.
    """
    wanted = frozenset(needed)
    require(backend, wanted)
    server = await _identify(backend)
    checked = ["the server serves the model"] if server else []
    unsure = ["the server does not list its models"] if server is None else []
    looks = _Looks(backend, prompt, max_tokens)
    await looks.thinking_off()
    checked.append("thinking off gives no thought")
    budgets = {Capability.THINKING_BUDGET, Capability.HARD_BUDGET}
    if wanted & {Capability.THINKING_SWITCH, *budgets}:
        free = await looks.thinking_on()
        checked.append("thinking on gives a thought")
        if wanted & budgets and Capability.HARD_BUDGET in backend.capabilities:
            (checked if await looks.budget(free) else unsure).append(
                "a thinking budget is honoured"
            )
    return ProbeReport(server or {}, tuple(checked), tuple(unsure))


async def _identify(backend: Backend) -> Mapping[str, str] | None:
    """Return what the server tells, `None` if it keeps no list of models."""
    if not isinstance(backend, ListsModels):
        return {}
    try:
        served = await backend.served_models()
    except BackendRequestError as error:
        if error.status_code in (404, 405):
            return None
        raise
    if backend.model not in served:
        raise UnknownNameError("served model", backend.model, served)
    return await backend.describe_server()


@dataclass(frozen=True, slots=True)
class _Looks:
    """The questions, and what each answer must look like."""

    backend: Backend
    prompt: str
    max_tokens: int

    async def thinking_off(self) -> None:
        completion = await self._ask()
        if completion.thinking or completion.usage.thinking_tokens or _has_tags(completion):
            raise self._unfit("thinking is off, and yet the model thinks", completion)

    async def thinking_on(self) -> Completion:
        completion = await self._ask(thinking=True)
        if not completion.thinking and not completion.usage.thinking_tokens:
            raise self._unfit("thinking is on, and yet there is no thought", completion)
        if _has_tags(completion):
            raise self._unfit("the thought is not told apart from the answer", completion)
        return completion

    async def budget(self, free: Completion) -> bool:
        """Check a budget; return False if the thought is too short to tell."""
        n_free = free.usage.thinking_tokens
        if n_free is None:
            raise self._unfit("thinking tokens are not told, so no budget can be checked", free)
        budget = min(_BUDGET, n_free // 2)
        try:
            completion = await self._ask(thinking=True, budget=budget)
        except BackendRequestError as error:
            raise CapabilityError(
                f"a thinking budget of {budget} is refused: {error.message}",
                backend=self.backend.name,
                model=self.backend.model,
                status_code=error.status_code,
                hint="start the server with its reasoning parser",
            ) from error
        observed = completion.usage.thinking_tokens
        if observed is None or observed > budget + _MARKER_TOKENS:
            raise self._unfit(f"a thinking budget of {budget} is not honoured", completion)
        return n_free > budget + _MARKER_TOKENS

    async def _ask(self, *, thinking: bool = False, budget: int | None = None) -> Completion:
        can_logprobs = Capability.LOGPROBS in self.backend.capabilities
        return await self.backend.generate(
            GenerationRequest(
                messages=user_message(self.prompt),
                max_tokens=self.max_tokens,
                thinking=thinking,
                thinking_budget=budget,
                # Where the server does not count thinking tokens, the token list does.
                logprobs=can_logprobs and thinking,
            )
        )

    def _unfit(self, problem: str, seen: Completion) -> CapabilityError:
        thinking = "no thought" if seen.thinking is None else f"thought {seen.thinking[:60]!r}"
        return CapabilityError(
            f"{problem}; seen: {seen.usage.thinking_tokens} thinking tokens of "
            f"{seen.usage.completion_tokens}, {thinking}, text {seen.text[:60]!r}",
            backend=self.backend.name,
            model=self.backend.model,
            hint="check the server's reasoning parser and the dialect",
        )


def _has_tags(completion: Completion) -> bool:
    return any(tag in completion.text for tag in _TAGS)
