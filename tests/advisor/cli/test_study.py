"""`advisor study`: plans, runs, what it leaves behind when it is stopped, and wrong questions."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from advisor.cli import _study_lab
from advisor.cli._study_lab import chosen_lab
from advisor.cli._study_options import LabChoice
from advisor.study._design import StudyDesign
from advisor.study._table import StudyTable
from tests.advisor.conftest import Advisor, Outcome
from tests.advisor.study.price_list import N_PARAMS, TASK_TYPES, PriceList

ROOT = Path(__file__).parents[3]
SMALL = ("--sizes", "pocket-xs", "--seeds", "1", "--corpora", "general", "--questions", "40")
PURE = (*SMALL, "--ratios", "0,1")
IFT, REASONING = "pocket-xs.general.ift.seed1", "pocket-xs.general.reasoning.seed1"
Study = Callable[..., Outcome]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a lab without models in the place of the pocket family's."""

    def use(**faults: Any) -> None:
        def needs_nothing(self: _study_lab.Pocket) -> None:
            pass

        def spec(self: _study_lab.Pocket, design: StudyDesign) -> partial[PriceList]:
            return partial(PriceList, **faults)

        monkeypatch.setattr(_study_lab.Pocket, "spec", spec)
        monkeypatch.setattr(_study_lab.Pocket, "check_training", needs_nothing)

    use()
    return use


@pytest.fixture
def ask(lab: Callable[..., None], advisor: Advisor) -> Study:
    """Run `advisor study ARGUMENTS` in the lab without models."""
    return lambda *arguments: advisor("study", *arguments)


# Plans


def test_without_run_the_plan_is_printed_and_nothing_is_written(ask: Study, tmp_path: Path) -> None:
    result = ask(*PURE, "--out", tmp_path / "study")

    assert result.code == 0, result.err
    assert "to spend: 2 runs, 60,000 tokens, 36G training FLOPs" in result.out
    assert "to measure: 640 answers (4 task types x 2 policies x 40 questions each)" in result.out
    assert not (tmp_path / "study").exists()


def test_the_plan_as_json_has_totals_and_cells_without_results(ask: Study) -> None:
    document = ask("--plan", *PURE, "--json").json()

    assert (document["runs"], document["tokens"]) == (2, 60_000)
    assert document["train_flops"] == 6.0 * N_PARAMS["pocket-xs"] * 60_000
    assert len(document["cells"]) == 2 * len(TASK_TYPES) * 2
    assert {cell["accuracy"] for cell in document["cells"]} == {None}
    assert {cell["n"] for cell in document["cells"]} == {40}
    assert {cell["mode"] for cell in document["cells"]} == {"ift", "reasoning"}


def test_the_whole_grid_is_the_default(ask: Study) -> None:
    document = ask("--json").json()

    assert document["runs"] == len(
        StudyDesign(sizes=("pocket-xs", "pocket-s", "pocket-m")).students()
    )


def test_dry_run_stops_before_anything_is_trained(ask: Study, tmp_path: Path) -> None:
    result = ask("--run", "--dry-run", *PURE, "--out", tmp_path / "study")

    assert result.code == 0
    assert "to spend" in result.out
    assert not (tmp_path / "study").exists()


def test_limits_leave_whole_comparisons_out_and_say_which(ask: Study) -> None:
    result = ask("--sizes", "pocket-xs,pocket-s", "--ratios", "0,1", "--max-runs", "5")

    assert "4 runs" in result.out
    assert "left out by the limits: 20 runs, some or all of pocket-xs general" in result.out


def test_hours_shrink_with_workers(ask: Study) -> None:
    alone = ask("--ratios", "0,1", "--json").json()["hours"]
    together = ask("--ratios", "0,1", "--workers", "4", "--json").json()["hours"]

    assert together < alone / 3


def test_the_grid_can_come_from_a_plan_that_was_printed(ask: Study, tmp_path: Path) -> None:
    file = tmp_path / "grid.json"
    file.write_text(ask(*PURE, "--orders", "two-stage", "--json").out, "utf-8")

    again = ask("--design", file, "--json").json()
    changed = ask("--design", file, "--seeds", "7", "--json").json()

    assert again == json.loads(file.read_text("utf-8"))
    assert {cell["seed"] for cell in changed["cells"]} == {7}
    assert changed["design"]["orders"] == again["design"]["orders"]


def test_groups_of_orders_have_names(ask: Study) -> None:
    every = ask(*SMALL, "--orders", "all", "--json").json()["design"]["orders"]
    stages = ask(*SMALL, "--orders", "mixed,two-stage", "--json").json()["design"]["orders"]

    assert len(every) == 8
    assert len(stages) == 5


# Runs


