"""Chain of associated thoughts: a tree search that takes notes."""

from collections.abc import Sequence
from functools import reduce
from operator import add

import pytest

from policies import (
    BackendRequestError,
    BackendTimeoutError,
    Capability,
    DecodingOptions,
    Message,
    build_policy,
)
from policies.decoding.associated_thoughts import ASSOCIATE, FACT_TOKENS, AssociatedThoughts
from policies.decoding.direct import Direct
from policies.decoding.reasoning import Reasoning
from policies.verifiers.likelihood import Likelihood
from tests.policies.decoding.scripted_tree import (
    QUESTION,
    SAMPLED,
    answer,
    associating,
    coat,
    growing,
    judging,
)
from tests.policies.decoding.step_backend import StepBackend

# Only who has the fact about B goes on well from it.
TREE = {
    "": ("A\n\n", "B\n\n"),
    "A\n\nNote: A is old\n\n": ("Answer: 1", "Answer: 2"),
    "B\n\nNote: B is red\n\n": ("Answer: 3", "Answer: 4"),
}
FACTS = {"A\n\n": "A is old", "B\n\n": "B is red"}
VALUES = {
    "A": 0.6,
    "B": 0.55,
    "Note: A is old": 0.1,
    "Note: B is red": 0.9,
    "Answer: 1": 0.1,
    "Answer: 2": 0.2,
    "Answer: 3": 0.7,
    "Answer: 4": 0.3,
}


def noting() -> StepBackend:
    return StepBackend(associating(growing(TREE), FACTS))


async def test_facts_become_paragraphs_of_the_answer_and_the_model_goes_on_from_them() -> None:
    backend = noting()
    completion = await answer(coat(judging(VALUES)), backend)
    assert completion.text == "B\n\nNote: B is red\n\nAnswer: 3"
    assert completion.is_finished
    assert completion.remarks == ()
    assert completion.usage == reduce(add, (one.usage for one in backend.answers))
    asked = [call for call in backend.calls if call.messages[-1].content == ASSOCIATE]
    assert [call.messages for call in asked] == [
        (*QUESTION, Message("assistant", step), Message("user", ASSOCIATE)) for step in FACTS
    ]
    assert {(call.temperature, call.max_tokens) for call in asked} == {(0.0, FACT_TOKENS)}


@pytest.mark.parametrize(("beta", "first"), [(0.0, "A\n\n"), (0.1, "B\n\n"), (100.0, "B\n\n")])
async def test_the_value_of_a_step_is_its_score_and_a_share_of_its_notes(
    beta: float, first: str
) -> None:
    # 0.6 + 0.1 beta for A, 0.55 + 0.9 beta for B: values far above 1 are compared as they are.
    backend = noting()
    await answer(coat(judging(VALUES), beta=beta, rollouts=2), backend)
    steps = [call for call in backend.calls if call.stop]
    gone_on = await backend.decode(steps[-1].continuation)
    assert gone_on.startswith(first)


async def test_step_and_note_are_scored_apart_and_together_with_their_siblings() -> None:
    verifier = judging(VALUES)
    await answer(coat(verifier, rollouts=1), noting())
    assert [one.text for one in verifier.seen[0]] == [
        "A\n\n", "A\n\nNote: A is old\n\n", "B\n\n", "B\n\nNote: B is red\n\n",
    ]  # fmt: skip


async def test_the_bonus_for_few_visits_leads_away_from_a_branch_that_disappoints() -> None:
    backend = noting()
    completion = await answer(coat(judging(VALUES | {"Note: B is red": 0.0}), w=1.0), backend)
    # A looks better at first, and its ends do not.
    assert completion.text == "B\n\nNote: B is red\n\nAnswer: 3"


async def test_an_answer_that_is_good_enough_ends_the_search() -> None:
    backend = noting()
    await answer(coat(judging(VALUES), enough=0.7), backend)
    short = len(backend.calls)
    backend = noting()
    await answer(coat(judging(VALUES), enough=1.0), backend)
    assert short < len(backend.calls)


async def test_the_step_at_the_depth_is_all_the_rest() -> None:
    tree = {"": ("A\n\n",), "A\n\n": ("b\n\nc\n\nAnswer: 1",)}
    backend = StepBackend(associating(growing(tree), {}))
    completion = await answer(coat(judging({"A": 0.5}), depth=2, rollouts=2), backend)
    assert completion.text == "A\n\nb\n\nc\n\nAnswer: 1"
    assert completion.remarks == ()


async def test_without_a_complete_answer_the_best_state_is_run_to_its_end() -> None:
    backend = noting()
    completion = await answer(coat(judging(VALUES), rollouts=1), backend)
    assert completion.text == "B\n\nNote: B is red\n\nAnswer: 3"
    assert [remark.code for remark in completion.remarks] == ["unfinished-search"]


async def test_facts_may_come_from_a_retrieval_of_the_callers() -> None:
    seen: list[tuple[Sequence[Message], str]] = []

    async def look_up(messages: Sequence[Message], text: str) -> str | None:
        seen.append((messages, text))
        return " B\n is  red " if "B" in text else None

    backend = StepBackend(growing(TREE))
    policy = coat(judging(VALUES), retrieve=look_up)
    completion = await answer(policy, backend)
    assert completion.text == "B\n\nNote: B is red\n\nAnswer: 3"
    assert seen[:2] == [(QUESTION, "A\n\n"), (QUESTION, "B\n\n")]
    assert all(call.messages == QUESTION for call in backend.calls)
    assert policy.parts()["retrieval"].endswith("look_up")
    named = coat(judging(VALUES), retrieve=look_up, retrieval="wiki of May")
    assert named.parts()["retrieval"] == "wiki of May"
    assert "retrieval" not in coat(judging(VALUES)).parts()
    assert policy.max_tokens(SAMPLED) < coat(judging(VALUES)).max_tokens(SAMPLED)


