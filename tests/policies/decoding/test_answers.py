"""Final answers: equal ones are equal texts, and different ones stay apart."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.decoding._answers import final_answer
from policies.decoding._sampling import sample_seed


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: 6", "6"),
        ("6", "6"),
        ("So 3+3.\nThe answer is $1,234.50$.", "1234.5"),
        ("The answer is (B).", "b"),
        ("Thus \\boxed{\\frac{1}{2}} holds", "1/2"),
        ("First \\boxed{1}, then \\boxed{2}.", "2"),
        ("one\ntwo  Words\n", "two words"),
        ("Answer: Paris\nI am sure.", "paris"),
        ("**Answer:** 5", "5"),
        ("**Answer**: **5**", "5"),
        ("I cannot answer this.\n7", "7"),
        ("4+38=42\n#### 42", "42"),
        ("-0.0", "0"),
        (".5", "0.5"),
        ("The limit is\n\N{INFINITY}\n---", "\N{INFINITY}"),
        ("...", ""),
        ("", ""),
        ("\\boxed{open", "\\boxed{open"),
    ],
)
def test_final_answers(text: str, answer: str) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    "texts",
    [
        ("50%", "50 %", "50\\%", "50.0 percent", "Answer: $50\\%$"),
        ("$5", "5 dollars", "\\$5.00", "USD 5", "5"),
        ("-$5", "-5 dollars", "-5"),
        ("€5", "5 €", "5 euros", "EUR 5.00"),
        ("1/2", "1 / 2", "\\frac{1}{2}", "\\dfrac12", "$\\tfrac{1}{2}$"),
        ("-\\frac{3}{4}", "-3/4"),
        ("(C)", "C", "c", "C.", "option C", "Choice (C)", "\\text{C}"),
        ("\\text{Paris}", "paris", "**Paris**", "Paris!", '"Paris"'),
        ("(1, 2)", "(1,2)", "\\left(1, 2\\right)"),
        ("1{,}000", "1,000", "1000.00", "\\(1000\\)", "[1,000]"),
        ("\N{MINUS SIGN}5", "-5"),
    ],
)
def test_equal_answers_are_equal_texts(texts: tuple[str, ...]) -> None:
    assert len({final_answer(text) for text in texts}) == 1


@pytest.mark.parametrize(
    "texts",
    [
        ("50%", "50", "0.5"),
        ("€5", "£5", "5"),
        ("1/2", "2/1", "1", "12"),
        ("2\\frac{1}{2}", "21/2", "1/2"),
        ("(1, 2)", "[1, 2]", "1, 2", "(1, 2]", "12"),
        ("5!", "5"),
        ("<5", ">5", "5"),
        (".5", "5", "-.5"),
        ("5 mW", "5 MW"),
        ("f'", "f"),
        ("x*", "x"),
        ("\\leftarrow", "\\rightarrow"),
        ("(C) Paris", "(C) London", "C"),
        ("St. Petersburg", "St. Louis"),
        ("C#", "C"),
        ("1.000", "1.000.000"),
        ("x_1", "x1", "x^1"),
        ("Maße", "Masse"),
    ],
)
def test_different_answers_stay_apart(texts: tuple[str, ...]) -> None:
    assert len({final_answer(text) for text in texts}) == len(texts)


@given(st.text(alphabet="abAB 12.*$"))
def test_marks_and_case_around_an_answer_do_not_matter(text: str) -> None:
    answer = final_answer(text)
    assert answer == answer.strip()
    # After a number upper case may be a unit's.
    shouted = text if any(map(str.isdigit, text)) else text.upper()
    assert final_answer(f"It depends.\n **({shouted})**. ") == (answer or "it depends")


@given(st.text() | st.text(alphabet="aB1,./%$€ ()[]{}\\*_'\"!<>=#-\n"))
def test_an_answer_is_its_own_answer(text: str) -> None:
    answer = final_answer(text)
    assert final_answer(answer) == answer


@given(st.integers(-(10**12), 10**12))
def test_numbers_are_equal_however_they_are_written(number: int) -> None:
    spellings = {str(number), f"{number:,}", f"{number}.0", f"The answer is {number}."}
    assert {final_answer(text) for text in spellings} == {str(number)}


WRITINGS = st.sampled_from(
    ["{}", "${}$", "**{}**", "Answer: {}", "The answer is {}.", "\\boxed{{{}}}", "({})", "\\({}\\)"]
)


@given(st.decimals(-(10**6), 10**6, places=3), st.decimals(-(10**6), 10**6, places=3), WRITINGS)
def test_only_equal_numbers_are_equal(one: object, other: object, writing: str) -> None:
    texts = [writing.format(number) for number in (one, other)]
    assert (final_answer(texts[0]) == final_answer(texts[1])) is (one == other)


@given(st.integers(0, 99), st.integers(1, 99), st.integers(0, 99), st.integers(1, 99))
def test_only_equal_fractions_are_equal(a: int, b: int, c: int, d: int) -> None:
    one, other = final_answer(f"$\\frac{{{a}}}{{{b}}}$"), final_answer(f"{c}/{d}")
    assert (one == other) is ((a, b) == (c, d))


@pytest.mark.parametrize("text", ["(" * 30_000 + ")" * 30_000, "1," * 50_000, "*" * 100_000])
def test_an_answer_without_end_is_read_at_once(text: str) -> None:
    started = time.perf_counter()
    final_answer(text)
    assert time.perf_counter() - started < 1.0


@given(st.integers(0, 2**40), st.text(), st.text(), st.integers(0, 99), st.integers(0, 99))
def test_seeds_are_small_and_repeat(seed: int, name: str, other: str, one: int, two: int) -> None:
    assert 0 <= (sample_seed(seed, name, one) or 0) < 2**31
    assert sample_seed(seed, name, one) == sample_seed(seed, name, one)
    assert sample_seed(None, other, two) is None
