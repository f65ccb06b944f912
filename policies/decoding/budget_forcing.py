"""`budget-forcing(waits=N)@B`: a thought of at most B tokens that is made to go on N times.

Canonical: `budget-forcing(waits=2)@1024`.

Algorithm, all of it by token ids: the thought is opened and the model thinks until it ends its
thought or has B tokens. If it ends its thought and `waits` is not used up, the end is dropped,
"Wait" is written in its place and the model thinks on. At B tokens the end of the thought is
forced. Then the answer is asked for with a cap of its own, so that no thought takes its room.

The budget is exact: no thought is longer than B tokens, the appended words and what the prompt's
template has opened it with counted, and one that would be longer has exactly B. Appended words
are not generated, so usage, which holds generated tokens, may tell less.

Source: Muennighoff et al., "s1: Simple test-time scaling", arXiv 2501.19393, and its evaluation
code. There a forced end is followed by "Final Answer:" (`prefix=final-answer`); without
it, the default, an answer keeps the form that the question asks for and that graders look for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .._backend import (
    Backend,
    Capability,
    GenerationRequest,
    TellsThoughtMarkers,
    ThoughtMarkers,
    Tokenizes,
    require,
)
from .._bill import Bill
from .._card import Parameter, PolicyCard
from .._errors import BackendResponseError, CapabilityError
from .._messages import Completion, FinishReason, Message
from .._policy import DecodingOptions
from .._spec import MAX, Budget, PolicySpec
from .._vocabulary import Mode
from ._sampling import sample_seed

__all__ = ["WAIT", "BudgetForcing"]

WAIT = "Wait"
"""What is written in place of a dropped end."""

_NO_PREFIX = "none"
_PREFIXES = {_NO_PREFIX: "", "final-answer": "\nFinal Answer:"}


class BudgetForcing:
    """Control the length of the thought in both directions, and give the answer its own room.

    `@max` stands for the run's cap on thinking tokens. If a request of the extension is lost, the
    thought ends where it did before; if the answer's is lost there is no answer.
    """

    card = PolicyCard(
        name="budget-forcing",
        signature="budget-forcing[(waits=N,prefix=none|final-answer,answer=N)]@BUDGET",
        summary='A thought cut at BUDGET tokens, and made to go on N times by "Wait".',
        paper="s1, arXiv 2501.19393",
        standard=("budget-forcing@max", "budget-forcing(waits=0)@256"),
        parameters=(
            Parameter(
                "waits", int, "ends of the thought that are dropped", default=1, least=0, most=64
            ),
            Parameter(
                "prefix",
                str,
                "what an answer after a forced end begins with",
                default=_NO_PREFIX,
                choices=tuple(_PREFIXES),
            ),
            Parameter(
                "answer", int, "cap on answer tokens; 0 for the run's own", default=0, least=0
            ),
        ),
        takes_budget=True,
    )
    mode = Mode.REASONING
    needs: frozenset[Capability] = frozenset(
        {Capability.THINKING_SWITCH, Capability.PREFIX_CONTINUATION, Capability.STOP}
    )

    def __init__(
        self, budget: Budget, *, waits: int = 1, prefix: str = _NO_PREFIX, answer: int = 0
    ) -> None:
        """Keep the parameters.

        Args:
            budget: Tokens of the thought, or `"max"`.
            waits: How often an end is dropped, 0 to 64.
            prefix: `none` or `final-answer`.
            answer: Cap on answer tokens; 0 takes the options' own.

        Raises:
            InvalidPolicyError: One is out of range.
        """
        self.spec = self.card.spec(budget=budget, waits=waits, prefix=prefix, answer=answer)
        self._budget = None if budget == MAX else budget
        self._waits = waits
        self._prefix = _PREFIXES[prefix]
        self._answer = answer

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "BudgetForcing":
        """Build from a spec.

        Raises:
            InvalidPolicyError: The budget is missing or a parameter does not fit.
        """
        values = cls.card.read(spec)
        return cls(
            MAX if spec.budget is None else spec.budget,
            waits=values.integer("waits"),
            prefix=values.word("prefix"),
            answer=values.integer("answer"),
        )

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return budget and answer together; everything else is given, not generated."""
        return self._most_thinking(options) + self._most_answer(options)

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the answer after the forced or extended thought, with the ids of both.

        Raises:
            CapabilityError: The backend cannot go on from token ids or stop at them.
            BackendError: There is no answer because the model could not be asked.
        """
        require(backend, self.needs)
        bill = Bill(backend, self.max_tokens(options))
        texts = await self._texts(backend)
        thought = await self._think(bill, messages, options, texts)
        if thought is None:
            return bill.close(None)
        request = _request(messages, options, "answer")
        answer = await bill.ask(
            replace(request, continuation=thought, max_tokens=self._most_answer(options))
        )
        if answer is None or answer.token_ids is None:
            return bill.close(answer)
        return bill.close(answer, token_ids=(*thought, *answer.token_ids))

    async def _think(
        self, bill: Bill, messages: Sequence[Message], options: DecodingOptions, texts: "_Texts"
    ) -> tuple[int, ...] | None:
        """Return the ids of the thought, closed and ready for the answer; `None` if none came."""
        markers = texts.markers
        most = len(markers.start) + max(0, self._most_thinking(options) - markers.n_in_prompt)
        end = markers.end[-1]
        ids = markers.start
        closed: tuple[int, ...] | None = None  # The thought as it last ended by itself.
        n_asked = 0
        while len(ids) < most:
            # What a server that ignores the stop has said after it is paid for, too.
            left = min(most - len(ids), bill.room - self._most_answer(options))
            if left < 1:
                return closed
            request = _request(messages, options, n_asked)
            part = await bill.ask(
                replace(
                    request,
                    continuation=ids,
                    max_tokens=left,
                    stop_ids=(end,),
                    logprobs=False,
                )
            )
            thought = None if part is None else _told(bill, part)
            if part is None or thought is None:
                return closed
            n_asked += 1
            is_ended = end in thought
            if is_ended:
                if thought.index(end) + 1 < len(thought):
                    bill.remark("stop-ignored", "the backend went on after the end of the thought")
                thought = thought[: thought.index(end)]
            ids = (*ids, *thought)[:most]
            if part.finish_reason is not FinishReason.STOP and not is_ended:
                break  # The budget is used up, or the server has cut the thought.
            # A model that ends its turn in the thought has not closed it: that is done for it.
            closed = (*ids, end) if is_ended else (*ids, *markers.end)
            if n_asked > self._waits or len(ids) + len(texts.wait) >= most:
                return closed
            ids = (*ids, *texts.wait)
        return (*ids, *markers.end, *texts.prefix)

    async def _texts(self, backend: Backend) -> "_Texts":
        if not (isinstance(backend, TellsThoughtMarkers) and isinstance(backend, Tokenizes)):
            raise CapabilityError(
                f"backend {backend.name!r} does not tell the token ids of thoughts",
                backend=backend.name,
                model=backend.model,
                hint="choose reasoning@B where the server keeps budgets itself",
            )
        return _Texts(
            await backend.thought_markers(),
            await backend.encode(WAIT) if self._waits else (),
            await backend.encode(self._prefix) if self._prefix else (),
        )

    def _most_thinking(self, options: DecodingOptions) -> int:
        return options.max_thinking_tokens if self._budget is None else self._budget

    def _most_answer(self, options: DecodingOptions) -> int:
        return self._answer or options.max_answer_tokens


@dataclass(frozen=True, slots=True)
class _Texts:
    """Token ids of what is put into an answer."""

    markers: ThoughtMarkers
    wait: tuple[int, ...]
    prefix: tuple[int, ...]


def _request(
    messages: Sequence[Message], options: DecodingOptions, part: object
) -> GenerationRequest:
    return GenerationRequest(
        messages=tuple(messages),
        max_tokens=1,
        thinking=True,
        temperature=options.temperature,
        top_p=options.top_p,
        seed=sample_seed(options.seed, "budget-forcing", part),
        logprobs=options.logprobs,
    )


def _told(bill: Bill, part: Completion) -> tuple[int, ...] | None:
    """Return the ids of a completion; without them the thought cannot be gone on from."""
    if part.token_ids is None:
        bill.fault(
            BackendResponseError(
                "a thought came without its token ids, so it cannot be gone on from",
                backend=bill.backend.name,
                model=bill.backend.model,
            )
        )
    return part.token_ids
