"""`tpo(n=N,rounds=D,verifier=NAME)/POLICY`: answers improved by what a reward says about them.

N answers are sampled and scored into a cache. Each round takes the best and the worst of the
whole cache, asks why the one is better (the textual loss), what to change (the textual gradient),
and for N answers with these changes, which are scored into the cache. The best of the cache is
the answer. N + D * (2 + N) requests, besides what the verifier asks.

Source: Li et al., "Test-Time Preference Optimization: On-the-Fly Alignment via Iterative Textual
Feedback", arXiv 2501.12895; five samples and two rounds are its D2-N5. The wordings are
our own.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TypeAlias

from .._backend import Backend, Capability
from .._bill import Bill
from .._card import Inner, Parameter, PolicyCard
from .._messages import Completion, Message
from .._policy import DecodingOptions, OneRequestPolicy, parts_of
from .._registry import build_one_request, build_verifier
from .._spec import PolicySpec
from ..verifiers import Candidate, Verifier, score_all, verifier_parts
from ._asides import aside, one_turn, question_text
from ._samples import draw, first_of
from ._sampling import need_sampling, with_logprobs

__all__ = ["GRADIENT", "LOSS", "UPDATE", "PreferenceOptimization"]

LOSS = (
    "Question: {question}\n\nBetter answer: {chosen}\n\nWorse answer: {rejected}\n\n"
    "Say what makes the better answer better and the worse one worse."
)
"""Asks for the textual loss: why one answer is better than another."""

GRADIENT = "Criticism: {loss}\n\nSay what to change in the better answer, one change per line."
"""Asks for the textual gradient: what to change."""

UPDATE = (
    "Question: {question}\n\nAnswer: {chosen}\n\nChanges: {gradient}\n\nWrite the improved answer."
)
"""Asks for an updated answer."""

_Scored: TypeAlias = tuple[float, Completion]


class PreferenceOptimization:
    """Sample, score, say what makes the best answer better, and sample again with that.

    Only answers that the model ended are scored. Criticism and changes are asked greedily, with
    the inner policy's budgets and without its instruction. A round that cannot be done (no two
    answers to compare, no criticism, a verifier that failed) ends the search with a remark, and
    the best answer so far is returned; without any score, the first.
    """

    card = PolicyCard(
        name="tpo",
        signature="tpo(verifier=NAME[,n=N,rounds=D])/POLICY",
        summary="N answers, improved D times by criticism of the best and the worst.",
        paper="Li et al., arXiv 2501.12895 (its D2-N5)",
        standard=("tpo(verifier={verifier})/direct",),
        parameters=(
            Parameter("n", int, "answers sampled at first and per round", 5, least=2, most=1000),
            Parameter("rounds", int, "rounds of improvement", 2, least=1, most=100),
            Parameter("verifier", str, "name of the verifier that scores the answers"),
        ),
        inner=Inner.ONE_REQUEST,
    )

    def __init__(
        self, inner: OneRequestPolicy, verifier: Verifier, *, n: int = 5, rounds: int = 2
    ) -> None:
        """Take the policy that answers and the verifier.

        Args:
            inner: What is asked for every answer.
            verifier: What scores the answers.
            n: Answers at first and per round, 2 or more.
            rounds: Rounds of improvement, 1 or more.

        Raises:
            InvalidPolicyError: A parameter is out of range.
        """
        self.spec = self.card.spec(n=n, rounds=rounds, verifier=verifier.name, inner=inner.spec)
        self.mode = inner.mode
        self.needs: frozenset[Capability] = inner.needs | verifier.needs | {Capability.SAMPLES}
        self._inner = inner
        self._verifier = verifier
        self._n = n
        self._rounds = rounds

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "PreferenceOptimization":
        """Build from a spec such as `tpo(n=5,rounds=2,verifier=self)/direct`.

        Raises:
            InvalidPolicyError: The verifier is missing, a parameter is out of range, or the inner
                policy sends several requests.
            UnknownNameError: There is no such verifier or inner policy.
        """
        values = cls.card.read(spec)
        return cls(
            build_one_request(spec),
            build_verifier(values.word("verifier")),
            n=values.integer("n"),
            rounds=values.integer("rounds"),
        )

    def parts(self) -> Mapping[str, str]:
        """Return what identifies inner policy and verifier."""
        return parts_of(self._inner) | verifier_parts(self._verifier)

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what N + D * (2 + N) requests and the scoring of all answers may generate."""
        n_answers = self._n * (1 + self._rounds)
        n_requests = n_answers + 2 * self._rounds
        return (
            n_requests * self._inner.max_tokens(options) + n_answers * self._verifier.max_tokens()
        )

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the cache's best answer with the usage of all requests.

        Raises:
            InvalidInputError: The temperature is 0, so that all samples would be equal.
            BackendError: No answer could be had.
        """
        need_sampling(self.spec, options)
        bill = Bill(backend, self.max_tokens(options))
        # All answers are drawn so, for the verifier may read their log-probabilities.
        drawn = with_logprobs(options, self._verifier.needs)
        samples = await draw(bill, self._inner, messages, drawn, "tpo", range(self._n))
        scored = await self._scored(bill, messages, samples)
        if scored is None:
            return bill.close(first_of(samples))
        cache = scored
        for number in range(1, self._rounds + 1):
            update = await self._update(bill, messages, options, cache)
            if update is None:
                break
            numbers = range(number * self._n, (number + 1) * self._n)
            samples = await draw(bill, self._inner, update, drawn, "tpo", numbers)
            scored = await self._scored(bill, messages, samples)
            if scored is None:
                break
            cache = [*cache, *scored]
        if not cache:
            return bill.close(first_of(samples))
        return bill.close(max(cache, key=itemgetter(0))[1])

    async def _scored(
        self, bill: Bill, messages: Sequence[Message], samples: Sequence[Completion | None]
    ) -> list[_Scored] | None:
        """Return the finished answers with their scores; `None` if the verifier failed."""
        finished = [one for one in samples if one is not None and one.is_finished]
        scores = await score_all(
            self._verifier, messages, [Candidate.of(one) for one in finished], bill
        )
        return None if scores is None else list(zip(scores, finished, strict=True))

    async def _update(
        self,
        bill: Bill,
        messages: Sequence[Message],
        options: DecodingOptions,
        cache: Sequence[_Scored],
    ) -> tuple[Message, ...] | None:
        """Return the request for better answers, `None` if there is nothing to go by."""
        if len(cache) < 2:
            bill.remark("no-pair", "fewer than two answers were finished, so none was improved")
            return None
        chosen = max(cache, key=itemgetter(0))[1].text
        # The later of equals, so that the two are never one and the same.
        rejected = min(reversed(cache), key=itemgetter(0))[1].text
        question = question_text(messages)
        said = LOSS.format(question=question, chosen=chosen, rejected=rejected)
        loss = await self._said(bill, messages, options, said)
        if loss is None:
            return None
        gradient = await self._said(bill, messages, options, GRADIENT.format(loss=loss))
        if gradient is None:
            return None
        text = UPDATE.format(question=question, chosen=chosen, gradient=gradient)
        return one_turn(messages, text)

    async def _said(
        self, bill: Bill, messages: Sequence[Message], options: DecodingOptions, text: str
    ) -> str | None:
        completion = await bill.ask(aside(self._inner, one_turn(messages, text), options))
        if completion is None:
            return None
        # A criticism that was cut is one all the same; one that was only thought is none.
        if not completion.text.strip():
            bill.remark("no-criticism", "the model wrote no criticism, so no answer was improved")
            return None
        return completion.text.strip()
