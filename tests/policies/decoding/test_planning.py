"""Reasoning via planning: Monte Carlo tree search over steps."""

import math
from dataclasses import replace

import pytest

from policies import (
    Capability,
    Completion,
    DecodingOptions,
    GenerationRequest,
    InvalidPolicyError,
    build_policy,
)
from policies.decoding.direct import Direct
from policies.decoding.planning import ReasoningViaPlanning
from policies.decoding.reasoning import Reasoning
from policies.verifiers.likelihood import Likelihood
from tests.policies.decoding.scripted_tree import (
    TREE,
    VALUES,
    answer,
    growing,
    judging,
    rap,
)
from tests.policies.decoding.step_backend import StepBackend

# Two answers that are wrong in the same way, and a right one on the better path.
VOTES = {
    "": ("A\n\n", "B\n\n"),
    "A\n\n": ("Answer: 1", "So: answer: 1"),
    "B\n\n": ("Answer: 3", "Answer: 4"),
}
VOTE_VALUES = {
    "A": 0.6,
    "B": 0.6,
    "Answer: 1": 0.5,
    "So: answer: 1": 0.5,
    "Answer: 3": 0.7,
    "Answer: 4": 0.1,
}


@pytest.mark.parametrize(("rollouts", "text"), [(1, "A\n\nAnswer: 2"), (2, "B\n\nAnswer: 3")])
async def test_more_rollouts_find_what_the_greedy_path_misses(rollouts: int, text: str) -> None:
    backend = StepBackend(growing(TREE))
    completion = await answer(rap(judging(VALUES), rollouts=rollouts), backend)
    assert completion.text == text
    assert completion.is_finished
    assert completion.remarks == ()
    assert len(backend.calls) == 2 + 2 * rollouts


async def test_a_rollout_that_ends_at_a_known_state_asks_nothing() -> None:
    backend = StepBackend(growing(TREE))
    completion = await answer(rap(judging(VALUES), rollouts=50), backend)
    assert completion.text == "B\n\nAnswer: 3"
    assert len(backend.calls) == 6


async def test_the_reward_is_a_geometric_mean_of_likelihood_and_value() -> None:
    # B's likelihood outweighs A's value: 0.81**.5 * 0.64**.5 = .72 against .36**.5 * .81**.5 = .54
    likelihoods = {"A": 0.36, "B": 0.81}
    backend = StepBackend(
        growing({"": ("A", "B")}), logprob=lambda word: math.log(likelihoods[word])
    )
    values = {"A": 0.81, "B": 0.64}
    for alpha, text in ((0.0, "A"), (0.5, "B"), (1.0, "B")):
        assert (await answer(rap(judging(values), alpha=alpha), backend)).text == text
    weak = {"A": 0.81, "B": 0.1}
    assert (await answer(rap(judging(weak), alpha=0.5), backend)).text == "A"
    assert (await answer(rap(judging(weak), alpha=1.0), backend)).text == "B"


async def test_a_path_is_worth_the_mean_of_its_rewards_not_its_end() -> None:
    tree = {"": ("A\n\n", "B\n\n"), "A\n\n": ("Answer: 1",), "B\n\n": ("Answer: 2",)}
    values = {"A": 0.9, "B": 0.2, "Answer: 1": 0.6, "Answer: 2": 0.8}
    completion = await answer(rap(judging(values)), StepBackend(growing(tree)))
    assert completion.text == "A\n\nAnswer: 1"


async def test_the_vote_adds_up_the_rewards_of_the_steps_that_lead_to_an_answer() -> None:
    best = await answer(rap(judging(VOTE_VALUES)), StepBackend(growing(VOTES)))
    assert best.text == "B\n\nAnswer: 3"
    voted = await answer(rap(judging(VOTE_VALUES), aggregate="vote"), StepBackend(growing(VOTES)))
    # 0.6 + 0.5 + 0.5 for 1 against 0.6 + 0.7 for 3.
    assert voted.text == "A\n\nAnswer: 1"
    assert voted.remarks == ()


