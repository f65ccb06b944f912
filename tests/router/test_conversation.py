"""Conversations: the last user turn is routed like a text, the rest is paid for."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import (
    Attachment,
    Capability,
    CapabilityError,
    InvalidInputError,
    Message,
    Role,
)
from policies.backends.fake import FakeBackend
from router import Objective, Router

SUM = "Compute, left to right: 3+4*5-1*2+7*3"
IMAGE = Attachment("image", "https://a/b.png")
CHEAP = Objective.trade(1e-4)
anything = st.text(st.characters(codec=None), max_size=60)


def conversation(*texts: str) -> list[Message]:
    told: list[Role] = ["user", "assistant"]
    return [Message(told[place % 2], text) for place, text in enumerate(texts)]


class Sees(FakeBackend):
    """A fake that takes images, and claims that it does."""

    def __init__(self) -> None:
        super().__init__(
            lambda request: "a cat",
            model="toy",
            capabilities=frozenset(Capability) - {Capability.LOGIT_BIAS},
        )


@given(text=anything)
def test_a_text_and_the_same_text_as_a_conversation_get_the_same_decision(
    router: Router, text: str
) -> None:
    alone, turn = router.decide(text), router.decide([Message("user", text)])
    (batched,) = router.decide_many([text])
    assert alone.candidates == turn.candidates == batched.candidates
    assert (alone.arm, alone.reasons) == (turn.arm, turn.reasons) == (batched.arm, batched.reasons)
    assert alone.prompt == turn.prompt == text


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        (SUM.replace("left", "le\u200bft"), SUM),
        (SUM.replace("right", "ri\u00adg\x00ht"), SUM),
        ("Re\u0301sume\u0301 of Ada?", "R\u00e9sum\u00e9 of Ada?"),
    ],
)
def test_what_nobody_sees_changes_no_words_and_hardly_a_probability(
    router: Router, written: str, plain: str
) -> None:
    """Only the length differs, because it is paid for."""
    seen, hidden = router.decide(plain), router.decide(written)
    for first, second in zip(seen.candidates, hidden.candidates, strict=True):
        assert second.p == pytest.approx(first.p, abs=0.15)
    assert hidden.task_posterior == seen.task_posterior


def test_the_last_user_turn_is_routed_and_the_others_are_paid_for(router: Router) -> None:
    turns = [Message("system", "é" * 500), *conversation("first", "yes?", SUM)]
    whole = router.decide([*turns, Message("assistant", "So")], objective=CHEAP)
    alone = router.decide(SUM, objective=CHEAP)
    assert whole.prompt == SUM
    for first, second in zip(alone.candidates, whole.candidates, strict=True):
        assert (second.p, second.tokens) == (first.p, first.tokens)
        # 1,011 more bytes to be read, a token each in the small world; 2e6 FLOPs a token.
        assert second.flops is not None
        assert first.flops is not None
        assert second.flops - first.flops == pytest.approx(1011 * 2e6, rel=0.1)


@pytest.mark.parametrize("turns", [[], [Message("system", "x")], [Message("assistant", "x")]])
def test_a_conversation_without_a_user_is_refused(router: Router, turns: Sequence[Message]) -> None:
    with pytest.raises(InvalidInputError, match="no user turn"):
        router.decide(turns)


async def test_attachments_reach_a_model_that_takes_them(router: Router) -> None:
    backend = Sees()
    turns = [Message("user", SUM, (IMAGE,))]
    answer = await router.bind({"toy": backend}).acomplete(turns, objective=CHEAP)
    assert answer.text == "a cat"
    assert backend.calls[0].messages[0].attachments == (IMAGE,)
    # They are no part of what is routed on.
    assert answer.decision.candidates == router.decide(SUM, objective=CHEAP).candidates


@pytest.mark.parametrize("is_earlier", [False, True])
async def test_attachments_are_refused_before_a_model_that_takes_none_is_asked(
    router: Router, *, is_earlier: bool
) -> None:
    backend = FakeBackend(lambda request: "a cat", model="toy")
    turns = [Message("user", "This.", (IMAGE,)), Message("user", SUM)]
    turns = turns if is_earlier else [Message("user", SUM, (IMAGE,))]
    with pytest.raises(CapabilityError, match="attachments"):
        await router.bind({"toy": backend}).acomplete(turns, objective=CHEAP)
    assert backend.calls == []
