"""What a careful person would read in an answer, grader by grader."""

from fractions import Fraction

import pytest

from calibration.graders import find_anchored_answer, get_grader, parse_number


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{7} or \boxed{8}", "7 or 8"),
        (r"$\boxed{2}$ and $\boxed{3}$", "2 and 3"),
        (r"\boxed{A}, \boxed{B} or \boxed{C}", "A, B or C"),
        (r"\boxed{7}, \boxed{7}", "7"),
        (r"\boxed{7}, so finally \boxed{8}", "8"),
        (r"x is \boxed{2} and y is \boxed{3}", "3"),
        ("Die Antwort ist 7.", "7"),
        ("La respuesta es: 7", "7"),
        ("La réponse est 7.", "7"),
        ("Die Antwort ist nicht 7,\nsondern mehr", None),
        ("So\nthe answer to the question is 7.", "7"),
        ("So\nthe answer would be 7.", "7"),
        ("She did not,\nso the answer is no.", "no"),
        ("Entonces\nla respuesta es no.", "no"),
        ("The answer to this requires work:\nit is 7", None),
    ],
)
def test_joined_boxes_and_other_languages_are_read_as_they_are_meant(
    text: str, answer: str | None
) -> None:
    assert find_anchored_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", 1000),
        ("1.5E3", 1500),
        ("-2.5e-1", Fraction(-1, 4)),
        (r"1.5 \times 10^3", 1500),
        (r"1.5 \cdot 10^{-3}", Fraction(3, 2000)),
        ("6 x 10^2", 600),
        ("6 * 10**2", 600),
        ("10^3", 1000),
        ("-10^{3}", -1000),
        ("3\u00d710²³", 3 * 10**23),
        ("3\u00d710⁻²", Fraction(3, 100)),
        ("½", Fraction(1, 2)),
        ("7½", Fraction(15, 2)),
        ("-2¾", Fraction(-11, 4)),
        ("6'", 6),
        ('6"', 6),
    ],
)
def test_scientific_notation_and_typeset_fractions_are_numbers(
    text: str, value: int | Fraction
) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text", ["1e", "e3", "1e3e3", "1e9999", "5 6e3", "1,23e4", "2^3", "10^", "10²x", "7²", "7½5"]
)
def test_what_only_looks_like_scientific_notation_is_no_number(text: str) -> None:
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("answer", "gold", "is_correct"),
    [
        ("Answer: 7k", "7000", True),
        ("Answer: 7k", "7", False),
        ("Answer: 7M", "7000000", True),
        ("Answer: 7M", "7", False),
        ("Answer: 7 m", "7", True),
        ("Answer: 7 dozen", "7", False),
        ("Answer: 7 dozen eggs", "84", True),
        ("Answer: 18²", "18", False),
        ("Answer: 18 cm²", "18", True),
        ("Answer: 7½", "7", False),
        ("Answer: 7 + x", "7", False),
        ("Answer: 7 - y", "7", False),
        ("Answer: 7x", "7", False),
        ("Answer: 7π", "7", False),
        ("Answer: 7i", "7", False),
        (r"Answer: 7 \pi", "7", False),
        (r"Answer: 7 \times y", "7", False),
        ("Answer: 7 < x", "7", False),
        ("Answer: 7 ± 1", "7", False),
        ("Answer: 7 isn't right", "7", False),
        ("Answer: 7 times as many", "7", True),
        ("Answer: 7 a day", "7", True),
        (r"\boxed{7} or \boxed{8}", "8", False),
        ("The answer is 3 + 4 = 7.", "7", True),
        ("The answer is 3 + 4 = 7.", "3", False),
        (r"\boxed{60 \times 2 = \$120}", "120", True),
        ("Answer: total cost = $120", "120", True),
        ("Answer: x = 3 + 4 = 7", "7", True),
        ("Answer: 18 = 20", "20", False),
        ("Answer: 18 = 20", "18", False),
        ("Answer: 7 or x = 8", "8", False),
        ("Answer: less than or x = 8", "8", False),
        ("Answer: not x = 8", "8", False),
        ("Answer: USD 7", "7", True),
        ("Answer: US$7", "7", True),
        ("Answer: (7)", "7", True),
        ("Answer: (7)(8)", "7", False),
        (r"\boxed{{7}}", "7", True),
        (r"\boxed{\displaystyle 7}", "7", True),
        ("Answer: 1.5e3 dollars", "1", False),
        ("Answer: 7½ cups", "15/2", True),
        ("Answer: 7 1/2 cups", "15/2", True),
        ("Answer: 7 1/2 cups", "7", False),
    ],
)
def test_number_takes_no_term_scale_or_hedge_for_the_number_before_it(
    answer: str, gold: str, is_correct: bool
) -> None:
    assert get_grader("number").grade(answer, gold).is_correct is is_correct


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("The answer is B because (A) is wrong and (C) too", "B"),
        ("The correct option is B", "B"),
        ("答案是B。", "B"),
        ("答案\uff1a\uff08B\uff09", "B"),
        ("Answer: \uff22", "B"),
        ("Final answer: [[B]]", "B"),
        ('Answer: "B"', "B"),
        ("Answer: B!", "B"),
        ("Answer: A) 5, not B) 6", "A"),
        ("Answer: B) A", "B"),
    ],
)
def test_choice_reads_letters_in_other_brackets_quotes_and_scripts(
    answer: str, letter: str
) -> None:
    grade = get_grader("choice").grade(answer, letter)
    assert (grade.is_correct, grade.extracted) == (True, letter)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (r"\boxed{A B}", "A"),
        (r"\boxed{A} or \boxed{B}", "B"),
        (r"\boxed{A}, \boxed{B}", "B"),
        ("A) x B) y", "A"),
        ("(A) x (B) y (C) z", "A"),
        ("Answer: A) x or C) y", "A"),
    ],
)
def test_choice_takes_no_list_of_options_for_an_answer(answer: str, gold: str) -> None:
    assert not get_grader("choice").grade(answer, gold).is_correct


