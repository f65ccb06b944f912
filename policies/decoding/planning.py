"""`rap(rollouts=R,width=K,...)/POLICY`: reasoning via planning, Monte Carlo tree search over steps.

Each of R rollouts walks from the question to the leaf with the largest upper confidence bound
(`_tree.select`), expands it by K sampled steps, goes on to the child with the largest reward
until an answer is complete (the step at `depth` is all the rest), and counts, at every step of
its path, the mean reward of this step and those after it. A step's reward is

    r = likelihood ** alpha * value ** (1 - alpha)

with the step's mean token probability and the verifier's score, which is the model's own unless
another one is named. The answer is the complete path of the largest mean reward
(`aggregate=best`), or the final answer to which the tree's steps give the most reward
(`aggregate=vote`).

Source: Hao et al., "Reasoning with Language Model is Planning with World Model", arXiv
2305.14992, and the authors' program for GSM8K (github.com/Ber666/RAP). As there, two rewards are
combined by a weighted geometric mean, a path is worth the mean of its rewards, and a step the best
path through it. Different here: the states are what was said, so that there is no separate world
model, and what is complete is not visited twice.
"""

import math
from collections.abc import Mapping, Sequence

from .._backend import Backend, Capability
from .._card import Inner, Parameter, PolicyCard
from .._errors import BackendResponseError, InvalidPolicyError
from .._messages import Completion, Message
from .._policy import DecodingOptions, OneRequestPolicy
from .._registry import build_one_request, build_verifier
from .._spec import PolicySpec
from .._vocabulary import Mode
from ..verifiers import Verifier
from ._answers import final_answer
from ._evaluation import VERIFIER_PARAMETER, JudgedSteps, close_search, need_process, values_of
from ._samples import majority
from ._sampling import need_sampling, with_logprobs
from ._steps import (
    STEP_PARAMETER,
    STEP_TOKENS_PARAMETER,
    StepNode,
    StepSearch,
    distinct,
)
from ._tree import Node, backpropagate_rewards, edge_votes, select

__all__ = ["ReasoningViaPlanning"]

_NAME = "rap"


