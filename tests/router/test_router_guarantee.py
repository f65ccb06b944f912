"""A guarantee end to end: asked for at the fit, certified on other questions, kept with the router."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from calibration import Outcome, OutcomeRecord
from policies import Evidence, InvalidInputError, NoGuaranteeError, UnknownNameError, Usage
from router import Guarantee, Objective, OutcomeMatrix, Price, Router

Records = list[OutcomeRecord]
MakeRecords = Callable[..., Records]
Floats = NDArray[np.float64]
REFERENCE = "toy:reasoning@64"
EASY: dict[str, Any] = {"max_loss": 0.05, "confidence": 0.9, "reference": "reasoning@64"}


@pytest.fixture(scope="module")
def matrix(make_records: MakeRecords) -> OutcomeMatrix:
    """Questions with different prompts, in groups of four."""
    records = [
        replace(
            record,
            prompt=f"{record.prompt} (number {record.question_id})",
            group=str(int(record.question_id[1:]) // 4),
        )
        for record in make_records(480)
    ]
    return OutcomeMatrix.from_records(records)


@pytest.fixture(scope="module")
def certified(matrix: OutcomeMatrix) -> Router:
    return Router.fit(matrix, unit="tokens", **EASY)


def guarantee_of(router: Router) -> Guarantee:
    assert router.guarantee is not None
    return router.guarantee


def test_the_default_objective_is_what_is_promised_about(certified: Router) -> None:
    found = guarantee_of(certified)
    assert found.holds
    assert (found.epsilon, found.confidence, found.reference) == (0.05, 0.9, REFERENCE)
    assert found.estimated_loss <= 0.05
    assert found.cost is not None
    assert found.cost.unit == certified.objective.unit == "tokens"
    assert found.cost.saved > 0.1
    assert certified.objective.tradeoff is not None


def test_the_artifact_keeps_the_guarantee(certified: Router, tmp_path: Path) -> None:
    certified.save(tmp_path / "router")
    loaded = Router.load(tmp_path / "router")
    assert loaded.guarantee == certified.guarantee
    assert loaded.objective == certified.objective
    assert loaded.artifact_id == certified.artifact_id
    document = loaded.describe()
    assert document["guarantee"] == guarantee_of(certified).to_json()
    json.dumps(document, allow_nan=False)


def test_nothing_is_promised_unasked(router: Router) -> None:
    assert router.guarantee is None
    assert router.describe()["guarantee"] is None
    assert router.describe()["n_calibration"] == 0


def test_whole_groups_are_held_back_and_nothing_is_fitted_on_them(
    matrix: OutcomeMatrix, certified: Router
) -> None:
    seen = certified.seen(matrix.prompts)
    found, told = guarantee_of(certified), certified.describe()
    assert int((~seen).sum()) == told["n_calibration"] == found.n_calibration
    assert told["n_fitted"] + told["n_calibration"] == matrix.n_questions
    assert told["n_calibration"] == pytest.approx(0.4 * matrix.n_questions, abs=8)
    groups = np.array(matrix.groups)
    assert not set(groups[seen]) & set(groups[~seen])
    assert found.n_groups == len(set(groups[~seen]))
    alone = Router.fit(matrix.rows(np.flatnonzero(seen)), unit="tokens")
    np.testing.assert_array_equal(
        alone.predict(matrix.prompts).p_correct, certified.predict(matrix.prompts).p_correct
    )


def test_answers_do_not_decide_what_is_held_back(matrix: OutcomeMatrix, certified: Router) -> None:
    reversed_ = replace(matrix, correct=1.0 - matrix.correct)
    other = Router.fit(reversed_, unit="tokens", max_loss=0.9, reference="reasoning@max")
    np.testing.assert_array_equal(other.seen(matrix.prompts), certified.seen(matrix.prompts))


def test_the_certificate_is_about_what_the_router_does(
    matrix: OutcomeMatrix, certified: Router
) -> None:
    rows = np.flatnonzero(~certified.seen(matrix.prompts))
    held_back = matrix.rows(rows)
    names = [arm.name for arm in matrix.arms]
    choice = [names.index(each.arm.name) for each in certified.decide_many(held_back.prompts)]
    reference = names.index(REFERENCE)
    each = np.arange(len(rows))
    loss = held_back.correct[:, reference] - held_back.correct[each, choice]
    found = guarantee_of(certified)
    assert found.estimated_loss == pytest.approx(loss.mean(), abs=1e-12)
    assert found.cost is not None
    spent = held_back.tokens[each, choice].mean()
    assert found.cost.mean == pytest.approx(spent)
    assert found.cost.reference_mean == pytest.approx(held_back.tokens[:, reference].mean())
    assert found.cost.saved == pytest.approx(1 - spent / held_back.tokens[:, reference].mean())


def test_equal_arguments_give_the_same_guarantee(matrix: OutcomeMatrix, certified: Router) -> None:
    assert Router.fit(matrix, unit="tokens", **EASY).guarantee == certified.guarantee
    other = Router.fit(matrix, unit="tokens", seed=1, **EASY)
    assert other.seen(matrix.prompts).tolist() != certified.seen(matrix.prompts).tolist()


def test_too_few_questions_are_told_how_many_would_do(matrix: OutcomeMatrix) -> None:
    few = matrix.rows(np.arange(100))
    with pytest.raises(NoGuaranteeError, match="do not support it") as caught:
        Router.fit(few, max_loss=0.05, reference="reasoning@64", unit="tokens")
    found = caught.value.guarantee
    assert not found["holds"]
    assert found["n_calibration"] == 40
    assert found["n_needed"] > 40
    assert f"{found['n_needed']:,} in all" in caught.value.hint
    assert (found["epsilon"], found["reference"]) == (0.05, REFERENCE)


def test_a_loss_that_no_rule_keeps_is_told_as_hopeless(matrix: OutcomeMatrix) -> None:
    """Direct answers lose everywhere: no number of questions would help."""
    correct = np.stack([np.zeros(matrix.n_questions), np.ones(matrix.n_questions)], axis=1)
    two = OutcomeMatrix.from_records(pair_of_arms(correct))
    with pytest.raises(NoGuaranteeError) as caught:
        Router.fit(two, max_loss=0.05, unit="tokens")
    assert caught.value.guarantee["n_needed"] is None
    assert caught.value.guarantee["reason"]


def pair_of_arms(correct: NDArray[Any], prompts: list[str] | None = None) -> Records:
    """Return outcomes of a cheap and a dear arm, `correct` of shape `(n_questions, 2)`."""
    return [
        OutcomeRecord(
            question_id=f"q{row}",
            group=f"q{row}",
            task="look-up",
            task_type="general-oe",
            prompt=prompts[row] if prompts else f"What is item {row}?",
            model="toy",
            size=None,
            policy=policy,
            outcome=Outcome.CORRECT if is_right else Outcome.WRONG,
            prompt_tokens=6,
            completion_tokens=tokens,
            flops=None,
            seconds=0.0,
        )
        for row, answers in enumerate(correct.astype(bool).tolist())
        for policy, tokens, is_right in zip(
            ("direct", "reasoning@64"), (5, 80), answers, strict=True
        )
    ]


# What the loss is against


@pytest.mark.parametrize(
    ("reference", "name"),
    [("reasoning@max", "toy:reasoning@max"), (REFERENCE, REFERENCE), (None, REFERENCE)],
)
def test_the_reference_has_a_name_a_policy_or_is_the_most_accurate_arm(
    matrix: OutcomeMatrix, reference: str | None, name: str
) -> None:
    router = Router.fit(matrix, unit="tokens", max_loss=0.2, reference=reference)
    assert guarantee_of(router).reference == name


def test_nothing_saves_against_the_cheapest_arm(matrix: OutcomeMatrix) -> None:
    with pytest.raises(NoGuaranteeError, match="costs less than the reference") as caught:
        Router.fit(matrix, unit="tokens", max_loss=0.2, reference="direct")
    assert caught.value.guarantee["reference"] == "toy:direct"


def test_an_unknown_reference_is_named_with_what_it_may_have_been(matrix: OutcomeMatrix) -> None:
    with pytest.raises(UnknownNameError, match=r"reasonin@64") as caught:
        Router.fit(matrix, max_loss=0.05, reference="toy:reasonin@64")
    assert REFERENCE in str(caught.value)


def test_a_policy_of_two_models_is_no_reference(make_records: MakeRecords) -> None:
    records = make_records(60, policies=("direct", "reasoning@64"))
    both = [*records, *(replace(record, model="other") for record in records)]
    with pytest.raises(InvalidInputError, match=r"could be any of other:direct, toy:direct"):
        Router.fit(both, max_loss=0.05, reference="direct")


# What cannot be asked for


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_loss": 0.05, "objective": Objective.trade(0.0)}, "max_loss chooses the objective"),
        ({"max_loss": 1.0}, r"max_loss=1.0 is not in \[0, 1\)"),
        ({"max_loss": -0.1}, "max_loss=-0.1"),
        ({"max_loss": 0.05, "confidence": 95.0}, "write 0.95 for 95%"),
        ({"max_loss": 0.05, "max_cost_share": 0.0}, "max_cost_share=0.0"),
        ({"reference": "direct"}, "reference=.* without max_loss"),
        ({"max_cost_share": 0.5}, "max_cost_share=.* without max_loss"),
    ],
)
def test_what_makes_no_sense_is_refused(
    matrix: OutcomeMatrix, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidInputError, match=text):
        Router.fit(matrix.rows(np.arange(80)), **options)


def test_too_few_groups_cannot_be_split(matrix: OutcomeMatrix) -> None:
    few = replace(matrix.rows(np.arange(16)), groups=tuple(str(row // 4) for row in range(16)))
    with pytest.raises(InvalidInputError, match="4 groups of questions cannot be split"):
        Router.fit(few, max_loss=0.05)


# Cost


def test_a_cost_limit_is_promised_together_with_the_loss(matrix: OutcomeMatrix) -> None:
    router = Router.fit(matrix, unit="tokens", max_cost_share=0.9, **EASY)
    cost = guarantee_of(router).cost
    assert cost is not None
    assert cost.max_share == 0.9
    assert cost.mean <= 0.9 * cost.reference_mean


def test_a_cost_limit_that_cannot_be_kept_is_told(matrix: OutcomeMatrix) -> None:
    with pytest.raises(NoGuaranteeError) as caught:
        Router.fit(matrix, unit="tokens", max_cost_share=0.02, **EASY)
    assert not caught.value.guarantee["holds"]


# Two calls


def with_evidence(n: int, seed: int = 0) -> OutcomeMatrix:
    """Prompts tell nothing; the log-probability of a direct answer tells whether it is right."""
    rng = np.random.default_rng(seed)
    correct = rng.random((n, 2)) < [0.6, 0.9]
    records = pair_of_arms(correct)
    for row in range(n):
        logprob = -abs(0.5 + 0.1 * rng.normal() - 0.8 * (bool(correct[row, 0]) - 0.5))
        records[2 * row] = replace(
            records[2 * row], evidence=Evidence(logprob, 1.5 * logprob, 0.1 - logprob)
        )
    return OutcomeMatrix.from_records(records)


def test_a_cascade_is_certified_as_it_will_run() -> None:
    matrix = with_evidence(700)
    router = Router.fit(matrix, unit="tokens", max_loss=0.05, reference="reasoning@64")
    assert router.describe()["cascade"] is not None
    held_back = matrix.rows(np.flatnonzero(~router.seen(matrix.prompts)))
    n_two = 0
    correct: list[float] = []
    spent: list[int] = []
    for row, prompt in enumerate(held_back.prompts):
        decision = router.decide(prompt)
        column = [arm.name for arm in matrix.arms].index(decision.arm.name)
        n_tokens = int(held_back.tokens[row, column])
        total = n_tokens
        if decision.escalation is not None:
            told = Evidence(*held_back.evidence[row, column, :3].tolist())
            decision = router.escalate(decision, told, Usage(6, n_tokens))
            after = [arm.name for arm in matrix.arms].index(decision.arm.name)
            if after != column:
                n_two, column = n_two + 1, after
                total += int(held_back.tokens[row, column])
        correct.append(held_back.correct[row, column])
        spent.append(total)
    assert n_two > 20
    found = guarantee_of(router)
    loss = held_back.correct[:, 1].mean() - np.mean(correct)
    assert found.estimated_loss == pytest.approx(loss, abs=1e-12)
    assert found.cost is not None
    assert found.cost.saved > 0.2
    # No request is cut off at the cap, though two calls cost more than any single one.
    assert found.cost.mean == pytest.approx(np.mean(spent))


def test_a_cascade_is_certified_in_money_too() -> None:
    price = Price(prompt_usd=0.0, completion_usd=1e-6)
    router = Router.fit(
        with_evidence(700),
        unit="usd",
        prices={"toy": price},
        max_loss=0.05,
        reference="reasoning@64",
    )
    assert router.describe()["cascade"] is not None
    cost = guarantee_of(router).cost
    assert cost is not None
    assert (cost.unit, cost.reference_mean) == ("usd", pytest.approx(80e-6))


# How often it is broken


def draw_levels(n: int, rng: np.random.Generator) -> tuple[list[str], Floats]:
    """Return prompts and true p: direct answers lose .4 on half of the questions, else nothing."""
    is_hard = rng.random(n) < 0.5
    prompts = [
        f"{'Derive' if hard else 'Name'} item {number}"
        for hard, number in zip(is_hard.tolist(), rng.integers(10**9, size=n).tolist(), strict=True)
    ]
    return prompts, np.stack([np.where(is_hard, 0.45, 0.85), np.full(n, 0.85)], axis=1)


def broken_and_given(n_splits: int, n: int, max_loss: float, confidence: float) -> tuple[int, int]:
    """Fit and certify on fresh questions again and again; compare with the known truth."""
    rng = np.random.default_rng(5)
    unseen, truth = draw_levels(1000, rng)
    rows = np.arange(len(unseen))
    n_broken = n_given = 0
    for split in range(n_splits):
        prompts, p = draw_levels(n, rng)
        records = pair_of_arms(rng.random(p.shape) < p, prompts)
        try:
            router = Router.fit(
                records,
                seed=split,
                unit="tokens",
                max_loss=max_loss,
                confidence=confidence,
                reference="reasoning@64",
            )
        except NoGuaranteeError:
            continue
        n_given += 1
        names = [arm.name for arm in router.arms]
        choice = [names.index(each.arm.name) for each in router.decide_many(unseen)]
        n_broken += bool((truth[:, 1] - truth[rows, choice]).mean() > max_loss)
    return n_broken, n_given


def test_promises_are_kept_over_a_few_splits() -> None:
    n_broken, n_given = broken_and_given(8, 300, 0.1, 0.9)
    assert n_given >= 4
    # Exceeded once in 1,000 runs if the rate is .1 exactly.
    assert n_broken <= stats.binom.ppf(0.999, 8, 0.1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("n", "max_loss", "confidence"), [(240, 0.12, 0.8)])
def test_promises_are_kept_over_many_splits(n: int, max_loss: float, confidence: float) -> None:
    n_splits = 100
    n_broken, n_given = broken_and_given(n_splits, n, max_loss, confidence)
    assert n_given > 0.8 * n_splits
    assert n_broken <= stats.binom.ppf(0.999, n_splits, round(1 - confidence, 12))
