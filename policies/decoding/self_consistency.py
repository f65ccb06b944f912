"""`sc(n=N,stop=all|decided,wave=W)/POLICY`: the answer that most of several samples give.

`stop=all` asks all samples at once. `stop=decided` asks the half of them without which nothing can
be decided, then W at a time, and ends as soon as the samples left cannot change the majority: the
answer is that of `stop=all`, for fewer tokens and more waiting.

Source: Wang et al., "Self-Consistency Improves Chain of Thought Reasoning", arXiv 2203.11171:
the majority over final answers, unweighted. Stopping early is after Aggarwal et al.,
"Adaptive-Consistency", arXiv 2305.11860, with the certain rule in place of a likely one.
"""

from collections.abc import Callable, Mapping, Sequence

from .._backend import Backend, Capability
from .._bill import Bill
from .._card import Inner, Parameter, PolicyCard
from .._errors import InvalidPolicyError
from .._messages import Completion, Message
from .._policy import DecodingOptions, Policy, parts_of
from .._registry import build_inner
from .._spec import PolicySpec
from ._answers import final_answer
from ._samples import close_with, draw, is_decided, majority, sums_of, votes_of
from ._sampling import need_sampling

__all__ = ["SelfConsistency"]


class SelfConsistency:
    """Ask a policy n times at the caller's temperature and return the majority's answer.

    All tokens of all samples are in the usage. The text returned is the first sample of the
    majority; with equally many votes the answer that came first wins. Samples that did not
    finish an answer vote for nothing, and count among those that might have agreed.
    """

    card = PolicyCard(
        name="sc",
        signature="sc(n=N[,stop=all|decided,wave=W])/POLICY",
        summary="The answer that most of N samples give.",
        paper="Wang et al., arXiv 2203.11171",
        standard=("sc(n=8)/direct", "sc(n=8)/cot"),
        parameters=(
            Parameter("n", int, "samples", least=2, most=1000),
            Parameter(
                "stop",
                str,
                "ask all samples at once, or end once the majority is decided",
                default="all",
                choices=("all", "decided"),
            ),
            Parameter(
                "wave",
                int,
                "samples asked at once after the first half, with stop=decided",
                default=1,
                least=1,
                most=1000,
            ),
        ),
        inner=Inner.ANY,
    )

    def __init__(
        self,
        inner: Policy,
        n: int,
        *,
        stop: str = "all",
        wave: int = 1,
        canonical: Callable[[str], str] = final_answer,
    ) -> None:
        """Take the policy to sample.

        Args:
            inner: What is asked each time.
            n: Number of samples, 2 or more.
            stop: `all` or `decided`.
            wave: Samples asked at once after the first half, with `decided`.
            canonical: Returns equal texts for answers that mean the same.

        Raises:
            InvalidPolicyError: A parameter is out of range, or `wave` is given without waves.
        """
        self.spec = self.card.spec(n=n, stop=stop, wave=wave, inner=inner.spec)
        if stop == "all" and wave != 1:
            raise InvalidPolicyError(
                f"policy {str(self.spec)!r}: wave={wave} with stop=all, which has no waves",
                hint="add stop=decided or leave wave out",
            )
        self.mode = inner.mode
        self.needs: frozenset[Capability] = inner.needs | {Capability.SAMPLES}
        self._inner = inner
        self._n = n
        # With all votes for one answer, half of the samples decide; with fewer nothing does.
        self._n_first = n if stop == "all" else max(wave, (n + 1) // 2)
        self._wave = wave
        self._canonical = canonical

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "SelfConsistency":
        """Build from a spec such as `sc(n=5)/reasoning@1024`.

        Raises:
            InvalidPolicyError: There is no n or no inner policy, or something else besides.
            UnknownNameError: There is no such inner policy.
        """
        values = cls.card.read(spec)
        return cls(
            build_inner(spec),
            values.integer("n"),
            stop=values.word("stop"),
            wave=values.integer("wave"),
        )

    def parts(self) -> Mapping[str, str]:
        """Return what identifies the inner policy."""
        return parts_of(self._inner)

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what all samples together may generate at most."""
        return self._n * self._inner.max_tokens(options)

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the majority's first completion with the usage of all samples asked.

        `evidence.agreement` is the share of these samples that give the returned answer; the
        log-probabilities are the returned sample's.

        Raises:
            InvalidInputError: The temperature is 0, so that all samples would be equal.
            BackendError: No sample could be had.
        """
        need_sampling(self.spec, options)
        bill = Bill(backend, self.max_tokens(options))
        samples: list[Completion | None] = []
        votes: list[str] = []
        while len(samples) < self._n and not is_decided(votes, self._n - len(samples)):
            begin = len(samples)
            end = min(self._n, begin + self._wave if begin else self._n_first)
            drawn = await draw(bill, self._inner, messages, options, "sc", range(begin, end))
            samples += drawn
            votes += votes_of(drawn, self._canonical)
        answer = majority(sums_of(votes))
        return close_with(bill, samples, votes, votes.index(answer) if answer else None)
