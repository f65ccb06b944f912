"""From a run to pairs: which questions are kept, with which answers, and what is said of the rest."""

import dataclasses
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor.data import load_counter, measure_lengths, read_pairs
from advisor.pairs import Keep, PairRules, Pick, RunPairs, Status, choose_arms, write_pairs
from advisor.tops import Excluded, facts_of
from calibration import ImportedOutcome, MeasuredTable, Outcome, RunStore, store_path
from policies import InvalidInputError, StoreError, UnknownNameError
from tests.advisor.tops.made_up_runs import said, write_run

CORRECT, WRONG, CUT, ERROR = Outcome.CORRECT, Outcome.WRONG, Outcome.CUT, Outcome.ERROR


def direct(question: str, outcome: Outcome = CORRECT, **how: Any) -> ImportedOutcome:
    changes = {name: how.pop(name) for name in ("prompt", "gold", "group") if name in how}
    arguments: dict[str, Any] = {"policy": "direct", "thinking": "", "text": "Answer: 1", **how}
    made = said(question, arguments.pop("tokens", 4), outcome, **arguments)
    return dataclasses.replace(made, **changes)


def reasoned(question: str, outcome: Outcome = CORRECT, **how: Any) -> ImportedOutcome:
    changes = {name: how.pop(name) for name in ("prompt", "gold", "group") if name in how}
    made = said(question, how.pop("tokens", 40), outcome, **how)
    return dataclasses.replace(made, **changes)


