"""Tree of Thoughts: breadth first and depth first."""

from functools import reduce
from operator import add

import pytest

from policies import (
    Capability,
    DecodingOptions,
    GenerationRequest,
    build_policy,
)
from policies.decoding.direct import Direct
from policies.decoding.reasoning import Reasoning
from policies.decoding.tree_of_thoughts import TreeOfThoughts
from policies.verifiers.likelihood import Likelihood
from tests.policies.decoding.scripted_tree import (
    TREE,
    VALUES,
    answer,
    growing,
    hostile,
    judging,
    tot,
)
from tests.policies.decoding.scripted_verifier import ScriptedVerifier
from tests.policies.decoding.step_backend import StepBackend

BOTH = pytest.mark.parametrize("search", ["bfs", "dfs"])


@pytest.mark.parametrize(("breadth", "text"), [(1, "A\n\nAnswer: 2"), (2, "B\n\nAnswer: 3")])
async def test_a_broad_search_finds_what_a_greedy_one_misses(breadth: int, text: str) -> None:
    policy = tot(judging(VALUES), breadth=breadth)
    backend = StepBackend(growing(TREE))
    completion = await answer(policy, backend)
    assert completion.text == text
    assert completion.is_finished
    assert completion.is_measurement
    assert completion.remarks == ()
    assert len(backend.calls) == 2 + 2 * breadth


async def test_the_thoughts_of_a_level_and_their_values_are_asked_together() -> None:
    verifier = judging(VALUES)
    await answer(tot(verifier), StepBackend(growing(TREE)))
    assert [[one.text.split("\n\n")[-1] or "A|B" for one in seen] for seen in verifier.seen] == [
        ["A|B", "A|B"],
        ["Answer: 1", "Answer: 2", "Answer: 3", "Answer: 4"],
    ]


async def test_a_complete_state_stays_among_the_best_and_is_not_asked_again() -> None:
    tree = {"": ("Answer: 0", "B\n\n"), "B\n\n": ("C\n\n", "D\n\n"), "B\n\nC\n\n": ("Answer: 9",)}
    verifier = judging({"Answer: 0": 0.5, "B": 0.6, "C": 0.4, "D": 0.3, "Answer: 9": 0.9})
    backend = StepBackend(growing(tree))
    completion = await answer(tot(verifier), backend)
    assert completion.text == "B\n\nC\n\nAnswer: 9"
    shown = [one.text for seen in verifier.seen for one in seen]
    assert shown.count("Answer: 0") == 1


async def test_the_best_state_of_the_last_level_is_run_to_its_end() -> None:
    backend = StepBackend(growing(TREE))
    completion = await answer(tot(judging({"A": 0.1, "B": 0.2}), depth=1), backend)
    assert completion.text == "B\n\nAnswer: 3"
    assert backend.calls[-1].stop == ()
    assert completion.remarks == ()


async def test_depth_first_goes_to_the_best_child_first_and_comes_back_from_a_dead_end() -> None:
    backend = StepBackend(growing(TREE))
    completion = await answer(tot(judging(VALUES), search="dfs"), backend)
    # Both answers after A lie at the threshold or below.
    assert completion.text == "B\n\nAnswer: 3"
    asked = [await backend.decode(call.continuation) for call in backend.calls]
    assert asked == ["", "", "A\n\n", "A\n\n", "B\n\n", "B\n\n"]


async def test_depth_first_ends_at_the_first_answer_above_the_threshold() -> None:
    backend = StepBackend(growing(TREE))
    policy = tot(judging(VALUES), search="dfs", threshold=0.15)
    assert (await answer(policy, backend)).text == "A\n\nAnswer: 2"
    assert len(backend.calls) == 4


async def test_depth_first_prunes_states_at_the_threshold() -> None:
    backend = StepBackend(growing(TREE))
    policy = tot(judging(VALUES), search="dfs", threshold=0.6)
    completion = await answer(policy, backend)
    # B's 0.6 is not above it, and nothing after A is.
    assert completion.text == "A\n\nAnswer: 2"
    assert [remark.code for remark in completion.remarks] == ["all-pruned"]
    assert completion.is_measurement


async def test_depth_first_stops_after_its_states() -> None:
    backend = StepBackend(lambda begun, request: f"step {begun.count('step')}\n\n")
    verifier = ScriptedVerifier(lambda _: 0.9)
    completion = await answer(tot(verifier, search="dfs", breadth=1, depth=3), backend)
    # Three levels, then the end.
    assert len(backend.calls) == 3 * 2 + 1
    assert completion.text.startswith("step 0\n\nstep 1\n\nstep 2\n\nstep 3")
    wide = {"": ("A\n\n", "B\n\n", "C\n\n"), "A\n\n": ("bad\n\n",), "B\n\n": ("good\n\n",)}
    backend = StepBackend(growing(wide))
    policy = tot(
        judging({"A": 0.9, "B": 0.8, "C": 0.7}), search="dfs", breadth=1, depth=2, proposals=3
    )
    completion = await answer(policy, backend)
    assert [remark.code for remark in completion.remarks] == ["states-used-up", "unfinished-search"]
    assert len(backend.calls) == 2 * 3 + 1


