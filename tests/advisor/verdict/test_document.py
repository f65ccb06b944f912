import json
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import Recommendation, recommend
from advisor._recommendation import SCHEMA_VERSION
from advisor.cost import InferBudget, TrainBudget
from advisor.inference import expected_loss
from policies import ArtifactCorruptError, ArtifactError, ArtifactTooNewError, InvalidInputError
from tests.advisor.verdict.asking import (
    BETWEEN,
    OUTSIDE,
    PRINTED,
    TASK_TYPES,
    ask,
    check_honest,
    codes,
    pair,
    question,
    trained,
)

Golden = Callable[[str, object], None]
FOLDER = Path(__file__).parents[2] / "golden/recommend"


def test_verdicts_match_the_golden_file(golden_json: Golden) -> None:
    verdicts: dict[str, dict[str, Any]] = {}
    for size, task_type in product((*PRINTED, *BETWEEN, *OUTSIDE), TASK_TYPES):
        answer = ask(size, task_type)
        verdicts[f"{size} {task_type}"] = {
            "action": answer.verdict.action,
            "is_leaning": answer.verdict.is_leaning,
            "warnings": codes(answer),
            "options": {
                f"{option.size} {option.recipe.label}": [
                    option.accuracy.value,
                    option.accuracy.low,
                    option.accuracy.high,
                    option.accuracy.basis,
                ]
                for option in answer.options
            },
        }
    golden_json("recommend/verdicts.json", verdicts)


@pytest.mark.parametrize(
    ("name", "size", "task_type", "more"),
    [
        ("3B-math-oe", "3B", "math-oe", {}),
        ("1.5B-math-oe-max-7B", "1.5B", "math-oe", {"max_size": "7B", "corpus": "general"}),
        ("3B-math-oe-inference", "3B", "math-oe", {"objective": "inference"}),
        ("3B-math-oe-budget", "3B", "math-oe", {"train_budget": TrainBudget.parse("5e18")}),
        ("any-math-oe", "any", "math-oe", {}),
        ("0.5B-general-mc", "0.5B", "general-mc", {}),
        ("4B-math-mc", "4B", "math-mc", {}),
        ("7B-general-oe-math", "7B", "general-oe", {"corpus": "math"}),
        ("3B-math-oe-no-teacher", "3B", "math-oe", {"teacher": "none", "pass_rate": 0.3}),
        ("3B-math-oe-have-reasoning", "3B", "math-oe", {"have": "reasoning"}),
        ("70B-math-oe", "70B", "math-oe", {}),
        ("1.5B-contract-qa", "1.5B", "contract-qa", {"answer_format": "oe", "corpus": "own"}),
        ("3B-math-oe-measured", "3B", "math-oe", {"cells": pair(0.62, 0.5)}),
        ("3B-math-oe-transferred", "3B", "math-oe", {"cells": trained(0.15, 0.35, 494_032_768)}),
    ],
)
def test_documents_match_the_golden_files(
    name: str, size: str, task_type: str, more: dict[str, Any], golden_json: Golden
) -> None:
    golden_json(f"recommend/{name}.json", ask(size, task_type, **more).to_json())


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_golden_documents_are_read_back(path: Path) -> None:
    document = cast("dict[str, Any]", json.loads(path.read_text("utf-8")))
    if "schema_version" in document:
        assert Recommendation.from_json(document).to_json() == document


def test_other_versions_and_nonsense_are_refused() -> None:
    document = ask("3B", "math-oe").to_json()
    with pytest.raises(ArtifactTooNewError):
        Recommendation.from_json({**document, "schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(ArtifactError, match="version 1"):
        Recommendation.from_json({**document, "schema_version": 1})
    for broken in ({**document, "extra": 1}, {}, [], None, {**document, "verdict": {}}):
        with pytest.raises(ArtifactCorruptError):
            Recommendation.from_json(broken)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"max_size": "1B"}, "smaller than size"),
        ({"answer_format": "mc"}, "ends in 'oe'"),
        ({"horizon_days": 30.0}, "no traffic"),
        ({"objective": "total"}, "no traffic"),
        ({"pass_rate": 1.5}, "between 0 and 1"),
        ({"n_examples": 0}, "positive"),
        ({"trace_ratio": float("nan")}, "positive"),
        ({"queries_per_day": -1.0}, "positive"),
    ],
)
def test_contradictions_and_impossible_numbers_are_refused(more: dict[str, Any], what: str) -> None:
    with pytest.raises(InvalidInputError, match=what):
        ask("3B", "math-oe", **more)


@pytest.mark.parametrize("size", ["99M", "101B", "1T", "1000"])
def test_sizes_far_from_everything_are_refused(size: str) -> None:
    with pytest.raises(InvalidInputError, match=r"0\.1B and 100B"):
        ask(size, "math-oe")


@pytest.mark.parametrize(
    "more", [{"corpus": "generall"}, {"objective": "cheap"}, {"have": "rl"}, {"answer_format": "x"}]
)
def test_unknown_answers_name_the_known_ones(more: dict[str, Any]) -> None:
    with pytest.raises(LookupError, match="known"):
        ask("3B", "math-oe", **more)


def test_every_answer_is_listed_as_given_or_assumed() -> None:
    answer = ask("3B", "math-oe", corpus="general", n_examples=1000)
    given = {one.name for one in answer.assumptions if one.is_given}
    assert {"size", "task", "corpus", "n-examples"} == given
    names = [one.name for one in answer.assumptions]
    assert len(names) == len(set(names))
    assert {"teacher", "have", "gpu", "traffic", "trace-length", "tolerance"} <= set(names)


