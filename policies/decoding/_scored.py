"""Several samples that a verifier scores as wholes: what `bon` and `wvote` have in common.

N samples are asked at once and those that finished an answer are scored; which one of them is
returned, is what tells the two apart.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Self

from .._backend import Backend, Capability
from .._bill import Bill
from .._card import Parameter, PolicyCard
from .._messages import Completion, Message
from .._policy import DecodingOptions, Policy, parts_of
from .._registry import build_inner, build_verifier
from .._spec import PolicySpec
from ..verifiers import Verifier, verifier_parts
from ._answers import final_answer
from ._samples import close_with, draw, majority, scores_of, sums_of, votes_of
from ._sampling import need_sampling, with_logprobs

__all__ = ["SCORED_PARAMETERS", "ScoredSamples"]

SCORED_PARAMETERS = (
    Parameter("n", int, "samples", least=2, most=1000),
    Parameter("verifier", str, "name of the verifier that scores the answers"),
)
"""Parameters of a choice among scored samples."""


class ScoredSamples(ABC):
    """Ask a policy n times at the caller's temperature and have the answers scored.

    Samples that did not finish an answer are not scored; if only one did, nothing is. If the
    verifier fails, the majority's first sample is returned and a remark says so.
    """

    card: ClassVar[PolicyCard]

    def __init__(
        self,
        inner: Policy,
        n: int,
        verifier: Verifier,
        *,
        canonical: Callable[[str], str] = final_answer,
    ) -> None:
        """Take the policy to sample and the verifier.

        Args:
            inner: What is asked each time.
            n: Number of samples, 2 or more.
            verifier: What scores the answers.
            canonical: Returns equal texts for answers that mean the same.

        Raises:
            InvalidPolicyError: A parameter is out of range.
        """
        self.spec = self.card.spec(n=n, verifier=verifier.name, inner=inner.spec)
        self.mode = inner.mode
        self.needs: frozenset[Capability] = inner.needs | verifier.needs | {Capability.SAMPLES}
        self._inner = inner
        self._n = n
        self._verifier = verifier
        self._canonical = canonical

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> Self:
        """Build from a spec such as `bon(n=8,verifier=likelihood)/direct`.

        Raises:
            InvalidPolicyError: n, verifier or inner policy are missing, or something else besides.
            UnknownNameError: There is no such verifier or inner policy.
        """
        values = cls.card.read(spec)
        verifier = build_verifier(values.word("verifier"))
        return cls(build_inner(spec), values.integer("n"), verifier)

    def parts(self) -> Mapping[str, str]:
        """Return what identifies inner policy and verifier."""
        return parts_of(self._inner) | verifier_parts(self._verifier)

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what all samples and their scoring may generate at most."""
        return self._n * (self._inner.max_tokens(options) + self._verifier.max_tokens())

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the chosen completion with the usage of all samples and of their scoring.

        `evidence.agreement` is the share of samples that give the returned answer.

        Raises:
            InvalidInputError: The temperature is 0, so that all samples would be equal.
            BackendError: No sample could be had.
        """
        need_sampling(self.spec, options)
        bill = Bill(backend, self.max_tokens(options))
        drawn = with_logprobs(options, self._verifier.needs)
        samples = await draw(bill, self._inner, messages, drawn, self.card.name, range(self._n))
        votes = votes_of(samples, self._canonical)
        scores = await scores_of(bill, self._verifier, messages, samples)
        if scores is None:
            answer = majority(sums_of(votes))
            best = votes.index(answer) if answer else None
        else:
            best = self.choose(votes, scores)
        return close_with(bill, samples, votes, best)

    @abstractmethod
    def choose(self, votes: Sequence[str], scores: Mapping[int, float]) -> int | None:
        """Return the index of the sample to return; `None` if none was scored.

        Args:
            votes: The answer of every sample, "" for one that did not finish any.
            scores: Scores by the index of the sample; those that did not finish have none.
        """
