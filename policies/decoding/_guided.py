"""Searches over steps that a process reward guides: what `beam` and `dvts` have in common.

Each round goes on from every kept beginning in `width` ways, has the verifier score what came,
and keeps the best; which ones, is what tells the two apart. Answers that are complete are put
aside, and the end chooses among them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from .._backend import Backend, Capability
from .._card import Parameter, PolicyCard
from .._errors import InvalidPolicyError
from .._messages import Completion, Message
from .._policy import DecodingOptions, OneRequestPolicy
from .._registry import build_one_request, build_verifier
from .._spec import PolicySpec
from .._vocabulary import Mode
from ..verifiers import Verifier, score_all
from ..verifiers.likelihood import Likelihood
from ._answers import final_answer
from ._evaluation import JudgedSteps
from ._samples import close_with, majority, sums_of
from ._sampling import need_sampling
from ._steps import (
    STEP_PARAMETER,
    STEP_TOKENS_PARAMETER,
    StepNode,
    StepSearch,
    distinct,
    path_tokens,
)

__all__ = ["GUIDED_PARAMETERS", "GuidedSearch", "Scored"]

GUIDED_PARAMETERS = (
    Parameter("n", int, "beginnings that are scored per round", default=16, least=1, most=1000),
    Parameter("width", int, "ways in which each kept one goes on", default=4, least=1, most=1000),
    Parameter("verifier", str, "name of the verifier, which must score steps"),
    Parameter("depth", int, "most rounds", default=40, least=1, most=1000),
    Parameter(
        "pick",
        str,
        "final choice: the best score, the best sum of scores per answer, or the most frequent",
        default="vote",
        choices=("vote", "max", "majority"),
    ),
    STEP_PARAMETER,
    STEP_TOKENS_PARAMETER,
)
"""Parameters of a guided search.