def test_changes_are_what_asking_again_says() -> None:
    answer = ask("3B", "math-oe")
    by_arguments = {change.arguments: change for change in answer.changes}
    assert by_arguments["--objective inference"].action == "mixed"
    assert ask("3B", "math-oe", objective="inference").verdict.action == "mixed"
    assert by_arguments["--teacher none"].action == "grpo"
    assert "--corpus math" not in by_arguments  # the same verdict there
    assert "--corpus math" in {one.arguments for one in ask("1.5B", "general-oe").changes}


def test_threshold_of_an_own_pair_is_where_the_verdict_turns() -> None:
    answer = ask("3B", "math-oe")
    change = next(one for one in answer.changes if one.condition.startswith("your own 3B pair"))
    assert change.action in {"ift", "abstain"}
    at_zero = ask("3B", "math-oe", cells=trained(0.40, 0.38, 3_085_938_688, n=737))
    assert at_zero.verdict.action == "ift"
    well_above = ask("3B", "math-oe", cells=trained(0.40, 0.50, 3_085_938_688, n=737))
    assert well_above.verdict.action == "sequential"


def test_measurements_are_worth_most_where_least_is_known() -> None:
    unknown = ask("3B", "math-oe", corpus="own").next_measurements
    assert "0.5B pair" in unknown[0].text
    assert unknown[0].value is not None
    # Where what is recommended has no figure, no measurement has a value either.
    named = ask("3B", "math-oe", corpus="general").next_measurements
    assert {one.value for one in named} == {None}
    assert ask("20B", "math-oe").next_measurements[0].commands[0].count("--size 20B") == 1
    for one in unknown:
        if one.value is not None and one.measure_flops is not None:
            spent = (one.train_flops + one.measure_flops) / 1e18
            assert one.value_per_exaflop == pytest.approx(100 * one.value / spent, rel=0.01)


@pytest.mark.parametrize(("size", "task_type"), list(product(PRINTED, TASK_TYPES)))
@pytest.mark.parametrize("corpus", [None, "general", "math"])
def test_measuring_is_never_worth_more_than_acting_costs(
    size: str, task_type: str, corpus: Any
) -> None:
    answer = ask(size, task_type, corpus=corpus)
    regret = answer.verdict.expected_regret
    values = [one.value for one in answer.next_measurements if one.value is not None]
    if regret is not None and values:
        assert max(values) <= regret + 1e-6


def test_budgets_that_bind_come_with_the_raise_that_turns_the_verdict() -> None:
    answer = ask("3B", "math-oe", train_budget=TrainBudget.parse("5e18"))
    raised = [one for one in answer.changes if one.arguments.startswith("--train-budget")]
    assert raised[0].action == "sequential"
    amount = TrainBudget.parse(raised[0].arguments.split()[-1])
    assert ask("3B", "math-oe", train_budget=amount).verdict.action == "sequential"


def test_expected_regret_is_that_of_the_deciding_gain() -> None:
    answer = ask("4B", "general-mc", corpus="general")
    gain = answer.differences[0]
    sd = (gain.high - gain.low) / (2 * 1.6448536269514722)
    assert answer.verdict.action == "ift"
    assert answer.verdict.expected_regret == pytest.approx(expected_loss(gain.value, sd), abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    n_params=st.one_of(st.integers(10**8, 10**11), st.integers(4 * 10**8, 16 * 10**9)),
    task_type=st.sampled_from([*TASK_TYPES, "code-oe"]),
    corpus=st.sampled_from([None, "general", "math", "code", "own"]),
    objective=st.sampled_from([None, "accuracy", "training", "inference"]),
    have=st.sampled_from([None, "base", "ift", "reasoning"]),
    teacher=st.sampled_from([None, "none", "Qwen3-32B"]),
    factor=st.one_of(st.none(), st.floats(1, 20)),
)
def test_any_question_gives_an_honest_answer(
    n_params: int,
    task_type: str,
    corpus: Any,
    objective: Any,
    have: Any,
    teacher: Any,
    factor: float | None,
) -> None:
    cap = None if factor is None else str(min(10**11, max(n_params, round(n_params * factor))))
    request = question(
        str(n_params),
        task_type,
        corpus=corpus,
        objective=objective,
        have=have,
        teacher=teacher,
        max_size=cap,
    )
    check_honest(recommend(request))


def test_advice_loads_nothing_heavy() -> None:
    code = (
        "import sys; from policies import ModelSize;"
        "from advisor import RecommendationRequest, recommend;"
        "recommend(RecommendationRequest(size=ModelSize.parse('3B'), task_type='math-oe'));"
        "heavy = {'numpy', 'pandas', 'scipy', 'sklearn', 'lightgbm', 'pyarrow', 'openai',"
        " 'litellm', 'torch', 'transformers', 'httpx'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("size", "more"),
    [
        ("3B", {"objective": "accuracy", "infer_budget": InferBudget.parse("4.79e13")}),
        ("10B", {"infer_budget": InferBudget.parse("1.86e13")}),
        ("3B", {}),
    ],
)
def test_saying_a_default_changes_nothing(size: str, more: dict[str, Any]) -> None:
    silent = ask(size, "math-oe", **more).verdict
    said = ask(size, "math-oe", trace_ratio=10.0, n_examples=300_000, **more).verdict
    assert said == silent


@pytest.mark.parametrize("budget", ["1e19", "3.2e19", "1e20", "1e21"])
def test_more_money_never_buys_a_less_accurate_size(budget: str) -> None:
    values: list[float] = []
    for amount in ("5e18", budget):
        answer = ask("any", "general-mc", train_budget=TrainBudget.parse(amount))
        assert answer.recommended is not None
        assert answer.recommended.accuracy.value is not None
        values.append(answer.recommended.accuracy.value)
    assert values == sorted(values)