async def test_the_step_at_the_depth_is_all_the_rest() -> None:
    tree = {"": ("A\n\n",), "A\n\n": ("b\n\nc\n\nAnswer: 1",)}
    backend = StepBackend(growing(tree))
    completion = await answer(rap(judging({"A": 0.5}), depth=2), backend)
    assert completion.text == "A\n\nb\n\nc\n\nAnswer: 1"
    assert [bool(call.stop) for call in backend.calls] == [True, True, False, False]
    assert completion.is_finished


async def test_the_steps_of_a_state_and_their_values_are_asked_together() -> None:
    verifier = judging(VALUES)
    await answer(rap(verifier), StepBackend(growing(TREE)))
    assert [len(seen) for seen in verifier.seen] == [2, 2, 2]


async def test_a_verifier_that_fails_ends_the_search_with_what_there_is() -> None:
    backend = StepBackend(growing(TREE))
    completion = await answer(rap(judging(VALUES, fails_at=2)), backend)
    assert completion.text == "A\n\nAnswer: 2"
    assert [remark.code for remark in completion.remarks] == ["verifier-failed"]
    assert not completion.is_measurement
    completion = await answer(rap(judging(VALUES, fails_at=0)), StepBackend(growing(TREE)))
    assert completion.is_finished
    assert not completion.is_measurement


class Silent(StepBackend):
    """A server that claims log-probabilities and sends none."""

    async def generate(self, request: GenerationRequest) -> Completion:
        return replace(await super().generate(request), evidence=None)


async def test_missing_log_probabilities_are_a_fault() -> None:
    completion = await answer(rap(judging(VALUES), alpha=0.5), Silent(growing(TREE)))
    assert completion.is_finished
    assert [remark.is_fault for remark in completion.remarks] == [True, False]


async def test_steps_of_a_thought_are_planned_by_their_values_alone() -> None:
    tree = {
        "": ("a\n\n", "b\n\n"),
        "<think>a\n\n": ("</think>Answer: 1",),
        "<think>b\n\n": ("</think>Answer: 2",),
    }
    values = {"a": 0.2, "b": 0.8, "Answer: 1": 0.5, "Answer: 2": 0.6}
    policy = ReasoningViaPlanning(Reasoning("max"), judging(values), width=2, alpha=0)
    completion = await answer(policy, StepBackend(growing(tree)))
    assert completion.thinking == "b\n\n"
    assert completion.text == "Answer: 2"
    assert Capability.LOGPROBS not in policy.needs
    with pytest.raises(InvalidPolicyError, match="alpha=0"):
        build_policy("rap/reasoning@max")


def test_defaults_needs_and_parts_are_told() -> None:
    policy = build_policy("rap(rollouts=10,alpha=0.5,w=1,verifier=self)/direct")
    assert str(policy.spec) == "rap/direct"
    assert {Capability.STOP, Capability.PREFIX_CONTINUATION, Capability.LOGPROBS} <= policy.needs
    assert ReasoningViaPlanning(Direct(), Likelihood()).parts() == {"verifier:likelihood": "{}"}


def test_the_ceiling_counts_steps_evaluations_and_the_end() -> None:
    options = DecodingOptions(max_answer_tokens=10)
    bare = ReasoningViaPlanning(Direct(), Likelihood(), rollouts=4, width=3, depth=3)
    # 1, 3 and 4 states are expanded at most, then the end.
    assert bare.max_tokens(options) == 3 * 10 + 9 * 9 + 12 * 8 + 10
    judged = build_policy("rap(rollouts=4,width=3,depth=3)/direct")
    assert judged.max_tokens(options) == bare.max_tokens(options) + 24 * 4
    capped = ReasoningViaPlanning(
        Direct(), Likelihood(), rollouts=1, width=1, depth=2, step_tokens=4
    )
    assert capped.max_tokens(options) == 4 + 9 + 10