async def test_equal_thoughts_are_one_thought() -> None:
    verifier = judging({"A": 0.5})
    await answer(tot(verifier, proposals=5, depth=1), StepBackend(growing({"": ("A\n\n",)})))
    assert [len(seen) for seen in verifier.seen] == [1]


@BOTH
async def test_a_verifier_that_fails_ends_the_search_with_what_there_is(search: str) -> None:
    backend = StepBackend(growing(TREE))
    completion = await answer(tot(judging(VALUES, fails_at=1), search=search), backend)
    assert completion.text == "A\n\nAnswer: 1"
    assert not completion.is_measurement
    backend = StepBackend(growing(TREE))
    completion = await answer(tot(judging(VALUES, fails_at=0), search=search), backend)
    assert completion.text == "A\n\nAnswer: 1"
    assert [remark.code for remark in completion.remarks] == [
        "verifier-failed",
        "unfinished-search",
    ]


async def test_the_steps_of_a_thought_are_searched_too() -> None:
    tree = {
        "": ("a\n\n", "b\n\n"),
        "<think>a\n\n": ("</think>Answer: 1",),
        "<think>b\n\n": ("</think>Answer: 2",),
    }
    values = {"a": 0.2, "b": 0.8, "Answer: 1": 0.5, "Answer: 2": 0.6}
    policy = TreeOfThoughts(Reasoning("max"), judging(values), breadth=1, proposals=2)
    completion = await answer(policy, StepBackend(growing(tree)))
    assert completion.thinking == "b\n\n"
    assert completion.text == "Answer: 2"
    assert policy.mode is Reasoning("max").mode


async def test_the_model_judges_itself_unless_another_verifier_is_named() -> None:
    def say(begun: str, request: GenerationRequest) -> str:
        asked = request.messages[-1].content
        if "Reply yes or no" in asked:
            return "yes" if "B" in request.messages[-2].content else "no"
        return tree(begun, request)

    tree = growing(TREE)
    backend = StepBackend(say)
    policy = build_policy("tot(breadth=1,proposals=2)/direct")
    completion = await answer(policy, backend)
    assert completion.text == "B\n\nAnswer: 3"
    judged = [call for call in backend.calls if len(call.messages) == 3]
    assert [call.messages[-1].content for call in judged] == [
        "Is this right so far? Reply yes or no.",
        "Is this right so far? Reply yes or no.",
        "Is this answer right? Reply yes or no.",
        "Is this answer right? Reply yes or no.",
    ]
    assert {call.temperature for call in judged} == {0.0}
    assert completion.usage == reduce(add, (one.usage for one in backend.answers))


async def test_a_reply_that_is_neither_yes_nor_no_ends_the_search_and_is_no_fault() -> None:
    def say(begun: str, request: GenerationRequest) -> str:
        return "maybe" if len(request.messages) == 3 else tree(begun, request)

    tree = growing(TREE)
    completion = await answer(build_policy("tot(breadth=1)/direct"), StepBackend(say))
    assert completion.is_finished
    assert completion.is_measurement
    assert "verifier-not-asked" in [remark.code for remark in completion.remarks]


async def test_agreement_is_the_share_of_complete_answers_with_the_same_end() -> None:
    tree = {"": ("A\n\n", "So 3: answer: 3"), "A\n\n": ("Answer: 3", "Answer: 4")}
    values = {"A": 0.6, "So 3: answer: 3": 0.2, "Answer: 3": 0.9, "Answer: 4": 0.1}
    completion = await answer(tot(judging(values), breadth=3), StepBackend(growing(tree)))
    assert completion.text == "A\n\nAnswer: 3"
    assert completion.evidence is not None
    assert completion.evidence.agreement == pytest.approx(2 / 3)
    cut = await answer(tot(judging(values)), StepBackend(hostile("endless")))
    assert cut.evidence is not None
    assert cut.evidence.agreement == 0.0


def test_defaults_needs_and_parts_are_told() -> None:
    policy = build_policy("tot(breadth=5,depth=8,verifier=self,search=bfs)/direct")
    assert str(policy.spec) == "tot/direct"
    assert {Capability.STOP, Capability.PREFIX_CONTINUATION, Capability.LOGPROBS} <= policy.needs
    assert TreeOfThoughts(Direct(), Likelihood()).parts() == {"verifier:likelihood": "{}"}


def test_the_ceiling_counts_thoughts_evaluations_and_the_end() -> None:
    options = DecodingOptions(max_answer_tokens=10)
    bare = TreeOfThoughts(Direct(), Likelihood(), breadth=2, proposals=3, depth=3)
    # 3 thoughts of up to 10 tokens, twice 6 of up to 9, the end.
    assert bare.max_tokens(options) == 3 * 10 + 12 * 9 + 10
    judged = build_policy("tot(breadth=2,proposals=3,depth=3)/direct")
    assert judged.max_tokens(options) == 3 * 10 + 12 * 9 + 10 + 15 * 4
    capped = TreeOfThoughts(Direct(), Likelihood(), proposals=1, depth=2, step_tokens=4)
    assert capped.max_tokens(options) == 4 + 4 + 10
    deep = TreeOfThoughts(Direct(), Likelihood(), breadth=2, proposals=3, depth=3, search="dfs")
    assert deep.max_tokens(options) == 3 * 10 + 5 * 3 * 9 + 10
