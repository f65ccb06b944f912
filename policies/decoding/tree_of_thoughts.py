"""`tot(breadth=B,proposals=K,...)/POLICY`: Tree of Thoughts, breadth first or depth first.

A thought is a step of the answer. From each state K next thoughts are sampled independently,
and the verifier, the model itself unless another is named, says how right each new state is.

- `search=bfs`: the B best states of a level are gone on from; after `depth` levels, or when all
  of them are complete answers, the best state is the answer, run to its end if it has none yet.
- `search=dfs`: the best child first; states whose value is not above `threshold` are pruned, and
  a state without children left sends the search back. The first complete answer that is not
  pruned ends it, a state at `depth` is run to its end, and `states` bounds the whole.

Source: Yao et al., "Tree of Thoughts", arXiv 2305.10601, algorithms 1 and 2. There
values are words ("sure", "likely", "impossible") turned into numbers; here they are a
verifier's scores.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .._backend import Backend, Capability
from .._card import Inner, Parameter, PolicyCard
from .._messages import Completion, Message
from .._policy import DecodingOptions, OneRequestPolicy
from .._registry import build_one_request, build_verifier
from .._spec import PolicySpec
from ..verifiers import Verifier
from ._evaluation import VERIFIER_PARAMETER, JudgedSteps, close_search, need_process, values_of
from ._sampling import need_sampling
from ._steps import (
    STEP_PARAMETER,
    STEP_TOKENS_PARAMETER,
    StepNode,
    StepSearch,
    distinct,
)

__all__ = ["TreeOfThoughts"]

_NAME = "tot"


class _State(NamedTuple):
    """A beginning of an answer and its value, in [0, 1]."""

    node: StepNode
    value: float


class TreeOfThoughts:
    """Search a tree of steps whose states are judged on the way.

    Equal thoughts are one thought. Of equal values the one that was sampled first comes first.
    If the verifier fails, the first complete answer so far is returned, or the best state is run
    to its end, and a remark says so.
    """

    card = PolicyCard(
        name=_NAME,
        signature="tot[(breadth=B,proposals=K,depth=D,search=bfs|dfs,verifier=NAME)]/POLICY",
        summary="A tree of sampled steps, judged on the way; breadth first or depth first.",
        paper="Yao et al., arXiv 2305.10601, algorithms 1 and 2; its Game of 24: breadth 5, depth 3;"
        " proposals and depth here are ours",
        standard=("tot(breadth=2,verifier={verifier})/cot",),
        parameters=(
            Parameter(
                "breadth",
                int,
                "states kept per level (bfs); times depth: states gone on from at most (dfs)",
                default=5,
                least=1,
                most=100,
            ),
            Parameter("proposals", int, "thoughts sampled per state", default=3, least=1, most=100),
            Parameter("depth", int, "most thoughts in a row", default=8, least=1, most=100),
            Parameter("search", str, "order of the search", default="bfs", choices=("bfs", "dfs")),
            VERIFIER_PARAMETER,
            Parameter(
                "threshold",
                float,
                "states of this value or less are pruned (dfs)",
                default=0.5,
                least=0,
                most=1,
            ),
            STEP_PARAMETER,
            STEP_TOKENS_PARAMETER,
        ),
        inner=Inner.ONE_REQUEST,
    )

    def __init__(
        self,
        inner: OneRequestPolicy,
        verifier: Verifier,
        *,
        breadth: int = 5,
        proposals: int = 3,
        depth: int = 8,
        search: str = "bfs",
        threshold: float = 0.5,
        step: str = "paragraph",
        step_tokens: int = 2048,
    ) -> None:
        """Take the policy whose answer is searched, and the verifier.

        Args:
            inner: Whose request begins every answer.
            verifier: What scores the states.
            breadth: States kept per level, breadth first; times `depth` the most states gone on
                from, depth first.
            proposals: Thoughts sampled per state.
            depth: Most thoughts in a row.
            search: `bfs` or `dfs`.
            threshold: Value above which a state is kept, depth first.
            step: What a thought is: `paragraph` or `line`.
            step_tokens: Cap on the tokens of one thought.

        Raises:
            InvalidPolicyError: A parameter is out of range, or the verifier cannot score the
                steps.
        """
        self.spec = self.card.spec(
            inner=inner.spec,
            verifier=verifier.name,
            breadth=breadth,
            proposals=proposals,
            depth=depth,
            search=search,
            threshold=threshold,
            step=step,
            step_tokens=step_tokens,
        )
        need_process(self.spec, verifier, inner.mode)
        self.mode = inner.mode
        self._steps = JudgedSteps(inner, verifier, step, step_tokens)
        self.needs: frozenset[Capability] = self._steps.needs
        self._breadth = breadth
        self._proposals = proposals
        self._depth = depth
        self._is_depth_first = search == "dfs"
        self._threshold = threshold
        self._n_states = breadth * depth  # depth first

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "TreeOfThoughts":
        """Build from a spec such as `tot(breadth=2,proposals=4)/cot`.

        Raises:
            InvalidPolicyError: A parameter does not fit, or the inner policy is not one request.
            UnknownNameError: There is no such verifier or inner policy.
        """
        values = cls.card.read(spec)
        return cls(
            build_one_request(spec),
            build_verifier(values.word("verifier")),
            breadth=values.integer("breadth"),
            proposals=values.integer("proposals"),
            depth=values.integer("depth"),
            search=values.word("search"),
            threshold=values.number("threshold"),
            step=values.word("step"),
            step_tokens=values.integer("step_tokens"),
        )

    def parts(self) -> Mapping[str, str]:
        """Return what identifies inner policy and verifier."""
        return self._steps.parts()

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what all thoughts, their evaluations and the end may generate at most."""
        most = self._steps.inner.max_tokens(options)
        n_first, n_later = self._n_thoughts()
        first = min(self._steps.step_tokens, most)
        later = min(self._steps.step_tokens, max(1, most - 1))  # what can go on has said something
        evaluations = (n_first + n_later) * self._steps.verifier.max_tokens()
        return n_first * first + n_later * later + evaluations + most

    def _n_thoughts(self) -> tuple[int, int]:
        """Return the most thoughts that go on from the question, and from other thoughts."""
        if self._is_depth_first:
            return self._proposals, self._proposals * (self._n_states - 1) * (self._depth > 1)
        n_states, n_later = 1, 0
        for _ in range(1, self._depth):
            n_states = min(self._breadth, n_states * self._proposals)
            n_later += n_states * self._proposals
        return self._proposals, n_later

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the best state's answer with the usage of the whole search.

        Raises:
            InvalidInputError: The temperature is 0, so that all thoughts would be equal.
            BackendError: No thought could be had.
        """
        need_sampling(self.spec, options)
        search = self._steps.begin(messages, backend, options, self.max_tokens(options))
        walk = _Walk(search, self._steps.verifier, self._proposals)
        if self._is_depth_first:
            first = await self._depth_first(walk)
        else:
            first = await self._breadth_first(walk)
        return await close_search(search, walk.ranked(), (_NAME,), first=first)

    async def _breadth_first(self, walk: "_Walk") -> StepNode | None:
        frontier = [_State(walk.search.root, 0.0)]
        for level in range(self._depth):
            going = [state.node for state in frontier if state.node.is_open]
            if not going:
                break
            new = await walk.grow(going, level)
            if new is None:
                return None
            ended = [state for state in frontier if state.node.is_complete]
            if not ended and not new:
                return None
            frontier = _ranked([*ended, *new])[: self._breadth]
        return frontier[0].node

    async def _depth_first(self, walk: "_Walk") -> StepNode | None:
        waiting = [walk.search.root]
        n_grown = 0
        while waiting:
            node = waiting.pop()
            if node.is_complete or node.depth >= self._depth:
                return node
            if n_grown == self._n_states:
                walk.search.bill.remark(
                    "states-used-up", f"{self._n_states} states were gone on from"
                )
                return None
            new = await walk.grow([node], n_grown)
            n_grown += 1
            if new is None:
                return None
            kept = [state.node for state in _ranked(new) if state.value > self._threshold]
            waiting += reversed(kept)
        walk.search.bill.remark("all-pruned", f"no state was left above {self._threshold:g}")
        return None


class _Walk:
    """The states of one query."""

    def __init__(self, search: StepSearch, verifier: Verifier, n_proposals: int) -> None:
        self.search = search
        self._verifier = verifier
        self._n_proposals = n_proposals
        self._seen: list[_State] = []

    async def grow(self, nodes: Sequence[StepNode], number: int) -> list[_State] | None:
        """Return the states after some others with their values; `None` without values."""
        families = await self.search.extend(nodes, self._n_proposals, (_NAME, number))
        new = distinct(child for family in families for child in family)
        values = await values_of(self._verifier, self.search, new)
        states = [
            _State(node, value) for node, value in zip(new, values or [0.0] * len(new), strict=True)
        ]
        self._seen += states
        return None if values is None else [state for state in states if not state.node.is_dead]

    def ranked(self) -> list[StepNode]:
        """Return all states so far, the best first."""
        return [state.node for state in _ranked(self._seen)]


def _ranked(states: Sequence[_State]) -> list[_State]:
    # Sorting is stable: of equal values the earlier state stays before the later one.
    return sorted(states, key=lambda state: -state.value)
