"""From a run to files: rows, manifest, what is left out, and figures."""

import hashlib
import json
import math
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from advisor.tops import (
    Excluded,
    MinGap,
    TopsData,
    TopsRules,
    build_tops,
    choose_efforts,
    facts_of,
    prompts_to_exclude,
)
from calibration import ImportedOutcome, Outcome
from policies import DataFileError, InvalidInputError, StoreError, UnknownNameError
from tests.advisor.tops.made_up_runs import said, write_run

LOW, MEDIUM, HIGH = "reasoning@100", "reasoning@1000", "reasoning@max"


def build(run: Path, out: Path, rules: TopsRules | None = None, **how: Any) -> TopsData:
    facts = facts_of(run)
    efforts = choose_efforts(
        facts.arms, facts.efforts, wanted=how.pop("wanted", ()), model=how.pop("model", None)
    )
    return build_tops(run, out, facts, efforts, rules, **how)


def rows(out: Path, name: str) -> list[dict[str, Any]]:
    path = out / name
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def thoughts(found: list[dict[str, Any]]) -> list[str]:
    """Return the answers' thoughts, which name policy, repeat and length."""
    texts = [row["messages"][-1]["content"] for row in found]
    return [text.removeprefix("<think>\n").partition("\n</think>\n\n")[0] for text in texts]


def three_efforts() -> list[ImportedOutcome]:
    """Return a seed question, one whose efforts are swapped, and one that is not always right."""
    return [
        said("1+1", 700, policy=LOW),
        said("1+1", 1200, policy=MEDIUM),
        said("1+1", 2000, policy=HIGH),
        said("2+2", 2100, policy=LOW),
        said("2+2", 300, policy=MEDIUM),
        said("2+2", 900, policy=HIGH),
        said("3+3", 50, Outcome.WRONG, policy=LOW),
        said("3+3", 400, policy=MEDIUM),
        said("3+3", 5000, Outcome.CUT, policy=HIGH),
        said("4+4", 60, Outcome.WRONG, policy=LOW),
        said("4+4", 90, Outcome.WRONG, policy=HIGH),
        said("5+5", None, Outcome.ERROR, policy=LOW, text=None),
    ]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", three_efforts())


