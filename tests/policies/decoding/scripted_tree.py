"""Trees of steps with known values, for the tests of searches that judge themselves."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from policies import Backend, Completion, DecodingOptions, GenerationRequest, Policy, user_message
from policies.decoding.associated_thoughts import ASSOCIATE, AssociatedThoughts
from policies.decoding.direct import Direct
from policies.decoding.planning import ReasoningViaPlanning
from policies.decoding.tree_of_thoughts import TreeOfThoughts
from policies.verifiers import Candidate
from tests.policies.decoding.scripted_verifier import ScriptedVerifier
from tests.policies.decoding.step_backend import Say

QUESTION = user_message("q")
SAMPLED = DecodingOptions(temperature=0.7, seed=3, max_answer_tokens=40, max_thinking_tokens=40)

# The step that looks better leads to the worse end.
TREE = {
    "": ("A\n\n", "B\n\n"),
    "A\n\n": ("Answer: 1", "Answer: 2"),
    "B\n\n": ("Answer: 3", "Answer: 4"),
}
VALUES = {
    "A": 0.7,
    "B": 0.6,
    "Answer: 1": 0.1,
    "Answer: 2": 0.2,
    "Answer: 3": 0.9,
    "Answer: 4": 0.3,
}


def growing(tree: Mapping[str, tuple[str, ...]]) -> Say:
    """Give the branches of what was said so far in turn, again from the first after the last."""
    n_asked = Counter[str]()

    def say(begun: str, request: GenerationRequest) -> str:
        del request
        branches = tree.get(begun, ("",))
        n_asked[begun] += 1
        return branches[(n_asked[begun] - 1) % len(branches)]

    return say


def associating(steps: Say, facts: Mapping[str, str]) -> Say:
    """Answer the question step by step, and questions about facts with facts."""

    def say(begun: str, request: GenerationRequest) -> str:
        if request.messages[-1].content == ASSOCIATE:
            return facts.get(request.messages[-2].content, "")
        return steps(begun, request)

    return say


def tot(verifier: ScriptedVerifier, **parameters: Any) -> TreeOfThoughts:
    """Return a small tree of thoughts."""
    chosen: dict[str, Any] = {"breadth": 2, "proposals": 2, **parameters}
    return TreeOfThoughts(Direct(), verifier, **chosen)


def rap(verifier: ScriptedVerifier, **parameters: Any) -> ReasoningViaPlanning:
    """Return a small search by planning that goes by values alone."""
    chosen: dict[str, Any] = {"rollouts": 4, "width": 2, "alpha": 0.0, **parameters}
    return ReasoningViaPlanning(Direct(), verifier, **chosen)


def coat(verifier: ScriptedVerifier, **parameters: Any) -> AssociatedThoughts:
    """Return a small chain of associated thoughts."""
    chosen: dict[str, Any] = {"rollouts": 4, "depth": 5, **parameters}
    return AssociatedThoughts(Direct(), verifier, **chosen)


def judging(values: Mapping[str, float], *, fails_at: int | None = None) -> ScriptedVerifier:
    """Score a beginning by its last paragraph; 0 for one that is not named."""

    def score(candidate: Candidate) -> float:
        return values.get(last_paragraph(candidate), 0.0)

    return ScriptedVerifier(score, fails_at=fails_at)


def last_paragraph(candidate: Candidate) -> str:
    """Return the last paragraph of what is shown to a verifier."""
    shown = candidate.text if candidate.text.strip() else candidate.thinking or ""
    return shown.strip().split("\n\n")[-1]


async def answer(
    policy: Policy, backend: Backend, options: DecodingOptions = SAMPLED
) -> Completion:
    """Return a policy's answer to the question of these tests."""
    return await policy.run(QUESTION, backend, options)


def hostile(kind: str) -> Callable[[str, GenerationRequest], str]:
    """Return a model that never gives an answer to an end, each kind in its own way."""
    says = {
        "empty": "",
        "blank": "\n\n",
        "endless": "word " * 200,
        "loop": "again\n\n" * 100,
        "many steps": "a step\n\n" * 100,
    }
    return lambda begun, request: says[kind]
