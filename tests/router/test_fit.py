import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import Outcome, OutcomeRecord
from router import OutcomeMatrix, Router
from router._members import model_to_members
from router.model._fit import fit_model, group_folds
from router.model._model import OutcomeModel

from .conftest import CREATED

Records = list[OutcomeRecord]
MakeRecords = Callable[..., Records]


def test_probabilities_are_recovered_on_new_questions(
    router: Router, make_records: MakeRecords, truth: Callable[[str, int, str], float]
) -> None:
    fresh = make_records(400, seed=99)
    prompts = list(dict.fromkeys(record.prompt for record in fresh))
    predicted = dict(zip(prompts, router.predict(prompts).p_correct, strict=True))
    errors: dict[str, list[float]] = {arm.policy: [] for arm in router.arms}
    for record in fresh:
        operators = sum(record.prompt.count(sign) for sign in "+-*")
        p = truth(record.task_type, operators, record.policy)
        column = [arm.policy for arm in router.arms].index(record.policy)
        errors[record.policy].append(predicted[record.prompt][column] - p)
    for policy, differences in errors.items():
        # 480 fitting questions: a standard error of about .02 per arm and task type.
        assert np.abs(differences).mean() < 0.08, policy
        assert abs(np.mean(differences)) < 0.05, policy


def test_probabilities_are_calibrated_on_new_questions(
    router: Router, make_records: MakeRecords
) -> None:
    matrix = OutcomeMatrix.from_records(make_records(800, seed=7))
    p, correct = router.predict(matrix.prompts).p_correct.ravel(), matrix.correct.ravel()
    bins = np.digitize(p, [0.2, 0.4, 0.6, 0.8])
    error = sum(
        abs(p[bins == each].mean() - correct[bins == each].mean()) * (bins == each).mean()
        for each in np.unique(bins)
    )
    assert error < 0.04


def test_tokens_flops_and_seconds_are_right_on_average(
    router: Router, make_records: MakeRecords
) -> None:
    matrix = OutcomeMatrix.from_records(make_records(300, seed=5))
    predictions = router.predict(matrix.prompts)
    for predicted, true in (
        (predictions.tokens, matrix.tokens),
        (predictions.flops, matrix.flops),
        (predictions.seconds, matrix.seconds),
        (predictions.prompt_tokens, matrix.prompt_tokens),
    ):
        assert predicted.mean(axis=0) == pytest.approx(true.mean(axis=0), rel=0.1)


def test_equal_seeds_give_equal_bytes(records: Records) -> None:
    matrix = OutcomeMatrix.from_records(records[:300])
    first, second, other = (
        model_to_members(fit_model(matrix, seed=seed).parameters) for seed in (3, 3, 4)
    )
    assert first == second
    assert first != other


def test_the_order_of_records_does_not_change_the_fit(records: Records) -> None:
    shuffled = list(records)
    random.Random(0).shuffle(shuffled)
    first, second = (Router.fit(each, created=CREATED) for each in (records, shuffled))
    assert first.artifact_id == second.artifact_id


def test_the_fit_never_predicts_a_question_by_its_own_group(records: Records) -> None:
    """Twins share prompt and group; were one predicted by the other, noise would look known."""
    rng = random.Random(0)
    twins: Records = []
    tossed: dict[str, Outcome] = {}
    for record in records[:900]:
        outcome = tossed.setdefault(
            record.question_id, rng.choice([Outcome.CORRECT, Outcome.WRONG])
        )
        word = f"word{record.question_id}"
        for twin in "ab":
            changed = replace(
                record, question_id=record.question_id + twin, prompt=f"{word} {word}x {twin}"
            )
            twins.append(replace(changed, outcome=outcome))
    fitted = fit_model(OutcomeMatrix.from_records(twins), seed=0)
    matrix = OutcomeMatrix.from_records(twins)
    p = fitted.out_of_fold.p_correct
    assert fitted.out_of_fold.rows.tolist() == list(range(matrix.n_questions))
    assert abs(np.corrcoef(p.mean(axis=1), matrix.correct.mean(axis=1))[0, 1]) < 0.2


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 12).map(str), min_size=1, max_size=60), st.integers(2, 6), st.integers()
)
def test_folds_never_split_a_group(groups: list[str], n_folds: int, seed: int) -> None:
    folds = group_folds(groups, n_folds, np.random.default_rng(abs(seed)))
    assert sorted(np.concatenate(folds).tolist()) == list(range(len(groups)))
    fold_of: dict[str, set[int]] = {}
    for index, fold in enumerate(folds):
        assert len(fold)
        for row in fold.tolist():
            fold_of.setdefault(groups[row], set()).add(index)
    assert all(len(indices) == 1 for indices in fold_of.values())