@pytest.mark.parametrize(
    "error", [BackendTimeoutError("slow", backend="index", model="index"), TimeoutError("slow")]
)
async def test_a_retrieval_that_fails_is_a_fault_and_the_search_goes_on(error: Exception) -> None:
    async def look_up(messages: Sequence[Message], text: str) -> str | None:
        del messages, text
        raise error

    tree = {"": ("A\n\n", "Answer: 5"), "A\n\n": ("Answer: 6",)}
    policy = coat(judging({"A": 0.5, "Answer: 5": 0.3, "Answer: 6": 0.8}), retrieve=look_up)
    completion = await answer(policy, StepBackend(growing(tree)))
    assert completion.text == "A\n\nAnswer: 6"
    assert not completion.is_measurement


async def test_an_error_in_the_retrievals_own_code_is_raised() -> None:
    async def look_up(messages: Sequence[Message], text: str) -> str | None:
        raise KeyError(text)

    with pytest.raises(KeyError):
        await answer(coat(judging(VALUES), retrieve=look_up), StepBackend(growing(TREE)))


async def test_facts_that_are_empty_known_or_too_long_are_left_out() -> None:
    tree = {"": ("A\n\n",), "A\n\n": ("Answer: 6",)}
    for fact, remarks in (("", []), ("  ", []), ("w " * 60, ["note-too-long"])):
        backend = StepBackend(associating(growing(tree), {"A\n\n": fact}))
        completion = await answer(coat(judging({"A": 0.5, "Answer: 6": 0.8})), backend)
        assert completion.text == "A\n\nAnswer: 6"
        assert [remark.code for remark in completion.remarks] == remarks
    known = {"": ("Note: x\n\n",), "Note: x\n\n": ("Answer: 6",)}
    backend = StepBackend(associating(growing(known), {"Note: x\n\n": "x"}))
    assert (await answer(coat(judging({})), backend)).text == "Note: x\n\nAnswer: 6"


async def test_equal_steps_are_one_state_and_need_one_fact() -> None:
    backend = StepBackend(associating(growing({"": ("A\n\n",)}), FACTS))
    await answer(coat(judging(VALUES), rollouts=1, width=5), backend)
    assert sum(call.messages[-1].content == ASSOCIATE for call in backend.calls) == 1


async def test_a_verifier_that_fails_ends_the_search_with_what_there_is() -> None:
    tree = {"": ("A\n\n", "Answer: 5"), "A\n\n": ("Answer: 6",)}
    for fails_at, text in ((0, "Answer: 5"), (1, "Answer: 5")):
        backend = StepBackend(associating(growing(tree), {}))
        policy = coat(judging({"A": 0.5, "Answer: 5": 0.3}, fails_at=fails_at))
        completion = await answer(policy, backend)
        assert completion.text == text
        assert not completion.is_measurement


async def test_facts_that_do_not_come_are_a_fault_on_the_answer() -> None:
    error = BackendRequestError("no", backend="steps", model="m")
    tree = {"": ("A\n\n",), "A\n\n": ("Answer: 6",)}
    backend = StepBackend(
        growing(tree), fails=lambda request: error if len(request.messages) > 1 else None
    )
    completion = await answer(coat(judging({"A": 0.5})), backend)
    assert completion.text == "A\n\nAnswer: 6"
    assert not completion.is_measurement


async def test_notes_go_into_the_thought_of_a_model_that_thinks() -> None:
    tree = {
        "": ("a\n\n",),
        "<think>a\n\nNote: f\n\n": ("</think>Answer: 1",),
    }
    policy = AssociatedThoughts(Reasoning("max"), judging({"Answer: 1": 1.0}))
    backend = StepBackend(associating(growing(tree), {"a\n\n": "f"}))
    completion = await answer(policy, backend)
    assert completion.thinking == "a\n\nNote: f\n\n"
    assert completion.text == "Answer: 1"


async def test_lines_are_steps_and_notes_too() -> None:
    tree = {"": ("a\n",), "a\nNote: f\n": ("Answer: 1",)}
    policy = coat(judging({"a\nNote: f\nAnswer: 1": 1.0}), step="line")
    completion = await answer(policy, StepBackend(associating(growing(tree), {"a\n": "f"})))
    assert completion.text == "a\nNote: f\nAnswer: 1"


def test_defaults_and_needs_are_told() -> None:
    policy = build_policy("coat(beta=0.1,w=1,verifier=self)/direct")
    assert str(policy.spec) == "coat/direct"
    assert {Capability.STOP, Capability.PREFIX_CONTINUATION, Capability.LOGPROBS} <= policy.needs


def test_the_ceiling_counts_steps_facts_evaluations_and_the_end() -> None:
    options = DecodingOptions(max_answer_tokens=10)
    bare = AssociatedThoughts(Direct(), Likelihood(), rollouts=4, width=3, depth=3)
    # The question is expanded once, three states at the first step or after it, then the end.
    assert bare.max_tokens(options) == 3 * (10 + 3 * 9) + 4 * 3 * FACT_TOKENS + 10
    judged = build_policy("coat(rollouts=4,width=3,depth=3)/direct")
    assert judged.max_tokens(options) == bare.max_tokens(options) + 4 * 3 * 2 * 4
    capped = AssociatedThoughts(Direct(), Likelihood(), rollouts=3, width=1, depth=2, step_tokens=4)
    assert capped.max_tokens(options) == 4 + 2 * 9 + 3 * FACT_TOKENS + 10
