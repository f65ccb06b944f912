"""Comparison of two arms of a run: pairing, clusters, costs, adjusted p-values, what is left out."""

import math
from dataclasses import asdict, replace
from typing import Any, cast

import numpy as np
import pytest
from scipy import stats

from calibration import ArmComparison, Outcome, OutcomeRecord, compare_arms
from calibration._compare import find_arm
from calibration.statistics import (
    benjamini_hochberg,
    holm,
    mcnemar_exact,
    paired_difference_interval,
    paired_proportions_interval,
)
from policies import InvalidInputError, UnknownNameError


def record(
    question: str, policy: str, outcome: Outcome, tokens: int | None = 10, **changes: object
) -> OutcomeRecord:
    made = OutcomeRecord(
        question_id=question,
        group=question,
        task="sums",
        task_type="math-oe",
        prompt="",
        model="m",
        size=1,
        policy=policy,
        outcome=outcome,
        prompt_tokens=5,
        completion_tokens=tokens,
        flops=None if tokens is None else 2.0 * tokens,
        seconds=0.1,
    )
    return replace(made, **changes)


def drawn(n: int, seed: int, task: str = "sums", gain: float = 0.2) -> list[OutcomeRecord]:
    """Draw outcomes of `direct` and a better, longer `reasoning@max`."""
    rng = np.random.default_rng(seed)
    found: list[OutcomeRecord] = []
    for i in range(n):
        p = rng.random()
        for policy, chance, mean in (("direct", p, 5), ("reasoning@max", p + gain, 60)):
            outcome = Outcome.CORRECT if rng.random() < chance else Outcome.WRONG
            tokens = int(rng.poisson(mean)) + 1
            found.append(record(f"{task}-{i}", policy, outcome, tokens, task=task))
    return found


def test_difference_interval_and_p_value_are_those_of_the_paired_counts() -> None:
    records = drawn(300, 1)
    right = {(r.question_id, r.policy): r.outcome is Outcome.CORRECT for r in records}
    questions = sorted({r.question_id for r in records})
    pairs = [(right[q, "reasoning@max"], right[q, "direct"]) for q in questions]
    counts = [pairs.count(c) for c in ((True, True), (True, False), (False, True), (False, False))]
    overall = compare_arms(records, "reasoning@max", "direct", n_resamples=199).overall
    expected = paired_proportions_interval(*counts)
    assert overall.difference == pytest.approx(expected.estimate)
    assert (overall.ci_low, overall.ci_high) == tuple(expected)
    assert (overall.n_first_better, overall.n_second_better) == (counts[1], counts[2])
    assert overall.p_mcnemar == overall.p_value == mcnemar_exact(counts[1], counts[2])
    assert (overall.n, overall.n_clusters) == (300, 300)
    assert overall.first_accuracy - overall.second_accuracy == pytest.approx(overall.difference)


def test_costs_are_paired_bootstrap_intervals_per_question() -> None:
    records = drawn(60, 2)
    tokens = {(r.question_id, r.policy): float(r.completion_tokens or 0) for r in records}
    questions = sorted({r.question_id for r in records})
    overall = compare_arms(records, "reasoning@max", "direct").overall
    assert overall.tokens is not None
    assert overall.flops is not None
    expected = paired_difference_interval(
        [tokens[q, "reasoning@max"] for q in questions], [tokens[q, "direct"] for q in questions]
    )
    assert (overall.tokens.ci_low, overall.tokens.ci_high) == pytest.approx(tuple(expected))
    assert overall.tokens.difference == pytest.approx(expected.estimate)
    assert overall.flops.difference == pytest.approx(2 * overall.tokens.difference)
    assert overall.tokens.first_mean == pytest.approx(
        overall.tokens.second_mean + expected.estimate
    )


def test_an_arm_against_itself_gives_exact_zeros() -> None:
    result = compare_arms(drawn(40, 3) + drawn(30, 4, "facts"), "direct", "direct", n_resamples=199)
    for row in (result.overall, *result.tasks):
        assert (row.difference, row.ci_low, row.ci_high) == (0, 0, 0)
        assert row.p_mcnemar == row.p_value == row.p_holm == row.p_bh == 1
        for cost in (row.tokens, row.flops):
            assert cost is not None
            assert (cost.difference, cost.ci_low, cost.ci_high) == (0, 0, 0)


