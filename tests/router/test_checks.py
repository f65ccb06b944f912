"""Checks of outcomes: each trouble is found, counted and put right or refused."""

import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import Outcome, OutcomeRecord, load_outcomes
from policies import InvalidInputError
from router import OutcomeMatrix
from router.checks._checks import check_matrix, check_outcomes
from router.checks._findings import Finding, Severity
from router.checks._texts import find_leaks

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "outcomes"
Records = list[OutcomeRecord]
WORDS = ["apple", "pear", "plum", "fig", "date", "lime"]


def world(n: int = 80, policies: tuple[str, ...] = ("direct", "cot"), **changes: Any) -> Records:
    """Return faultless outcomes: different texts, measured times, both classes in every arm."""
    rng = random.Random(5)
    return [
        OutcomeRecord(
            question_id=f"q{i:03}",
            group=f"q{i:03}",
            task="t",
            task_type="math-oe",
            prompt=f"{WORDS[i % 6]} {i} + {i * 7 % 13}",
            model="m",
            size=None,
            policy=policy,
            outcome=Outcome.CORRECT if rng.random() < 0.6 else Outcome.WRONG,
            prompt_tokens=5,
            completion_tokens=10 + i,
            flops=None,
            seconds=rng.random(),
            **changes,
        )
        for i in range(n)
        for policy in policies
    ]


def codes(records: Records) -> list[str]:
    return [str(finding.code) for finding in check_outcomes(records).findings]


def finding(records: Records, code: str) -> Finding:
    [found] = [one for one in check_outcomes(records).findings if one.code == code]
    return found


def test_faultless_outcomes_pass_unchanged() -> None:
    checked = check_outcomes(world())
    assert checked.findings == ()
    assert checked.require_usable() == world()


@pytest.mark.parametrize(
    "change",
    [
        {"completion_tokens": -1},
        {"prompt_tokens": -5},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"flops": float("nan")},
        {"flops": -1.0},
    ],
)
def test_impossible_numbers_are_refused_by_name(change: dict[str, Any]) -> None:
    records = world()
    records[7] = replace(records[7], **change)
    checked = check_outcomes(records)
    assert [(one.code, one.severity) for one in checked.findings] == [("bad-numbers", "fatal")]
    with pytest.raises(InvalidInputError, match=next(iter(change))) as caught:
        checked.require_usable()
    assert "'q003' of 'm:cot'" in caught.value.message
    assert caught.value.code == "bad-numbers"


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("prompt", "other", "two texts"),
        ("task_type", "general-mc", "two task types"),
        ("group", "g", "two groups"),
        ("size", 7, "two sizes"),
    ],
)
def test_contradictions_are_refused_by_name(field: str, value: Any, what: str) -> None:
    records = world()
    records[7] = replace(records[7], **{field: value})
    with pytest.raises(InvalidInputError, match=what):
        check_outcomes(records).require_usable()


def test_all_reasons_to_refuse_are_told_at_once() -> None:
    records = world()
    records[0] = replace(records[0], completion_tokens=-1)
    records[7] = replace(records[7], group="g")
    with pytest.raises(InvalidInputError, match=r"completion_tokens -1 .*; 1 questions have two"):
        check_outcomes(records).require_usable()


def test_errors_alone_are_refused() -> None:
    errors = [replace(record, outcome=Outcome.ERROR) for record in world(3)]
    with pytest.raises(InvalidInputError, match="6 infrastructure errors"):
        check_outcomes(errors).require_usable()


def test_outcomes_written_twice_are_dropped_and_counted() -> None:
    records = world()
    checked = check_outcomes([*records, *records[:3]])
    assert checked.records == records
    [found] = checked.findings
    assert (found.code, found.count, found.n) == ("duplicates", 3, 163)
    assert found.example == "question 'q000' of 'm:cot'"


