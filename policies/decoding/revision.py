"""`revise(rounds=N)/POLICY`: the model checks its own answer and gives it again, N times.

Canonical: `revise(rounds=2)/cot`.

Algorithm: ask; then up to N times show the model its latest answer, ask it to check and correct
it, and take what it says as the next answer. It ends early when the final answer stays the same.
The last answer counts, or the one that most answers of the chain give (the latest of equals).

Source: Snell et al., "Scaling LLM Test-Time Compute Optimally", arXiv 2408.03314 (revisions). There
a model is trained to revise and sees its last four answers; here the model is asked to, and sees
its last one. A model that is not trained for it may turn right answers into wrong ones, which
`pick=vote` is for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from .._backend import Backend, Capability
from .._bill import Bill
from .._card import Inner, Parameter, PolicyCard
from .._messages import Completion, Evidence, Message
from .._policy import DecodingOptions, Policy, parts_of
from .._registry import build_inner
from .._spec import PolicySpec
from ._answers import final_answer
from ._sampling import sample_seed

__all__ = ["REQUEST", "SequentialRevision"]

REQUEST = (
    "Check this answer step by step. Correct it if it is wrong, and give the final answer again."
)
"""The user's turn after each answer."""

_LAST, _VOTE = "last", "vote"
_UNCHANGED, _NEVER = "unchanged", "never"


class SequentialRevision:
    """Have an answer revised by the model that gave it, and return the last one or the majority's.

    An answer that was cut ends the chain, since it cannot be checked; the best one before it is
    returned, and the cut one only if there is none.
    """

    card = PolicyCard(
        name="revise",
        signature="revise(rounds=N[,pick=last|vote][,stop=unchanged|never])/POLICY",
        summary="The model checks and corrects its own answer N times.",
        paper="Snell et al., arXiv 2408.03314 (asked for, not trained)",
        standard=("revise(rounds=2)/cot",),
        parameters=(
            Parameter("rounds", int, "revisions at most", least=1, most=64),
            Parameter(
                "pick",
                str,
                "which answer of the chain is returned",
                default=_LAST,
                choices=(_LAST, _VOTE),
            ),
            Parameter(
                "stop",
                str,
                "whether an answer that did not change ends the chain",
                default=_UNCHANGED,
                choices=(_UNCHANGED, _NEVER),
            ),
        ),
        inner=Inner.ANY,
    )

    def __init__(
        self,
        inner: Policy,
        rounds: int,
        *,
        pick: str = _LAST,
        stop: str = _UNCHANGED,
        canonical: Callable[[str], str] = final_answer,
    ) -> None:
        """Take the policy that answers and revises.

        Args:
            inner: What is asked each time.
            rounds: Revisions at most, 1 to 64.
            pick: `last` or `vote`.
            stop: `unchanged` or `never`.
            canonical: Returns equal texts for answers that mean the same.

        Raises:
            InvalidPolicyError: A parameter is out of range.
        """
        self.spec = self.card.spec(rounds=rounds, pick=pick, stop=stop, inner=inner.spec)
        self.mode = inner.mode
        self.needs: frozenset[Capability] = inner.needs
        self._inner = inner
        self._rounds = rounds
        self._votes = pick == _VOTE
        self._stops_early = stop == _UNCHANGED
        self._canonical = canonical

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "SequentialRevision":
        """Build from a spec such as `revise(rounds=2)/cot`.

        Raises:
            InvalidPolicyError: There is no number of rounds or no inner policy.
            UnknownNameError: There is no such inner policy.
        """
        values = cls.card.read(spec)
        return cls(
            build_inner(spec),
            values.integer("rounds"),
            pick=values.word("pick"),
            stop=values.word("stop"),
        )

    def parts(self) -> Mapping[str, str]:
        """Return what identifies the inner policy."""
        return parts_of(self._inner)

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what the first answer and all revisions together may generate at most."""
        return (1 + self._rounds) * self._inner.max_tokens(options)

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the chain's answer with the usage of all its requests.

        With `pick=vote`, `evidence.agreement` is the share of the chain's answers that give it.

        Raises:
            BackendError: There is no answer because the model could not be asked.
        """
        bill = Bill(backend, self.max_tokens(options))
        first = await bill.run(self._inner, messages, options)
        if first is None or not first.is_finished:
            return bill.close(first)
        chain = [first]
        for number in range(self._rounds):
            turns = (*messages, Message("assistant", chain[-1].text), Message("user", REQUEST))
            # With the spec, so that revisions of revisions have seeds of their own.
            seed = sample_seed(options.seed, "revise", number, self.spec)
            revised = await bill.run(self._inner, turns, replace(options, seed=seed))
            if revised is None:
                break
            if not revised.is_finished:
                bill.remark("revision-cut", f"revision {number + 1} was cut and is left out")
                break
            is_same = self._canonical(revised.text) == self._canonical(chain[-1].text)
            chain.append(revised)
            if is_same and self._stops_early:
                break
        return self._elected(bill, chain) if self._votes else bill.close(chain[-1])

    def _elected(self, bill: Bill, chain: Sequence[Completion]) -> Completion:
        answers = [self._canonical(one.text) for one in chain]
        place = max(range(len(chain)), key=lambda place: (answers.count(answers[place]), place))
        evidence = chain[place].evidence or Evidence()
        agreement = answers.count(answers[place]) / len(chain)
        return bill.close(chain[place], evidence=replace(evidence, agreement=agreement))