def test_exchanging_the_arms_turns_every_sign() -> None:
    records = drawn(80, 5)
    one = compare_arms(records, "direct", "reasoning@max", n_resamples=199).overall
    other = compare_arms(records, "reasoning@max", "direct", n_resamples=199).overall
    assert one.difference == -other.difference
    assert (one.ci_low, one.ci_high) == pytest.approx((-other.ci_high, -other.ci_low))
    assert one.p_value == other.p_value


def test_tasks_have_rows_with_adjusted_p_values_and_are_pooled() -> None:
    gains = {"sums": 0.3, "facts": 0.1, "codes": 0.0}
    records = [r for i, (t, g) in enumerate(gains.items()) for r in drawn(100, i, t, g)]
    result = compare_arms(records, "reasoning@max", "direct", n_resamples=199)
    assert [row.task for row in result.tasks] == ["codes", "facts", "sums"]
    raw = [row.p_value for row in result.tasks]
    assert [row.p_holm for row in result.tasks] == holm(raw)
    assert [row.p_bh for row in result.tasks] == benjamini_hochberg(raw)
    assert result.overall.n == 300
    assert result.overall.difference == pytest.approx(np.mean([r.difference for r in result.tasks]))
    alone = compare_arms(records, "reasoning@max", "direct", task="facts", n_resamples=199)
    assert len(alone.tasks) == 1
    assert replace(alone.overall, task="facts") == alone.tasks[0]
    assert alone.tasks[0].p_holm == alone.tasks[0].p_value == raw[1]


def test_errors_and_unpaired_questions_are_counted_and_left_out() -> None:
    records = [
        *drawn(30, 6),
        record("x1", "direct", Outcome.CORRECT),
        record("x2", "reasoning@max", Outcome.WRONG),
        record("x3", "direct", Outcome.ERROR, 0),
        record("x3", "reasoning@max", Outcome.CORRECT),
    ]
    overall = compare_arms(records, "reasoning@max", "direct", n_resamples=199).overall
    assert (overall.n, overall.n_unpaired, overall.n_error) == (30, 2, 1)
    without = compare_arms(drawn(30, 6), "reasoning@max", "direct", n_resamples=199).overall
    assert replace(overall, n_unpaired=0, n_error=0) == without


def test_cut_answers_are_not_correct() -> None:
    records = [
        r for i in range(20)
        for r in (record(f"q{i}", "direct", Outcome.CUT), record(f"q{i}", "cot", Outcome.CORRECT))
    ]  # fmt: skip
    assert compare_arms(records, "cot", "direct", n_resamples=199).overall.difference == 1


def test_unknown_costs_are_none_and_never_zero() -> None:
    records = drawn(20, 7)
    records[3] = replace(records[3], completion_tokens=None)
    overall = compare_arms(records, "direct", "reasoning@max", n_resamples=199).overall
    assert overall.tokens is None
    assert overall.flops is not None
    records[5] = replace(records[5], flops=None)
    assert compare_arms(records, "direct", "reasoning@max", n_resamples=199).overall.flops is None


def test_repeats_are_averaged_per_question() -> None:
    records = [
        record(f"q{i}", policy, Outcome.CORRECT if (i + repeat) % share == 0 else Outcome.WRONG)
        for i in range(30)
        for policy, share in (("direct", 3), ("cot", 2))
        for repeat in range(4)
    ]
    records[0] = replace(records[0], outcome=Outcome.ERROR)
    overall = compare_arms(records, "cot", "direct", n_resamples=499).overall
    assert (overall.n, overall.n_error) == (30, 0)
    means = {
        policy: [
            np.mean([r.outcome is Outcome.CORRECT for r in records
                     if r.question_id == f"q{i}" and r.policy == policy
                     and r.outcome is not Outcome.ERROR])
            for i in range(30)
        ]
        for policy in ("cot", "direct")
    }  # fmt: skip
    differences = np.subtract(means["cot"], means["direct"])
    assert overall.difference == pytest.approx(differences.mean())
    assert overall.p_value == pytest.approx(cast("Any", stats.ttest_1samp(differences, 0)).pvalue)
    assert overall.n_first_better == (differences > 0).sum()
    assert overall.p_mcnemar == mcnemar_exact(
        int((differences > 0).sum()), int((differences < 0).sum())
    )


