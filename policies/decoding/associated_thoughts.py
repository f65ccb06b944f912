"""`coat(rollouts=R,width=K,...)/POLICY`: chain of associated thoughts, a search that takes notes.

Each of R rounds walks to the leaf with the largest upper confidence bound (`_tree.select`),
expands it by K sampled steps, and has a fact associated with each new step, by the model itself
or by a retrieval of the caller's; the fact becomes a part of the state, as a paragraph of the
answer. Then every new state is worth

    V = F_g + beta * F_a

with the verifier's score of the step, F_g, and that of the step with its note, F_a. Values are
backpropagated as means. A complete answer whose F_g is `enough` ends the search; the step at
`depth` is all the rest of the answer. The complete answer with the largest value is returned;
if there is none, the best state is run to its end.

Source: Pan et al., "CoAT: Chain-of-Associated-Thoughts", arXiv 2502.02390
(association between expansion and evaluation, beta 0.1, w 1). V may exceed 1, which UCT does not
mind; the paper names neither rounds nor width, so these defaults are ours.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from .._backend import Backend, Capability, GenerationRequest
from .._bill import Bill
from .._card import Inner, Parameter, PolicyCard
from .._errors import BackendConnectionError, BackendError, CapabilityError
from .._messages import Completion, Message
from .._policy import DecodingOptions, OneRequestPolicy
from .._registry import build_one_request, build_verifier
from .._spec import PolicySpec
from ..verifiers import Verifier, score_all
from ._evaluation import VERIFIER_PARAMETER, JudgedSteps, close_search, need_process
from ._sampling import need_sampling
from ._steps import (
    STEP_PARAMETER,
    STEP_TOKENS_PARAMETER,
    StepNode,
    StepSearch,
    distinct,
)
from ._tree import Node, backpropagate, select

__all__ = ["ASSOCIATE", "FACT_TOKENS", "NOTE", "AssociatedThoughts", "Retrieval"]

ASSOCIATE = "Name one fact that helps with the next step."
"""What the model is asked after the beginning of an answer."""

NOTE = "Note: {fact}"
"""How the fact stands in the answer."""

FACT_TOKENS = 64
"""Cap on the tokens of a fact that the model names. Our choice: facts are one sentence."""

Retrieval: TypeAlias = Callable[[Sequence[Message], str], Awaitable[str | None]]
"""Returns a fact for a conversation and the beginning of its answer, `None` if it has none.