def test_equal_repeats_stay_where_times_tell_nothing() -> None:
    # Times worked out from tokens: two honest repeats can be equal in everything.
    records = [replace(record, seconds=0.5) for record in world()]
    checked = check_outcomes([*records, *records[:3]])
    assert len(checked.records) == 163
    assert finding([*records, *records[:3]], "equal-repeats").count == 3
    assert finding([*records, *records[:3]], "uneven-repeats").count == 1


def test_repeats_without_times_stay() -> None:
    records = [replace(record, seconds=None) for record in world()]
    assert check_outcomes(records * 2).records == records * 2
    assert codes(records * 2) == []


@pytest.mark.parametrize("outcome", [Outcome.CORRECT, Outcome.WRONG, Outcome.CUT])
def test_one_class_is_allowed_and_told(outcome: Outcome) -> None:
    records = [replace(record, outcome=outcome) for record in world()]
    checked = check_outcomes(records)
    assert [one.code for one in checked.findings] == ["one-class"]
    assert checked.require_usable() == records


def test_an_arm_that_is_always_right_is_told() -> None:
    records = [
        replace(record, outcome=Outcome.CORRECT) if record.policy == "cot" else record
        for record in world()
    ]
    found = finding(records, "one-class-arm")
    assert (found.count, found.example) == (1, "m:cot")


def test_questions_of_one_text_share_a_group() -> None:
    records = [
        replace(record, prompt=f"  APPLE {0}\n+ 0 ") if record.question_id == "q009" else record
        for record in world()
    ]
    checked = check_outcomes(records)
    [found] = checked.findings
    assert (found.code, found.count, found.example) == ("same-texts", 2, "q000 = q009")
    groups = {record.question_id: record.group for record in checked.records}
    assert groups["q009"] == groups["q000"] == "q000"
    assert len(set(groups.values())) == 79


def test_texts_that_differ_in_a_digit_stay_apart() -> None:
    records = [replace(r, prompt=f"What is 2 + {r.question_id[1:]}?") for r in world()]
    assert codes(records) == []
    assert codes([replace(r, prompt=r.prompt.replace("2", "²")) for r in records]) == []


def test_groups_are_joined_through_a_common_one() -> None:
    texts = {"q001": "x", "q002": "X", "q003": "y"}
    records = [replace(r, prompt=texts.get(r.question_id, r.prompt)) for r in world()]
    # q004 has the text of q003 and the group of q002.
    records = [
        replace(r, prompt="y ", group="q002") if r.question_id == "q004" else r for r in records
    ]
    groups = {record.question_id: record.group for record in check_outcomes(records).records}
    assert {groups[f"q00{i}"] for i in (1, 2, 3, 4)} == {"q001"}


@pytest.mark.parametrize(("n_empty", "is_hopeless"), [(1, False), (80, True)])
def test_missing_texts_are_told(n_empty: int, is_hopeless: bool) -> None:
    records = [
        replace(record, prompt=" \n" if int(record.question_id[1:]) < n_empty else record.prompt)
        for record in world()
    ]
    found = finding(records, "empty-texts")
    assert (found.count, found.n) == (n_empty, 80)
    assert ("impossible" in found.message) == is_hopeless
    assert len({record.group for record in check_outcomes(records).records}) == 80


def test_a_template_in_the_place_of_texts_is_told_and_joins_nothing() -> None:
    records = [replace(record, prompt="Answer the question.") for record in world()]
    assert codes(records) == ["one-text"]
    assert len({record.group for record in check_outcomes(records).records}) == 80


def test_few_questions_and_few_groups_are_told() -> None:
    assert codes(world(9)) == ["few-questions", "few-groups"]
    assert finding(world(9), "few-questions").count == 2


def test_arms_without_a_common_question_are_told() -> None:
    records = [
        record
        for record in world(200)
        if (int(record.question_id[1:]) < 100) == (record.policy == "cot")
    ]
    assert "no-shared-questions" in codes(records)