def build(
    folder: Path, outcomes: Iterable[ImportedOutcome], rules: PairRules | None = None, **how: Any
) -> RunPairs:
    run = folder / "run"
    if not run.exists():
        write_run(run, outcomes)
    facts = facts_of(run)
    names = ("ift", "reasoning", "model")
    arms = choose_arms(facts.arms, **{name: how.pop(name, None) for name in names})
    return write_pairs(run, folder / "PAIRS.jsonl", facts, arms, rules, **how)


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of the file by question."""
    text = (folder / "PAIRS.jsonl").read_text("utf-8")
    found = [json.loads(line) for line in text.splitlines()]
    return {row["prompt"].removeprefix("What is ").removesuffix("?"): row for row in found}


def fates(built: RunPairs) -> dict[tuple[str, str], tuple[int, int]]:
    return {(one.ift.value, one.reasoning.value): (one.n, one.n_kept) for one in built.fates}


def every_combination() -> list[ImportedOutcome]:
    """Return questions such as `correct-cut`: what became of the direct and of the other answer."""
    kinds = (CORRECT, WRONG, CUT, ERROR)
    return [
        make(f"{one.value}-{other.value}", outcome, text=None if outcome is ERROR else "Answer: 1")
        for one in kinds
        for other in kinds
        for make, outcome in ((direct, one), (reasoned, other))
    ]


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (Keep.BOTH_CORRECT, {"correct-correct"}),
        (Keep.REASONING_CORRECT, {"correct-correct", "wrong-correct"}),
        (Keep.ANY, {"correct-correct", "wrong-correct", "correct-wrong", "wrong-wrong"}),
    ],
)
def test_what_is_kept_follows_the_rule_and_is_never_cut_or_an_error(
    keep: Keep, kept: set[str], tmp_path: Path
) -> None:
    built = build(tmp_path, every_combination(), PairRules(keep=keep))
    assert rows(tmp_path).keys() == kept
    assert built.counts.n_kept == len(kept)
    assert built.counts.n_questions == 16
    told = fates(built)
    assert sum(n for n, _ in told.values()) == 16
    assert {f"{one}-{other}" for (one, other), (_, n) in told.items() if n} == kept
    assert told["cut", "correct"] == (1, 0)
    assert told["correct", "error"] == (1, 0)


def test_a_line_has_both_answers_the_solution_and_the_teacher_s_counts(tmp_path: Path) -> None:
    build(tmp_path, [direct("1+1", tokens=4), reasoned("1+1", tokens=40, thinking=" So 1. ")])
    (row,) = rows(tmp_path).values()
    question = row.pop("question")
    assert row == {
        "prompt": "What is 1+1?",
        "ift": "Answer: 1",
        "reasoning": "<think>\nSo 1.\n</think>\n\nAnswer: 1",
        "solution": "1",
        "prompt_tokens": 5,
        "ift_tokens": 4,
        "reasoning_tokens": 40,
        "task": "sums",
    }
    assert question


def several_samples() -> list[ImportedOutcome]:
    lengths = ((90, CORRECT), (20, WRONG), (50, CORRECT), (50, CORRECT), (10, CUT))
    return [
        make("1+1", outcome, tokens=tokens, repeat=repeat, text=f"Answer: 1 ({repeat})")
        for repeat, (tokens, outcome) in enumerate(lengths)
        for make in (direct, reasoned)
    ]


@pytest.mark.parametrize(
    ("keep", "pick", "repeat"),
    [
        (Keep.BOTH_CORRECT, Pick.FIRST, 0),
        (Keep.BOTH_CORRECT, Pick.SHORTEST, 2),
        (Keep.REASONING_CORRECT, Pick.SHORTEST, 2),
        (Keep.ANY, Pick.FIRST, 0),
        (Keep.ANY, Pick.SHORTEST, 1),
    ],
)
def test_of_several_answers_the_wanted_one_is_taken(
    keep: Keep, pick: Pick, repeat: int, tmp_path: Path
) -> None:
    build(tmp_path, several_samples(), PairRules(keep=keep, pick=pick))
    (row,) = rows(tmp_path).values()
    assert row["ift"] == f"Answer: 1 ({repeat})"
    assert row["reasoning"].endswith(f"\n</think>\n\nAnswer: 1 ({repeat})")


def test_without_lengths_the_shortest_text_is_taken(tmp_path: Path) -> None:
    texts = ["Answer: it is 1", "Answer: 1", "Answer: still 1"]
    build(
        tmp_path,
        [
            direct("1+1"),
            *(
                reasoned("1+1", tokens=None if n == 1 else 9, repeat=n, text=text, thinking="So.")
                for n, text in enumerate(texts)
            ),
        ],
        PairRules(pick=Pick.SHORTEST),
    )
    assert rows(tmp_path)["1+1"]["reasoning"].endswith("Answer: 1")


def test_answers_that_are_not_of_their_mode_are_left_out_with_the_reason(tmp_path: Path) -> None:
    cases: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "thought": ({"thinking": "Let me see."}, {}),
        "thought in text": ({"text": "<think>Hm.</think>Answer: 1"}, {}),
        "no thought": ({}, {"thinking": ""}),
        "empty thought": ({}, {"thinking": "", "text": "<think>\n\n</think>\n\nAnswer: 1"}),
        "marker": ({}, {"thinking": "a </think> b"}),
        "no text": ({}, {"text": " "}),
        "no direct text": ({"text": None}, {}),
    }
    built = build(
        tmp_path,
        [
            one
            for name, (short, long) in cases.items()
            for one in (direct(name, **short), reasoned(name, **long))
        ]
        + [direct("asked directly only"), reasoned("reasoned only"), direct("ok"), reasoned("ok")],
    )
    assert rows(tmp_path).keys() == {"ok"}
    assert fates(built) == {
        ("correct", "correct"): (1, 1),
        ("thought", "correct"): (2, 0),
        ("correct", "no thought"): (2, 0),
        ("correct", "unreadable"): (2, 0),
        ("unreadable", "correct"): (1, 0),
        ("correct", "not asked"): (1, 0),
        ("not asked", "correct"): (1, 0),
    }


def test_a_right_answer_counts_although_another_sample_failed(tmp_path: Path) -> None:
    built = build(
        tmp_path,
        [
            direct("1+1", ERROR, text=None),
            direct("1+1", repeat=1),
            reasoned("1+1", CUT),
            reasoned("1+1", repeat=1),
        ],
    )
    assert fates(built) == {("correct", "correct"): (1, 1)}


def test_thoughts_in_the_text_are_told_from_the_answer(tmp_path: Path) -> None:
    build(
        tmp_path,
        [
            direct("1+1", text="<think>\n\n</think>\n\nAnswer: 1"),
            reasoned("1+1", thinking="", text="So 1.</think>Answer: 1"),
        ],
    )
    row = rows(tmp_path)["1+1"]
    assert row["ift"] == "Answer: 1"
    assert row["reasoning"] == "<think>\nSo 1.\n</think>\n\nAnswer: 1"


def test_broken_off_thoughts_are_used_only_if_wanted(tmp_path: Path) -> None:
    outcomes = [
        direct("1+1"),
        reasoned("1+1", policy="reasoning@30", thinking_tokens=30),
        direct("2+2"),
        reasoned("2+2", policy="reasoning@30", thinking_tokens=29),
    ]
    built = build(tmp_path, outcomes)
    assert rows(tmp_path).keys() == {"2+2"}
    assert fates(built)["correct", "broken off"] == (1, 0)
    build(tmp_path, (), PairRules(keep_forced=True))
    assert rows(tmp_path).keys() == {"1+1", "2+2"}


def test_damaged_samples_are_left_out(tmp_path: Path) -> None:
    outcomes = [make(q) for q in ("1+1", "2+2") for make in (direct, reasoned)]
    run = write_run(tmp_path / "run", outcomes)
    with closing(sqlite3.connect(store_path(run))) as connection, connection:
        connection.execute(
            "UPDATE generation SET text = 'Answer: 7' WHERE key = (SELECT g.key FROM generation g"
            " JOIN question q ON q.id = g.question WHERE q.prompt = 'What is 1+1?' LIMIT 1)"
        )
    built = build(tmp_path, ())
    assert rows(tmp_path).keys() == {"2+2"}
    assert any(Status.DAMAGED in (one.ift, one.reasoning) for one in built.fates)


def test_counts_are_all_there_or_none_and_never_of_two_tokenizers(tmp_path: Path) -> None:
    names = {"prompt_tokens", "ift_tokens", "reasoning_tokens"}
    built = build(
        tmp_path,
        [direct("1+1", tokens=None), reasoned("1+1"), direct("2+2"), reasoned("2+2")],
    )
    assert not names & rows(tmp_path)["1+1"].keys()
    assert names <= rows(tmp_path)["2+2"].keys()
    assert built.n_counted == 1
    other = tmp_path / "two-models"
    built = build(other, [direct("1+1", model="a"), reasoned("1+1", model="b")])
    assert not names & rows(other)["1+1"].keys()
    assert built.n_counted == 0
    plain = build(tmp_path, (), PairRules(token_counts=False))
    assert not names & rows(tmp_path)["2+2"].keys()
    assert plain.n_counted == 0


def test_a_solution_is_one_text_and_a_right_one(tmp_path: Path) -> None:
    golds = {"number": "42", "word": "Rome", "list": '["a", "b"]', "tests": '{"t": 1}', "none": ""}
    outcomes = [make(q, gold=gold) for q, gold in golds.items() for make in (direct, reasoned)]
    built = build(tmp_path, outcomes)
    found = {q: row.get("solution") for q, row in rows(tmp_path).items()}
    assert found == {"number": "42", "word": "Rome", "list": None, "tests": None, "none": None}
    assert built.counts.n_solutions == 2
    # Where the grader is not asked, what it compares with is not trusted either.
    build(tmp_path, (), PairRules(keep=Keep.ANY))
    assert all("solution" not in row for row in rows(tmp_path).values())


def test_evaluation_questions_repeated_and_missing_prompts_are_counted(tmp_path: Path) -> None:
    outcomes = [
        *(make(q) for q in ("1+1", "2+2") for make in (direct, reasoned)),
        *(make("again", prompt="what is  2+2?") for make in (direct, reasoned)),
        *(make("silent", prompt="") for make in (direct, reasoned)),
    ]
    built = build(tmp_path, outcomes, excluded=Excluded(["WHAT is 1+1?"]))
    assert len(rows(tmp_path)) == 1
    counts = built.counts
    assert (counts.n_excluded, counts.n_duplicates, counts.n_without_prompt) == (1, 1, 1)
    assert (counts.n_questions, counts.n_kept) == (3, 1)


def test_the_manifest_names_run_rules_counts_and_figures(
    tmp_path: Path, golden_json: Callable[[str, object], None]
) -> None:
    build(tmp_path, [*every_combination(), direct("1+1"), reasoned("1+1", tokens=60)])
    manifest = json.loads((tmp_path / "PAIRS.manifest.json").read_text("utf-8"))
    data = (tmp_path / "PAIRS.jsonl").read_bytes()
    assert manifest["file"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert manifest["file"]["n_rows"] == data.count(b"\n") == 2
    del manifest["thinkroute"]  # its version
    golden_json("pairs/PAIRS.manifest.json", manifest)


def test_the_same_run_gives_the_same_bytes_and_more_answers_another_run_id(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    first = build(one, every_combination())
    second = build(other, reversed(every_combination()))
    for name in ("PAIRS.jsonl", "PAIRS.manifest.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    with RunStore.create(store_path(other / "run")) as store:
        store.import_outcomes([direct("9+9")], {"name": "more"})
    more = build(other, ())
    assert first.run_id == second.run_id != more.run_id


def test_nothing_kept_leaves_what_was_there(tmp_path: Path) -> None:
    build(tmp_path, every_combination())
    before = {path.name: path.read_bytes() for path in tmp_path.glob("PAIRS*")}
    built = build(tmp_path, (), excluded=Excluded(["What is correct-correct?"]))
    assert built.counts.n_kept == 0
    assert built.lengths is None
    assert {path.name: path.read_bytes() for path in tmp_path.glob("PAIRS*")} == before
    assert not list(tmp_path.glob(".PAIRS*"))


def test_accuracies_and_lengths_are_those_of_the_run_s_table_and_of_the_file(
    tmp_path: Path,
) -> None:
    outcomes = [
        make(f"{n}+{n}", CORRECT if (n + repeat) % odd else WRONG, repeat=repeat, tokens=tokens + n)
        for n in range(12)
        for repeat in range(2)
        for make, odd, tokens in ((direct, 2, 5), (reasoned, 5, 50))
    ]
    built = build(tmp_path, outcomes)
    with RunStore.open(store_path(tmp_path / "run")) as store:
        cells = {cell.policy: cell for cell in MeasuredTable.from_store(store).cells}
    for mode in (built.ift, built.reasoning):
        cell = cells[mode.policy]
        assert (mode.n, mode.n_correct) == (cell.n, cell.n_correct)
        found = (mode.accuracy.estimate, mode.accuracy.low, mode.accuracy.high, mode.mean_tokens)
        assert found == pytest.approx((cell.accuracy, cell.ci_low, cell.ci_high, cell.mean_tokens))
    lengths = measure_lengths(read_pairs(tmp_path / "PAIRS.jsonl"), load_counter(None))
    assert built.lengths is not None
    assert lengths.trace_ratio == built.lengths.trace_ratio
    assert lengths.p99_tokens == built.lengths.p99_tokens
    kept = rows(tmp_path).values()
    mean = {name: sum(row[f"{name}_tokens"] for row in kept) for name in ("ift", "reasoning")}
    assert lengths.trace_ratio is not None
    assert lengths.trace_ratio.estimate == pytest.approx(mean["reasoning"] / mean["ift"])


_TEXT = st.text(max_size=12) | st.sampled_from(["<think>", "</think>", "<think>a</think>b", " "])
_SAMPLE = st.tuples(
    st.sampled_from([direct, reasoned]),
    st.integers(0, 3),
    st.integers(0, 2),
    st.sampled_from(Outcome),
    st.none() | _TEXT,
    _TEXT,
    st.none() | st.integers(0, 99),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(samples=st.lists(_SAMPLE, min_size=1), keep=st.sampled_from(Keep))
def test_whatever_a_run_holds_every_line_written_can_be_trained_on(
    samples: list[Any], keep: Keep, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    outcomes = [
        make(f"q{question}", outcome, repeat=repeat, text=text, thinking=thought, tokens=tokens)
        for make, question, repeat, outcome, text, thought, tokens in samples
    ]
    # Both arms are there, whatever was drawn.
    outcomes += [direct("q9", WRONG), reasoned("q9", WRONG)]
    built = build(folder, outcomes, PairRules(keep=keep))
    assert sum(one.n for one in built.fates) == built.counts.n_questions
    if built.counts.n_kept:
        pairs = read_pairs(folder / "PAIRS.jsonl", strict=True)
        assert len(pairs) == pairs.n_lines == built.counts.n_kept
        assert pairs.n_untagged == 0
    else:
        assert not (folder / "PAIRS.jsonl").exists()


def test_a_file_in_the_way_of_the_folder_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", every_combination())
    facts = facts_of(run)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        write_pairs(run, tmp_path / "file" / "P.jsonl", facts, choose_arms(facts.arms))


def test_only_a_jsonl_file_is_written(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", every_combination())
    facts = facts_of(run)
    with pytest.raises(InvalidInputError, match="is no name of a JSONL file"):
        write_pairs(run, tmp_path / "PAIRS.csv", facts, choose_arms(facts.arms))


def test_an_empty_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no finished samples"):
        facts_of(write_run(tmp_path / "run", []))


ARMS = [("m", "direct"), ("m", "reasoning@64"), ("m", "reasoning@max"), ("m", "cot")]


def test_usual_arms_are_direct_and_the_whole_thought() -> None:
    chosen = choose_arms(ARMS)
    assert (chosen.ift.name, chosen.reasoning.name) == ("m:direct", "m:reasoning@max")
    assert choose_arms(ARMS[:2]).reasoning.name == "m:reasoning@64"
    voted = [("m", "sc(n=3)/direct"), ("m", "sc(n=3)/reasoning@64")]
    assert choose_arms([*voted, *ARMS[:2]]) == choose_arms(ARMS[:2])
    assert choose_arms(ARMS, ift="cot", reasoning="Reasoning@64").ift.name == "m:cot"


def test_arms_behind_a_system_prompt_and_of_other_tools_are_found() -> None:
    low = "prompted(name=low,text=h0123456789abcdef)/reasoning@max"
    chosen = choose_arms([("m", "zero shot"), ("m", low)], ift="zero shot")
    assert (chosen.ift.policy, chosen.reasoning.policy) == ("zero shot", low)
    assert chosen.reasoning.must_think
    assert not chosen.ift.must_think


def test_of_two_models_one_is_named_or_each_answers_in_its_mode() -> None:
    both = [(model, policy) for model in "ab" for policy in ("direct", "reasoning@max")]
    with pytest.raises(InvalidInputError, match="several arms gave direct answers"):
        choose_arms(both)
    assert choose_arms(both, model="b").ift.name == "b:direct"
    mixed = choose_arms(both, ift="a:direct", reasoning="b:reasoning@max")
    assert not mixed.is_one_model


@pytest.mark.parametrize(
    ("arms", "how", "kind", "message"),
    [
        (ARMS[:1], {}, InvalidInputError, "the run has no reasoning answers, only those of m:dir"),
        (ARMS[1:], {}, InvalidInputError, "the run has no direct answers"),
        (ARMS, {"ift": "cod"}, UnknownNameError, "unknown arm 'cod'"),
        (ARMS, {"model": "x"}, UnknownNameError, "unknown model 'x'"),
        (ARMS, {"ift": "cot", "reasoning": "cot"}, InvalidInputError, "both the direct and the"),
        (
            [*ARMS[:2], ("m", "reasoning@8")],
            {},
            InvalidInputError,
            "several arms gave reasoning answers",
        ),
        (
            [ARMS[0], ("m", "sc(n=3)/reasoning@64")],
            {"reasoning": "sc(n=3)/reasoning@64"},
            InvalidInputError,
            "asks more than once for one answer",
        ),
    ],
)
def test_arms_that_cannot_make_pairs_are_refused(
    arms: list[tuple[str, str]], how: dict[str, str], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        choose_arms(arms, **how)
    assert message in str(caught.value)