def test_a_run_trains_measures_prints_and_writes_the_table(ask: Study, tmp_path: Path) -> None:
    out = tmp_path / "first"

    result = ask("--run", *PURE, "--out", out)

    assert result.code == 0, result.err
    assert "2 students, 60,000 tokens to train, 640 answers to measure" in result.err
    assert f"1/2 {IFT}: general-mc 0." in result.err
    assert "first, asked by reasoning@max: accuracy [95%]" in result.out
    table = StudyTable.load(out)
    assert (table.name, [one.student.id for one in table.results]) == ("first", [IFT, REASONING])


def test_the_run_as_json_has_the_totals_of_its_plan_and_measured_cells(
    ask: Study, tmp_path: Path
) -> None:
    plan = ask(*PURE, "--json").json()

    document = ask("--run", *PURE, "--out", tmp_path / "study", "--json").json()

    for name in ("runs", "tokens", "train_flops", "design"):
        assert document[name] == plan[name], name
    assert len(document["cells"]) == len(plan["cells"])
    for cell in document["cells"]:
        assert 0 <= cell["ci_low"] <= cell["accuracy"] <= cell["ci_high"] <= 1
        assert cell["n"] == 40
        assert cell["train_flops"] > 0
        assert "correct" not in cell
    columns = set(document["cells"][0])
    assert columns >= set(plan["cells"][0])


def test_seeds_of_a_recipe_are_shown_together(ask: Study, tmp_path: Path) -> None:
    grid = ("--sizes", "pocket-xs", "--corpora", "math", "--ratios", "0,1", "--questions", "40")

    result = ask("--run", *grid, "--seeds", "1,2", "--out", tmp_path / "study")

    rows = [line.split() for line in result.out.splitlines() if "pocket-xs" in line]
    assert [row[2:4] for row in rows] == [["ift", "2"], ["reasoning", "2"]] * 2


def test_the_same_command_trains_nobody_twice(ask: Study, tmp_path: Path) -> None:
    command = ("--run", *PURE, "--out", tmp_path / "study", "--json")
    first = ask(*command)
    weights = tmp_path / "study" / "students" / IFT / "model" / "weights.txt"
    before = weights.stat().st_mtime_ns

    second = ask(*command)

    assert second.json() == first.json()
    assert weights.stat().st_mtime_ns == before
    assert "1/2" not in second.err


def test_a_larger_budget_goes_on_where_a_smaller_one_stopped(ask: Study, tmp_path: Path) -> None:
    out = tmp_path / "study"
    grid = ("--run", *SMALL, "--ratios", "0,0.5,1", "--out", out, "--json")

    small = ask(*grid, "--max-runs", "2").json()
    large = ask(*grid).json()

    assert (small["runs"], len(small["left_out"])) == (2, 2)
    assert (large["runs"], large["left_out"]) == (4, [])
    assert large["cells"][: len(small["cells"])] == small["cells"]


def test_a_student_that_fails_leaves_the_others_and_the_same_command_goes_on(
    ask: Study, lab: Callable[..., None], tmp_path: Path
) -> None:
    command = ("--run", *PURE, "--out", tmp_path / "study")
    lab(fails=REASONING)

    failed = ask(*command)

    assert failed.code == 4
    assert f"failed: {REASONING}: no library to ask the model with" in failed.err
    assert "stopped; 1 of 2 students are finished" in failed.err
    assert [one.student.id for one in StudyTable.load(tmp_path / "study").results] == [IFT]
    lab()
    assert ask(*command).code == 0
    assert len(StudyTable.load(tmp_path / "study").results) == 2


