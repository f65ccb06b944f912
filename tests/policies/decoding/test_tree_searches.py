"""What holds for every tree search that a verifier judges: `tot`, `rap` and `coat`."""

import asyncio
import math
from collections.abc import Callable
from functools import partial, reduce
from operator import add
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import (
    BackendRequestError,
    DecodingOptions,
    FinishReason,
    GenerationRequest,
    InvalidInputError,
    InvalidPolicyError,
    Policy,
    PolicySpec,
    build_policy,
)
from policies.backends.fake import FakeAnswer, FakeBackend
from policies.contract import check_policy
from policies.decoding.associated_thoughts import ASSOCIATE
from tests.policies.decoding.scripted_tree import (
    QUESTION,
    SAMPLED,
    TREE,
    VALUES,
    answer,
    associating,
    coat,
    growing,
    hostile,
    judging,
    rap,
    tot,
)
from tests.policies.decoding.scripted_verifier import ScriptedVerifier
from tests.policies.decoding.step_backend import StepBackend

Search = Callable[..., Policy]

BFS = pytest.param(tot, id="tot")
DFS = pytest.param(partial(tot, search="dfs"), id="tot-dfs")
RAP = pytest.param(rap, id="rap")
COAT = pytest.param(coat, id="coat")
EACH = pytest.mark.parametrize("search", [BFS, DFS, RAP, COAT])
ERROR = BackendRequestError("no", backend="steps", model="m")


def trees(
    fails: Callable[[GenerationRequest], BackendRequestError | None] = lambda _: None,
) -> StepBackend:
    """Return a model that knows the tree, and no facts about it."""
    return StepBackend(associating(growing(TREE), {}), fails=fails)


@EACH
async def test_every_sample_has_a_seed_of_its_own_that_the_query_decides(search: Search) -> None:
    async def seeds(seed: int | None) -> list[int | None]:
        backend = trees()
        options = DecodingOptions(temperature=0.7, seed=seed, max_answer_tokens=40)
        await answer(search(judging(VALUES)), backend, options)
        # Facts are asked greedily.
        samples = [call for call in backend.calls if call.messages[-1].content != ASSOCIATE]
        assert {call.temperature for call in samples} == {0.7}
        return [call.seed for call in samples]

    found = await seeds(1)
    assert len(set(found)) == len(found)
    assert found == await seeds(1)
    assert not set(found) & set(await seeds(2))
    assert set(await seeds(None)) == {None}


@pytest.mark.parametrize(
    "search",
    [
        pytest.param(partial(tot, proposals=6), id="tot"),
        pytest.param(partial(rap, width=6), id="rap"),
        pytest.param(partial(coat, width=6), id="coat"),
    ],
)
async def test_the_steps_after_a_state_go_out_together(search: Search) -> None:
    slow = FakeBackend(lambda _: FakeAnswer("x\n\nAnswer: y"), latency_s=0.001)
    await answer(search(judging({})), slow)
    assert slow.most_in_flight == 6


@EACH
async def test_scores_that_are_no_numbers_are_a_fault_and_no_low_score(search: Search) -> None:
    completion = await answer(search(ScriptedVerifier(lambda _: math.nan)), trees())
    assert completion.is_finished
    assert not completion.is_measurement


@EACH
async def test_without_any_step_the_backends_error_is_raised(search: Search) -> None:
    with pytest.raises(BackendRequestError, match="no"):
        await answer(search(judging(VALUES)), trees(fails=lambda _: ERROR))


@EACH
async def test_a_lost_step_is_a_remark_on_the_answer_of_the_others(search: Search) -> None:
    backend = trees(fails=lambda _: ERROR if len(backend.calls) == 2 else None)
    completion = await answer(search(judging(VALUES)), backend)
    assert completion.is_finished
    assert not completion.is_measurement
    assert (await answer(search(judging(VALUES)), trees())).is_measurement