A `BackendError` or an `OSError` (a broken connection, a timeout) counts as infrastructure: the
step goes without a fact, and the answer's remarks say so. Other exceptions are the caller's.
"""

_NAME = "coat"


class _Step(NamedTuple):
    """A new state: the step as it was said, and with its note if it has one."""

    said: StepNode
    noted: StepNode | None


class AssociatedThoughts:
    """Search a tree of steps, each of which brings up a fact that goes into the answer.

    If the verifier fails, the search ends there: the best complete answer so far is returned, or
    the best state is run to its end, and a remark says so.
    """

    card = PolicyCard(
        name=_NAME,
        signature="coat[(rollouts=R,width=K,depth=D,beta=B,w=W,enough=E,verifier=NAME)]/POLICY",
        summary="Monte Carlo tree search over steps with an associated fact after each.",
        paper="Pan et al., arXiv 2502.02390: beta 0.1, w 1",
        standard=("coat(rollouts=12,verifier={verifier})/cot",),
        parameters=(
            Parameter("rollouts", int, "states expanded at most", default=8, least=1, most=1000),
            Parameter("width", int, "steps sampled per state", default=2, least=1, most=100),
            Parameter(
                "depth", int, "most steps in a row, the last is all the rest", default=8, least=1,
                most=100,
            ),
            Parameter(
                "beta", float, "weight of the association's score", default=0.1, least=0, most=1000
            ),
            Parameter("w", float, "weight of exploration", default=1.0, least=0, most=1000),
            Parameter(
                "enough",
                float,
                "score at which a complete answer ends the search",
                default=0.9,
                least=0,
                most=1,
            ),
            VERIFIER_PARAMETER,
            STEP_PARAMETER,
            STEP_TOKENS_PARAMETER,
        ),
        inner=Inner.ONE_REQUEST,
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - each is a parameter of the spec, but for the retrieval
        self,
        inner: OneRequestPolicy,
        verifier: Verifier,
        *,
        rollouts: int = 8,
        width: int = 2,
        depth: int = 8,
        beta: float = 0.1,
        w: float = 1.0,
        enough: float = 0.9,
        step: str = "paragraph",
        step_tokens: int = 2048,
        retrieve: Retrieval | None = None,
        retrieval: str = "",
    ) -> None:
        """Take the policy whose answer is searched, the verifier and where facts come from.

        Args:
            inner: Whose request begins every answer.
            verifier: What scores steps and notes.
            rollouts: States expanded at most.
            width: Steps sampled per state.
            depth: Most steps in a row; the last one is all the rest of the answer.
            beta: Weight of the association's score.
            w: Weight of exploration, in units of the value.
            enough: Score at which a complete answer ends the search.
            step: `paragraph` or `line`.
            step_tokens: Cap on the tokens of one step, the last one aside.
            retrieve: Returns the facts; `None` asks the model.
            retrieval: What identifies the facts, such as an index and its date; without it the
                function's name does.

        Raises:
            InvalidPolicyError: A parameter is out of range, or the verifier cannot score the
                steps.
        """
        self.spec = self.card.spec(
            inner=inner.spec,
            verifier=verifier.name,
            rollouts=rollouts,
            width=width,
            depth=depth,
            beta=beta,
            w=w,
            enough=enough,
            step=step,
            step_tokens=step_tokens,
        )
        need_process(self.spec, verifier, inner.mode)
        self.mode = inner.mode
        self._steps = JudgedSteps(inner, verifier, step, step_tokens)
        self.needs: frozenset[Capability] = self._steps.needs
        self._rollouts = rollouts
        self._width = width
        self._depth = depth
        self._beta = beta
        self._weight = w
        self._enough = enough
        self._retrieve = retrieve
        self._retrieval = retrieval or getattr(
            retrieve, "__qualname__", type(retrieve).__qualname__
        )

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "AssociatedThoughts":
        """Build from a spec such as `coat(rollouts=4)/cot`; the model itself names the facts.

        Raises:
            InvalidPolicyError: A parameter does not fit, or the inner policy is not one request.
            UnknownNameError: There is no such verifier or inner policy.
        """
        values = cls.card.read(spec)
        return cls(
            build_one_request(spec),
            build_verifier(values.word("verifier")),
            rollouts=values.integer("rollouts"),
            width=values.integer("width"),
            depth=values.integer("depth"),
            beta=values.number("beta"),
            w=values.number("w"),
            enough=values.number("enough"),
            step=values.word("step"),
            step_tokens=values.integer("step_tokens"),
        )

    def parts(self) -> Mapping[str, str]:
        """Return what identifies inner policy, verifier and retrieval."""
        own = {} if self._retrieve is None else {"retrieval": self._retrieval}
        return self._steps.parts() | own

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what all steps, facts, evaluations and the end may generate at most."""
        most = self._steps.inner.max_tokens(options)
        caps = [self._cap(most, done) for done in range(min(self._depth, self._rollouts))]
        # The question is expanded once, and the state of round i lies at most i steps deep.
        steps = caps[0] + sum(
            max(caps[1 : number + 1], default=0) for number in range(1, self._rollouts)
        )
        fact = FACT_TOKENS if self._retrieve is None else 0
        each = fact + 2 * self._steps.verifier.max_tokens()
        return self._width * (steps + self._rollouts * each) + most

    def _cap(self, most: int, done: int) -> int:
        left = max(1, most - done)  # a step that goes on has said something
        return left if done == self._depth - 1 else min(self._steps.step_tokens, left)

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the answer found, its notes included, with the usage of the whole search.

        Raises:
            InvalidInputError: The temperature is 0, so that all steps would be equal.
            BackendError: No step could be had.
        """
        need_sampling(self.spec, options)
        search = self._steps.begin(messages, backend, options, self.max_tokens(options))
        root = Node(search.root)
        for number in range(self._rollouts):
            leaf = select(root, self._weight, _mean)
            if leaf is None or not await self._expand(leaf, number, search):
                break
        ranked = sorted(root.walk(), key=lambda node: (-node.reward, -node.depth))
        return await close_search(search, [node.item for node in ranked], (_NAME,))

    async def _expand(self, leaf: Node[StepNode], number: int, search: StepSearch) -> bool:
        """Add the states after a leaf; return whether the search goes on."""
        seeds = (_NAME, number)
        if leaf.depth == self._depth - 1:
            family = await search.finish([leaf.item] * self._width, seeds)
        else:
            (family,) = await search.extend([leaf.item], self._width, seeds)
        steps = await self._associated(distinct(family), search)
        scores = await self._scores(steps, search)
        if scores is None:
            for step in steps:
                leaf.add(step.noted or step.said)
            return False
        is_enough = False
        for step, (own, note) in zip(steps, scores, strict=True):
            child = leaf.add(step.noted or step.said, own + self._beta * note)
            backpropagate(child, child.reward)
            if not child.item.is_open:
                child.exhaust()
            is_enough |= step.said.is_complete and own >= self._enough
        return not is_enough

    async def _scores(
        self, steps: Sequence[_Step], search: StepSearch
    ) -> list[tuple[float, float]] | None:
        """Return F_g and F_a per step, 0 for dead steps and missing notes."""
        places = [
            (place, part, node)
            for place, step in enumerate(steps)
            for part, node in enumerate(step)
            if node is not None and not node.is_dead
        ]
        candidates = [search.candidate(node) for _, _, node in places]
        scores = await score_all(self._steps.verifier, search.messages, candidates, search.bill)
        if scores is None:
            return None
        found = {
            (place, part): score for (place, part, _), score in zip(places, scores, strict=True)
        }
        return [(found.get((n, 0), 0.0), found.get((n, 1), 0.0)) for n in range(len(steps))]

    async def _associated(self, nodes: Sequence[StepNode], search: StepSearch) -> list[_Step]:
        """Return each new step with its note; steps that cannot go on need none."""
        going = [place for place, node in enumerate(nodes) if node.is_open]
        texts = [nodes[place].text or nodes[place].thinking or "" for place in going]
        if self._retrieve is None:
            replies = await search.bill.ask_all(_question(search.messages, text) for text in texts)
            facts = [None if reply is None else reply.text for reply in replies]
        else:
            facts = await _retrieved(self._retrieve, search.messages, texts, search.bill)
        steps = [_Step(node, None) for node in nodes]
        for place, fact in zip(going, facts, strict=True):
            noted = await self._noted(nodes[place], fact or "", search)
            steps[place] = _Step(nodes[place], noted)
        return steps

    async def _noted(self, node: StepNode, fact: str, search: StepSearch) -> StepNode | None:
        note = NOTE.format(fact=" ".join(fact.split()))  # one paragraph, whatever came
        if not fact.strip() or note in node.said:
            return None
        end = "\n\n" if self._steps.step == "paragraph" else "\n"
        try:
            noted = await search.insert(node, ("" if node.said.endswith(end) else end) + note + end)
        except CapabilityError:
            raise
        except BackendError as error:
            search.bill.fault(error)
            return None
        if len(noted.token_ids) >= search.most:
            search.bill.remark(
                "note-too-long", "a note would have filled the answer and was left out"
            )
            return None
        return noted


def _mean(node: Node[StepNode]) -> float:
    return node.mean


def _question(messages: Sequence[Message], text: str) -> GenerationRequest:
    return GenerationRequest(
        messages=(*messages, Message("assistant", text), Message("user", ASSOCIATE)),
        max_tokens=FACT_TOKENS,
    )


async def _retrieved(
    retrieve: Retrieval, messages: Sequence[Message], texts: Sequence[str], bill: Bill
) -> list[str | None]:
    async def one(text: str) -> str | None:
        try:
            return await retrieve(messages, text)
        except BackendError as error:
            bill.fault(error)
        except OSError as error:
            bill.fault(
                BackendConnectionError(
                    f"the retrieval failed: {error}", backend="retrieval", model="retrieval"
                )
            )
        return None

    tasks = [asyncio.ensure_future(one(text)) for text in texts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