def test_questions_that_share_documents_are_clustered() -> None:
    """Ten questions of one document rise and fall together: they are hardly more than one."""
    rng = np.random.default_rng(8)
    records: list[OutcomeRecord] = []
    for document in range(30):
        first, second = rng.random(2) < (0.6, 0.5)
        for i in range(10):
            for policy, is_right in (("cot", first), ("direct", second)):
                outcome = Outcome.CORRECT if is_right else Outcome.WRONG
                records.append(record(f"{document}-{i}", policy, outcome, group=str(document)))
    clustered = compare_arms(records, "cot", "direct", n_resamples=499).overall
    flat = compare_arms(
        [replace(r, group=r.question_id) for r in records], "cot", "direct", n_resamples=499
    ).overall
    assert (clustered.n, clustered.n_clusters) == (300, 30)
    assert clustered.ci_high - clustered.ci_low > 2 * (flat.ci_high - flat.ci_low)
    assert clustered.p_mcnemar == flat.p_mcnemar < clustered.p_value


def test_clusters_that_all_agree_have_a_p_value_above_zero() -> None:
    records = [
        record(f"{d}-{i}", policy, outcome, group=str(d))
        for d in range(8)
        for i in range(3)
        for policy, outcome in (("cot", Outcome.CORRECT), ("direct", Outcome.WRONG))
    ]
    assert compare_arms(records, "cot", "direct", n_resamples=199).overall.p_value == 2**-7


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Equal arms, 40 documents of 1 to 4 questions, 300 runs; McNemar would alarm more often."""
    rng = np.random.default_rng(12)
    n_runs, n_alarms, n_naive = 300, 0, 0
    for _ in range(n_runs):
        records: list[OutcomeRecord] = []
        for document in range(40):
            chances = rng.beta(0.5, 0.5, 2)
            for i in range(rng.integers(1, 5)):
                for policy, chance in zip(("cot", "direct"), chances, strict=True):
                    outcome = Outcome.CORRECT if rng.random() < chance else Outcome.WRONG
                    made = record(f"{document}-{i}", policy, outcome, None, group=str(document))
                    records.append(made)
        overall = compare_arms(records, "cot", "direct", n_resamples=100).overall
        n_alarms += overall.p_value <= 0.05
        n_naive += overall.p_mcnemar <= 0.05
    assert n_alarms <= stats.binom.ppf(0.999, n_runs, 0.055)
    assert n_naive > stats.binom.ppf(0.999, n_runs, 0.055)


# Names


ARMS = ("pocket-s:direct", "pocket-m:direct", "pocket-m:reasoning@max", "a:b:cot")


def test_arms_are_found_by_full_name_or_by_a_policy_of_one_model() -> None:
    assert find_arm("pocket-s:direct", ARMS) == "pocket-s:direct"
    assert find_arm("reasoning@max", ARMS) == "pocket-m:reasoning@max"
    assert find_arm("cot", ARMS) == "a:b:cot"


def test_a_policy_of_several_models_is_ambiguous() -> None:
    with pytest.raises(InvalidInputError, match="2 models") as caught:
        find_arm("direct", ARMS)
    assert caught.value.hint == "write pocket-m:direct or pocket-s:direct"


@pytest.mark.parametrize(
    ("name", "close"), [("reasoning@mix", "reasoning@max"), ("pocket-m:dirct", "pocket-m:direct")]
)
def test_unknown_arms_name_close_ones(name: str, close: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown arm") as caught:
        find_arm(name, ARMS)
    assert caught.value.hint is not None
    assert close in caught.value.hint.split("?")[0]


def test_unknown_tasks_and_runs_without_common_questions_are_refused() -> None:
    records = drawn(5, 1)
    with pytest.raises(UnknownNameError, match="unknown task"):
        compare_arms(records, "direct", "reasoning@max", task="sumss")
    apart = [r for i, r in enumerate(records) if (i % 4 in (0, 3))]
    with pytest.raises(InvalidInputError, match="no question"):
        compare_arms(apart, "direct", "reasoning@max")


def test_a_task_without_paired_answers_keeps_a_row_but_takes_no_part() -> None:
    lonely = record("y", "direct", Outcome.CORRECT, task="apart")
    result = compare_arms([*drawn(20, 2), lonely], "direct", "reasoning@max", n_resamples=199)
    apart, sums = result.tasks
    assert (apart.task, apart.n, apart.n_unpaired) == ("apart", 0, 1)
    assert math.isnan(apart.difference)
    assert sums.p_holm == sums.p_value
    assert result.overall.n == 20


def test_document_holds_the_pooled_row_flat_and_the_tasks_as_a_list() -> None:
    result: ArmComparison = compare_arms(drawn(20, 2), "direct", "reasoning@max", n_resamples=199)
    document = result.to_json()
    assert document["arms"] == ["m:direct", "m:reasoning@max"]
    assert {"difference", "ci_low", "ci_high", "p_mcnemar", "n"} <= document.keys()
    assert document["tasks"] == [asdict(row) for row in result.tasks]


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        (Outcome.WRONG, Outcome.WRONG, (0, 0, 0, 12)),
        (Outcome.CORRECT, Outcome.CORRECT, (12, 0, 0, 0)),
        (Outcome.CORRECT, Outcome.WRONG, (0, 12, 0, 0)),
    ],
)
def test_clusters_that_all_agree_leave_an_interval_not_a_point(
    first: Outcome, second: Outcome, counts: tuple[int, int, int, int]
) -> None:
    # Twelve documents of five questions each; resampling them shows no spread at all.
    records = [
        record(f"{document}-{i}", policy, outcome, group=str(document))
        for document in range(12)
        for i in range(5)
        for policy, outcome in (("direct", second), ("reasoning@max", first))
    ]
    overall = compare_arms(records, "reasoning@max", "direct", n_resamples=199).overall
    assert (overall.n, overall.n_clusters) == (60, 12)
    expected = paired_proportions_interval(*counts)
    assert (overall.ci_low, overall.ci_high) == (expected.low, expected.high)
    assert overall.ci_low < overall.ci_high


def test_a_clustered_p_value_is_that_of_a_regression_with_clustered_errors() -> None:
    regression = pytest.importorskip(
        "statsmodels.regression.linear_model", reason="statsmodels is not installed"
    )
    rng = np.random.default_rng(4)
    records: list[OutcomeRecord] = []
    differences: list[float] = []
    groups: list[int] = []
    for document in range(15):
        for i in range(int(rng.integers(1, 9))):
            right = rng.random(2) < (0.7, 0.45)
            for policy, is_right in zip(("reasoning@max", "direct"), right, strict=True):
                outcome = Outcome.CORRECT if is_right else Outcome.WRONG
                records.append(record(f"{document}-{i}", policy, outcome, group=str(document)))
            differences.append(float(right[0]) - float(right[1]))
            groups.append(document)
    overall = compare_arms(records, "reasoning@max", "direct", n_resamples=199).overall
    model = regression.OLS(np.array(differences), np.ones(len(differences)))
    fitted = model.fit(
        cov_type="cluster",
        cov_kwds={"groups": np.array(groups), "use_correction": False, "df_correction": True},
        use_t=True,
    )
    # The usual factors for few clusters differ by (N - 1) / N of the number of questions.
    n, clusters = len(differences), overall.n_clusters
    t = float(fitted.tvalues[0]) / np.sqrt(clusters / (clusters - 1))
    assert overall.p_value == pytest.approx(2 * stats.t.sf(abs(t), clusters - 1), rel=1e-6), n
