"""HTML that notebooks show: well-formed whatever names hold, and nothing of it runs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.html_tables import (
    MAX_ROWS,
    Entry,
    Figure,
    amount,
    bullets,
    clean,
    definitions,
    figure,
    interval,
    paragraph,
    rate,
    table,
    view,
)

from ..notebook_page import names, read_page, shown

DASH = "\N{EN DASH}"
NUMBERS = st.one_of(st.floats(), st.none())


@given(names, st.lists(names, min_size=1, max_size=3), st.lists(names, max_size=4))
def test_names_are_shown_as_they_are_and_never_run(
    caption: str, heads: list[str], values: list[str]
) -> None:
    rows = [[value] * len(heads) for value in values]
    page = read_page(view(paragraph("x"), table(f"c{caption}", heads, rows)))
    (read,) = page.tables
    assert read.captions == [clean(f"c{caption}")]
    assert read.heads == [clean(head) for head in heads]
    assert read.rows == [[shown(value)] * len(heads) for value in values]
    assert {shown(value) for value in values} <= set(page.isolated)


@given(names, names, names)
def test_lists_and_paragraphs_hold_texts_whole(one: str, other: str, title: str) -> None:
    items: list[tuple[str, Entry]] = [(one, other), (other, Figure(one, title)), (one, None)]
    page = read_page(view(paragraph(one, is_strong=True), definitions(items), bullets([other])))
    for text in (one, other):
        assert clean(text) in page.isolated


@given(names)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07name", "name"),
        ("\x1b]8;;http://a.invalid\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("\x1b]never ends", "]never ends"),
        ("a\u202eb\u2066c", "abc"),
        ("a\r\n\tb", "a b"),
        ("\ud83d", "\ufffd"),
        ("שלום, 日本語, é", "שלום, 日本語, é"),
    ],
)
def test_what_steers_is_taken_out_and_the_rest_stays(text: str, left: str) -> None:
    assert clean(text) == left


@given(NUMBERS, NUMBERS, NUMBERS, st.integers(0, 10**9))
def test_numbers_are_finite_or_a_dash(
    value: float | None, low: float | None, high: float | None, n: int
) -> None:
    found: list[Entry] = [
        figure(value),
        amount(value),
        interval(value, low, high),
        rate(value, low, high, n),
    ]
    page = read_page(table("numbers", ("a", "b", "c", "d"), [found]))
    is_known = value is not None and math.isfinite(value)
    for cell in page.tables[0].rows[0]:
        assert not any(word in cell for word in ("nan", "inf", "None"))
        assert (cell == DASH) == (not is_known)
    if is_known:
        assert page.tables[0].rows[0][3].endswith(f", n = {n:,}")


def test_an_unknown_end_of_an_interval_is_a_dash() -> None:
    assert interval(0.5, math.nan, None) == Figure(f"0.500 [{DASH}, {DASH}]")


def test_what_is_not_known_says_so_where_the_pointer_rests() -> None:
    assert f'<span title="not known">{DASH}</span>' in table("t", ("a", "b"), [("x", None)])


@pytest.mark.parametrize(
    ("n", "told"),
    [
        (0, ""),
        (MAX_ROWS, ""),
        (MAX_ROWS + 1, "and 1 more row"),
        (MAX_ROWS + 2_345, "and 2,345 more rows"),
    ],
)
def test_long_tables_end_with_how_many_rows_more_there_are(n: int, told: str) -> None:
    (read,) = read_page(table("long", ("a", "b"), ((str(i), Figure("1")) for i in range(n)))).tables
    assert len(read.rows) == min(n, MAX_ROWS)
    assert read.n_more == told


def test_numbers_stand_to_the_right_and_nothing_has_a_colour() -> None:
    page = table("t", ("name", "n"), [("x", Figure("7")), ("y", None)])
    assert page.count("text-align:right") == 3
    assert "color" not in page
    assert "background" not in page