def test_a_full_disk_is_said_and_keeps_what_is_finished(
    ask: Study, lab: Callable[..., None], tmp_path: Path
) -> None:
    lab(full=REASONING)

    result = ask("--run", *PURE, "--out", tmp_path / "study")

    assert result.code == 3
    assert "No space left on device" in result.err
    assert "the same command goes on" in result.err
    assert [one.student.id for one in StudyTable.load(tmp_path / "study").results] == [IFT]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_is_refused(ask: Study, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        result = ask("--run", *PURE, "--out", tmp_path / "study")
    finally:
        tmp_path.chmod(0o700)

    assert result.code == 3
    assert "cannot be written: Permission denied" in result.err


def test_a_folder_that_cannot_be_made_is_refused(ask: Study, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    result = ask("--run", *PURE, "--out", tmp_path / "file" / "study")

    assert result.code == 3
    assert "cannot be written: Not a directory" in result.err


def test_another_study_in_the_folder_is_refused_and_left_alone(ask: Study, tmp_path: Path) -> None:
    out = tmp_path / "study"
    assert ask("--run", *PURE, "--out", out).code == 0
    before = (out / "study.csv").read_bytes()

    result = ask("--run", *PURE, "--questions", "50", "--out", out)

    assert result.code == 2
    assert "error[another-study]" in result.err
    assert "n_questions 40, not 50" in result.err
    assert (out / "study.csv").read_bytes() == before


def test_a_lab_that_has_changed_is_refused(
    ask: Study, lab: Callable[..., None], tmp_path: Path
) -> None:
    command = ("--run", *SMALL, "--out", tmp_path / "study")
    assert ask(*command, "--ratios", "0,1").code == 0
    lab(version="2")

    result = ask(*command, "--ratios", "0,0.5,1")

    assert result.code == 2
    assert "error[another-study]" in result.err
    assert "version '1'" in result.err


INTERRUPTED = """
import sys
from functools import partial
from advisor.cli import _study_lab, main
from tests.advisor.study.price_list import PriceList

if __name__ == "__main__":
    lab = partial(PriceList, slow=sys.argv.pop(), pause=20)
    _study_lab.Pocket.spec = lambda self, design: lab
    _study_lab.Pocket.check_training = lambda self: None
    main()
"""


def test_interrupt_keeps_finished_students_and_the_same_command_goes_on(
    ask: Study, tmp_path: Path
) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED, "utf-8")
    out = tmp_path / "study"
    command = ["study", "--run", *PURE, "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, str(script), *command, REASONING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    assert process.stderr is not None
    assert any(line.startswith(f"1/2 {IFT}") for line in process.stderr)
    finished = out / "students" / IFT / "result.json"
    assert finished.exists()
    # As a terminal does it: the whole group gets the signal.
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert "interrupted; 1 of 2 students are finished" in err
    assert "Traceback" not in err
    assert not (out / "students" / REASONING / "result.json").exists()
    before = finished.stat().st_mtime_ns
    assert ask(*command[1:]).code == 0
    assert finished.stat().st_mtime_ns == before
    assert len(StudyTable.load(out).results) == 2


# Wrong questions


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--sizes", "pocket-xl"], 2, "unknown size 'pocket-xl'"),
        (["--sizes", "pocket-xl"], 2, "did you mean 'pocket-xs'"),
        (["--ratios", "0,1.5"], 2, "--ratios 1.5"),
        (["--ratios", "0,1.5"], 2, "a ratio is a share of reasoning rows in [0, 1]"),
        (["--ratios", "half"], 2, "--ratios 'half' is not a list of numbers"),
        (["--ratios", "0,nan"], 2, "--ratios nan"),
        (["--ratios", "0,0"], 2, "holds a value twice"),
        (["--orders", "ift_first"], 2, "unknown order 'ift_first'"),
        (["--orders", "reasoning_then_hybrid", "--ratios", "0.25"], 2, "no student has"),
        (["--corpora", "poems"], 2, "unknown corpus 'poems'"),
        (["--seeds", "1.5"], 2, "--seeds '1.5' is not a list of numbers"),
        (["--rows", "8"], 2, "--rows 8"),
        (["--questions", "0"], 2, "--questions 0"),
        (["--policies", "sc(n=5)/reasoning@max"], 2, "does not tell what a student learnt"),
        (["--policies", "thinking"], 2, "thinking"),
        (["--workers", "0"], 2, "0 workers train nobody"),
        (["--max-hours", "0"], 2, "no limit that a study can keep"),
        (["--max-runs", "-1"], 2, "no limit that a study can keep"),
        (["--max-flops", "1e3"], 6, "no comparison of the study is within 1000 FLOPs"),
        (["--plan", "--run"], 2, "exclude each other"),
        (["--run"], 2, "--run needs --out"),
        (["--backend", "litellm"], 2, "unknown backend 'litellm'"),
        (["--backend", "vllm"], 2, "there is no --base"),
        (["--device", "tpu"], 2, "unknown device 'tpu'"),
        (["--lora"], 2, "--lora is for your own base model"),
        (["--pairs", "pairs.jsonl"], 2, "--pairs is for your own base model"),
        (["--base", "models/mine"], 2, "--pairs is missing"),
        (["--base", "m", "--backend", "pocket"], 2, "but --base is given"),
        (["--base", "m", "--pairs", "a", "--pairs", "b"], 2, "'own' has two files: a and b"),
        (["--base", "m", "--pairs", "p", "--teacher", "openai/q"], 2, "--teacher-questions FILE"),
        (
            [
                "--base",
                "m",
                "--pairs",
                "no.jsonl",
                "--teacher",
                "openai/q",
                "--teacher-questions",
                "q.jsonl",
            ],
            2,
            "no.jsonl is not there yet",
        ),
        (["--design", "no-such.json"], 3, "no-such.json: cannot be read"),
    ],
)
def test_wrong_questions_get_one_clear_line(
    ask: Study, arguments: list[str], code: int, said: str
) -> None:
    result = ask(*arguments)

    assert result.code == code, result.err
    assert said in " ".join(result.err.replace("│", " ").split())
    assert result.out == ""
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", "holds no grid"),
        ("{}", "holds no grid"),
        ('{"design": {"sizes": ["pocket-xs"], "ratio": [0]}}', "ratio"),
        ('{"sizes": ["pocket-xs"], "ratios": [2]}', "--ratios 2"),
    ],
)
def test_a_file_that_is_no_grid_is_named(ask: Study, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "grid.json"
    file.write_text(text, "utf-8")

    result = ask("--design", file)

    assert result.code == 3
    assert f"{file}: " in result.err
    assert said in result.err


def test_hours_cannot_be_limited_where_nobody_knows_them(
    ask: Study, lab: Callable[..., None]
) -> None:
    lab(seconds_per_run=None)

    result = ask(*PURE, "--max-hours", "2")

    assert result.code == 2
    assert "error[unknown-seconds]" in result.err
    assert "time: not known here in advance" in ask(*PURE).out


def test_training_pocket_students_needs_the_extra_train_and_planning_them_does_not(
    advisor: Advisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def find_no_torch(name: str, package: str | None = None) -> object:
        return None if name == "torch" else find_spec(name, package)

    monkeypatch.setattr("importlib.util.find_spec", find_no_torch)

    planned = advisor("study", *PURE, "--rows", "64")
    refused = advisor("study", "--run", "--out", tmp_path / "s", *PURE, "--rows", "64")

    assert planned.code == 0
    assert refused.code == 4
    assert 'pip install "thinkroute[train]"' in refused.err
    assert not (tmp_path / "s" / "students").exists()


def test_options_for_own_base_models_reach_their_lab_in_another_process() -> None:
    chosen = LabChoice(
        base=["models/small", "Qwen/Qwen2.5-1.5B"],
        pairs=["general=a.jsonl", "math=b=c.jsonl"],
        backend="transformers",
        device="cpu",
        lora=True,
        backend_option=["max_batch=4"],
        train_option=["optim=adamw_torch"],
    )
    place = chosen_lab(chosen, None, writes_pairs=False)
    design = StudyDesign(sizes=place.sizes, corpora=place.corpora, n_rows=64, n_questions=50)

    spec = place.spec(design)

    assert place.sizes == ("small", "Qwen2-5-1-5B")
    assert place.corpora == ("general", "math")
    assert not place.shares_prefixes
    assert isinstance(spec, partial)
    worker = get_context("spawn").SimpleQueue()
    worker.put(spec)
    sent = worker.get()
    bases, data = sent.args
    assert bases == {"small": "models/small", "Qwen2-5-1-5B": "Qwen/Qwen2.5-1.5B"}
    assert data.pairs == {"general": Path("a.jsonl"), "math": Path("b=c.jsonl")}
    assert (data.n_rows, data.n_questions) == (64, 50)
    training, measuring = sent.keywords["training"], sent.keywords["measuring"]
    assert (training.is_lora, training.device) == (True, "cpu")
    assert training.overrides == {"optim": "adamw_torch"}
    assert (measuring.backend, measuring.options) == ("transformers", {"max_batch": 4})
    assert sent().name == "trl"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"schema_version": 99, "design": {"sizes": ["pocket-xs"]}}', "schema version 99"),
        ('{"sizes": ["pocket-xs"], "policies": ["cot"]}', "does not tell what a student learnt"),
        ('{"sizes": ["pocket-xs"], "rows": 32}', "'rows' is no part of a grid"),
    ],
)
def test_a_grid_from_a_file_is_checked_like_options(
    ask: Study, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "grid.json"
    file.write_text(text, "utf-8")
    result = ask("--design", file)
    assert result.code in {2, 3}
    assert said in result.err
    assert result.out == ""


@pytest.mark.parametrize("text", ["", ","])
def test_an_empty_option_is_said_to_be_empty(ask: Study, text: str) -> None:
    assert "--ratios names nothing" in ask("--ratios", text).err


def test_ratios_that_are_one_student_are_refused(ask: Study) -> None:
    result = ask(*SMALL, "--ratios", "0.3,0.30000000001")
    assert result.code == 2
    assert "both make the student pocket-xs.general.mixed@0.3.seed1" in result.err


def test_a_plan_names_the_bases_that_are_missing(ask: Study, tmp_path: Path) -> None:
    assert "no base of pocket-xs" in ask(*PURE, "--bases", tmp_path).err
    model = tmp_path / "pocket-xs" / "model"
    model.mkdir(parents=True)
    (model / "model.safetensors").touch()
    assert "no base" not in ask(*PURE, "--bases", tmp_path).err


def test_any_folder_may_hold_a_study(ask: Study, tmp_path: Path) -> None:
    out = tmp_path / "_my études"
    result = ask("--run", *PURE, "--out", out)
    assert result.code == 0, result.err
    assert StudyTable.load(out).name == "my-tudes"
