"""Conversations: what is routed on, and how one is found again."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Mode
from router.server._conversation import read_conversation
from router.server._stickiness import Conversations


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def test_the_last_user_turn_is_routed_on_and_the_others_cost() -> None:
    read = read_conversation(
        [
            turn("system", "Be brief."),
            turn("user", "Hi"),
            turn("assistant", "Hé"),
            turn("user", "Why?"),
        ]
    )
    assert read.text == "Why?"
    assert read.more_bytes == len("Be brief.") + len("Hi") + len("Hé".encode())


def test_parts_are_read_for_their_text() -> None:
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {"url": "data:,"}},
        {"type": "text", "text": "this?"},
    ]
    read = read_conversation([turn("user", parts)])
    assert read.text == "What is\nthis?"
    assert read.has_parts


def test_tools_are_seen_in_calls_and_results() -> None:
    assert read_conversation([turn("user", "x"), turn("tool", "1", tool_call_id="a")]).has_tools
    calls = turn("assistant", None, tool_calls=[{"id": "a"}])
    assert read_conversation([turn("user", "x"), calls, turn("user", "y")]).has_tools
    assert not read_conversation([turn("user", "x")]).has_tools


def test_without_a_user_turn_the_last_one_counts() -> None:
    assert read_conversation([turn("system", "a"), turn("assistant", "b")]).text == "b"


TEXTS = st.text(max_size=12)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6), TEXTS, TEXTS)
def test_a_later_turn_knows_the_names_of_all_earlier_ones(
    pairs: list[tuple[str, str]], system: str, caller: str
) -> None:
    messages = [turn("system", system)]
    keys: list[str] = []
    for asked, answered in pairs:
        messages.append(turn("user", asked))
        read = read_conversation(messages, caller=caller)
        assert list(read.earlier) == list(reversed(keys))
        keys.append(read.key)
        # Clients send thoughts back or not.
        messages.append(turn("assistant", answered, reasoning_content="hm"))
    assert len(set(keys)) == len(keys)
    firsts = {read_conversation(messages[:n], caller=caller).first for n in range(2, len(messages))}
    assert len(firsts) == 1


def test_two_callers_never_share_a_conversation() -> None:
    messages = [turn("user", "Hi")]
    one, other = (read_conversation(messages, caller=caller) for caller in ("a", "b"))
    assert one.key != other.key
    named = [read_conversation(messages, caller=caller, name="chat 7") for caller in ("a", "b")]
    assert named[0].key != named[1].key


def test_a_conversation_is_found_again_also_on_a_branch() -> None:
    places = Conversations()
    start = [turn("user", "Hi")]
    places.note(read_conversation(start), "m", Mode.REASONING)
    for answer in ("Hello", "Good day"):
        later = read_conversation([*start, turn("assistant", answer), turn("user", "More")])
        assert places.find(later) == ("m", Mode.REASONING)
    other = [turn("user", "Ho"), turn("assistant", "Hello"), turn("user", "More")]
    assert places.find(read_conversation(other)) is None


def test_a_name_of_the_clients_own_holds_whatever_is_said() -> None:
    places = Conversations()
    places.note(read_conversation([turn("user", "a")], name="x"), "m", Mode.IFT)
    assert places.find(read_conversation([turn("user", "b")], name="x")) == ("m", Mode.IFT)
    assert places.find(read_conversation([turn("user", "b")], name="y")) is None


def test_what_engines_have_forgotten_is_forgotten() -> None:
    now = [0.0]
    places = Conversations(most=2, ttl_s=10, clock=lambda: now[0])
    reads = [read_conversation([turn("user", text)], name=text) for text in "abc"]
    places.note(reads[0], "m", Mode.IFT)
    now[0] = 9.0
    assert places.find(reads[0]) is not None
    now[0] = 11.0
    assert places.find(reads[0]) is None
    for read in reads:
        places.note(read, "m", Mode.IFT)
    assert len(places) == 2
    assert [places.find(read) is not None for read in reads] == [False, True, True]


@pytest.mark.parametrize("n_turns", [2000])
def test_a_long_conversation_is_read_in_a_moment(n_turns: int) -> None:
    import time

    messages = [turn("user" if i % 2 == 0 else "assistant", "word " * 50) for i in range(n_turns)]
    started = time.perf_counter()
    read_conversation(messages)
    # 500 kB: milliseconds, were it not quadratic.
    assert time.perf_counter() - started < 1.0