@EACH
@pytest.mark.parametrize("kind", ["empty", "blank", "endless", "loop", "many steps"])
async def test_models_that_never_answer_give_a_cut_answer(search: Search, kind: str) -> None:
    policy = search(ScriptedVerifier(lambda _: 0.9))
    completion = await answer(policy, StepBackend(hostile(kind)))
    assert not completion.is_finished
    assert completion.usage.completion_tokens <= policy.max_tokens(SAMPLED)
    assert completion.is_measurement


@EACH
async def test_a_server_that_ignores_the_stop_gives_whole_answers(search: Search) -> None:
    tree = {"": ("one\n\ntwo\n\nAnswer: 1", "one\n\ntwo\n\nAnswer: 2")}
    backend = StepBackend(growing(tree), ignores_stop=True)
    completion = await answer(search(judging({"Answer: 1": 0.6, "Answer: 2": 0.8})), backend)
    assert completion.text == "one\n\ntwo\n\nAnswer: 2"
    assert completion.is_finished


@pytest.mark.parametrize(
    ("search", "context"),
    # A question about facts takes more of the context than one about the next step.
    [(tot, 12), (partial(tot, search="dfs"), 12), (rap, 12), (coat, 26)],
    ids=["tot", "tot-dfs", "rap", "coat"],
)
async def test_the_context_reached_in_the_middle_leaves_the_best_that_there_is(
    search: Search, context: int
) -> None:
    tree = {"": ("Answer: 0", "B\n\n"), "B\n\n": ("long " * 30 + "\n\n",)}
    backend = StepBackend(associating(growing(tree), {}), context=context)
    completion = await answer(search(judging({"Answer: 0": 0.2, "B": 0.6})), backend)
    assert completion.text == "Answer: 0"
    assert completion.is_finished
    assert completion.is_measurement


@EACH
async def test_greedy_steps_are_refused_before_anything_is_asked(search: Search) -> None:
    backend = trees()
    with pytest.raises(InvalidInputError, match="temperature"):
        await answer(search(judging(VALUES)), backend, DecodingOptions())
    assert backend.calls == []


@EACH
def test_a_verifier_of_whole_answers_is_refused(search: Search) -> None:
    with pytest.raises(InvalidPolicyError, match="whole answers only"):
        search(ScriptedVerifier(lambda _: 1.0, scores_steps=False))


@pytest.mark.parametrize("name", ["tot", "rap", "coat"])
def test_the_steps_of_a_thought_are_not_judged_by_a_likelihood_that_nobody_tells(name: str) -> None:
    with pytest.raises(InvalidPolicyError, match="not known"):
        build_policy(f"{name}(verifier=likelihood)/reasoning@max")


@pytest.mark.parametrize(
    "text",
    [
        "tot(depth=3,verifier=likelihood)/cot",
        "tot(depth=3,search=dfs,verifier=likelihood)/cot",
        "tot(breadth=2)/direct",
        "tot(breadth=2,search=dfs)/direct",
        "tot(breadth=2,step=line)/reasoning@8",
        "tot(breadth=2,search=dfs,step=line)/reasoning@8",
        "rap(depth=3,rollouts=3,verifier=likelihood)/cot",
        "rap(rollouts=2)/direct",
        "rap(aggregate=vote,alpha=0,rollouts=2,step=line)/reasoning@8",
        "coat(depth=3,rollouts=3,verifier=likelihood)/cot",
        "coat(rollouts=2)/direct",
        "coat(rollouts=2,step=line)/reasoning@8",
    ],
)
async def test_it_keeps_the_contract_of_policies(text: str) -> None:
    options = DecodingOptions(temperature=0.7, seed=1, max_answer_tokens=30, max_thinking_tokens=30)
    backend = FakeBackend(lambda _: FakeAnswer("yes it is\n\nAnswer: yes", thinking="hm\n\nso"))
    policy = build_policy(PolicySpec.parse(text))
    report = await check_policy(policy, backend, options=options)
    assert report.failures == ()
    assert build_policy(str(policy.spec)).spec == policy.spec


