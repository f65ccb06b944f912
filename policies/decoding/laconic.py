"""`laconic(n=N,among=majority|all)/POLICY`: the shortest of several samples.

N samples are asked at once, and of those that finished an answer the one with the fewest
generated tokens is returned: by default of those that give the majority's answer, with
`among=all` of all.

Source: laconic decoding, the baseline of Wang et al., "Thoughts Are All Over the Place", arXiv
2501.18585, table 4, which takes the shortest of all; that only samples of the majority count is
ours, so that a short wrong answer does not win by being short.
"""

from collections.abc import Callable, Mapping, Sequence

from .._backend import Backend, Capability
from .._bill import Bill
from .._card import Inner, Parameter, PolicyCard
from .._messages import Completion, Message
from .._policy import DecodingOptions, Policy, parts_of
from .._registry import build_inner
from .._spec import PolicySpec
from ._answers import final_answer
from ._samples import close_with, draw, majority, sums_of, votes_of
from ._sampling import need_sampling

__all__ = ["Laconic"]


class Laconic:
    """Ask a policy n times at the caller's temperature and return a short answer.

    Short in generated tokens, thought included; of equally short ones the earlier sample. All
    tokens of all samples are in the usage.
    """

    card = PolicyCard(
        name="laconic",
        signature="laconic(n=N[,among=majority|all])/POLICY",
        summary="The shortest of N samples among those that agree.",
        paper="Wang et al., arXiv 2501.18585, table 4",
        standard=("laconic(n=8)/cot", "laconic(n=8)/reasoning@max"),
        parameters=(
            Parameter("n", int, "samples", least=2, most=1000),
            Parameter(
                "among",
                str,
                "which samples may be returned: those of the majority, or all",
                default="majority",
                choices=("majority", "all"),
            ),
        ),
        inner=Inner.ANY,
    )

    def __init__(
        self,
        inner: Policy,
        n: int,
        *,
        among: str = "majority",
        canonical: Callable[[str], str] = final_answer,
    ) -> None:
        """Take the policy to sample.

        Args:
            inner: What is asked each time.
            n: Number of samples, 2 or more.
            among: `majority` or `all`.
            canonical: Returns equal texts for answers that mean the same.

        Raises:
            InvalidPolicyError: A parameter is out of range.
        """
        self.spec = self.card.spec(n=n, among=among, inner=inner.spec)
        self.mode = inner.mode
        self.needs: frozenset[Capability] = inner.needs | {Capability.SAMPLES}
        self._inner = inner
        self._n = n
        self._is_voted = among == "majority"
        self._canonical = canonical

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "Laconic":
        """Build from a spec such as `laconic(n=5)/reasoning@max`.

        Raises:
            InvalidPolicyError: There is no n or no inner policy, or something else besides.
            UnknownNameError: There is no such inner policy.
        """
        values = cls.card.read(spec)
        return cls(build_inner(spec), values.integer("n"), among=values.word("among"))

    def parts(self) -> Mapping[str, str]:
        """Return what identifies the inner policy."""
        return parts_of(self._inner)

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what all samples together may generate at most."""
        return self._n * self._inner.max_tokens(options)

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the shortest completion with the usage of all samples.

        `evidence.agreement` is the share of samples that give the returned answer.

        Raises:
            InvalidInputError: The temperature is 0, so that all samples would be equal.
            BackendError: No sample could be had.
        """
        need_sampling(self.spec, options)
        bill = Bill(backend, self.max_tokens(options))
        samples = await draw(bill, self._inner, messages, options, "laconic", range(self._n))
        votes = votes_of(samples, self._canonical)
        wanted = majority(sums_of(votes)) if self._is_voted else ""
        lengths = {
            place: sample.usage.completion_tokens
            for place, sample in enumerate(samples)
            if sample is not None and sample.is_finished and (not wanted or votes[place] == wanted)
        }
        shortest = min(lengths, key=lengths.__getitem__, default=None)
        return close_with(bill, samples, votes, shortest)
