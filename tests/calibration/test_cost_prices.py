"""Money: reasoning and cached tokens priced once, tiers, ceilings, price lists."""

import datetime
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from calibration.cost import (
    Price,
    PriceTier,
    cost_usd,
    litellm_price,
    load_prices,
    max_cost_usd,
)
from policies import DataFileError, InvalidInputError, UnknownNameError, Usage

DAY = datetime.date(2026, 1, 31)


def price(**changes: Any) -> Price:
    fields: dict[str, Any] = {
        "model": "m",
        "input_usd_per_million": 1.0,
        "output_usd_per_million": 4.0,
        "source": "made up",
        "date": DAY,
    }
    return Price(**(fields | changes))


PLAIN = price()
FULL = price(
    reasoning_usd_per_million=6.0,
    cached_input_usd_per_million=0.25,
    tiers=(
        PriceTier(
            above_prompt_tokens=1000,
            input_usd_per_million=2.0,
            output_usd_per_million=8.0,
            cached_input_usd_per_million=0.5,
        ),
    ),
)


def test_reasoning_tokens_are_not_added_to_the_completion_they_are_part_of() -> None:
    usage = Usage(prompt_tokens=100, completion_tokens=1000, thinking_tokens=900)
    assert cost_usd(usage, PLAIN) == pytest.approx((100 * 1 + 1000 * 4) / 1e6)
    assert cost_usd(usage, PLAIN) == cost_usd(Usage(100, 1000, 0), PLAIN)


def test_the_answer_is_not_left_out_where_reasoning_has_its_own_price() -> None:
    usage = Usage(prompt_tokens=100, completion_tokens=1000, thinking_tokens=900)
    assert cost_usd(usage, FULL) == pytest.approx((100 * 1 + 100 * 4 + 900 * 6) / 1e6)


def test_cached_tokens_are_part_of_the_prompt() -> None:
    usage = Usage(100, 10, 0, cached_tokens=60)
    assert cost_usd(usage, FULL) == pytest.approx((40 * 1 + 60 * 0.25 + 10 * 4) / 1e6)
    assert cost_usd(usage, PLAIN) == pytest.approx((100 * 1 + 10 * 4) / 1e6)


@pytest.mark.parametrize(("prompt", "rate"), [(999, 1), (1000, 1), (1001, 2)])
def test_a_tier_holds_for_all_tokens_of_a_longer_prompt(prompt: int, rate: int) -> None:
    assert cost_usd(Usage(prompt, 0, 0), FULL) == pytest.approx(prompt * rate / 1e6)


def test_a_tier_without_a_reasoning_price_takes_its_own_output_price() -> None:
    assert cost_usd(Usage(2000, 10, 10), FULL) == pytest.approx((2000 * 2 + 10 * 8) / 1e6)


def test_the_highest_tier_below_the_prompt_counts() -> None:
    tiers = [
        PriceTier(above_prompt_tokens=n, input_usd_per_million=n, output_usd_per_million=0)
        for n in (100, 10, 1000)
    ]
    row = price(tiers=tuple(tiers))
    rates = [row.rates(n).input_usd_per_million for n in (10, 11, 101, 1001)]
    assert rates == [1, 10, 100, 1000]


def test_unknown_thinking_is_refused_only_where_it_changes_the_price() -> None:
    unknown = Usage(100, 10)
    assert cost_usd(unknown, PLAIN) == pytest.approx((100 + 40) / 1e6)
    with pytest.raises(InvalidInputError, match="does not tell how many"):
        cost_usd(unknown, FULL)
    assert cost_usd(Usage(2000, 10), FULL) > 0
    assert cost_usd(Usage(100, 0), FULL) > 0


@pytest.mark.parametrize(
    "usage", [Usage(-1, 0), Usage(1, -1), Usage(5, 5, 6), Usage(5, 5, 0, 6), Usage(5, 5, 0, -1)]
)
def test_contradicting_counts_are_refused(usage: Usage) -> None:
    with pytest.raises(InvalidInputError, match="counts"):
        cost_usd(usage, PLAIN)


rates = st.floats(0, 1000)
tokens = st.integers(0, 5000)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    def fields() -> dict[str, Any]:
        return {
            "input_usd_per_million": draw(rates),
            "output_usd_per_million": draw(rates),
            "reasoning_usd_per_million": draw(st.none() | rates),
            "cached_input_usd_per_million": draw(st.none() | rates),
        }

    thresholds = draw(st.lists(st.integers(1, 4000), max_size=2, unique=True))
    tiers = tuple(PriceTier(above_prompt_tokens=n, **fields()) for n in thresholds)
    return price(tiers=tiers, **fields())


@given(prices(), tokens, tokens, st.data())
def test_no_request_costs_more_than_its_ceiling(
    row: Price, prompt: int, max_tokens: int, data: st.DataObject
) -> None:
    completion = data.draw(st.integers(0, max_tokens))
    usage = Usage(
        data.draw(st.integers(0, prompt)),  # the ceiling may be asked with a bound of the prompt
        completion,
        data.draw(st.integers(0, completion)),
    )
    usage = Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.thinking_tokens,
        data.draw(st.integers(0, usage.prompt_tokens)),
    )
    cost = cost_usd(usage, row)
    assert 0 <= cost <= max_cost_usd(prompt, max_tokens, row) * (1 + 1e-12)


def test_the_ceiling_is_reached_by_the_dearest_request() -> None:
    assert max_cost_usd(500, 100, FULL) == cost_usd(Usage(500, 100, 100), FULL)
    assert max_cost_usd(500, 100, PLAIN) == cost_usd(Usage(500, 100), PLAIN)
    with pytest.raises(InvalidInputError):
        max_cost_usd(-1, 5, PLAIN)


