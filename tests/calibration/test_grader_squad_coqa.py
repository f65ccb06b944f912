"""Graders of free text: the published measures, and where the answer is read from."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration import Outcome
from calibration.graders import get_grader, judge
from calibration.graders.squad import normalise, token_f1
from policies import Completion, FinishReason, Usage

WORDS = st.lists(st.sampled_from(["red", "house", "the", "a", "blue", "1990", "of"]), max_size=6)


def gold(*texts: str) -> str:
    return json.dumps(texts)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Broncos", "broncos"),
        ("  an  apple, a pear! ", "apple pear"),
        ("Theatre", "theatre"),
        ("U.S.", "us"),
        ("twenty-one", "twentyone"),
        ("$1,000", "1000"),
        ("the a an", ""),
        ("“Paris”", "“paris”"),  # Only ASCII punctuation, as published.
        ("八百人", "八百人"),
    ],
)
def test_normalisation_is_the_published_one(text: str, normal: str) -> None:
    assert normalise(text) == normal


@pytest.mark.parametrize(
    ("said", "wanted", "f1"),
    [
        ("denver broncos", "denver broncos", 1.0),
        ("broncos", "denver broncos", 2 / 3),
        ("denver denver", "denver broncos", 0.5),
        ("in late 1990", "1990", 0.5),
        ("panthers", "broncos", 0.0),
        ("", "", 1.0),
        ("", "broncos", 0.0),
        ("broncos", "", 0.0),
    ],
)
def test_f1_counts_words_as_often_as_they_occur(said: str, wanted: str, f1: float) -> None:
    assert token_f1(said, wanted) == pytest.approx(f1)


@given(said=WORDS, wanted=WORDS)
def test_f1_is_the_harmonic_mean_of_precision_and_recall(
    said: Sequence[str], wanted: Sequence[str]
) -> None:
    value = token_f1(" ".join(said), " ".join(wanted))
    assert 0.0 <= value <= 1.0
    assert value == token_f1(" ".join(wanted), " ".join(said))
    assert (value == 1.0) is (sorted(said) == sorted(wanted))
    left = list(wanted)
    shared = 0
    for word in said:
        if word in left:
            left.remove(word)
            shared += 1
    if shared:
        precision, recall = shared / len(said), shared / len(wanted)
        assert value == pytest.approx(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize(
    ("answer", "golds", "is_correct", "score"),
    [
        ("Answer: Denver Broncos", ["Denver Broncos"], True, 1.0),
        ("The answer is the Denver Broncos.", ["Denver Broncos"], True, 1.0),
        (r"\boxed{\text{Denver Broncos}}", ["Denver Broncos"], True, 1.0),
        ("Denver Broncos", ["Broncos", "Denver Broncos"], True, 1.0),
        ("Answer: Broncos", ["Denver Broncos", "the Denver team"], False, 2 / 3),
        ("Answer: Panthers", ["Denver Broncos"], False, 0.0),
        ("They were strong.\nDenver Broncos won.", ["Denver Broncos"], False, 0.0),
        ("word " * 100, ["word"], False, 0.0),
        ("", ["word"], False, 0.0),
        ("八百人", ["八百人"], True, 1.0),
    ],
)
def test_squad_takes_the_best_of_the_accepted_answers(
    answer: str, golds: list[str], is_correct: bool, score: float
) -> None:
    grade = get_grader("squad").grade(answer, gold(*golds))
    assert grade.is_correct is is_correct
    assert grade.score == pytest.approx(score)


def test_squad_agrees_with_the_evaluation_script_where_both_texts_normalise_to_nothing() -> None:
    grade = get_grader("squad").grade("Answer: the", gold("a", "Paris"))
    assert (grade.is_correct, grade.score) == (True, 1.0)


@pytest.mark.parametrize(
    ("answer", "golds", "score"),
    [
        ("yes", ["yes"], 1.0),
        ("yes", ["Yes, she did."], 0.5),
        # Best with the others, one reference left out at a time: (0 + 1) / 2.
        ("unknown", ["unknown", "yes"], 0.5),
        # (1 + 1 + 0) / 3 would be wrong: the answer is twice among the references.
        ("white", ["white", "white", "grey"], 1.0),
        ("white", ["white", "grey", "black", "red"], 0.75),
        # F1 with the references 2/3, 1, 0: left out in turn 1, 2/3, 1.
        ("white cat", ["cat", "a white cat", "dog"], (1 + 2 / 3 + 1) / 3),
        ("dog", ["cat", "a white cat"], 0.0),
    ],
)
def test_coqa_leaves_one_reference_out_at_a_time(
    answer: str, golds: list[str], score: float
) -> None:
    grade = get_grader("coqa").grade(f"Answer: {answer}", gold(*golds))
    assert grade.score == pytest.approx(score)
    assert grade.is_correct is (score >= 0.5)


@given(answer=WORDS, golds=st.lists(WORDS.map(" ".join), min_size=2, max_size=5))
def test_coqa_equals_the_definition(answer: list[str], golds: list[str]) -> None:
    said = " ".join(answer)
    scores = [token_f1(normalise(said), normalise(text)) for text in golds]
    left_out = [max(scores[:i] + scores[i + 1 :]) for i in range(len(scores))]
    grade = get_grader("coqa").grade(f"\\boxed{{{said}}}", gold(*golds))
    assert grade.score == pytest.approx(sum(left_out) / len(left_out))


@given(golds=st.lists(st.sampled_from(["red", "blue house", "1990"]), min_size=1, max_size=5))
def test_an_answer_that_equals_a_reference_is_always_correct(golds: list[str]) -> None:
    for name in ("squad", "coqa"):
        assert get_grader(name).grade(f"Answer: {golds[0]}", gold(*golds)).is_correct


@pytest.mark.parametrize("name", ["squad", "coqa"])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Paris", "JSON list"),
        ('"Paris"', "JSON list"),
        ('{"text": "Paris"}', "JSON list"),
        ("[1990]", "JSON list"),
        ('["Paris", 1990]', "JSON list"),
        ("[" * 100_000, "JSON list"),
        ("[]", "no accepted answer"),
        ('["the", "!"]', "no accepted answer"),
        ('["Paris"]', None),
        ('["", "Paris"]', None),
    ],
)
def test_gold_answers_that_cannot_match_are_named(
    name: str, text: str, problem: str | None
) -> None:
    said = get_grader(name).check_gold(text)
    assert said is None if problem is None else problem in str(said)
    if problem is not None:
        assert not get_grader(name).grade("Answer: Paris", text).is_correct


def test_partial_credit_reaches_the_judgement() -> None:
    answer = Completion("Answer: Broncos", FinishReason.STOP, Usage(1, 1), 0.0)
    judgement = judge(answer, gold("Denver Broncos"), get_grader("squad"))
    assert (judgement.outcome, judgement.extracted) == (Outcome.WRONG, "Broncos")
    assert judgement.score == pytest.approx(2 / 3)
