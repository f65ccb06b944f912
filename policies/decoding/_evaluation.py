"""What the tree searches share: a verifier that scores steps, and an answer at the end."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .._backend import Backend, Capability
from .._bill import Bill
from .._card import Parameter
from .._errors import InvalidPolicyError
from .._messages import Completion, Evidence, Message
from .._policy import DecodingOptions, OneRequestPolicy, parts_of
from .._spec import PolicySpec
from .._vocabulary import Mode
from ..verifiers import Verifier, score_all, verifier_parts
from ..verifiers.likelihood import Likelihood
from ._answers import final_answer
from ._sampling import with_logprobs
from ._steps import STEP_NEEDS, StepNode, StepSearch

__all__ = ["VERIFIER_PARAMETER", "JudgedSteps", "close_search", "need_process", "values_of"]

VERIFIER_PARAMETER = Parameter(
    "verifier", str, "name of the verifier that says how right a beginning is", default="self"
)
"""Parameter `verifier` of the tree searches; `self` is the model itself."""


def need_process(spec: PolicySpec, verifier: Verifier, mode: Mode) -> None:
    """Refuse a verifier that cannot score the steps of a policy.

    Raises:
        InvalidPolicyError: It scores whole answers only, or it scores by likelihood and the
            steps are those of a thought: backends tell the likelihood of answers.
    """
    if not verifier.scores_steps:
        raise InvalidPolicyError(
            f"policy {str(spec)!r}: verifier {verifier.name!r} scores whole answers only",
            hint="choose one that scores steps, such as self",
        )
    if isinstance(verifier, Likelihood) and mode is Mode.REASONING:
        raise InvalidPolicyError(
            f"policy {str(spec)!r}: how likely the steps of a thought are is not known",
            hint="choose another verifier, such as self, or wrap a policy whose steps are in the"
            " answer, such as cot",
        )


@dataclass(frozen=True, slots=True)
class JudgedSteps:
    """What a search over steps goes through: a policy's answer, judged on the way.

    Attributes:
        inner: Whose request begins every answer.
        verifier: What scores the steps.
        step: `paragraph` or `line`.
        step_tokens: Cap on the tokens of one step.
    """

    inner: OneRequestPolicy
    verifier: Verifier
    step: str
    step_tokens: int

    @property
    def needs(self) -> frozenset[Capability]:
        """What it needs of a backend."""
        return self.inner.needs | STEP_NEEDS | self.verifier.needs

    def parts(self) -> dict[str, str]:
        """Return what identifies inner policy and verifier."""
        return parts_of(self.inner) | verifier_parts(self.verifier)

    def begin(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions, ceiling: int
    ) -> StepSearch:
        """Return the search for the answer to one query, on a bill with a ceiling in tokens."""
        return StepSearch(
            self.inner,
            messages,
            with_logprobs(options, self.verifier.needs),
            Bill(backend, ceiling),
            step=self.step,
            step_tokens=self.step_tokens,
        )


async def values_of(
    verifier: Verifier, search: StepSearch, nodes: Sequence[StepNode]
) -> list[float] | None:
    """Return the verifier's score of each node, all asked at once; dead ones are worth 0.

    `None` if the verifier failed; why is on the search's bill.
    """
    alive = [place for place, node in enumerate(nodes) if not node.is_dead]
    candidates = [search.candidate(nodes[place]) for place in alive]
    scores = await score_all(verifier, search.messages, candidates, search.bill)
    if scores is None:
        return None
    values = [0.0] * len(nodes)
    for place, score in zip(alive, scores, strict=True):
        values[place] = score
    return values


async def close_search(
    search: StepSearch,
    ranked: Sequence[StepNode],
    seed_path: Sequence[object],
    *,
    first: StepNode | None = None,
) -> Completion:
    """Return the query's answer; at most one request more is asked for it.

    `evidence.agreement` is the share of the search's complete answers that agree with it.
    A beginning that is chosen is run to its end. If that gives no complete answer, the best one
    of the search is returned; if there is none either, what there is, cut.

    Args:
        search: Where the nodes come from.
        ranked: What the search has found, the best first.
        seed_path: What tells the last request from the query's others.
        first: What the search has chosen; `None` if it came to no end: then the best complete
            answer is taken, or the best beginning, or the question alone.

    Raises:
        BackendError: There is no answer because the backend failed.
    """
    complete = next((node for node in ranked if node.is_complete), None)
    chosen = first or complete
    if chosen is None:
        chosen = next((node for node in ranked if node.is_open), search.root)
        search.bill.remark(
            "unfinished-search",
            "no branch of the search ended in an answer, so the best one was run to its end",
        )
    if chosen.is_open:
        (chosen,) = await search.finish([chosen], seed_path)
    ended = [node for node in ranked if node.is_complete]
    if chosen.is_complete and chosen not in ended:
        ended.append(chosen)
    if not chosen.is_complete:
        said = (node for node in (chosen, *ranked) if node.latest is not None)
        chosen = complete or next(said, None)
    best = None if chosen is None else search.completion(chosen)
    evidence = (None if best is None else best.evidence) or Evidence()
    return search.bill.close(best, evidence=replace(evidence, agreement=_agreement(chosen, ended)))


def _agreement(chosen: StepNode | None, ended: Sequence[StepNode]) -> float:
    """Return the share of a search's complete answers that give the chosen one's final answer."""
    if chosen is None or not chosen.is_complete:
        return 0.0
    own = final_answer(chosen.text)
    return sum(final_answer(node.text) == own for node in ended) / len(ended)
