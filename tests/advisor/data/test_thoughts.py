"""How a reasoning text becomes what is trained on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advisor.data import read_pairs

SOUND: dict[str, Any] = {"prompt": "1+1?", "ift": "2", "reasoning": "<think>add</think>2"}
CANONICAL = "<think>\nadd\n</think>\n\n2"


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning": "<think>add</think>2"},
        {"reasoning": " <think>\nadd\n</think>\n\n2\n"},
        {"reasoning": "add</think>2"},  # the template of the server wrote the opening tag
        {"reasoning": "add", "answer": "2"},
        {"reasoning": "<think>add</think>", "answer": "2"},
        {"reasoning": "<think>add</think>2", "answer": "a gold answer, not to be trained on"},
    ],
)
def test_thought_and_answer_are_written_in_one_form(
    write_lines: Callable[..., Path], fields: dict[str, str]
):
    (pair,) = read_pairs(write_lines([SOUND | fields]))

    assert pair.reasoning == CANONICAL
    assert pair.is_tagged


def test_thought_and_answer_given_apart_are_counted(write_lines: Callable[..., Path]):
    pairs = read_pairs(
        write_lines([SOUND, SOUND | {"prompt": "b", "reasoning": "a", "answer": "2"}])
    )

    assert pairs.n_apart == 1
    assert pairs.notes[0].startswith("1 of 2 pairs is joined from a thought in 'reasoning'")


def test_a_text_without_tags_is_trained_on_as_given_and_counted(
    write_lines: Callable[..., Path],
):
    pairs = read_pairs(write_lines([SOUND | {"reasoning": "First add. So 2.\n"}]))

    (pair,) = pairs
    assert pair.reasoning == "First add. So 2.\n"
    assert not pair.is_tagged
    assert pairs.n_untagged == 1
    assert "1 of 1 reasoning texts is trained on as given" in pairs.notes[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<think>add and add and", "the thought is not closed: a cut trace"),
        ("<think>add</think>  \n", "no answer after the thought: a cut trace"),
        ("add</think>", "no answer after the thought: a cut trace"),
        ("<think> </think>2", "the thought is empty"),
        ("</think>2", "the thought is empty"),
        ("Sure. <think>add</think>2", "text before <think>"),
        ("<think>a</think>b<think>c</think>d", "expected one <think> and one </think>, found"),
        ("<think>a<think>b</think>2", "found <think> <think> </think>"),
        ("a</think>b</think>2", "found </think> </think>"),
    ],
)
def test_a_thought_without_one_answer_is_left_out_unless_asked_for(
    write_lines: Callable[..., Path], text: str, problem: str
):
    path = write_lines([SOUND, SOUND | {"prompt": "b", "reasoning": text}])

    pairs, kept = read_pairs(path), read_pairs(path, keep_cut=True)

    assert (len(pairs), pairs.n_cut, pairs.n_broken) == (1, 1, 0)
    assert pairs.cut[0].line == 2
    assert problem in pairs.cut[0].problem
    assert "left out, because the thought does not lead to one answer" in pairs.notes[0]
    assert [pair.reasoning for pair in kept] == [CANONICAL, text]
    assert kept.n_cut == 1
    assert "kept as given" in kept.notes[0]


def test_an_answer_beside_a_cut_thought_does_not_close_it(write_lines: Callable[..., Path]):
    pairs = read_pairs(
        write_lines([SOUND, SOUND | {"prompt": "b", "reasoning": "<think>ad", "answer": "2"}])
    )

    assert (len(pairs), pairs.n_cut) == (1, 1)


def test_a_direct_answer_loses_its_empty_thought(write_lines: Callable[..., Path]):
    (pair,) = read_pairs(write_lines([SOUND | {"ift": "<think>\n\n</think>\n\n2"}]))

    assert pair.ift == "2"
