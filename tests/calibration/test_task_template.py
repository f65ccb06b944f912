"""Prompt templates: columns in braces, everything else as it stands."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.tasks import PromptTemplate
from policies import InvalidInputError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


def escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


@given(before=TEXT, name=NAME, after=TEXT, value=TEXT)
def test_literal_text_and_values_come_out_unchanged(
    before: str, name: str, after: str, value: str
) -> None:
    template = PromptTemplate.parse(f"{escaped(before)}{{{name}}}{escaped(after)}")
    assert template.columns == (name,)
    assert template.render({name: value}) == before + value + after


@given(st.lists(st.tuples(TEXT, NAME), min_size=1, max_size=5), TEXT)
def test_several_columns_are_put_in_their_places(pieces: list[tuple[str, str]], tail: str) -> None:
    text = "".join(f"{escaped(literal)}{{{name}}}" for literal, name in pieces) + escaped(tail)
    template = PromptTemplate.parse(text)
    values = {name: f"<{name}{{x}}>" for _, name in pieces}
    expected = "".join(literal + values[name] for literal, name in pieces) + tail
    assert template.render(values) == expected
    assert set(template.columns) == set(values)
    assert len(template.columns) == len(values)


@given(st.text(st.sampled_from("{}ab \\1"), max_size=20))
def test_any_text_is_a_template_or_is_refused(text: str) -> None:
    try:
        template = PromptTemplate.parse(text)
    except InvalidInputError:
        return
    assert template.columns
    assert len(template.render(dict.fromkeys(template.columns, ""))) < len(text)


def test_an_empty_pair_of_braces_stands_for_itself() -> None:
    template = PromptTemplate.parse(r"{q} Put it inside \boxed{}.")
    assert template.render({"q": "2+2?"}) == r"2+2? Put it inside \boxed{}."
    doubled = PromptTemplate.parse(r"{q} Put it inside \boxed{{}}.")
    assert doubled == template


def test_column_names_may_hold_blanks_dots_and_other_letters() -> None:
    template = PromptTemplate.parse("{Frage 1}{a.b}{größe-x}")
    assert template.columns == ("Frage 1", "a.b", "größe-x")


@pytest.mark.parametrize(
    ("text", "stray", "place"),
    [("{q", "{", 1), ("q}", "}", 2), ("{a} {1}", "{", 5), ("{a} { b}", "{", 5), ("{a}}}}", "}", 6)],
)
def test_a_brace_without_a_partner_is_located(text: str, stray: str, place: int) -> None:
    message = re.escape(f"stray {stray!r} at character {place}")
    with pytest.raises(InvalidInputError, match=message) as caught:
        PromptTemplate.parse(text)
    assert caught.value.code == "invalid-template"
    assert "{{" in caught.value.hint


@pytest.mark.parametrize("text", ["", "what?", "{{q}}", "{}"])
def test_a_template_without_a_column_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="names no column"):
        PromptTemplate.parse(text)
