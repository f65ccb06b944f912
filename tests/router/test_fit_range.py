"""Fits at the edges: few and many questions, gaps, repeats, two groups; the same every time."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration import Outcome, OutcomeRecord
from router import OutcomeMatrix, Router
from router.model._fit import fit_model
from router.model._model import LEARNERS, OutcomeModel

from .conftest import CREATED

Records = list[OutcomeRecord]
MakeRecords = Callable[..., Records]
LONG_SUM = "Compute, left to right: 3+4*5-1*2+7*3"
RELATION = "Who is the boss of the friend of Ada?"
PROMPTS = [LONG_SUM, RELATION, "", "ünïcode 数学 ข้อใดถูกต้อง সঠিক উত্তর", "x " * 9000]


def number(record: OutcomeRecord) -> int:
    return int(record.question_id[1:])


@pytest.mark.parametrize("n", [1, 2, 49])
def test_below_fifty_questions_there_are_means_only(make_records: MakeRecords, n: int) -> None:
    router = Router.fit(make_records(n))
    assert router.describe()["learners"] == {"means": 1.0}
    assert router.describe()["calibration"] == "affine"
    decision = router.decide(LONG_SUM)
    assert "few-outcomes" in decision.reasons
    assert all(0.0 < candidate.p < 1.0 for candidate in decision.candidates)


def test_from_fifty_questions_on_learners_are_compared(make_records: MakeRecords) -> None:
    router = Router.fit(make_records(50))
    assert "few-outcomes" not in router.decide(LONG_SUM).reasons
    contenders = router.describe()["contenders"]
    assert len(contenders) > 5
    assert sum(each["is_chosen"] for each in contenders) == 1


def test_two_groups_are_too_few_to_compare_anything(make_records: MakeRecords) -> None:
    records = [replace(record, group=str(number(record) % 2)) for record in make_records(100)]
    router = Router.fit(records)
    assert router.describe()["learners"] == {"means": 1.0}
    assert router.describe()["n_groups"] == 2
    assert router.decide(RELATION).chosen.p > 0.5


def test_an_arm_measured_on_half_of_the_questions_is_predicted_on_all(
    make_records: MakeRecords, records: Records, router: Router
) -> None:
    half = [r for r in records if r.policy != "reasoning@64" or number(r) % 2 == 0]
    gappy = Router.fit(half)
    prompts = [record.prompt for record in make_records(100, seed=3)]
    difference = gappy.predict(prompts).p_correct - router.predict(prompts).p_correct
    assert np.abs(difference).mean() < 0.06
    assert gappy.explain(LONG_SUM).candidates[1].n_similar == 75  # a quarter of 300


@pytest.mark.parametrize("n_measured", [1, 2, 3, 6, 25])
def test_an_arm_measured_on_a_handful_of_questions_does_not_break_the_fit(
    make_records: MakeRecords, n_measured: int
) -> None:
    records = [
        r for r in make_records(100) if r.policy != "reasoning@max" or number(r) < n_measured
    ]
    candidates = Router.fit(records).decide(LONG_SUM).candidates
    assert all(0.0 < candidate.p < 1.0 for candidate in candidates)
    assert all(np.isfinite(candidate.tokens) for candidate in candidates)


def test_an_arm_measured_in_one_group_only_does_not_break_the_fit(
    make_records: MakeRecords,
) -> None:
    records = [
        replace(r, group="one" if number(r) < 30 else r.group)
        for r in make_records(120)
        if r.policy != "reasoning@max" or number(r) < 30
    ]
    p = Router.fit(records).predict(PROMPTS).p_correct
    assert ((p > 0.0) & (p < 1.0)).all()


def test_repeats_are_averaged_and_not_counted_as_questions(make_records: MakeRecords) -> None:
    once = make_records(120)
    again = [
        replace(r, outcome=Outcome.WRONG if r.outcome is Outcome.CORRECT else Outcome.CORRECT)
        for r in once
        if r.policy == "direct"
    ]
    router = Router.fit(once + again)
    assert router.describe()["n_questions"] == 120
    p = router.predict([LONG_SUM, RELATION]).p_correct[:, 0]
    assert p == pytest.approx([0.5, 0.5], abs=0.05)  # right once, wrong once, everywhere
    three = Router.fit(once * 3, created=CREATED)
    plain = Router.fit(once, created=CREATED)
    assert np.array_equal(three.predict(PROMPTS).p_correct, plain.predict(PROMPTS).p_correct)


@pytest.mark.parametrize("n", [49, 120])
def test_one_arm_is_predicted_like_any_other(make_records: MakeRecords, n: int) -> None:
    router = Router.fit(make_records(n, policies=("direct",)))
    easy, hard = router.predict(["Compute, left to right: 1+2", LONG_SUM]).p_correct[:, 0]
    assert 0.0 < hard <= easy < 1.0
    assert router.decide(LONG_SUM).reasons[:2] == ("best-tradeoff", "only-arm")


@pytest.mark.parametrize("blend", [*((each,) for each in LEARNERS), LEARNERS])
def test_every_blend_survives_saving_and_batches(
    make_records: MakeRecords,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    blend: tuple[str, ...],
) -> None:
    monkeypatch.setattr("router.model._fit._BLENDS", (blend,))
    router = Router.fit(make_records(120), created=CREATED)
    assert set(router.describe()["learners"]) <= set(blend)
    router.save(tmp_path / "router")
    loaded = Router.load(tmp_path / "router")
    assert loaded.artifact_id == router.artifact_id
    batch = router.decide_many(PROMPTS * 60)
    for prompt, of_batch in zip(PROMPTS, batch, strict=False):
        alone, again = router.decide(prompt), loaded.decide(prompt)
        assert alone.candidates == of_batch.candidates == again.candidates
        assert (alone.arm, alone.reasons) == (of_batch.arm, of_batch.reasons)
        assert (alone.arm, alone.reasons) == (again.arm, again.reasons)
        assert alone.task_posterior == again.task_posterior


def test_a_seed_gives_the_same_bytes_and_another_one_others(
    make_records: MakeRecords, tmp_path: Path
) -> None:
    records = make_records(100)
    folders: list[dict[str, bytes]] = []
    for run, seed in enumerate((5, 5, 6)):
        path = tmp_path / str(run)
        Router.fit(records, seed=seed, created=CREATED).save(path)
        folders.append({file.name: file.read_bytes() for file in path.iterdir()})
    assert folders[0] == folders[1]
    assert folders[0] != folders[2]


@pytest.mark.parametrize(
    "n",
    [
        2_000,
        pytest.param(5_000, marks=pytest.mark.slow),
        pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_many_questions_are_fitted_and_recover_the_truth(make_records: MakeRecords, n: int) -> None:
    matrix = OutcomeMatrix.from_records(make_records(n, policies=("direct", "reasoning@64")))
    fitted = fit_model(matrix, seed=0)
    assert len(fitted.out_of_fold.rows) == n
    p = OutcomeModel(fitted.parameters).predict([LONG_SUM, RELATION]).p_correct
    assert p[0] == pytest.approx([0.15, 0.9], abs=0.08)
    assert p[1] == pytest.approx([0.9, 0.75], abs=0.08)
    assert len(fitted.parameters.reference.ids) == min(n, 4000)
    assert fitted.parameters.calibration.method in ("affine", "sigmoid", "isotonic")


def test_of_more_questions_than_are_needed_a_sample_is_fitted(
    make_records: MakeRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.model._fit._MAX_QUESTIONS", 150)
    router = Router.fit(make_records(300))
    assert router.describe()["n_fitted"] == 150
    assert router.describe()["n_questions"] == 300
    assert router.seen([record.prompt for record in make_records(300)]).all()