@pytest.mark.parametrize(
    "text",
    ["tot", "tot(breadth=0)/direct", "tot(proposals=0)/direct", "tot(depth=-1)/direct",
     "tot(search=best)/direct", "tot(threshold=2)/direct", "tot(step=word)/direct",
     "tot(n=3)/direct", "tot/sc(n=2)/direct", "tot(step_tokens=0)/direct",
     "rap", "rap(rollouts=0)/direct", "rap(width=0)/direct", "rap(depth=0)/direct",
     "rap(alpha=1.5)/direct", "rap(w=-1)/direct", "rap(aggregate=mean)/direct",
     "rap(n=3)/direct", "rap/sc(n=2)/direct",
     "coat", "coat(rollouts=0)/direct", "coat(width=0)/direct", "coat(depth=0)/direct",
     "coat(beta=-1)/direct", "coat(w=-1)/direct", "coat(enough=2)/direct",
     "coat(n=3)/direct", "coat/sc(n=2)/direct"],
)  # fmt: skip
def test_parameters_that_make_no_search_are_refused(text: str) -> None:
    with pytest.raises(InvalidPolicyError):
        build_policy(text)


PIECES = st.sampled_from(["\n\n", "\n", " a", " b", "Answer: 7", "<x>"])
STEPS = {"step_tokens": st.integers(1, 6), "step": st.sampled_from(["paragraph", "line"])}
ROLLOUTS = {
    "rollouts": st.integers(1, 5),
    "width": st.integers(1, 3),
    "depth": st.integers(1, 4),
    "w": st.floats(0, 10),
}
ANY_TOT = {
    "breadth": st.integers(1, 3),
    "proposals": st.integers(1, 3),
    "depth": st.integers(1, 5),
    "search": st.sampled_from(["bfs", "dfs"]),
    "threshold": st.floats(0, 1),
}
ANY_RAP = {"alpha": st.floats(0, 1), "aggregate": st.sampled_from(["best", "vote"]), **ROLLOUTS}
ANY_COAT = {"beta": st.floats(0, 1000), "enough": st.floats(0, 1), **ROLLOUTS}


@pytest.mark.parametrize(
    ("search", "ranges"),
    [(tot, ANY_TOT), (rap, ANY_RAP), (coat, ANY_COAT)],
    ids=["tot", "rap", "coat"],
)
@given(
    texts=st.lists(st.lists(PIECES, max_size=8).map("".join), min_size=1, max_size=5),
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=7),
    fails_at=st.none() | st.integers(0, 4),
    lost=st.none() | st.integers(1, 9),
    data=st.data(),
)
def test_whatever_the_model_says_the_search_ends_within_its_ceiling_and_bills_all(
    search: Search,
    ranges: dict[str, st.SearchStrategy[Any]],
    texts: list[str],
    scores: list[float],
    fails_at: int | None,
    lost: int | None,
    data: st.DataObject,
) -> None:
    values = iter(scores * 1000)
    verifier = ScriptedVerifier(lambda _: next(values), fails_at=fails_at)
    error = BackendRequestError("lost", backend="steps", model="m")

    def say(begun: str, request: GenerationRequest) -> str:
        del begun, request
        return texts[len(backend.calls) % len(texts)]

    backend = StepBackend(say, fails=lambda _: error if len(backend.calls) == lost else None)
    policy = search(verifier, **data.draw(st.fixed_dictionaries({**ranges, **STEPS})))
    options = DecodingOptions(temperature=0.7, seed=3, max_answer_tokens=12)
    try:
        completion = asyncio.run(policy.run(QUESTION, backend, options))
    except BackendRequestError:
        assert backend.answers == []
        return
    assert completion.usage == reduce(add, (one.usage for one in backend.answers))
    assert completion.usage.completion_tokens <= policy.max_tokens(options)
    assert "ceiling" not in [remark.code for remark in completion.remarks]
    assert completion.is_finished or completion.finish_reason is not FinishReason.STOP
