"""Traffic as people write it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.cost import Traffic
from policies import InvalidInputError, ThinkrouteError


@pytest.mark.parametrize(
    ("text", "per_day", "days"),
    [
        ("10000", 10_000, 365),
        ("10,000", 10_000, 365),
        ("10k", 10_000, 365),
        ("10k/day", 10_000, 365),
        ("2.5M per day", 2_500_000, 365),
        ("1e6 queries/day", 1_000_000, 365),
        ("3 qps", 259_200, 365),
        ("3/s", 259_200, 365),
        ("100/min", 144_000, 365),
        ("500 requests per hour", 12_000, 365),
        ("700 a week", 100, 365),
        ("10k/day for 90 days", 10_000, 90),
        ("10k for 2 weeks", 10_000, 14),
        ("1 per day for 1 year", 1, 365),
    ],
)
def test_the_usual_spellings_are_read(text: str, per_day: float, days: float) -> None:
    traffic = Traffic.parse(text)
    assert traffic.queries_per_day == pytest.approx(per_day)
    assert traffic.days == pytest.approx(days)
    assert traffic.n_queries == pytest.approx(per_day * days)


@given(per_day=st.floats(1e-3, 1e12), days=st.floats(0.01, 36_500))
def test_traffic_is_read_back_as_it_was(per_day: float, days: float) -> None:
    traffic = Traffic(per_day, days)
    assert Traffic.parse(str(traffic)) == traffic


@given(text=st.text(max_size=40) | st.from_regex(r"[0-9.]{1,5}[km]?( ?(/|per )[a-z]{1,6})?"))
def test_any_text_is_read_or_refused_on_purpose(text: str) -> None:
    try:
        traffic = Traffic.parse(text)
    except ThinkrouteError:
        return
    assert traffic.queries_per_day > 0
    assert math.isfinite(traffic.n_queries)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "nan",
        "inf",
        "1e13",
        "a lot",
        "10k/fortnight",
        "10k for x days",
        "10k for 0 days",
        "10k for 1e9 years",
        "10k/day for $5 days",
        "$5/day",
        "10 per",
        "10//day",
        "1e999",
    ],
)
def test_what_is_no_traffic_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"10k/day|such as 365"):
        Traffic.parse(text)