@pytest.mark.parametrize(
    ("answer", "gold", "is_correct"),
    [
        ("Answer: __init__", "__init__", True),
        ("Answer: `__init__`", "__init__", True),
        ('Answer: "Paris"', "Paris", True),
        ("Answer: \u201cParis\u201d", "Paris", True),
        ('Answer: "Paris" or "Rome"', "Paris", False),
        ("Answer: **", "*", False),
        ("Answer:", "**", False),
    ],
)
def test_exact_reads_over_quotes_and_what_looks_like_emphasis(
    answer: str, gold: str, is_correct: bool
) -> None:
    assert get_grader("exact").grade(answer, gold).is_correct is is_correct


@pytest.mark.parametrize(
    ("answer", "gold", "is_correct"),
    [
        (r"0.\overline{3}", r"\frac{1}{3}", True),
        (r"-1.2\overline{45}", r"-\frac{137}{110}", True),
        (r"0.\overline{3}", "0.3", False),
        ("1.5e3", "1500", True),
        ("½", "0.5", True),
        ("6π cm²", r"6\pi", True),
    ],
)
def test_math_reads_repeating_decimals_and_units_behind_pi(
    answer: str, gold: str, is_correct: bool
) -> None:
    pytest.importorskip("math_verify", reason="the extra `math` is not installed")
    grade = get_grader("math").grade(rf"\boxed{{{answer}}}", gold)
    assert (grade.is_correct, grade.problem) == (is_correct, None)


def test_math_reads_two_boxes_as_a_hedge_or_as_a_set() -> None:
    pytest.importorskip("math_verify", reason="the extra `math` is not installed")
    grader = get_grader("math")
    assert not grader.grade(r"\boxed{2} or \boxed{3}", "3").is_correct
    assert grader.grade(r"\boxed{2} and \boxed{3}", "2,3").is_correct