Source: arXiv 2502.06703 (width 4, depth 40, 2,048 tokens per step; PRM-Vote, PRM-Max and
majority); at most 40 rounds also in arXiv 2408.03314. n is 4 to 512 there; 16 is our choice.
"""


@dataclass(frozen=True, slots=True)
class Scored:
    """A beginning of an answer and how good the verifier finds it."""

    node: StepNode
    score: float


class GuidedSearch(ABC):
    """Search over the steps of one request's answer, guided by a verifier.

    If the verifier fails, the beginnings of the last round run to their ends unguided, and the
    most frequent answer is returned with a remark.
    """

    card: ClassVar[PolicyCard]

    def __init__(
        self,
        inner: OneRequestPolicy,
        verifier: Verifier,
        *,
        n: int = 16,
        width: int = 4,
        depth: int = 40,
        pick: str = "vote",
        step: str = "paragraph",
        step_tokens: int = 2048,
    ) -> None:
        """Take the policy whose answer is searched, and the verifier.

        Args:
            inner: A policy of one request.
            verifier: Scores beginnings.
            n: Beginnings that are scored per round.
            width: Ways in which each kept one goes on; divides n.
            depth: Most rounds; what is not complete then runs to its end.
            pick: `vote`, `max` or `majority`.
            step: `paragraph` or `line`.
            step_tokens: Cap on one step.

        Raises:
            InvalidPolicyError: A parameter is out of range, or the verifier cannot score the
                steps.
        """
        self.spec = self.card.spec(
            inner=inner.spec,
            verifier=verifier.name,
            n=n,
            width=width,
            depth=depth,
            pick=pick,
            step=step,
            step_tokens=step_tokens,
        )
        if n % width:
            raise InvalidPolicyError(
                f"policy {str(self.spec)!r}: n={n} is not a multiple of width={width}",
                hint=f"write n={width * (n // width + 1)}",
            )
        if not verifier.scores_steps:
            raise InvalidPolicyError(
                f"policy {str(self.spec)!r}: verifier {verifier.name!r} scores whole answers only",
                hint="name a verifier that scores steps, such as likelihood",
            )
        if inner.mode is Mode.REASONING and isinstance(verifier, Likelihood):
            raise InvalidPolicyError(
                f"policy {str(self.spec)!r}: log-probabilities leave the thought out, so that"
                f" verifier {verifier.name!r} cannot score its steps",
                hint="search the steps of an answer, such as cot's, or name another verifier",
            )
        self.mode = inner.mode
        self._steps = JudgedSteps(inner, verifier, step, step_tokens)
        self.needs: frozenset[Capability] = self._steps.needs
        self._n = n
        self._width = width
        self._depth = depth
        self._pick = pick

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> Self:
        """Build from a spec such as `beam(verifier=likelihood)/cot`.

        Raises:
            InvalidPolicyError: The verifier is missing or cannot score the steps, or the inner
                policy is not a single request, or something else does not fit.
            UnknownNameError: There is no such verifier or inner policy.
        """
        values = cls.card.read(spec)
        return cls(
            build_one_request(spec),
            build_verifier(values.word("verifier")),
            n=values.integer("n"),
            width=values.integer("width"),
            depth=values.integer("depth"),
            pick=values.word("pick"),
            step=values.word("step"),
            step_tokens=values.integer("step_tokens"),
        )

    def parts(self) -> Mapping[str, str]:
        """Return what identifies inner policy and verifier."""
        return self._steps.parts()

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what all rounds, the ends of what is left then, and all scores may generate."""
        most = self._steps.inner.max_tokens(options)
        n_kept = self._n // self._width
        n_scored = self._n * min(self._depth, most) + n_kept
        return (
            self._n * path_tokens(most, self._depth, self._steps.step_tokens)
            + n_kept * most
            + n_scored * self._steps.verifier.max_tokens()
        )

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the chosen answer with the usage of the whole search.

        `evidence.agreement` is the share of complete answers that agree with it. Without a
        complete answer it is the best beginning, cut.

        Raises:
            InvalidInputError: The temperature is 0, so that all steps would be equal.
            BackendError: Nothing came.
        """
        need_sampling(self.spec, options)
        search = self._steps.begin(messages, backend, options, self.max_tokens(options))
        done, cut = await self._search(search)
        return self._close(search, done, cut)

    @abstractmethod
    def keep(self, groups: Sequence[Sequence[Scored]], n: int) -> list[Scored]:
        """Return which of a round's beginnings are kept, best first.

        Args:
            groups: The next steps that can go on or are complete, per beginning of the round
                before. The first round's beginnings are `n` times the empty one.
            n: Most that may be kept.
        """

    async def _search(self, search: StepSearch) -> tuple[list[Scored], StepNode | None]:
        """Return the complete answers, and the best of what is not complete."""
        n_slots = self._n // self._width
        live = [Scored(search.root, 0.0)] * n_slots
        done = list[Scored]()
        cut: StepNode | None = None
        for depth in range(self._depth):
            groups = await search.extend(
                [one.node for one in live], self._width, (self.card.name, depth)
            )
            cut = next((one for group in groups for one in group if one.latest), cut)
            scored = await self._scored(search, groups)
            if scored is None:
                return await self._unguided(search, done, groups), cut
            done += [one for group in scored for one in group if one.node.is_complete]
            kept = self.keep(scored, n_slots)
            cut = kept[0].node if kept else cut
            live = [one for one in kept if one.node.is_open]
            # A complete answer that is kept holds its place: the search narrows.
            n_slots -= sum(one.node.is_complete for one in kept)
            if not live or not n_slots:
                return done, cut
        ends = await search.finish([one.node for one in live], (self.card.name, "end"))
        scored = await self._scored(search, [ends])
        if scored is None:
            return await self._unguided(search, done, [ends]), ends[0]
        done += [one for one in scored[0] if one.node.is_complete]
        return done, ends[0]

    async def _scored(
        self, search: StepSearch, groups: Sequence[Sequence[StepNode]]
    ) -> list[list[Scored]] | None:
        """Return the nodes that are not dead with their scores, equal ones scored once.

        `None` if the verifier failed; why is on the bill.
        """
        unlike = distinct(one for group in groups for one in group if not one.is_dead)
        scores = await score_all(
            self._steps.verifier,
            search.messages,
            [search.candidate(one) for one in unlike],
            search.bill,
        )
        if scores is None:
            return None
        found = {one.key: score for one, score in zip(unlike, scores, strict=True)}
        return [
            [Scored(one, found[one.key]) for one in group if not one.is_dead] for group in groups
        ]

    async def _unguided(
        self, search: StepSearch, done: Sequence[Scored], groups: Sequence[Sequence[StepNode]]
    ) -> list[Scored]:
        """Return all answers that are complete, or are once the first of each group is run on.

        Scores are no longer comparable, so that all of them count as one vote.
        """
        search.bill.remark(
            "search-unguided",
            f"the verifier {self._steps.verifier.name!r} failed in the middle of the search: its"
            " beginnings ran to their ends, and the majority was taken",
        )
        complete = [one for group in groups for one in group if one.is_complete]
        begun = [next((one for one in group if one.is_open), None) for group in groups]
        ends = await search.finish(
            [one for one in begun if one is not None], (self.card.name, "unguided")
        )
        found = [*(one.node for one in done), *complete, *(one for one in ends if one.is_complete)]
        return [Scored(one, 1.0) for one in found]

    def _close(
        self, search: StepSearch, done: Sequence[Scored], cut: StepNode | None
    ) -> Completion:
        if not done:
            return search.bill.close(None if cut is None else search.completion(cut))
        votes = [final_answer(one.node.text) for one in done]
        scores = [one.score for one in done]
        answer = majority(sums_of(votes, scores if self._pick == "vote" else None))
        agreeing = [
            place
            for place in range(len(done))
            if self._pick == "max" or not answer or votes[place] == answer
        ]
        best = max(agreeing, key=scores.__getitem__)
        return close_with(search.bill, [search.completion(one.node) for one in done], votes, best)
