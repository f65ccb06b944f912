"""`compute-optimal(EASY,MEDIUM,HARD,probe=N,verifier=NAME)`: the method by the question's difficulty.

A few samples of the policy that EASY is built on tell how hard the question is: a verifier's mean
score over them, samples that did not finish counting 0 (`verifier=none`: how far they agree,
`(votes of the majority - 1) / (N - 1)`). From `easy` up EASY runs, from `hard` up MEDIUM, else
HARD. All samples are billed. A member that asks the same again is given them in place of new
ones; the choice has looked at them, but what the member makes of its samples stays as it is.

Source: Snell et al., arXiv 2408.03314 (difficulty that the model itself predicts);
bins of Liu et al., arXiv 2502.06703: 0.5 and 0.1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .._backend import (
    Backend,
    Capability,
    GenerationRequest,
    TellsThoughtMarkers,
    ThoughtMarkers,
    Tokenizes,
)
from .._bill import Bill
from .._card import Parameter, PolicyCard
from .._errors import CapabilityError, InvalidPolicyError
from .._messages import Completion, Message, Usage
from .._policy import DecodingOptions, Policy, parts_of
from .._registry import build_policy, build_verifier
from .._spec import PolicySpec
from .._vocabulary import Mode
from ..verifiers import Candidate, Verifier, score_all, verifier_parts
from ._samples import draw, majority, sums_of, votes_of
from ._sampling import need_sampling, with_logprobs

__all__ = ["ComputeOptimal"]

_NO_VERIFIER = "none"
_NAMES = ("easy", "medium", "hard")
_FREE = Usage(0, 0, 0)


class ComputeOptimal:
    """Measure how hard a question is with a few samples, and run the policy for it.

    The remark `difficulty` says what was measured and which policy ran. If the verifier fails,
    difficulty is told by agreement; if no sample came, MEDIUM runs.
    """

    card = PolicyCard(
        name="compute-optimal",
        signature="compute-optimal(EASY,MEDIUM,HARD[,probe=N,verifier=NAME])",
        summary="One of three policies, by the difficulty that a few samples show.",
        paper="Snell et al., arXiv 2408.03314; Liu et al., arXiv 2502.06703",
        standard=(
            "compute-optimal(bon(n=4,verifier={verifier})/cot,bon(n=16,verifier={verifier})/cot,"
            "beam(verifier={verifier})/cot,verifier={verifier})",
        ),
        parameters=(
            Parameter(
                "probe", int, "samples that tell the difficulty", default=4, least=2, most=1000
            ),
            Parameter(
                "verifier",
                str,
                "name of the verifier whose mean score is the difficulty; none for agreement",
                default=_NO_VERIFIER,
            ),
            Parameter(
                "easy", float, "score from which a question is easy", default=0.5, least=0, most=1
            ),
            Parameter("hard", float, "score below which it is hard", default=0.1, least=0, most=1),
        ),
        n_members=(3, 3),
    )

    def __init__(
        self,
        members: Sequence[Policy],
        verifier: Verifier | None = None,
        *,
        probe: int = 4,
        easy: float = 0.5,
        hard: float = 0.1,
    ) -> None:
        """Take the three policies.

        Args:
            members: For easy, medium and hard questions.
            verifier: Scores the samples; `None` tells the difficulty by agreement.
            probe: Samples, 2 or more.
            easy: Score in [0, 1] from which a question is easy.
            hard: Score in [0, `easy`] below which it is hard.

        Raises:
            InvalidPolicyError: A parameter is out of range.
        """
        self.spec = self.card.spec(
            members=tuple(member.spec for member in members),
            probe=probe,
            verifier=_NO_VERIFIER if verifier is None else verifier.name,
            easy=easy,
            hard=hard,
        )
        if hard > easy:
            raise InvalidPolicyError(
                f"policy {str(self.spec)!r}: hard={hard:g} is above easy={easy:g}",
                hint="a question is easy from `easy` up, and hard below `hard`",
            )
        self._members = tuple(members)
        self._base = build_policy(_innermost(members[0].spec))
        everyone = (self._base, *self._members)
        is_thinking = any(one.mode is Mode.REASONING for one in everyone)
        self.mode = Mode.REASONING if is_thinking else Mode.IFT
        needed = frozenset[Capability]().union(*(one.needs for one in everyone))
        own = frozenset[Capability]() if verifier is None else verifier.needs
        self.needs: frozenset[Capability] = needed | own | {Capability.SAMPLES}
        self._verifier = verifier
        self._n_probes = probe
        self._easy = easy
        self._hard = hard

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "ComputeOptimal":
        """Build from a spec such as `compute-optimal(sc(n=4)/cot,sc(n=8)/cot,sc(n=16)/cot)`.

        Raises:
            InvalidPolicyError: There are not three members, or something does not fit.
            UnknownNameError: There is no such policy or verifier.
        """
        values = cls.card.read(spec)
        verifier = values.word("verifier")
        return cls(
            [build_policy(member) for member in spec.members],
            None if verifier == _NO_VERIFIER else build_verifier(verifier),
            probe=values.integer("probe"),
            easy=values.number("easy"),
            hard=values.number("hard"),
        )

    def parts(self) -> Mapping[str, str]:
        """Return what identifies the members and the verifier."""
        own = {} if self._verifier is None else verifier_parts(self._verifier)
        return parts_of(self._base, *self._members) | own

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what the samples, their scores and the dearest member may generate."""
        scoring = 0 if self._verifier is None else self._verifier.max_tokens()
        return self._n_probes * (self._base.max_tokens(options) + scoring) + max(
            member.max_tokens(options) for member in self._members
        )

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the answer of the policy for the question's difficulty.

        Raises:
            InvalidInputError: The temperature is 0, so that all samples would be equal.
            BackendError: The chosen policy had no answer because the backend failed.
        """
        need_sampling(self.spec, options)
        memory = _Memory(backend)
        bill = Bill(memory, self.max_tokens(options))
        shown = with_logprobs(options, self.needs)
        probes = await draw(
            bill, self._base, messages, shown, "compute-optimal", range(self._n_probes)
        )
        level = await self._level(bill, messages, [one for one in probes if one is not None])
        place = (
            1 if level is None else 0 if level >= self._easy else 1 if level >= self._hard else 2
        )
        member = self._members[place]
        told = "unknown" if level is None else f"{level:.2f}"
        bill.remark("difficulty", f"score {told}: {_NAMES[place]}, {member.spec} was run")
        memory.replays = True
        return _without_free(bill.close(await bill.run(member, messages, options)))

    async def _level(
        self, bill: Bill, messages: Sequence[Message], probes: Sequence[Completion]
    ) -> float | None:
        """Return how easy the question is, in [0, 1]; `None` without samples."""
        if not probes:
            return None
        if self._verifier is not None:
            finished = [Candidate.of(one) for one in probes if one.is_finished]
            scores = await score_all(self._verifier, messages, finished, bill)
            if scores is not None:
                return sum(scores) / len(probes)
            bill.remark("difficulty-by-agreement", "without scores, agreement tells the difficulty")
        votes = sums_of(votes_of(probes))
        # Votes are compared in pairs, so that answers that all differ agree by 0.
        n_most = votes.get(majority(votes), 0.0)
        return max(0.0, n_most - 1) / max(1, len(probes) - 1)


def _innermost(spec: PolicySpec) -> PolicySpec:
    """Return the policy that all others are wrapped around."""
    return spec if spec.inner is None else _innermost(spec.inner)


def _without_free(answer: Completion) -> Completion:
    """Return the answer without the calls that were not sent, since they were paid for before."""
    calls = tuple(call for call in answer.calls if call.model or call.usage != _FREE)
    is_single = len(calls) == 1 and not calls[0].model
    return replace(answer, calls=() if is_single else calls)


class _Memory:
    """A backend that gives what it has given before, once, to requests that differ in seed only.

    What is given again costs nothing: it has been paid for.
    """

    def __init__(self, inner: Backend) -> None:
        self.replays = False
        self._inner = inner
        self._given: list[tuple[GenerationRequest, Completion]] = []

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def model(self) -> str:
        return self._inner.model

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._inner.capabilities

    @property
    def max_concurrency(self) -> int:
        return self._inner.max_concurrency

    def identity(self) -> Mapping[str, str]:
        return self._inner.identity()

    async def generate(self, request: GenerationRequest) -> Completion:
        if not self.replays:
            completion = await self._inner.generate(request)
            self._given.append((replace(request, seed=None), completion))
            return completion
        # Without log-probabilities wanted, an answer that has them serves as well.
        wanted = replace(request, seed=None)
        for place, (given, completion) in enumerate(self._given):
            if given == wanted or given == replace(wanted, logprobs=True):
                del self._given[place]
                return replace(completion, usage=_FREE, seconds=0.0)
        return await self._inner.generate(request)

    async def thought_markers(self) -> ThoughtMarkers:
        if not isinstance(self._inner, TellsThoughtMarkers):
            raise self._cannot("tell its thought markers")
        return await self._inner.thought_markers()

    async def encode(self, text: str) -> tuple[int, ...]:
        if not isinstance(self._inner, Tokenizes):
            raise self._cannot("turn text into tokens")
        return await self._inner.encode(text)

    async def decode(self, token_ids: Sequence[int]) -> str:
        if not isinstance(self._inner, Tokenizes):
            raise self._cannot("turn tokens into text")
        return await self._inner.decode(token_ids)

    async def aclose(self) -> None:
        """Do nothing: the backend is not ours to close."""

    def _cannot(self, what: str) -> CapabilityError:
        return CapabilityError(
            f"backend {self.name!r} cannot {what}", backend=self.name, model=self.model
        )
