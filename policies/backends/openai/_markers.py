"""How a served model's thoughts lie in token ids, and whether the server cuts them there."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from ..._backend import GenerationRequest, ThoughtMarkers
from ..._errors import BackendRequestError, CapabilityError
from ..._messages import user_message
from ._thought import END, START

__all__ = ["MarkerSearch"]

_PROMPT = "Compute step by step, left to right: 7+5*3+2*4-6+9"
# Two budgets: what the server forces is the same at both, what the model writes is not.
_BUDGETS = (4, 6)
_LONGEST_END = 64
_MAX_TOKENS = 160
_N_TELLING = 80


@dataclass(frozen=True, slots=True)
class MarkerSearch:
    """Finds the markers of one served model.

    Attributes:
        model: The model, for errors.
        fix: What to start the server with.
        tokenize: Returns the ids of a text.
        prompt_of: Returns the ids of a request's prompt.
        ids_of: Returns the ids that the server generates for a request, which may have a
            continuation.
    """

    model: str
    fix: str
    tokenize: Callable[[str], Awaitable[tuple[int, ...]]]
    prompt_of: Callable[[GenerationRequest], Awaitable[tuple[int, ...]]]
    ids_of: Callable[[GenerationRequest], Awaitable[tuple[int, ...]]]

    async def run(self) -> ThoughtMarkers:
        """Return the markers, after the server has been seen to force their end.

        Raises:
            CapabilityError: The tags are no tokens of this model, or the server does not force
                one and the same text at the budget.
            BackendError: The server could not be asked.
        """
        start, end = await self.tokenize(START), await self.tokenize(END)
        for tag, ids in ((START, start), (END, end)):
            if len(ids) != 1:
                raise self._unfit(f"{tag} is {len(ids)} tokens of this model, expected one")
        prompt = await self.prompt_of(self._request(None))
        n_in_prompt = _n_open(prompt, start, end[0])
        opens = () if n_in_prompt is not None else start
        already = n_in_prompt or 0
        found: set[tuple[int, ...]] = set()
        heads: list[tuple[int, ...]] = []
        for budget in _BUDGETS:
            ids = await self._cut(budget + already)
            if ids[: len(opens)] != opens:
                raise self._unfit("the model does not begin its answer with a thought")
            n_head = len(opens) + budget
            heads.append(ids[:n_head])
            found.add(self._forced(ids, n_head, end[0], budget + already))
        if len(found) != 1 or heads[1][: len(heads[0])] != heads[0]:
            raise self._unfit(
                f"thinking budgets of {_BUDGETS[0]} and {_BUDGETS[1]} do not end alike:"
                " the server does not force the end of the thought"
            )
        markers = ThoughtMarkers(start=opens, end=found.pop(), n_in_prompt=already)
        await self._check_own_end(markers, heads[0])
        return markers

    async def _check_own_end(self, markers: ThoughtMarkers, head: tuple[int, ...]) -> None:
        """Refuse a server that forces its text into answers of thoughts that ended by themselves.

        vLLM 0.32 looks for the whole forced text to see that a thought has ended; where that is
        more than the end tag, it counts on and forces the text in the middle of the answer.
        """
        if len(markers.end) == 1:
            return
        begun = (*head, markers.end[-1])
        budget = markers.n_in_prompt + len(begun)
        request = self._request(budget)
        ids = await self.ids_of(replace(request, continuation=begun, max_tokens=_N_TELLING))
        n_end = len(markers.end)
        if any(ids[i : i + n_end] == markers.end for i in range(len(ids))):
            raise self._unfit(
                "the text forced at the budget also comes in the middle of answers whose thought"
                f" ended by itself; set reasoning_end_str to {END} alone"
            )

    async def _cut(self, budget: int) -> tuple[int, ...]:
        try:
            return await self.ids_of(self._request(budget))
        except BackendRequestError as error:
            raise self._unfit(
                f"a thinking budget of {budget} is refused: {error.message}"
            ) from error

    def _forced(self, ids: tuple[int, ...], n_head: int, end: int, budget: int) -> tuple[int, ...]:
        """Return what follows a thought of the budget's length, up to the end tag."""
        if end in ids[:n_head]:
            raise self._unfit(
                f"the thought ended by itself before the budget of {budget}, which tells nothing"
            )
        if end not in ids[n_head : n_head + _LONGEST_END]:
            raise self._unfit(f"a thinking budget of {budget} is not honoured")
        return ids[n_head : ids.index(end, n_head) + 1]

    def _request(self, budget: int | None) -> GenerationRequest:
        return GenerationRequest(
            user_message(_PROMPT), max_tokens=_MAX_TOKENS, thinking=True, thinking_budget=budget
        )

    def _unfit(self, problem: str) -> CapabilityError:
        return CapabilityError(
            f"thoughts cannot be continued: {problem}",
            backend="openai",
            model=self.model,
            hint=self.fix,
        )


def _n_open(prompt: tuple[int, ...], start: tuple[int, ...], end: int) -> int | None:
    """Return how many tokens follow the prompt's open start tag, `None` if none is open."""
    n = len(start)
    places = [i for i in range(len(prompt) - n + 1) if prompt[i : i + n] == start]
    if not n or not places or end in prompt[places[-1] :]:
        return None
    return len(prompt) - places[-1] - n