def test_gaps_are_noted() -> None:
    found = finding(world()[:-1], "gaps")
    assert (found.severity, found.count, found.example) == (Severity.NOTE, 1, "q079")


def test_an_arm_tried_only_where_another_failed_is_told() -> None:
    records = world(300)
    missed = {r.question_id for r in records if r.policy == "direct" and r.outcome != "correct"}
    records += [
        replace(r, policy="retry", seconds=r.seconds and r.seconds + 1)
        for r in records
        if r.policy == "cot" and r.question_id in missed
    ]
    found = finding(records, "selected-questions")
    assert (found.count, found.example) == (1, "m:retry")
    assert "'m:direct' differs by -1.00" in found.message


def test_an_arm_of_one_task_is_not_taken_for_selected() -> None:
    # Hard and easy tasks alone do not make a selection.
    records = world(300)
    hard = [
        replace(r, question_id=f"h{r.question_id}", group=f"h{r.group}", prompt=f"h{r.prompt}")
        for r in records
    ]
    hard = [replace(r, task="hard", outcome=Outcome.WRONG) for r in hard[::1]]
    hard[0] = replace(hard[0], outcome=Outcome.CORRECT)
    only = [replace(r, policy="think", seconds=None) for r in hard if r.policy == "cot"]
    assert "selected-questions" not in codes(records + hard + only)


def test_failures_are_told_with_the_worst_arm() -> None:
    records = [
        replace(record, outcome=Outcome.ERROR, completion_tokens=0, seconds=0.0)
        if record.policy == "cot" and i % 8 == 1
        else record
        for i, record in enumerate(world())
    ]
    found = finding(records, "errors")
    assert (found.count, found.n, found.example) == (20, 160, "m:cot")


def test_unknown_tokens_are_told() -> None:
    records = [replace(r, completion_tokens=None) if r.policy == "cot" else r for r in world()]
    found = finding(records, "unknown-tokens")
    assert (found.count, found.n, found.example) == (80, 160, "m:cot")


def test_findings_are_plain_json() -> None:
    document = finding(world()[:-1], "gaps").to_json()
    assert json.loads(json.dumps(document)) == document
    assert set(document) == {"code", "severity", "count", "n", "example", "message", "hint"}


def test_a_matrix_is_checked_as_its_outcomes_are() -> None:
    records = [replace(r, prompt="Apple 0 + 0") if r.question_id == "q009" else r for r in world()][
        :-1
    ]
    from_records = check_outcomes(records)
    matrix = OutcomeMatrix.from_records(records)
    from_matrix = check_matrix(matrix)
    assert from_matrix.findings == from_records.findings
    expected = OutcomeMatrix.from_records(from_records.records)
    assert from_matrix.require_usable().groups == expected.groups != matrix.groups


def test_a_matrix_with_an_impossible_number_is_refused() -> None:
    matrix = OutcomeMatrix.from_records(world())
    wrong = replace(matrix, tokens=np.where(matrix.tokens > 50, -1.0, matrix.tokens))
    with pytest.raises(InvalidInputError, match="negative, infinite or NaN"):
        check_matrix(wrong).require_usable()


