"""Labels of questions, their posterior, and what a caller's hint leaves of them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration import OutcomeRecord
from policies import InvalidInputError, UnknownNameError
from router import Router
from router.features.task_type import Label, label_questions, posterior_from_logits, resolve_hint

LABELS = (
    Label("arc", "general-mc"),
    Label("general-mc", "general-mc"),
    Label("gsm8k", "math-oe"),
    Label("svamp", "math-oe"),
)
TASKS = {"arc": "general-mc", "small": "general-mc", "gsm8k": "math-oe", "svamp": "math-oe"}
Records = list[OutcomeRecord]


def left(hint: str) -> list[str]:
    mask = resolve_hint(hint, LABELS, TASKS)
    return [label.name for label, is_left in zip(LABELS, mask.tolist(), strict=True) if is_left]


def test_a_task_of_its_own_leaves_one_label() -> None:
    assert left("gsm8k") == ["gsm8k"]


def test_a_small_task_leaves_the_label_of_its_types_small_tasks() -> None:
    assert left("small") == ["general-mc"]


def test_a_task_type_leaves_all_its_labels() -> None:
    assert left("math-oe") == ["gsm8k", "svamp"]
    assert left("general-mc") == ["arc", "general-mc"]


def test_a_known_task_without_a_label_leaves_its_type() -> None:
    mask = resolve_hint("gone", LABELS, TASKS | {"gone": "math-oe"})
    assert mask.tolist() == [False, False, True, True]


@pytest.mark.parametrize("hint", ["gsm9k", "math", "", "GSM8K"])
def test_an_unknown_hint_is_refused(hint: str) -> None:
    with pytest.raises(UnknownNameError):
        resolve_hint(hint, LABELS, TASKS)


def test_an_unknown_hint_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'gsm8k'"):
        resolve_hint("gsm9k", LABELS, TASKS)


def test_a_hint_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="int"):
        resolve_hint(3, LABELS, TASKS)  # pyright: ignore[reportArgumentType] - a caller's mistake


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from(["general-mc", "math-oe"])),
        min_size=1,
        max_size=200,
    )
)
def test_every_question_has_one_label_of_its_own_type(pairs: list[tuple[str, str]]) -> None:
    tasks, types = zip(*pairs, strict=True)
    labels, label_of = label_questions(tasks, types)
    assert labels == tuple(sorted(set(labels)))
    assert set(label_of.tolist()) == set(range(len(labels)))
    for (task, task_type), index in zip(pairs, label_of.tolist(), strict=True):
        own = pairs.count((task, task_type)) >= 20
        assert labels[index] == Label(task if own else task_type, task_type)


def test_of_many_tasks_the_largest_are_labels() -> None:
    tasks = [f"t{task:03}" for task in range(100) for _ in range(20 + task)]
    labels, label_of = label_questions(tasks, ["math-oe"] * len(tasks))
    assert len(labels) == 64
    assert Label("t099", "math-oe") in labels
    assert labels[label_of[0]] == Label("math-oe", "math-oe")


def test_posteriors_are_probabilities_even_for_large_logits() -> None:
    posterior = posterior_from_logits(np.array([[1000.0, 0.0], [0.0, 0.0]]))
    assert posterior.tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_a_hint_leaves_the_odds_of_what_is_left() -> None:
    logits = np.array([[1.0, 2.0, 0.5, 9.0]])
    free = posterior_from_logits(logits)[0]
    held = posterior_from_logits(logits, np.array([True, True, True, False]))[0]
    assert held[3] == 0.0
    assert held.sum() == pytest.approx(1.0)
    assert held[0] / held[1] == pytest.approx(free[0] / free[1])


def test_a_type_hint_keeps_the_texts_say_among_its_tasks(
    make_records: Callable[..., Records],
) -> None:
    """Sums whose task is told by a word; the hint names only what both have in common."""

    def renamed(record: OutcomeRecord) -> OutcomeRecord:
        is_even = int(record.question_id[1:]) % 2 == 0
        task = "invoices" if is_even else "recipes"
        word = "euro" if is_even else "spoon"
        if record.task_type != "math-oe":
            return record
        return replace(record, task=task, prompt=f"{record.prompt} {word}")

    router = Router.fit(list(map(renamed, make_records(300))))
    by_word = [
        router.predict([f"Compute, left to right: 3+4 {word}"], task="math-oe").posterior[0]
        for word in ("euro", "spoon")
    ]
    names = ("invoices", "recipes", "toy-general")
    assert [names[int(each.argmax())] for each in by_word] == ["invoices", "recipes"]
    assert all(each[2] == 0.0 for each in by_word)
    assert all(each.max() < 1.0 for each in by_word)
    certain = router.predict(["Compute, left to right: 3+4 euro"], task="recipes").posterior[0]
    assert certain.tolist() == [0.0, 1.0, 0.0]
