"""Pocket questions: endless, the same everywhere, right, and never seen in training."""

import random
import re
from collections.abc import Callable
from itertools import islice

import pytest

from calibration import load_tasks
from calibration.pocket.questions import (
    LEVELS,
    POCKET_TASK_TYPES,
    PocketQuestion,
    PocketTaskType,
    Split,
    draw_question,
    split_of,
    stream_questions,
    world,
)
from calibration.pocket.teacher import write_answer, write_trace

EVERY_TYPE = pytest.mark.parametrize("task_type", POCKET_TASK_TYPES)
SPLITS: tuple[Split, ...] = ("train", "heldout")
OPTION = re.compile(r" ([A-D]): ?(\w+)")


def draw(
    task_type: PocketTaskType,
    n_questions: int,
    *,
    seed: int = 0,
    split: Split = "heldout",
    level: int | None = None,
) -> list[PocketQuestion]:
    return list(
        islice(stream_questions(task_type, seed=seed, split=split, level=level), n_questions)
    )


def work_out(question: PocketQuestion) -> str:
    """Answer a question from its wording alone, by other means than the generator's."""
    wording = OPTION.sub("", question.prompt)
    if question.task_type.startswith("math"):
        first, *rest = re.findall(r"[-+*]?\d", wording.rpartition(": ")[2])
        value = int(first)
        for term in rest:
            operand = int(term[1:])
            value = {"+": value + operand, "-": value - operand, "*": value * operand}[term[0]]
        found = str(value)[-1] if value >= 0 else str(value % 10)
    else:
        chain = re.sub(r"^For \w+: (what is|tell me|name) the ", "", wording).rstrip("?.")
        *links, found = chain.split(" of ")
        for link in reversed(links):
            found = world()[link.removeprefix("the "), found]
    if not question.options:
        return found
    return next(letter for letter, text in OPTION.findall(question.prompt) if text == found)


@EVERY_TYPE
@pytest.mark.parametrize("split", SPLITS)
def test_the_answers_are_right(task_type: PocketTaskType, split: Split) -> None:
    for question in draw(task_type, 500, split=split):
        assert work_out(question) == question.answer, question.prompt


@EVERY_TYPE
def test_equal_seeds_give_equal_questions_for_ever(
    task_type: PocketTaskType, golden_json: Callable[[str, object], None]
) -> None:
    documents = {
        split: [
            {"prompt": q.prompt, "answer": q.answer, "level": q.level, "trace": write_trace(q)}
            for q in draw(task_type, 3, split=split)
        ]
        for split in SPLITS
    }
    golden_json(f"calibration/questions_{task_type}.json", documents)


@EVERY_TYPE
def test_other_seeds_and_levels_give_other_questions(task_type: PocketTaskType) -> None:
    prompts = {question.prompt for question in draw(task_type, 50)}
    assert draw(task_type, 50) == draw(task_type, 50)
    assert {question.prompt for question in draw(task_type, 50, seed=1)} != prompts


@EVERY_TYPE
def test_a_level_can_be_fixed_and_is_the_number_of_steps(task_type: PocketTaskType) -> None:
    for level in LEVELS[task_type]:
        for question in draw(task_type, 30, level=level):
            assert question.level == level == len(question.steps)
    assert {question.level for question in draw(task_type, 300)} == set(LEVELS[task_type])


@EVERY_TYPE
def test_no_prompt_is_in_both_splits(task_type: PocketTaskType) -> None:
    trained = {question.prompt for question in draw(task_type, 3000, split="train")}
    held_out = {question.prompt for question in draw(task_type, 3000, split="heldout")}
    assert not trained & held_out


@EVERY_TYPE
def test_a_fifth_of_the_prompts_is_held_out(task_type: PocketTaskType) -> None:
    rng = random.Random(5)
    prompts = {draw_question(rng, task_type, max(LEVELS[task_type])).prompt for _ in range(4000)}
    n_held_out = sum(split_of(prompt) == "heldout" for prompt in prompts)
    # 5 standard deviations of a share of 0.2 in 3000 or more draws.
    assert abs(n_held_out / len(prompts) - 0.2) < 0.037


@EVERY_TYPE
def test_thousands_of_distinct_questions_are_there(task_type: PocketTaskType) -> None:
    [task] = load_tasks([f"pocket-{task_type}"], limit=2000, seed=0)
    assert len({question.prompt for question in task.questions}) == 2000
    assert len({question.id for question in task.questions}) == 2000
    assert (task.task_type, task.grader) == (task_type, "pocket")


@EVERY_TYPE
def test_options_hold_the_answer_once_and_no_option_twice(task_type: PocketTaskType) -> None:
    for question in draw(task_type, 500):
        if task_type.endswith("-oe"):
            assert question.options == ()
            continue
        listed = OPTION.findall(question.prompt)
        assert [letter for letter, _ in listed] == ["A", "B", "C", "D"]
        assert tuple(text for _, text in listed) == question.options
        assert len(set(question.options)) == 4
        assert question.options["ABCD".index(question.answer)] == question.steps[-1].result


@pytest.mark.parametrize("task_type", ["math-mc", "general-mc"])
def test_no_letter_is_right_more_often_than_another(task_type: PocketTaskType) -> None:
    answers = [question.answer for question in draw(task_type, 2000)]
    # 500 of 2000 expected; 5 standard deviations are 97.
    assert all(abs(answers.count(letter) - 500) < 97 for letter in "ABCD")


@EVERY_TYPE
def test_the_trace_goes_through_every_step_and_ends_in_the_answer(
    task_type: PocketTaskType,
) -> None:
    for question in draw(task_type, 300):
        rest = trace = write_trace(question)
        for step in question.steps:
            _, found, rest = rest.partition(step.text)
            assert found, trace
            assert step.result in rest, trace
        last_words = re.findall(r"\w+", trace)[-2:]
        if question.options:
            assert set(last_words) == {question.answer, question.steps[-1].result}, trace
        else:
            assert last_words[-1] == question.answer, trace
        assert "\n" not in trace
        assert write_answer(question) == f"Answer: {question.answer}"


def test_every_fact_of_the_world_is_there_once() -> None:
    people = {person for _, person in world()}
    relations = {"friend", "boss", "teacher", "neighbor"}
    assert len(world()) == len(people) * 8
    for relation in relations:
        # A permutation: walking never runs into one person more often than into another.
        assert {world()[relation, person] for person in people} == people


def test_the_tokenizer_gives_every_text_back() -> None:
    pytest.importorskip("transformers", reason="the tokenizer is built by the extra `train`")
    from calibration.pocket.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    for task_type in POCKET_TASK_TYPES:
        for question in draw(task_type, 50):
            for text in (question.prompt, write_trace(question), write_answer(question)):
                assert tokenizer.decode(tokenizer.encode(text)) == text
    for text in ("größer 🙂\n\n\ttab", "<think>\nSo 1.\n</think>\n\nAnswer: 1<|im_end|>"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    for text in ("<think>", "</think>", "<|im_start|>", "<|im_end|>", "7"):
        assert len(tokenizer.encode(text)) == 1