def spoilt(rng: random.Random) -> Records:
    """Return outcomes with troubles of many kinds."""
    records = world(rng.choice([6, 30]), ("direct", "cot", "think"))
    for _ in range(rng.randrange(8)):
        i = rng.randrange(len(records))
        change = rng.choice(
            [
                {"prompt": rng.choice(["", "same", "Same"])},
                {"group": "g"},
                {"seconds": rng.choice([None, 0.5])},
                {"outcome": Outcome.ERROR},
                {"completion_tokens": rng.choice([None, 3])},
                {"flops": rng.choice([-1.0, 2.0])} if rng.random() < 0.1 else {},
            ]
        )
        name = records[i].question_id if {"prompt", "group"} & change.keys() else None
        records = [
            replace(record, **change) if j == i or record.question_id == name else record
            for j, record in enumerate(records)
        ]
        records += rng.sample(records, rng.randrange(3))
    return records


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_outcomes_does_not_matter(rng: random.Random) -> None:
    records = spoilt(rng)
    shuffled = list(records)
    rng.shuffle(shuffled)
    first, second = check_outcomes(records), check_outcomes(shuffled)
    assert first.findings == second.findings
    assert sorted(map(repr, first.records)) == sorted(map(repr, second.records))


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_checked_outcomes_are_clean(rng: random.Random) -> None:
    checked = check_outcomes(spoilt(rng))
    if any(one.severity is Severity.FATAL for one in checked.findings):
        with pytest.raises(InvalidInputError):
            checked.require_usable()
        return
    # What can be put right is right after the first time, and the core takes it.
    again = check_outcomes(checked.records)
    assert again.records == checked.records
    assert not {"duplicates", "same-texts"} & {str(one.code) for one in again.findings}
    assert OutcomeMatrix.from_records(checked.records).n_questions > 0


def test_leaks_between_splits_are_found() -> None:
    leaks = find_leaks(
        ["What is 2 + 3?", "", "Caf\u00e9"], ["what  IS 2 + 3?", "", "2", "cafe\u0301"]
    )
    assert [tuple(leak) for leak in leaks] == [(0, 0), (3, 2)]


TEXTS = st.lists(st.text("aA\u00e9 1²", max_size=3), max_size=8)


@settings(max_examples=80, deadline=None)
@given(TEXTS, TEXTS)
def test_every_leak_is_one_and_none_is_missed(train: list[str], test: list[str]) -> None:
    def spelled(text: str) -> str:
        return " ".join(text.lower().split())

    known = [spelled(text) for text in train]
    expected = [
        (i, known.index(spelled(text)))
        for i, text in enumerate(test)
        if text.strip() and spelled(text) in known
    ]
    assert [tuple(leak) for leak in find_leaks(train, test)] == expected


def test_the_published_pairs_leak_nothing_any_more() -> None:
    path = SHARED / "weak_strong_pairs" / "data_A.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    document = json.loads(path.read_text("utf-8"))
    train, test = ([row["q"] for row in document[name]] for name in ("train", "test"))
    assert find_leaks(train, test) == ()
    assert len(find_leaks(train + test[:119], test)) == 119


RECORDED: dict[str, set[str]] = {
    "gmmlu_s1_budget": set(),
    "gsm8k_openai_2021": set(),
    "mip_overthinking_gsm8k": set(),
    "mgsm_sizes": {"no-shared-questions"},
    "qwen3_30b_mmlupro_budget": {"few-questions", "gaps"},
    "renze_9models_cot": {"same-texts", "selected-questions", "gaps"},
    "renze_ccot": {"gaps"},
    "tatqa_codex": {"same-texts"},
    "zero_shot_cot_2022": {"same-texts"},
    "zeroeval_ladder": {"no-shared-questions"},
    "mmlu_pro_cot_ladder": {"empty-texts", "gaps"},
}
LARGE = ("mmlu_pro_cot_ladder", "renze_ccot", "zeroeval_ladder")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in RECORDED]
)
def test_recorded_sets_have_the_troubles_that_are_known(name: str) -> None:
    path = SHARED / name / "long.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    pytest.importorskip("pyarrow")
    assert set(codes(load_outcomes(path).records)) == RECORDED[name]


@pytest.mark.slow
def test_a_million_outcomes_are_checked_in_seconds(make_records: Callable[..., Records]) -> None:
    few = make_records(1000)
    many = [
        replace(
            r, question_id=f"{r.question_id}-{i}", group=f"{r.group}-{i}", prompt=f"{i} {r.prompt}"
        )
        for i in range(333)
        for r in few
    ]
    before = time.process_time()
    assert check_outcomes(many).findings[0].severity is not Severity.FATAL
    assert time.process_time() - before < 30
