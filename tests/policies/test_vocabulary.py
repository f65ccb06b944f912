"""Model sizes and task types."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import TASK_TYPES, InvalidInputError, InvalidSizeError, ModelSize, check_task_type

UNHURRIED = settings(deadline=None)


@pytest.mark.parametrize(
    ("text", "n_params"),
    [
        ("3B", 3_000_000_000),
        ("0.5b", 500_000_000),
        ("494K", 494_000),
        (" 1.7 B".replace(" B", "B"), 1_700_000_000),
        ("3000000000", 3_000_000_000),
        ("1T", 10**12),
        ("2.1m", 2_100_000),
    ],
)
def test_sizes_are_read(text: str, n_params: int) -> None:
    assert ModelSize.parse(text) == ModelSize(n_params)


@pytest.mark.parametrize(
    "text",
    ["", "B", "3X", "-3B", "0", "0B", "3 BB", "1e9", "nan", "inf", "0.0000000001B", "٣B", "3B\n4"],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidSizeError, match="is not a size"):
        ModelSize.parse(text)


@pytest.mark.parametrize("n_params", [0, -5])
def test_a_size_is_positive(n_params: int) -> None:
    with pytest.raises(InvalidSizeError):
        ModelSize(n_params)


@pytest.mark.parametrize(
    ("n_params", "text"),
    [
        (3_000_000_000, "3B"),
        (500_000_000, "0.5B"),
        (1_730_000, "1.73M"),
        (109_000, "109K"),
        (70_600_000_000, "70.6B"),
        (671_000_000_000, "671B"),
        (999_999_999_999, "1T"),
        (999_600, "1M"),
        (99_960_000, "0.1B"),
        (999, "999"),
        (1, "1"),
    ],
)
def test_sizes_are_written_the_usual_way(n_params: int, text: str) -> None:
    assert str(ModelSize(n_params)) == text


@UNHURRIED
@given(st.integers(1, 10**15))
def test_a_written_size_is_read_back_to_three_digits(n_params: int) -> None:
    again = ModelSize.parse(str(ModelSize(n_params)))
    assert again.n_params == pytest.approx(n_params, rel=0.006)


@UNHURRIED
@given(st.integers(1, 10**15))
def test_a_size_read_back_is_written_the_same(n_params: int) -> None:
    text = str(ModelSize(n_params))
    assert str(ModelSize.parse(text)) == text


@UNHURRIED
@given(st.text())
def test_any_text_is_a_size_or_an_invalid_size(text: str) -> None:
    with contextlib.suppress(InvalidSizeError):
        assert ModelSize.parse(text).n_params > 0


@UNHURRIED
@given(st.integers(1, 10**13), st.integers(1, 10**13))
def test_sizes_are_ordered(one: int, other: int) -> None:
    assert (ModelSize(one) < ModelSize(other)) == (one < other)


@pytest.mark.parametrize("name", [*TASK_TYPES, "legal-mc", "a", "x1-y2-z3"])
def test_task_types_of_users_are_names(name: str) -> None:
    assert check_task_type(name) == name


@pytest.mark.parametrize("name", ["", "Math", "math_oe", "math--oe", "-math", "math-", "a b"])
def test_what_is_no_name_is_no_task_type(name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_task_type(name)
    assert caught.value.code == "invalid-task-type"