def test_few_questions_give_shrunken_means(make_records: MakeRecords) -> None:
    router = Router.fit(make_records(20))
    decision = router.decide("Compute, left to right: 1+2")
    assert "few-outcomes" in decision.reasons
    assert all(0.05 < candidate.p < 0.99 for candidate in decision.candidates)


def test_one_question_is_enough(make_records: MakeRecords) -> None:
    decision = Router.fit(make_records(1)).decide("anything")
    assert all(0.0 < candidate.p < 1.0 for candidate in decision.candidates)


def test_one_arm(make_records: MakeRecords) -> None:
    router = Router.fit(make_records(120, policies=("direct",)))
    assert "only-arm" in router.decide("Who is the boss of Ada?").reasons


@pytest.mark.parametrize("outcome", [Outcome.CORRECT, Outcome.WRONG])
def test_one_class(make_records: MakeRecords, outcome: Outcome) -> None:
    records = [replace(record, outcome=outcome) for record in make_records(120)]
    p = Router.fit(records).predict(["Compute, left to right: 1+2"]).p_correct
    assert (p > 0.9).all() if outcome == Outcome.CORRECT else (p < 0.1).all()


def test_one_task_type_and_equal_prompts(make_records: MakeRecords) -> None:
    records = [
        replace(record, prompt="same", task="t", task_type="math-oe")
        for record in make_records(120)
    ]
    assert Router.fit(records).decide("same").task_posterior == {"math-oe": 1.0}


def test_gaps_are_handled(records: Records, make_records: MakeRecords) -> None:
    rng = random.Random(1)
    gappy = [record for record in records if rng.random() < 0.7]
    full = Router.fit(records)
    router = Router.fit(gappy)
    prompts = [record.prompt for record in make_records(100, seed=3)]
    difference = router.predict(prompts).p_correct - full.predict(prompts).p_correct
    assert np.abs(difference).mean() < 0.08


def test_an_arm_that_was_never_graded_in_a_fold_is_predicted_from_the_others(
    records: Records,
) -> None:
    matrix = OutcomeMatrix.from_records(records[:150])
    matrix.correct[:, 2] = matrix.tokens[:, 2] = matrix.flops[:, 2] = np.nan
    matrix.prompt_tokens[:, 2] = matrix.seconds[:, 2] = np.nan
    parameters = fit_model(matrix, seed=0).parameters
    predictions = OutcomeModel(parameters).predict(matrix.prompts[:5])
    assert np.isfinite(predictions.p_correct).all()
    assert np.isfinite(predictions.tokens).all()
    assert np.isnan(predictions.flops[:, 2]).all()


def test_errors_are_not_wrong_answers(records: Records) -> None:
    errors = [
        replace(record, question_id=f"e{record.question_id}", outcome=Outcome.ERROR)
        for record in records
    ]
    clean, dirty = (Router.fit(each, created=CREATED) for each in (records, records + errors))
    prompts = [record.prompt for record in records[:60]]
    assert np.array_equal(clean.predict(prompts).p_correct, dirty.predict(prompts).p_correct)


def test_a_handful_of_questions_without_common_words_can_be_fitted(
    make_records: MakeRecords,
) -> None:
    own = {f"q{n}": f"w{n}x" for n in range(4)}
    records = make_records(4)
    prompts = dict(zip({r.question_id: "" for r in records}, own.values(), strict=True))
    Router.fit([replace(r, prompt=prompts[r.question_id]) for r in records])