def test_every_set_has_the_answers_that_the_rules_choose(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(run, out)
    assert sorted(thoughts(rows(out, "tops_sft.jsonl"))) == [
        "reasoning@100 0: 700 tokens",
        "reasoning@1000 0: 300 tokens",
        "reasoning@1000 0: 400 tokens",
    ]
    assert rows(out, "iter_sft.jsonl") == rows(out, "tops_sft.jsonl")
    tag = rows(out, "tops_tag.jsonl")
    by_level = {
        (row["messages"][1]["content"], row["messages"][0]["content"]): thought
        for row, thought in zip(tag, thoughts(tag), strict=True)
    }
    assert by_level == {
        ("What is 1+1?", "Reasoning effort: low."): "reasoning@100 0: 700 tokens",
        ("What is 1+1?", "Reasoning effort: medium."): "reasoning@1000 0: 1200 tokens",
        ("What is 1+1?", "Reasoning effort: high."): "reasoning@max 0: 2000 tokens",
        ("What is 2+2?", "Reasoning effort: low."): "reasoning@1000 0: 300 tokens",
        ("What is 2+2?", "Reasoning effort: medium."): "reasoning@max 0: 900 tokens",
        ("What is 2+2?", "Reasoning effort: high."): "reasoning@100 0: 2100 tokens",
    }
    (pair,) = rows(out, "dpo.jsonl")
    assert pair["prompt"] == [{"role": "user", "content": "What is 3+3?"}]
    assert [turn["role"] for turn in (*pair["chosen"], *pair["rejected"])] == ["assistant"] * 2
    assert "400 tokens" in pair["chosen"][0]["content"]
    assert "50 tokens" in pair["rejected"][0]["content"]


def test_rows_are_a_user_s_turn_and_a_literal_thought_before_the_answer(
    run: Path, tmp_path: Path
) -> None:
    build(run, tmp_path / "out")
    row = rows(tmp_path / "out", "iter_sft.jsonl")[0]
    assert row.keys() == {"messages"}
    user, assistant = row["messages"]
    assert user["role"] == "user"
    assert assistant["content"].startswith("<think>\nreasoning@")
    assert assistant["content"].endswith("\n</think>\n\nAnswer: 1")


def test_the_manifest_names_rules_counts_and_hashes(
    run: Path, tmp_path: Path, golden_json: Callable[[str, object], None]
) -> None:
    out = tmp_path / "out"
    build(run, out)
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    del manifest["thinkroute"]  # its version
    for one in manifest["files"]:
        data = (out / one["name"]).read_bytes()
        assert one["sha256"] == hashlib.sha256(data).hexdigest()
        assert one["n_rows"] == data.count(b"\n")
    golden_json("tops/manifest.json", manifest)


def test_llamafactory_is_told_how_to_read_every_file(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(run, out)
    told = json.loads((out / "dataset_info.json").read_text("utf-8"))
    assert told.keys() == {"tops_sft", "tops_tag", "iter_sft", "dpo_llamafactory"}
    for entry in told.values():
        row = rows(out, entry["file_name"])[0]
        assert all(column in row for column in entry["columns"].values())
    pair, same = rows(out, "dpo_llamafactory.jsonl")[0], rows(out, "dpo.jsonl")[0]
    assert (pair["messages"], [pair["chosen"]], [pair["rejected"]]) == (
        *(same["prompt"], same["chosen"], same["rejected"]),
    )


def test_the_same_run_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        build(run, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_later_build_leaves_no_file_of_an_earlier_one(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(run, out)
    build(run, out, TopsRules(sets=("iter_sft",)))
    names = {path.name for path in out.iterdir()}
    assert names == {"iter_sft.jsonl", "dataset_info.json", "manifest.json"}


def test_a_build_that_breaks_leaves_the_folder_as_it_was(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    build(run, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def broken(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(InvalidInputError, match="No space left on device"):
        build(run, out, TopsRules(min_gap=MinGap(0)))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_build_that_dies_between_two_files_leaves_no_manifest(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    build(run, out)
    real, calls = os.replace, list[str]()

    def replace(source: Path, target: Path) -> None:
        calls.append(target.name)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr("os.replace", replace)
    with pytest.raises(InvalidInputError, match="Input/output error"):
        build(run, out, TopsRules(min_gap=MinGap(0)))
    assert not (out / "manifest.json").exists()
    monkeypatch.undo()
    build(run, out)
    assert not [path.name for path in out.iterdir() if path.name.endswith(".tmp")]
    assert (out / "manifest.json").exists()


def test_samples_that_changed_on_the_disk_are_not_trained_on(run: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(run / "run.sqlite")) as connection, connection:
        connection.execute(
            "UPDATE generation SET text = 'Answer: 9' WHERE question = '2+2'"
            " AND completion_tokens = 300"
        )
    data = build(run, tmp_path / "out")
    assert data.counts.n_damaged == 1
    assert "reasoning@max 0: 900 tokens" in thoughts(rows(tmp_path / "out", "iter_sft.jsonl"))


def test_a_folder_that_cannot_be_written_is_one_clear_error(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        build(run, tmp_path / "file" / "out")


def test_errors_and_cut_answers_are_counted_apart_from_wrong_ones(
    run: Path, tmp_path: Path
) -> None:
    low, medium, high = build(run, tmp_path / "out").report.efforts
    assert (low.n_correct, low.n_wrong, low.n_cut, low.n_error) == (2, 2, 0, 1)
    assert (medium.n_correct, medium.n_wrong, medium.n_cut, medium.n_error) == (3, 0, 0, 0)
    assert (high.n_correct, high.n_wrong, high.n_cut, high.n_error) == (2, 1, 1, 0)


def test_ranks_tell_how_often_the_lowest_effort_was_shortest(run: Path, tmp_path: Path) -> None:
    ranks = build(run, tmp_path / "out").report.ranks
    assert ranks is not None
    assert (ranks.n, ranks.n_tied) == (2, 0)
    assert ranks.shares == ((0.5, 0.0, 0.5), (0.5, 0.5, 0.0), (0.0, 0.5, 0.5))


def test_answers_of_one_length_have_no_rank(tmp_path: Path) -> None:
    outcomes = [said("1+1", n, policy=policy) for n, policy in ((7, LOW), (9, MEDIUM), (9, HIGH))]
    ranks = build(write_run(tmp_path / "run", outcomes), tmp_path / "out").report.ranks
    assert ranks is not None
    assert (ranks.n, ranks.n_tied, ranks.shares) == (0, 1, ())


def test_self_improvement_takes_first_samples_and_the_iterative_sets_all(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run",
        [
            said("1+1", 700, policy=LOW),
            said("1+1", 50, policy=LOW, repeat=1),
            said("1+1", 600, policy=HIGH),
            said("1+1", 40, Outcome.WRONG, policy=HIGH, repeat=1),
        ],
    )
    data = build(run, tmp_path / "out")
    assert thoughts(rows(tmp_path / "out", "tops_sft.jsonl")) == ["reasoning@max 0: 600 tokens"]
    assert thoughts(rows(tmp_path / "out", "iter_sft.jsonl")) == ["reasoning@100 1: 50 tokens"]
    (pair,) = rows(tmp_path / "out", "dpo.jsonl")
    assert "50 tokens" in pair["chosen"][0]["content"]
    assert data.report.n_per_question == (4, 4)
    saving = data.report.saving_per_effort
    assert saving is not None
    assert (saving.mean_shortest, saving.mean_random) == (600, 650)


def test_the_saving_is_against_the_mean_correct_answer_of_each_question(
    run: Path, tmp_path: Path
) -> None:
    report = build(run, tmp_path / "out").report
    saving = report.saving_all
    assert (saving.n, saving.n_several) == (3, 2)
    assert saving.mean_shortest == pytest.approx((700 + 300 + 400) / 3)
    assert saving.mean_random == pytest.approx((1300 + 1100 + 400) / 3)
    assert saving.saved_tokens == pytest.approx((600 + 800 + 0) / 3)
    assert saving.low <= saving.saved_tokens <= saving.high
    # The one with an error only was never answered.
    assert (report.solved.n_with, report.solved.n) == (3, 4)


def test_distinct_answers_are_counted_as_the_grader_reads_them(tmp_path: Path) -> None:
    texts = ["Answer: 7", "so the answer is 7.0", "Answer: 8", "It is 1", "1"]
    outcomes = [Outcome.WRONG] * 3 + [Outcome.CORRECT] * 2
    run = write_run(
        tmp_path / "run",
        [
            said("1+0", 10 + n, outcome, repeat=n, text=text)
            for n, (text, outcome) in enumerate(zip(texts, outcomes, strict=True))
        ],
    )
    (effort,) = build(run, tmp_path / "out").report.efforts
    assert (effort.n_repeated, effort.mean_samples, effort.mean_distinct) == (1, 5.0, 3.0)


def test_thoughts_broken_off_at_their_budget_are_not_trained_on(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run",
        [
            said("1+0", 40, policy="reasoning@20", thinking_tokens=20),
            said("1+0", 60, policy="reasoning@max", thinking_tokens=50),
        ],
    )
    data = build(run, tmp_path / "out")
    assert thoughts(rows(tmp_path / "out", "iter_sft.jsonl")) == ["reasoning@max 0: 60 tokens"]
    assert data.counts.n_forced == 1
    kept = build(run, tmp_path / "kept", TopsRules(keep_forced=True))
    assert thoughts(rows(tmp_path / "kept", "iter_sft.jsonl")) == ["reasoning@20 0: 40 tokens"]
    assert kept.counts.n_forced == 0


@pytest.mark.parametrize(
    "answer",
    [
        said("1+0", 10, text=None),
        said("1+0", 10, text=""),
        said("1+0", None),
        said("1+0", 10, text="<think>hm</think> 1"),
        said("1+0", 10, thinking="a </think> b"),
    ],
)
def test_answers_that_no_row_can_be_made_of_are_counted(
    answer: ImportedOutcome, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", [answer, said("2+0", 12)])
    data = build(run, tmp_path / "out")
    assert data.counts.n_unreadable == 1
    assert data.n_rows("iter_sft") == 1


def test_nothing_correct_writes_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [said("1+0", 9, Outcome.WRONG), said("2+0", 9, Outcome.CUT)])
    data = build(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert set(data.missing) == {"tops_sft", "tag", "iter_sft", "dpo"}
    assert math.isnan(data.report.saving_all.mean_shortest)


def test_direct_answers_count_only_where_they_are_asked_for(tmp_path: Path) -> None:
    direct = said("1+0", 3, policy="direct", thinking="")
    run = write_run(tmp_path / "run", [direct, said("1+0", 30)])
    assert [one.name for one in choose_efforts(facts_of(run).arms, ())] == ["reasoning@max"]
    build(run, tmp_path / "out", wanted=("direct", "reasoning@max"))
    (row,) = rows(tmp_path / "out", "tops_sft.jsonl")
    assert row["messages"][1]["content"] == "Answer: 1"


def test_lengths_of_two_models_are_never_compared(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [said("1+0", 3, model="a"), said("1+0", 4, model="b")])
    with pytest.raises(InvalidInputError, match="lengths of two models cannot be compared"):
        build(run, tmp_path / "out")
    data = build(run, tmp_path / "out", model="b")
    assert data.report.saving_all.mean_shortest == 4
    with pytest.raises(UnknownNameError, match="unknown model 'c'"):
        build(run, tmp_path / "out", model="c")


def test_efforts_are_ordered_by_budget_and_unknown_ones_named(run: Path) -> None:
    arms = facts_of(run).arms
    assert [one.policy for one in choose_efforts(arms, ())] == [LOW, MEDIUM, HIGH]
    chosen = choose_efforts(arms, (), wanted=("Reasoning @ max", LOW))
    assert [one.policy for one in chosen] == [HIGH, LOW]
    with pytest.raises(UnknownNameError, match="unknown effort 'reasoning@7'"):
        choose_efforts(arms, (), wanted=("reasoning@7",))


def test_answers_of_many_requests_are_no_effort(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run", [said("1+0", 3, policy="sc(n=5)/reasoning@max"), said("1+0", 4)]
    )
    assert [one.policy for one in choose_efforts(facts_of(run).arms, ())] == ["reasoning@max"]


def test_levels_take_the_prompts_that_are_given(run: Path, tmp_path: Path) -> None:
    build(run, tmp_path / "out", prompts={"low": "Be brief."})
    asked = {row["messages"][0]["content"] for row in rows(tmp_path / "out", "tops_tag.jsonl")}
    assert asked == {"Be brief.", "Reasoning effort: medium.", "Reasoning effort: high."}
    with pytest.raises(UnknownNameError, match="unknown level of effort 'lwo'"):
        build(run, tmp_path / "out", prompts={"lwo": "Be brief."})


def test_excluded_questions_are_found_behind_their_instruction(run: Path, tmp_path: Path) -> None:
    excluded = Excluded(["  what is 1+1?\n", "What is 9+9?", "What is"])
    assert "What is 1+1?\nPut the final answer in \\boxed{}." in excluded
    assert "What is 1+1? And why?" not in excluded
    data = build(run, tmp_path / "out", excluded=excluded)
    assert data.counts.n_excluded == 1
    text = "".join(path.read_text("utf-8") for path in (tmp_path / "out").glob("*.jsonl"))
    assert "1+1" not in text
    assert "2+2" in text


def test_questions_to_exclude_are_read_from_runs_files_and_tasks(run: Path, tmp_path: Path) -> None:
    lines = [
        {"prompt": "a", "ift": "x"},
        {"question": "b"},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "c"}]},
        {"prompt": [{"role": "user", "content": "d"}], "chosen": []},
    ]
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n", "utf-8")
    assert list(prompts_to_exclude(str(file))) == ["a", "b", "c", "d"]
    assert sorted(prompts_to_exclude(str(run)))[:2] == ["What is 1+1?", "What is 2+2?"]
    assert len(list(prompts_to_exclude("pocket-math-oe"))) > 100
    with pytest.raises(UnknownNameError, match="unknown task 'gsm8'"):
        list(prompts_to_exclude("gsm8"))


@pytest.mark.parametrize("line", ["[]", "{", '{"answer": "1"}', '{"prompt": 3}', "\xff"])
def test_a_line_without_a_prompt_names_its_place(line: str, tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_bytes(b'{"prompt": "a"}\n' + line.encode("latin-1"))
    with pytest.raises(DataFileError, match=r"questions\.jsonl"):
        list(prompts_to_exclude(str(file)))


def test_there_must_be_a_run_with_samples(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no run folder"):
        facts_of(tmp_path / "none")
    with pytest.raises(StoreError, match="there is no run store"):
        facts_of(tmp_path)
    with pytest.raises(StoreError, match="holds no finished samples"):
        facts_of(write_run(tmp_path / "empty", []))


def test_unknown_sets_are_named() -> None:
    with pytest.raises(UnknownNameError, match="unknown set 'dpoo'"):
        TopsRules(sets=("dpoo",))
