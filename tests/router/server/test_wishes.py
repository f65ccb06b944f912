"""What requests want: names, fields, headers, and which of them wins."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import InvalidInputError
from router import Arm, Objective
from router.server._problems import ProblemError
from router.server._wishes import EFFORTS, HEADERS, Wish, Wishes

ARMS = [
    Arm.parse("big", "direct"),
    Arm.parse("big", "reasoning@256"),
    Arm.parse("big", "reasoning@max"),
    Arm.parse("small", "direct"),
    Arm.parse("small", "sc(n=3)/reasoning@128"),
]
TIERS = {name: Objective.trade(x) for name, x in (("cheap", 1.0), ("balanced", 0.5), ("best", 0.0))}


def read(name: str, body: dict[str, Any] | None = None, **headers: str) -> Wish:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Wishes(ARMS, TIERS, {"gpt-4o": "thinkroute:cheap"}).read(name, body or {}, given)


def test_the_routers_own_name_leaves_everything_to_it() -> None:
    assert read("thinkroute") == Wish()


@pytest.mark.parametrize("tier", TIERS)
def test_a_tier_is_an_objective(tier: str) -> None:
    assert read(f"thinkroute:{tier}") == Wish(objective=TIERS[tier])


def test_a_model_is_routed_among_its_own_arms() -> None:
    assert read("small").among == {"small:direct", "small:sc(n=3)/reasoning@128"}


@pytest.mark.parametrize("name", ["big:reasoning@256", "reasoning@256"])
def test_an_arm_is_taken_as_it_is(name: str) -> None:
    wish = read(name)
    assert wish.among == {"big:reasoning@256"}
    assert wish.is_exact


@pytest.mark.parametrize("name", ["nope", "direct", "thinkroute:dear", "big:cot", "Thinkroute"])
def test_other_names_are_not_found(name: str) -> None:
    with pytest.raises(ProblemError) as raised:
        read(name)
    assert (raised.value.status, raised.value.code) == (404, "model_not_found")


def test_an_alias_stands_for_its_name() -> None:
    assert read("gpt-4o") == read("thinkroute:cheap")
    with pytest.raises(InvalidInputError, match="which is no model here"):
        Wishes(ARMS, TIERS, {"a": "b"})


def test_every_name_that_is_listed_can_be_asked() -> None:
    wishes = Wishes(ARMS, TIERS, {"gpt-4o": "thinkroute"})
    for name in wishes.names():
        wishes.read(name, {}, {})
    assert len(wishes.names()) == len(set(wishes.names()))


@pytest.mark.parametrize(
    ("fields", "arms"),
    [
        ({"mode": "ift"}, {"big:direct", "small:direct"}),
        (
            {"mode": "reasoning"},
            {"big:reasoning@256", "big:reasoning@max", "small:sc(n=3)/reasoning@128"},
        ),
        ({"budget": 200}, {"big:direct", "small:direct", "small:sc(n=3)/reasoning@128"}),
        ({"budget": 0}, {"big:direct", "small:direct"}),
        (
            {"budget": "256", "mode": "reasoning"},
            {"big:reasoning@256", "small:sc(n=3)/reasoning@128"},
        ),
        ({"budget": "max"}, {arm.name for arm in ARMS}),
        ({"mode": "auto"}, None),
    ],
)
def test_mode_and_budget_leave_the_arms_that_keep_them(
    fields: dict[str, Any], arms: set[str] | None
) -> None:
    assert read("thinkroute", {"thinkroute": fields}).among == arms
    headers = {f"x-thinkroute-{name}": str(value) for name, value in fields.items()}
    assert Wishes(ARMS, TIERS).read("thinkroute", {}, headers).among == arms


@pytest.mark.parametrize("effort", EFFORTS)
def test_an_effort_is_a_tier_or_no_thought(effort: str) -> None:
    wish = read("thinkroute", {"reasoning_effort": effort})
    if effort == "none":
        assert wish.among == {"big:direct", "small:direct"}
    else:
        assert wish.objective == TIERS[EFFORTS[effort]]


def test_the_more_specific_word_wins() -> None:
    body = {"reasoning_effort": "high", "thinkroute": {"objective": "balanced"}}
    assert read("thinkroute:cheap", body).objective == TIERS["balanced"]
    header = {"x_thinkroute_objective": "best"}
    assert read("thinkroute:cheap", body, **header).objective == TIERS["best"]
    assert read("thinkroute:cheap", {"reasoning_effort": "high"}).objective == TIERS["best"]
    thinks = {"reasoning_effort": "none", "thinkroute": {"mode": "reasoning"}}
    assert "big:direct" not in (read("thinkroute", thinks).among or ())


def test_an_objective_may_be_spelled_out() -> None:
    body = {"thinkroute": {"objective": {"target_accuracy": 0.9}}}
    assert read("thinkroute", body).objective == Objective.at_least(0.9)


def test_an_arm_by_name_keeps_its_mode_whatever_the_effort() -> None:
    assert read("big:direct", {"reasoning_effort": "high"}).among == {"big:direct"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"thinkroute": {"mode": "fast"}}, "mode is 'fast', expected auto, ift, reasoning"),
        ({"thinkroute": {"budget": -1}}, "budget is -1, expected tokens"),
        ({"thinkroute": {"budget": True}}, "budget is True"),
        ({"thinkroute": {"objective": "dear"}}, "objective is 'dear'"),
        ({"thinkroute": {"objective": {"lambda": 1}}}, "has no field 'lambda'"),
        ({"thinkroute": {"explain": "maybe"}}, "explain is 'maybe'"),
        ({"thinkroute": {"bugdet": 5}}, "has no field 'bugdet'"),
        ({"thinkroute": 3}, "thinkroute is 3, expected an object"),
        ({"reasoning_effort": "huge"}, "reasoning_effort is 'huge', expected one of none"),
        ({"thinkroute": {"mode": "reasoning", "budget": 0}}, "no arm has mode=reasoning"),
        ({"thinkroute": {"task": 7}}, "task is 7"),
    ],
)
def test_what_cannot_be_wished_for_is_named(body: dict[str, Any], said: str) -> None:
    with pytest.raises(ProblemError) as raised:
        read("thinkroute", body)
    assert raised.value.status == 400
    assert said in raised.value.message


@given(
    name=st.sampled_from(["thinkroute", "big", "small", "big:direct", "thinkroute:best"]),
    fields=st.dictionaries(st.sampled_from(sorted(HEADERS.values())), st.text(max_size=8)),
    effort=st.none() | st.sampled_from(sorted(EFFORTS)) | st.integers(),
)
def test_any_fields_give_a_wish_or_one_clear_line(
    name: str, fields: dict[str, str], effort: object
) -> None:
    names = {arm.name for arm in ARMS}
    wish, problem = Wish(), None
    try:
        wish = read(name, {"thinkroute": fields, "reasoning_effort": effort})
    except ProblemError as error:
        problem = error
    if problem is not None:
        assert problem.status == 400
        assert "\n" not in problem.message
    assert wish.among is None or (wish.among and wish.among <= names)
