"""Cross-validated and fresh evaluations of routers that are really fitted."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration import Outcome, OutcomeRecord
from policies import Evidence, InvalidInputError, UnknownNameError
from router import Evaluation, Objective, OutcomeMatrix, Router, evaluate

Records = list[OutcomeRecord]


@pytest.fixture(scope="module")
def evaluation(records: Records) -> Evaluation:
    return evaluate(records, n_folds=3)


def test_the_router_beats_every_fixed_arm_at_a_fraction_of_the_tokens(
    evaluation: Evaluation,
) -> None:
    fixed = evaluation.rows[: evaluation.n_arms]
    assert [row.name for row in fixed] == ["toy:direct", "toy:reasoning@64", "toy:reasoning@max"]
    best = evaluation.row("router (most accurate)")
    assert best.accuracy > max(row.accuracy for row in fixed) + 0.02
    assert evaluation.row("router").accuracy >= max(row.accuracy for row in fixed) - 0.01
    assert evaluation.row("router").accuracy > evaluation.row("random mixing").accuracy + 0.05
    assert evaluation.comparison.tokens_saved > 0.2


def test_the_first_line_is_certified_and_beside_it_what_is_read_off(
    evaluation: Evaluation,
) -> None:
    certified, point = evaluation.headline, evaluation.headline_point
    assert certified.reference == point.reference == evaluation.reference == "toy:reasoning@64"
    assert certified.is_certified
    assert not point.is_certified
    assert certified.ci_low >= -0.01
    assert certified.tokens_saved > 0.2
    assert certified.tokens_saved_low < certified.tokens_saved < certified.tokens_saved_high
    assert point.tokens_saved >= certified.tokens_saved
    assert point.accuracy_difference >= -0.01
    assert evaluation.headline_fixed_cap.tokens_saved == 0.0
    row = evaluation.row("router (certified)")
    assert row.tokens_saved == pytest.approx(certified.tokens_saved)
    assert row.accuracy_difference == pytest.approx(certified.accuracy_difference)
    own = evaluation.headline_own_objective
    assert own.tokens_saved == pytest.approx(evaluation.comparison.tokens_saved)
    assert own.accuracy_difference == pytest.approx(evaluation.comparison.difference)


def test_rows_are_ordered_as_the_world_is(evaluation: Evaluation) -> None:
    oracle = evaluation.row("oracle")
    assert oracle.accuracy == max(row.accuracy for row in evaluation.rows)
    for row in evaluation.rows:
        assert 0 <= row.ci_low <= row.accuracy <= row.ci_high <= 1
        assert row.difference_low <= row.accuracy_difference <= row.difference_high
        assert row.n == evaluation.n == 600
        assert row.mean_flops is not None
    router, mixing = evaluation.row("router"), evaluation.row("random mixing")
    assert mixing.mean_tokens <= router.mean_tokens + 1e-9


def test_the_task_baselines_are_what_they_say(evaluation: Evaluation) -> None:
    # Direct on relations, 64 tokens on sums: the two best arms of the two task types.
    for name in ("best arm per task type", "best arm per task"):
        assert evaluation.row(name).accuracy == pytest.approx(0.9, abs=0.04)


def test_the_comparison_adds_up(evaluation: Evaluation) -> None:
    comparison = evaluation.comparison
    assert comparison.n_gained is not None
    assert comparison.n_lost is not None
    difference = (comparison.n_gained - comparison.n_lost) / evaluation.n
    assert comparison.difference == pytest.approx(difference)
    assert comparison.ci_low <= difference <= comparison.ci_high
    reference = evaluation.row(comparison.reference).accuracy
    assert evaluation.row("router").accuracy - reference == pytest.approx(difference)


def test_the_headroom_is_between_chance_and_the_oracle(evaluation: Evaluation) -> None:
    assert evaluation.headroom is not None
    assert 0.2 < evaluation.headroom < 1.0
    assert evaluation.is_oracle_inflated
    metrics = evaluation.metrics
    assert metrics.aiq is not None
    assert metrics.aiq_fixed is not None
    assert metrics.aiq > metrics.aiq_fixed
    assert metrics.tokens_to_best is not None
    assert metrics.tokens_to_best < 0.8


def test_probabilities_are_not_worse_than_noise_explains(evaluation: Evaluation) -> None:
    tables = evaluation.reliability
    assert [table.arm for table in tables[1:]] == [row.name for row in evaluation.rows[:3]]
    assert tables[0].n == 1800
    assert tables[0].ece < tables[0].ece_of_noise_high + 0.03
    assert evaluation.metrics.ece == pytest.approx(tables[0].ece)


def test_the_text_is_worth_something_and_the_task_type_is_known_from_it(
    evaluation: Evaluation,
) -> None:
    blind, text, *hinted = evaluation.hints
    assert [layer.name for layer in hinted] == ["task type given", "task given"]
    assert blind.headroom == 0.0
    assert text.gain_low is not None
    assert text.gain_low > 0
    for layer in hinted:
        assert layer.log_loss == pytest.approx(text.log_loss, abs=0.02)


def test_the_curve_goes_from_best_to_cheapest(evaluation: Evaluation) -> None:
    tokens = [row.mean_tokens for row in evaluation.curve]
    assert tokens[0] > tokens[-1]
    assert tokens[-1] == pytest.approx(evaluation.row("toy:direct").mean_tokens)
    assert evaluation.curve[0].accuracy == evaluation.row("router (most accurate)").accuracy
    assert all(row.ci_low < row.accuracy < row.ci_high for row in evaluation.curve)


def test_an_evaluation_is_one_json_document(evaluation: Evaluation) -> None:
    document = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert document["rows"][0]["name"] == "toy:direct"
    assert document["comparison"]["reference"] == evaluation.comparison.reference
    assert document["headline"].keys() >= {
        "tokens_saved",
        "ci_low",
        "accuracy_difference",
        "margin",
        "reference",
        "confidence",
        "n",
    }
    assert document["metrics"].keys() >= {"aiq", "apgr", "headroom", "ece", "intervals"}
    assert document["noise_ceiling"]["headroom"] is None
    assert document["noise_ceiling"]["reason"]


def test_questions_with_gaps_only_help_to_fit(make_records: Callable[..., Records]) -> None:
    records = make_records(150)
    error = replace(records[0], outcome=Outcome.ERROR, completion_tokens=0)
    result = evaluate(
        [error, *records[1:]], n_folds=2, objective=Objective.trade(1e-3), n_resamples=100
    )
    assert (result.n, result.n_incomplete, result.n_errors) == (149, 1, 1)
    assert set(result.objectives) == {Objective.trade(1e-3)}


def test_groups_are_never_on_both_sides(
    make_records: Callable[..., Records], monkeypatch: pytest.MonkeyPatch
) -> None:
    from router.evaluation import _crossfit

    records = [
        replace(record, group=str(index // 3 % 12)) for index, record in enumerate(make_records(60))
    ]
    sides: list[set[str]] = []
    original = Router.fit.__func__
    done: list[tuple[int, int]] = []

    def progress(n_done: int, n_total: int) -> None:
        done.append((n_done, n_total))

    def fit(matrix: object, **options: object) -> object:
        sides.append(set(matrix.groups))  # pyright: ignore[reportAttributeAccessIssue] - an OutcomeMatrix
        return original(Router, matrix, **options)

    monkeypatch.setattr(_crossfit.Router, "fit", fit)
    result = evaluate(records, n_folds=4, n_resamples=100, progress=progress)
    assert result.n_groups == 12
    assert [len(side) for side in sides] == [9] * 4
    assert set.intersection(*sides) == set()
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_averaged_samples_have_a_noise_ceiling_and_no_mcnemar_test(
    make_records: Callable[..., Records],
) -> None:
    records = make_records(60)
    flipped = [
        replace(record, outcome=Outcome.WRONG) if index % 2 else record
        for index, record in enumerate(records)
    ]
    result = evaluate(records + flipped, n_folds=2, n_resamples=100)
    assert result.comparison.p_value is None
    assert not result.is_oracle_inflated
    assert result.noise_ceiling.method == "sample-splitting"
    corrected, oracle = result.row("oracle (noise-corrected)"), result.row("oracle")
    assert corrected.accuracy < oracle.accuracy


def test_too_few_groups_are_refused_with_what_is_missing(
    make_records: Callable[..., Records],
) -> None:
    with pytest.raises(InvalidInputError, match="5 folds"):
        evaluate(make_records(3))
    apart = [
        record
        for record in make_records(40)
        if (record.policy == "direct") == (record.question_id < "q2")
    ]
    with pytest.raises(InvalidInputError, match="toy:direct on"):
        evaluate([record for record in apart if record.policy != "reasoning@max"])


def test_an_arm_that_shares_no_question_is_left_out_and_named(
    make_records: Callable[..., Records],
) -> None:
    half = [record for record in make_records(40) if record.policy != "direct"]
    only_direct = [record for record in make_records(44)[120:] if record.policy == "direct"]
    result = evaluate(half + only_direct, n_folds=2, n_resamples=100)
    assert result.left_out == ("toy:direct",)
    assert result.n == 40
    assert [row.name for row in result.rows[:2]] == ["toy:reasoning@64", "toy:reasoning@max"]
    assert result.to_json()["left_out"] == ["toy:direct"]
    # The reference that was asked for stays, whatever that costs the others.
    with pytest.raises(InvalidInputError, match="toy:direct on 4"):
        evaluate(half + only_direct, reference="direct", n_resamples=100)


def test_no_arm_is_left_out_where_enough_questions_have_all(
    make_records: Callable[..., Records],
) -> None:
    few = [
        record
        for record in make_records(60)
        if record.policy != "reasoning@max" or int(record.question_id[1:]) < 12
    ]
    result = evaluate(few, n_folds=2, n_resamples=100)
    assert (result.left_out, result.n, result.n_arms) == ((), 12, 3)


def test_a_task_name_tells_what_its_type_cannot() -> None:
    rng = np.random.default_rng(0)
    best = {"left": "direct", "right": "reasoning@64"}
    records: Records = []
    for number in range(100):
        for task, better in best.items():
            prompt = f"Question {rng.integers(1000)}"
            for policy in best.values():
                is_right = rng.random() < (0.9 if better == policy else 0.1)
                records.append(
                    OutcomeRecord(
                        *(f"{task}-{number}", f"{task}-{number}", task, "math-oe", prompt, "m"),
                        *(None, policy, Outcome.CORRECT if is_right else Outcome.WRONG),
                        *(5, 10, None, 0.0),
                    )
                )
    _, _, by_type, by_name = evaluate(records, n_folds=2, n_resamples=100).hints
    assert by_type.log_loss_gain == pytest.approx(0.0, abs=0.02)
    assert by_name.gain_low is not None
    assert by_name.gain_low > 0.1


def test_recorded_evidence_is_used_for_a_second_arm_and_both_answers_are_paid() -> None:
    rng = np.random.default_rng(1)
    records: Records = []
    for number in range(300):
        for policy, p, tokens in (("direct", 0.6, 10), ("reasoning@max", 0.9, 100)):
            is_right = bool(rng.random() < p)
            logprob = -abs((0.1 if is_right else 0.9) + 0.1 * rng.normal())
            records.append(
                OutcomeRecord(
                    *(f"q{number}", f"q{number}", "t", "math-oe", f"What is {number}?", "m", None),
                    policy,
                    Outcome.CORRECT if is_right else Outcome.WRONG,
                    *(5, tokens, None, 0.0),
                    Evidence(logprob, 1.5 * logprob, 0.1 - logprob),
                )
            )
    result = evaluate(records, reference="reasoning@max", n_folds=2, n_resamples=100)
    looked, plain = result.headline_cascade, result.headline
    assert looked is not None
    assert looked.is_certified
    # Looking at the direct answer finds the wrong ones; 40% of the questions need a second call.
    assert looked.tokens_saved > plain.tokens_saved + 0.2
    row = result.row("router (cascade, certified)")
    assert row.tokens_saved == pytest.approx(looked.tokens_saved)
    assert row.accuracy > result.row("m:reasoning@max").accuracy
    assert 10 < row.mean_tokens < 110
    assert "router (cascade)" in {each.name for each in result.rows}
    without = [replace(record, evidence=None) for record in records]
    blind = evaluate(without, reference="reasoning@max", n_folds=2, n_resamples=100)
    assert blind.headline_cascade is None
    assert "router (cascade)" not in {each.name for each in blind.rows}


def test_answers_of_unknown_length_only_help_to_fit(make_records: Callable[..., Records]) -> None:
    records = make_records(80)
    unknown = [
        replace(record, completion_tokens=None) if record.question_id in {"q0", "q1"} else record
        for record in records
    ]
    result = evaluate(unknown, n_folds=2, n_resamples=100)
    assert (result.n, result.n_incomplete) == (78, 2)
    json.dumps(result.to_json(), allow_nan=False)
    nowhere = [
        replace(record, completion_tokens=None) if record.policy == "direct" else record
        for record in records
    ]
    assert evaluate(nowhere, n_folds=2, n_resamples=100).left_out == ("toy:direct",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, "margin is -0.1"),
        ({"confidence": 0.5}, "confidence is 0.5"),
        ({"n_folds": 1}, "1 folds"),
        ({"n_resamples": 1}, "n_resamples is 1"),
    ],
)
def test_numbers_out_of_range_are_refused(
    records: Records, options: dict[str, float], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        evaluate(records, **options)  # pyright: ignore[reportArgumentType] - on purpose


def test_the_reference_is_found_by_its_policy_or_named(
    make_records: Callable[..., Records],
) -> None:
    matrix = OutcomeMatrix.from_records(make_records(60))
    result = evaluate(matrix, reference="reasoning@max", n_folds=2, n_resamples=100)
    assert result.reference == result.headline.reference == "toy:reasoning@max"
    assert result.row("toy:reasoning@max").accuracy_difference == 0.0
    with pytest.raises(UnknownNameError) as found:
        evaluate(matrix, reference="reasoning@mux")
    assert "reasoning@max" in found.value.hint
    twice = [
        replace(record, model=model) for record in make_records(60) for model in ("toy", "other")
    ]
    with pytest.raises(InvalidInputError, match="2 models"):
        evaluate(twice, reference="direct")


def test_one_arm_has_no_headroom(make_records: Callable[..., Records]) -> None:
    result = evaluate(make_records(60, policies=("direct",)), n_folds=2, n_resamples=100)
    assert result.headroom is None
    assert result.comparison.difference == 0.0
    assert result.comparison.tokens_saved == 0.0


def test_two_groups_are_enough_for_wide_intervals(make_records: Callable[..., Records]) -> None:
    records = [
        replace(record, group=str(int(record.question_id[1:]) % 2)) for record in make_records(40)
    ]
    result = evaluate(records, n_folds=2, n_resamples=100)
    assert result.headline.tokens_saved == 0.0
    assert result.n_groups == 2
    json.dumps(result.to_json(), allow_nan=False)


def test_a_router_that_exists_is_judged_on_fresh_outcomes(
    router: Router, make_records: Callable[..., Records]
) -> None:
    fresh = make_records(300, seed=5)
    stranger = [replace(record, model="stranger") for record in fresh[:30]]
    result = evaluate(fresh + stranger, router=router, margin=0.05, n_folds=3, n_resamples=100)
    assert result.n == 300
    assert result.objectives == (router.objective,)
    assert result.headline.tokens_saved > 0.2
    matrix = OutcomeMatrix.from_records(fresh)
    names = [arm.name for arm in matrix.arms]
    chosen = [names.index(d.arm.name) for d in router.decide_many(matrix.prompts)]
    accuracy = matrix.correct[np.arange(300), chosen].mean()
    assert result.row("router").accuracy == pytest.approx(accuracy)


def test_questions_the_router_has_seen_are_counted(
    router: Router, make_records: Callable[..., Records], monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen(self: Router, prompts: tuple[str, ...]) -> object:
        return np.array(["5" in prompt for prompt in prompts])

    monkeypatch.setattr(Router, "seen", seen, raising=False)
    fresh = OutcomeMatrix.from_records(make_records(60, seed=5))
    expected = sum("5" in prompt for prompt in fresh.prompts)
    result = evaluate(fresh, router=router, n_folds=2, n_resamples=100)
    assert result.n_seen == expected > 0


def test_a_router_is_not_judged_without_one_of_its_arms(
    router: Router, make_records: Callable[..., Records]
) -> None:
    records = make_records(60, policies=("direct", "reasoning@64"))
    with pytest.raises(InvalidInputError, match="toy:reasoning@max"):
        evaluate(records, router=router)


def test_the_picture_is_drawn_and_told(evaluation: Evaluation, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words = evaluation.plot(tmp_path / "curve.svg")
    first = (tmp_path / "curve.svg").read_bytes()
    assert b"toy:reasoning@64" in first or b"<svg" in first
    evaluation.plot(tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").read_bytes() == first
    evaluation.plot(str(tmp_path / "curve.png"))
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    told = "\n".join(words)
    assert f"{evaluation.hull[0][0]:.1f}: {evaluation.hull[0][1]:.3f}" in told
    assert "above the hull at" in told


@pytest.mark.parametrize("name", ["curve.gif", "curve", "nowhere/curve.svg"])
def test_a_picture_that_cannot_be_written_is_one_clear_error(
    evaluation: Evaluation, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InvalidInputError):
        evaluation.plot(tmp_path / name)
