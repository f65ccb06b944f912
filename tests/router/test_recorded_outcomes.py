"""Real recorded outcomes, where they lie beside the repository; they are never part of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from calibration import Outcome, OutcomeRecord
from router import evaluate

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "outcomes"

pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded outcomes at {DATA}"),
    pytest.mark.timeout(600),  # Nested cross-validation, on machines that do other things too.
]


def read(
    name: str, keep: Callable[[dict[str, Any]], bool], group: Callable[[dict[str, Any]], str]
) -> Iterator[OutcomeRecord]:
    """Yield one record per sample of the kept rows of a set."""
    from pyarrow import parquet

    for row in parquet.read_table(DATA / name / "long.parquet").to_pylist():
        if not keep(row):
            continue
        sampled = [row[f"sample_ok_{index}"] for index in range(1, 11) if "sample_ok_1" in row]
        for correct in sampled or [row["correct"]]:
            yield OutcomeRecord(
                question_id=row["question_id"],
                group=group(row),
                task=row["task"],
                task_type=row["task_category"].lower(),
                prompt=row["prompt"],
                model=row["model"].split()[0],
                size=None,
                policy=_policy(row),
                outcome=Outcome.CORRECT if correct else Outcome.WRONG,
                prompt_tokens=int(row["prompt_tokens"] or 0),
                completion_tokens=int(row["completion_tokens"]),
                flops=None,
                seconds=0.0,
            )


def _policy(row: dict[str, Any]) -> str:
    budget = row["budget_tokens"]
    return f"reasoning@{int(budget)}" if budget else row["mode"]


def question(row: dict[str, Any]) -> str:
    return row["question_id"]


def question_in_any_language(row: dict[str, Any]) -> str:
    return row["question_id"].split("/", 1)[1]


def renze(row: dict[str, Any], model: str) -> bool:
    # `comprehensive` repeats questions of the other exams.
    is_kept = row["task"] != "comprehensive" and row["mode"] in {"direct", "cot"}
    return is_kept and row["model"].startswith(f"{model} ")


# References from cross-validated LightGBM on 11 hand features and a TF-IDF ridge; five folds of
# a thousand questions leave them a standard error of about .04. Certified savings are floors: what
# was asked of the router, less what another fold assignment may cost.
@pytest.mark.parametrize(
    ("model", "reference", "certified"),
    [("gpt-3.5-turbo", 0.34, 0.7), pytest.param("gpt-4", 0.34, 0.55, marks=pytest.mark.slow)],
)
def test_concise_exams(model: str, reference: float, certified: float) -> None:
    result = evaluate(read("renze_ccot", lambda row: renze(row, model), question), reference="cot")
    assert result.n == 1000
    assert result.headroom == pytest.approx(reference, abs=0.1)
    assert result.comparison.difference > -0.03
    assert result.row("router").accuracy > result.row("random mixing").accuracy
    assert result.headline.tokens_saved > certified
    assert result.headline_point.tokens_saved >= result.headline.tokens_saved
    assert result.headline_fixed_cap.tokens_saved == 0.0
    # Ten samples per question: most of the oracle is real, and some of it is not.
    ceiling = result.noise_ceiling
    assert ceiling.headroom is not None
    assert ceiling.captured is not None
    assert 0.7 < ceiling.headroom < 0.95
    assert ceiling.captured > (result.headroom or 0)


@pytest.mark.slow
def test_zero_shot_chains_of_thought() -> None:
    result = evaluate(read("zero_shot_cot_2022", lambda _: True, question), reference="cot")
    assert result.headroom == pytest.approx(0.40, abs=0.05)
    assert result.comparison.difference > -0.02
    assert result.comparison.tokens_saved > 0.2
    assert result.headline.tokens_saved > 0.2
    assert result.metrics.apgr is not None
    assert result.metrics.apgr > 0.7


@pytest.mark.slow
@pytest.mark.parametrize(("group", "reference"), [(question, 0.09), (question_in_any_language, 0)])
def test_mathematics_in_eleven_languages(
    group: Callable[[dict[str, Any]], str], reference: float
) -> None:
    # With translations of a question on both sides its numbers give it away; without, the text
    # tells nothing about whether reasoning will help.
    modes = {"direct", "think_1000"}
    records = read(
        "mgsm_sizes",
        lambda row: row["model"] == "qwen2.5-14B" and row["mode"] in modes,
        group,
    )
    result = evaluate(records)
    assert result.n == 2250
    assert result.headroom == pytest.approx(reference, abs=0.06)
    assert result.comparison.difference > -0.03
    assert result.comparison.tokens_saved > 0.1


@pytest.mark.slow
def test_where_the_text_tells_nothing_the_budget_is_still_chosen_well() -> None:
    records = read("gmmlu_s1_budget", lambda _: True, question_in_any_language)
    result = evaluate(records, reference="reasoning@8000")
    assert result.n == 2800
    assert result.comparison.difference > -0.03
    # 8000 tokens are hardly better than 1000, and a fixed cap has found that out too.
    assert result.headline_point.tokens_saved > 0.3
    assert result.headline_fixed_cap_point.tokens_saved > 0.3