def test_a_price_survives_its_record() -> None:
    document = json.loads(json.dumps(FULL.to_json()))
    assert Price.model_validate(document) == FULL
    assert document["source"] == "made up"
    assert document["date"] == "2026-01-31"


@pytest.mark.parametrize(
    "changes",
    [
        {"input_usd_per_million": -1},
        {"output_usd_per_million": float("nan")},
        {"output_usd_per_million": float("inf")},
        {"currency": "EUR"},
        {"source": ""},
        {"outputs": 3},
        {"tiers": [FULL.tiers[0], FULL.tiers[0]]},
    ],
)
def test_impossible_prices_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        price(**changes)


TOML = """
[prices."gpt-x"]
input_usd_per_million = 1.25
output_usd_per_million = 10
cached_input_usd_per_million = 0.125
source = "https://example.com/pricing"
date = 2026-01-31

[[prices."gpt-x".tiers]]
above_prompt_tokens = 200_000
input_usd_per_million = 2.5
output_usd_per_million = 15

[prices.local]
input_usd_per_million = 0
output_usd_per_million = 0
source = "own machine"
date = "2026-02-01"
"""


def test_prices_are_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(TOML)
    found = load_prices(path)
    assert set(found) == {"gpt-x", "local"}
    assert found["gpt-x"].model == "gpt-x"
    assert found["gpt-x"].date == DAY
    assert found["gpt-x"].rates(200_001).input_usd_per_million == 2.5
    assert cost_usd(Usage(10**6, 10**6), found["local"]) == 0


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("cached_input_usd", "cached_inputs_usd", "cached_inputs_usd_per_million"),
        ("date = 2026-01-31\n", "", r"prices\.gpt-x\.date"),
        ("= 1.25", "= nan", r"gpt-x\.input_usd_per_million"),
        ("= 1.25", '= "free"', r"gpt-x\.input_usd_per_million"),
        ("above_prompt_tokens = 200_000", "above_prompt_tokens = 0", "above_prompt_tokens"),
        ("[prices.local]", "[other.local]", "and nothing else"),
        ("[prices.local]", "[prices.local", "cannot be read"),
        (TOML, "prices = 3", "and nothing else"),
        (TOML, "[prices]\na = 3", "prices.a"),
        (TOML, "", "and nothing else"),
    ],
)
def test_broken_price_files_are_refused(old: str, new: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(TOML.replace(old, new, 1))
    with pytest.raises(DataFileError, match=named):
        load_prices(path)


def test_a_missing_price_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="cannot be read"):
        load_prices(tmp_path / "prices.toml")


needs_litellm = pytest.mark.skipif(
    importlib.util.find_spec("litellm") is None, reason="needs the extra litellm"
)
LITELLM = """
import json, sys, warnings
warnings.simplefilter("ignore")
import litellm
from litellm.types.utils import Usage, CompletionTokensDetailsWrapper, PromptTokensDetailsWrapper
costs = []
for model, prompt, completion, thinking, cached in json.load(sys.stdin):
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        completion_tokens_details=CompletionTokensDetailsWrapper(
            reasoning_tokens=thinking, text_tokens=completion - thinking
        ),
        prompt_tokens_details=PromptTokensDetailsWrapper(cached_tokens=cached),
    )
    costs.append(sum(litellm.cost_per_token(model=model, usage_object=usage)))
print("COSTS", json.dumps(costs))
"""


@needs_litellm
def test_costs_equal_those_that_litellm_works_out() -> None:
    cases = [
        (model, prompt, completion, thinking, cached)
        for model in ("gpt-5", "o3-mini", "gemini/gemini-2.5-flash", "gemini/gemini-2.5-pro")
        for prompt, completion, thinking, cached in (
            (1000, 500, 0, 0),
            (1000, 500, 400, 0),
            (1000, 500, 400, 600),
            (150_000, 50, 50, 1000),
            (250_000, 500, 100, 0),
            (250_000, 500, 100, 60_000),
        )
    ]
    done = subprocess.run(
        [sys.executable, "-c", LITELLM],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = json.loads(done.stdout.split("COSTS", 1)[1])
    ours = [cost_usd(Usage(p, c, t, k), litellm_price(model)) for model, p, c, t, k in cases]
    assert ours == pytest.approx(theirs, rel=1e-9)


@needs_litellm
def test_litellms_list_is_read_without_importing_it() -> None:
    program = (
        "import sys\n"
        "from calibration.cost import litellm_price\n"
        "print(litellm_price('gpt-5').output_usd_per_million, 'litellm' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.stdout.split() == ["10.0", "False"]


@needs_litellm
def test_litellms_rows_keep_their_version_and_page() -> None:
    row = litellm_price("gemini/gemini-2.5-pro")
    assert row.source.startswith("litellm 1.")
    assert "https://" in row.source
    assert row.date is None
    assert [tier.above_prompt_tokens for tier in row.tiers] == [200_000]
    assert Price.model_validate(row.to_json()) == row


@needs_litellm
def test_models_that_litellm_does_not_price_by_the_token_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'gpt-5-mini'"):
        litellm_price("gpt-5-minni")
    with pytest.raises(InvalidInputError, match="no price by the token"):
        litellm_price("aiml/dall-e-3")
    with pytest.raises(InvalidInputError, match="by ranges of tokens"):
        litellm_price("dashscope/qwen-flash")
