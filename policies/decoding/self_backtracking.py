"""`backtrack(beams=K,rounds=R)`: the model withdraws its own wrong steps, and goes on before them.

A model that was trained for it writes `<backtrack>` after a step that is wrong. K answers are
sampled and end there or at their own end; of those that end there the last step is dropped, and
the most likely sqrt(K) of these beginnings that were not met before are gone on from in K ways
each. The last of R rounds runs on through `<backtrack>`, as nothing would be withdrawn any more.
Answers are scored by the mean log-probability of their tokens; the final answer with the largest
sum of exp(score) wins. (Sums of the logarithms themselves, which are negative, would punish
answers for being given twice.)

Source: Yang et al., "Step Back to Leap Forward: Self-Backtracking", arXiv 2502.04404,
and its published decoder: K 8, R 2, temperature 0.7.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .._backend import Backend, Capability, GenerationRequest, Tokenizes
from .._bill import Bill
from .._card import Parameter, PolicyCard
from .._errors import BackendError, CapabilityError
from .._messages import Completion, FinishReason, Message
from .._policy import DecodingOptions
from .._spec import PolicySpec
from .._vocabulary import Mode
from ._instructions import with_instruction
from ._samples import close_with, majority, sums_of, votes_of
from ._sampling import need_sampling, sample_seed
from ._steps import Weighed, combined_evidence
from .direct import Direct

__all__ = ["INSTRUCTION", "TOKEN", "SelfBacktracking"]

INSTRUCTION = (
    "Think step by step, one step per paragraph. Write <backtrack> after a step that is wrong."
    " Then give the final answer."
)
"""What the system message asks for."""

TOKEN = "<backtrack>"
"""What withdraws the step before it."""

_PARAGRAPH = "\n\n"


@dataclass(frozen=True, slots=True)
class _State:
    """A beginning to go on from, and how likely it was."""

    text: str = ""
    token_ids: tuple[int, ...] = ()
    weighed: tuple[Weighed, ...] = ()


@dataclass(frozen=True, slots=True)
class _Sample:
    """An answer as far as it came, the beginning included."""

    completion: Completion
    is_withdrawn: bool
    begun: str

    @property
    def score(self) -> float:
        """Mean log-probability; minus infinity where the backend did not tell."""
        evidence = self.completion.evidence
        known = None if evidence is None else evidence.mean_logprob
        return -math.inf if known is None else known

    @property
    def kept_text(self) -> str:
        """What is left once the step before the first `<backtrack>` is dropped."""
        new = self.completion.text[len(self.begun) :].partition(TOKEN)[0].rstrip()
        head, mark, _ = (self.begun + new).rpartition(_PARAGRAPH)
        return head + mark


class SelfBacktracking:
    """Sample answers that may withdraw a step, and go on before the steps they withdrew.

    A model that never writes `<backtrack>` is sampled K times, and the likeliest final answer is
    returned with a remark.
    """

    card = PolicyCard(
        name="backtrack",
        signature="backtrack[(beams=K,rounds=R)]",
        summary="Steps that the model itself withdraws are dropped, and other ways are tried.",
        paper="Yang et al., arXiv 2502.04404",
        standard=("backtrack",),
        parameters=(
            Parameter("beams", int, "answers sampled per beginning", default=8, least=1, most=1000),
            Parameter(
                "rounds",
                int,
                "rounds of sampling, the first included",
                default=2,
                least=1,
                most=100,
            ),
        ),
    )
    mode = Mode.IFT

    def __init__(self, *, beams: int = 8, rounds: int = 2) -> None:
        """Take the number of answers per beginning, and of rounds."""
        self.spec = self.card.spec(beams=beams, rounds=rounds)
        # The last round ends at nothing, and the first one goes on from nothing.
        going_back = {Capability.STOP, Capability.PREFIX_CONTINUATION} if rounds > 1 else ()
        self.needs: frozenset[Capability] = frozenset(
            {Capability.LOGPROBS, Capability.SAMPLES, *going_back}
        )
        self._beams = beams
        self._rounds = rounds
        self._most_states = math.isqrt(beams)

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "SelfBacktracking":
        """Build from a spec such as `backtrack(beams=16)`.

        Raises:
            InvalidPolicyError: A parameter is out of range, or there is something else besides.
        """
        values = cls.card.read(spec)
        return cls(beams=values.integer("beams"), rounds=values.integer("rounds"))

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what all samples of all rounds may generate."""
        n_states = 1 + (self._rounds - 1) * self._most_states
        return n_states * self._beams * options.max_answer_tokens

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the likeliest final answer's likeliest text, with the usage of all samples.

        `evidence.agreement` is the share of complete answers that agree with it.

        Raises:
            InvalidInputError: The temperature is 0, so that all samples would be equal.
            BackendError: Nothing came.
        """
        need_sampling(self.spec, options)
        bill = Bill(backend, self.max_tokens(options))
        base = Direct().request(
            with_instruction(messages, INSTRUCTION), replace(options, logprobs=True)
        )
        states = [_State()]
        met = {""}
        found = list[_Sample]()
        for number in range(self._rounds):
            is_last = number == self._rounds - 1
            came = await self._sampled(bill, base, states, number, is_last=is_last)
            found += came
            if is_last:
                break
            withdrawn = sorted(
                (one for one in came if TOKEN in one.completion.text[len(one.begun) :]),
                key=lambda one: one.score,
                reverse=True,
            )
            if not withdrawn:
                break
            states = await self._gone_back(bill, withdrawn, met, base.max_tokens)
            if not states and all(one.is_withdrawn for one in found):
                states = [_State()]
        if not any(TOKEN in one.completion.text for one in found):
            bill.remark("no-step-withdrawn", f"no sample has written {TOKEN}")
        return self._close(bill, found)

    async def _sampled(
        self,
        bill: Bill,
        base: GenerationRequest,
        states: Sequence[_State],
        number: int,
        *,
        is_last: bool,
    ) -> list[_Sample]:
        """Return the samples from all states, all asked at once."""
        asked = [
            (state, place, beam)
            for place, state in enumerate(states)
            for beam in range(self._beams)
        ]
        requests = [
            replace(
                base,
                max_tokens=base.max_tokens - len(state.token_ids),
                seed=sample_seed(base.seed, "backtrack", number, place, beam),
                continuation=state.token_ids,
                stop=() if is_last else (TOKEN,),
            )
            for state, place, beam in asked
        ]
        return [
            self._whole(state, came, is_last=is_last)
            for (state, _, _), came in zip(asked, await bill.ask_all(requests), strict=True)
            if came is not None
        ]

    def _whole(self, state: _State, came: Completion, *, is_last: bool) -> _Sample:
        """Return a sample with the ids and the log-probability of its beginning."""
        own = came.token_ids or ()
        parts = state.weighed
        if came.evidence is not None and own:
            parts = (*parts, Weighed(came.evidence, len(own)))
        # A backend that does not know the stop goes on behind it.
        _, mark, rest = came.text[len(state.text) :].partition(TOKEN)
        is_withdrawn = not is_last and bool(mark) and not rest.strip()
        is_cut = is_withdrawn and came.finish_reason is FinishReason.STOP
        return _Sample(
            replace(
                came,
                token_ids=None if came.token_ids is None else (*state.token_ids, *own),
                evidence=combined_evidence(parts),
                finish_reason=FinishReason.LENGTH if is_cut else came.finish_reason,
            ),
            is_withdrawn,
            state.text,
        )

    async def _gone_back(
        self, bill: Bill, withdrawn: Sequence[_Sample], met: set[str], most: int
    ) -> list[_State]:
        """Return the first beginnings that were not met before, with room to go on."""
        backend = bill.backend
        if not isinstance(backend, Tokenizes):
            raise CapabilityError(
                f"backend {backend.name!r} does not turn text into tokens",
                backend=backend.name,
                model=backend.model,
            )
        states = list[_State]()
        for sample in withdrawn:
            text = sample.kept_text
            if len(states) == self._most_states or text in met:
                continue
            met.add(text)
            try:
                token_ids = await backend.encode(text)
            except BackendError as error:
                bill.fault(error)
                return states
            # Nobody tells the part's own log-probabilities: it counts with its sample's mean.
            evidence = sample.completion.evidence
            weighed = () if evidence is None else (Weighed(evidence, len(token_ids)),)
            if 0 < len(token_ids) < most:
                states.append(_State(text, token_ids, weighed))
        return states

    def _close(self, bill: Bill, found: Sequence[_Sample]) -> Completion:
        done = [one for one in found if one.completion.is_finished]
        if not done:
            return bill.close(found[0].completion if found else None)
        completions = [one.completion for one in done]
        votes = votes_of(completions)
        answer = majority(sums_of(votes, [math.exp(one.score) for one in done]))
        agreeing = [place for place, vote in enumerate(votes) if not answer or vote == answer]
        best = max(agreeing, key=lambda place: done[place].score)
        return close_with(bill, completions, votes, best)