class ReasoningViaPlanning:
    """Plan the steps of an answer by Monte Carlo tree search.

    If the verifier fails, the search ends there: the best complete answer so far is returned, or
    the best beginning is run to its end, and a remark says so.
    """

    card = PolicyCard(
        name=_NAME,
        signature="rap[(rollouts=R,width=K,depth=D,w=W,alpha=A,aggregate=best|vote,"
        "verifier=NAME)]/POLICY",
        summary="Monte Carlo tree search over steps, rewarded by likelihood and self-evaluation.",
        paper="Hao et al., arXiv 2305.14992; the authors' program for GSM8K: 10 rollouts, width 4,"
        " depth 6, w 1, alpha 0.5; width and depth here are ours",
        standard=("rap(rollouts=4,verifier={verifier})/cot",),
        parameters=(
            Parameter("rollouts", int, "paths tried", default=10, least=1, most=1000),
            Parameter("width", int, "steps sampled per state", default=3, least=1, most=100),
            Parameter(
                "depth", int, "most steps in a row, the last is all the rest", default=5, least=1,
                most=100,
            ),
            Parameter("w", float, "weight of exploration", default=1.0, least=0, most=1000),
            Parameter(
                "alpha",
                float,
                "share of the likelihood in a reward; the rest is the verifier's",
                default=0.5,
                least=0,
                most=1,
            ),
            Parameter(
                "aggregate",
                str,
                "the best path, or a vote of all steps for the answers they lead to",
                default="best",
                choices=("best", "vote"),
            ),
            VERIFIER_PARAMETER,
            STEP_PARAMETER,
            STEP_TOKENS_PARAMETER,
        ),
        inner=Inner.ONE_REQUEST,
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - each is a parameter of the spec
        self,
        inner: OneRequestPolicy,
        verifier: Verifier,
        *,
        rollouts: int = 10,
        width: int = 3,
        depth: int = 5,
        w: float = 1.0,
        alpha: float = 0.5,
        aggregate: str = "best",
        step: str = "paragraph",
        step_tokens: int = 2048,
    ) -> None:
        """Take the policy whose answer is planned, and the verifier.

        Args:
            inner: Whose request begins every answer.
            verifier: What scores the steps.
            rollouts: Paths tried.
            width: Steps sampled per state.
            depth: Most steps in a row; the last one is all the rest of the answer.
            w: Weight of exploration, in units of the reward.
            alpha: Exponent of the likelihood, in [0, 1].
            aggregate: `best` or `vote`.
            step: `paragraph` or `line`.
            step_tokens: Cap on the tokens of one step, the last one aside.

        Raises:
            InvalidPolicyError: A parameter is out of range, the verifier cannot score the steps,
                or the inner policy thinks and the likelihood is to count: that of steps
                inside a thought is not known.
        """
        self.spec = self.card.spec(
            inner=inner.spec,
            verifier=verifier.name,
            rollouts=rollouts,
            width=width,
            depth=depth,
            w=w,
            alpha=alpha,
            aggregate=aggregate,
            step=step,
            step_tokens=step_tokens,
        )
        need_process(self.spec, verifier, inner.mode)
        if alpha > 0 and inner.mode is Mode.REASONING:
            raise InvalidPolicyError(
                f"policy {str(self.spec)!r}: how likely the steps of a thought are is not known",
                hint="write alpha=0, or wrap a policy whose steps are in the answer, such as cot",
            )
        self.mode = inner.mode
        self._steps = JudgedSteps(inner, verifier, step, step_tokens)
        # Where the likelihood does not count, it is not asked for.
        likelihood = {Capability.LOGPROBS} if alpha > 0 else set[Capability]()
        self.needs: frozenset[Capability] = self._steps.needs | likelihood
        self._rollouts = rollouts
        self._width = width
        self._depth = depth
        self._weight = w
        self._alpha = alpha
        self._is_vote = aggregate == "vote"

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "ReasoningViaPlanning":
        """Build from a spec such as `rap(rollouts=4)/cot`.

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
            w=values.number("w"),
            alpha=values.number("alpha"),
            aggregate=values.word("aggregate"),
            step=values.word("step"),
            step_tokens=values.integer("step_tokens"),
        )

    def parts(self) -> Mapping[str, str]:
        """Return what identifies inner policy and verifier."""
        return self._steps.parts()

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what all steps, their evaluations and the end may generate at most.

        A rollout expands one state per depth at most, and the question is expanded once.
        """
        most = self._steps.inner.max_tokens(options)
        n_children, steps = 0, 0
        n_states = 1
        for done in range(self._depth):
            left = max(1, most - done)  # a step that goes on has said something
            cap = left if done == self._depth - 1 else min(self._steps.step_tokens, left)
            n_children += n_states * self._width
            steps += n_states * self._width * cap
            n_states = min(self._rollouts, n_states * self._width)
        return steps + n_children * self._steps.verifier.max_tokens() + most

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the planned answer with the usage of the whole search.

        Raises:
            InvalidInputError: The temperature is 0, so that all steps would be equal.
            BackendError: No step could be had.
        """
        need_sampling(self.spec, options)
        drawn = with_logprobs(options, self.needs)
        search = self._steps.begin(messages, backend, drawn, self.max_tokens(options))
        root = Node(search.root)
        for rollout in range(self._rollouts):
            begin = select(root, self._weight, _best)
            if begin is None:
                break
            end = await self._simulate(begin, rollout, search)
            if end is None:
                break
            backpropagate_rewards(end)
            end.exhaust()
        ranked = sorted(root.walk(), key=lambda node: (-node.path_reward(), -node.depth))
        first = self._elected(root) if self._is_vote else None
        return await close_search(search, [node.item for node in ranked], (_NAME,), first=first)

    async def _simulate(
        self, node: Node[StepNode], rollout: int, search: StepSearch
    ) -> Node[StepNode] | None:
        """Return where a rollout ends; `None` if its steps could not be rewarded."""
        for depth in range(node.depth, self._depth):
            if not node.item.is_open:
                break
            seeds = (_NAME, rollout, depth)
            if depth == self._depth - 1:
                items = distinct(await search.finish([node.item] * self._width, seeds))
            else:
                (family,) = await search.extend([node.item], self._width, seeds)
                items = distinct(family)
            rewards = await self._rewards(items, search)
            for item, reward in zip(items, rewards or [0.0] * len(items), strict=True):
                node.add(item, reward)
            if rewards is None:
                return None
            node = max(node.children, key=lambda child: child.reward)
        return node

    async def _rewards(self, items: Sequence[StepNode], search: StepSearch) -> list[float] | None:
        values = await values_of(self._steps.verifier, search, items)
        if values is None:
            return None
        rewards: list[float] = []
        for item, value in zip(items, values, strict=True):
            if item.is_dead:
                rewards.append(0.0)
                continue
            likelihood = self._likelihood(item)
            if likelihood is None:
                backend = search.bill.backend
                search.bill.fault(
                    BackendResponseError(
                        "a step came without log-probabilities",
                        backend=backend.name,
                        model=backend.model,
                    )
                )
                return None
            rewards.append(likelihood**self._alpha * value ** (1 - self._alpha))
        return rewards

    def _likelihood(self, item: StepNode) -> float | None:
        """Return the mean probability of a step's tokens, in [0, 1]; `None` if it is not told."""
        if self._alpha == 0 or not item.step:
            return 1.0  # It does not count, or nothing was said.
        evidence = None if item.latest is None else item.latest.evidence
        if evidence is None or evidence.mean_logprob is None:
            return None
        return min(1.0, math.exp(evidence.mean_logprob))

    def _elected(self, root: Node[StepNode]) -> StepNode | None:
        answer = majority(edge_votes(root, _final))
        leaves = [node for node in root.walk() if answer and _final(node) == answer]
        best = max(leaves, key=lambda node: node.path_reward(), default=None)
        return None if best is None else best.item


def _best(node: Node[StepNode]) -> float:
    return node.best


def _final(node: Node[StepNode]) -> str:
    return final_answer(node.item.text) if node.item.is_complete else ""
