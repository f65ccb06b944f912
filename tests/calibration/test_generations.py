"""What a run's models said is read question by question, with its texts."""

from pathlib import Path

import pytest

from calibration import Outcome, store_path
from calibration.generations import read_generations
from policies import StoreError
from tests.advisor.tops.made_up_runs import said, write_run


def test_samples_come_question_by_question_whatever_the_order_they_were_asked_in(
    tmp_path: Path,
) -> None:
    asked = [
        said(question, 10 + repeat, policy=policy, repeat=repeat)
        for repeat in range(2)
        for policy in ("reasoning@max", "direct")
        for question in ("2+2", "1+1")
    ]
    one = write_run(tmp_path / "one", asked)
    other = write_run(tmp_path / "other", reversed(asked))
    read = list(read_generations(store_path(one)))
    assert read == list(read_generations(store_path(other)))
    places = [(g.question_id, g.policy, g.repeat) for g in read]
    assert places == sorted(places)
    assert len(places) == len(asked)


def test_texts_lengths_and_errors_are_told_as_they_were_kept(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run",
        [
            said("1+1", 12, Outcome.WRONG, text="Answer: 3", thinking="hm", repeat=0),
            said("1+1", None, Outcome.ERROR, text=None, repeat=1),
        ],
    )
    wrong, error = read_generations(store_path(run))
    assert (wrong.text, wrong.thinking, wrong.completion_tokens) == ("Answer: 3", "hm", 12)
    assert (wrong.outcome, wrong.arm) == (Outcome.WRONG, "m:reasoning@max")
    assert (error.outcome, error.text, error.completion_tokens) == (Outcome.ERROR, None, None)


@pytest.mark.parametrize(
    ("policy", "n_thinking", "is_forced"),
    [
        ("reasoning@20", 20, True),
        ("reasoning@20", 21, True),
        ("reasoning@20", 19, False),
        ("reasoning@20", None, False),
        ("reasoning@max", 500, False),
        ("prompted(name=low,text=h0a)/reasoning@20", 20, True),
        ("direct", 0, False),
        ("not a policy!", 20, False),
    ],
)
def test_a_thought_that_filled_its_budget_may_have_been_closed_by_force(
    policy: str, n_thinking: int | None, is_forced: bool, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", [said("1+1", 30, policy=policy, thinking_tokens=n_thinking)])
    (one,) = read_generations(store_path(run))
    assert one.is_forced is is_forced


def test_a_file_that_is_no_run_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.sqlite"
    file.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="is not a usable run store"):
        list(read_generations(file))
