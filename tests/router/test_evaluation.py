import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from calibration import Outcome, OutcomeRecord
from policies import InvalidInputError
from router import Evaluation, Objective, evaluate
from router._curves import gain_curve, headroom_share
from router._evaluation import _best_mixture

Records = list[OutcomeRecord]


@pytest.fixture(scope="module")
def evaluation(records: Records) -> Evaluation:
    return evaluate(records, n_folds=3)


def test_the_router_beats_every_fixed_arm_at_a_fraction_of_the_tokens(
    evaluation: Evaluation,
) -> None:
    fixed = [row for row in evaluation.rows if row.name.startswith("toy:")]
    assert len(fixed) == 3
    best = evaluation.row("router (most accurate)")
    assert best.accuracy > max(row.accuracy for row in fixed) + 0.02
    assert evaluation.row("router").accuracy >= max(row.accuracy for row in fixed) - 0.01
    assert evaluation.row("router").accuracy > evaluation.row("random mixing").accuracy + 0.05
    assert evaluation.comparison.tokens_saved > 0.2


def test_rows_are_ordered_as_the_world_is(evaluation: Evaluation) -> None:
    oracle = evaluation.row("oracle")
    assert oracle.accuracy == max(row.accuracy for row in evaluation.rows)
    for row in evaluation.rows:
        assert 0 <= row.ci_low <= row.accuracy <= row.ci_high <= 1
        assert row.n == evaluation.n == 600
        assert row.mean_flops is not None
    router, mixing = evaluation.row("router"), evaluation.row("random mixing")
    assert mixing.mean_tokens <= router.mean_tokens + 1e-9


def test_the_task_type_baseline_is_what_it_says(evaluation: Evaluation) -> None:
    # Direct on relations, 64 tokens on sums: the two best arms of the two task types.
    assert evaluation.row("best arm per task type").accuracy == pytest.approx(0.9, abs=0.04)


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


def test_the_curve_goes_from_best_to_cheapest(evaluation: Evaluation) -> None:
    tokens = [row.mean_tokens for row in evaluation.curve]
    assert tokens[0] > tokens[-1]
    assert tokens[-1] == pytest.approx(evaluation.row("toy:direct").mean_tokens)
    assert evaluation.curve[0].accuracy == evaluation.row("router (most accurate)").accuracy


def test_an_evaluation_is_one_json_document(evaluation: Evaluation) -> None:
    document = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert document["rows"][0]["name"] == "toy:direct"
    assert document["comparison"]["reference"] == evaluation.comparison.reference


def test_questions_with_gaps_only_help_to_fit(make_records: Callable[..., Records]) -> None:
    records = make_records(150)
    error = replace(records[0], outcome=Outcome.ERROR, completion_tokens=0)
    result = evaluate([error, *records[1:]], n_folds=2, objective=Objective.trade(1e-3))
    assert (result.n, result.n_incomplete, result.n_errors) == (149, 1, 1)
    assert set(result.objectives) == {Objective.trade(1e-3)}


def test_groups_are_never_on_both_sides(
    make_records: Callable[..., Records], monkeypatch: pytest.MonkeyPatch
) -> None:
    from router import Router, _evaluation

    records = [
        replace(record, group=str(index // 3 % 12)) for index, record in enumerate(make_records(60))
    ]
    sides: list[set[str]] = []
    original = Router.fit.__func__

    def fit(matrix: object, **options: object) -> object:
        sides.append(set(matrix.groups))  # pyright: ignore[reportAttributeAccessIssue] - an OutcomeMatrix
        return original(Router, matrix, **options)

    monkeypatch.setattr(_evaluation.Router, "fit", fit)
    result = evaluate(records, n_folds=4)
    assert result.n_groups == 12
    assert [len(side) for side in sides] == [9] * 4
    assert set.intersection(*sides) == set()


def test_averaged_samples_have_no_mcnemar_test(make_records: Callable[..., Records]) -> None:
    records = make_records(60)
    flipped = [
        replace(record, outcome=Outcome.WRONG) if index % 2 else record
        for index, record in enumerate(records)
    ]
    result = evaluate(records + flipped, n_folds=2)
    assert result.comparison.p_value is None
    assert not result.is_oracle_inflated


def test_too_few_groups_are_refused(make_records: Callable[..., Records]) -> None:
    with pytest.raises(InvalidInputError, match="5 folds"):
        evaluate(make_records(3))


def test_one_arm_has_no_headroom(make_records: Callable[..., Records]) -> None:
    result = evaluate(make_records(60, policies=("direct",)), n_folds=2)
    assert result.headroom is None
    assert result.comparison.difference == 0.0
    assert result.comparison.tokens_saved == 0.0


def test_headroom_is_one_for_the_oracle_and_nothing_for_a_constant() -> None:
    rng = np.random.default_rng(0)
    correct = (rng.random((4000, 2)) < [0.5, 0.7]).astype(float)
    tokens = np.tile([1.0, 11.0], (4000, 1))
    gain = correct[:, 1] - correct[:, 0]
    assert headroom_share(gain, correct, tokens) == pytest.approx(1.0)
    assert headroom_share(np.zeros(4000), correct, tokens) == pytest.approx(0.0, abs=0.05)
    assert headroom_share(-gain, correct, tokens) < -0.5
    assert np.isnan(headroom_share(gain[:4], np.ones((4, 2)), tokens[:4]))


def test_the_curve_ends_at_both_arms() -> None:
    curve = gain_curve(
        np.array([0.1, 0.9]), np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 2.0]] * 2)
    )
    assert curve == [(0.0, 0.5), (0.5, 1.0), (1.0, 0.5)]


def test_the_best_mixture_is_on_the_hull() -> None:
    correct = np.array([[0.2, 0.5, 0.4, 0.9]])
    tokens = np.array([[0.0, 10.0, 15.0, 30.0]])
    assert _best_mixture(correct, tokens, 20.0) @ tokens[0] == pytest.approx(20.0)
    assert _best_mixture(correct, tokens, 20.0) @ correct[0] == pytest.approx(0.7)
    assert _best_mixture(correct, tokens, -5.0).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert _best_mixture(correct, tokens, 99.0).tolist() == [0.0, 0.0, 0.0, 1.0]
