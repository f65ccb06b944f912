"""A study on one's own base model: students are trained by the real TRL and asked by the harness.

Failures are those of a stand-in for the library's command, which ends in the way that is tested.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from advisor.cost import network
from advisor.study._design import StudyDesign
from advisor.study._lab import Step
from advisor.study._student import TWO_STAGE_CORPUS, Stage, Student, StudyOrder
from advisor.study.trl import TrlData, TrlLab, TrlMeasuring, TrlTraining
from advisor.study.trl._bases import read_base
from advisor.study.trl._stage import write_stage
from calibration import architecture_of
from calibration.pocket.questions import PocketTaskType, stream_questions
from calibration.pocket.teacher import write_answer, write_trace
from policies import (
    BackendError,
    InvalidInputError,
    MissingPrerequisiteError,
    StoreError,
    UnknownNameError,
)

# The libraries warn of their own deprecations.
pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]

MODEL = Path(__file__).parents[2] / "models" / "pocket-xs"
N_ROWS, N_QUESTIONS = 192, 24
IFT = Student("tiny", "general", 0.0, StudyOrder.MIXED, 1)
REASONING = Student("tiny", "general", 1.0, StudyOrder.MIXED, 1)
TWO_STAGE = Student("tiny", TWO_STAGE_CORPUS, 0.5, StudyOrder.GENERAL_IFT_MATH_REASONING, 1)
POLICIES = ("direct", "reasoning@max")
STAND_IN = """\
import json, os, pathlib, shutil, signal, sys, time
config = dict(
    line.split(": ", 1) for line in open(sys.argv[3]).read().splitlines()
    if ": " in line and not line.startswith((" ", "#"))
)
start = json.loads(config["model_name_or_path"].split("  #")[0])
out = pathlib.Path(config["output_dir"])
pathlib.Path(os.environ["STAND_IN_CALLS"]).open("a").write(start + "\\n")
print({"loss": "2.0", "num_tokens": "7", "epoch": "0.5"}, flush=True)
ending = os.environ.get("STAND_IN_ENDING", "")
if ending == "full":
    open("/dev/full", "w").write("x" * 10**6)
if ending == "killed":
    out.mkdir(parents=True)
    (out / "model.safetensors").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
print({"loss": "1.0", "num_tokens": "14", "epoch": "1"}, flush=True)
shutil.copytree(start, out)
(out / "training_args.bin").write_bytes(b"a pickle")
"""


def write_pairs(path: Path, task_type: PocketTaskType, n: int) -> Path:
    prompts: dict[str, dict[str, str]] = {}
    for question in islice(stream_questions(task_type, seed=5, split="train"), 4 * n):
        prompts[question.prompt] = {
            "prompt": question.prompt,
            "ift": write_answer(question),
            "reasoning": f"<think>\n{write_trace(question)}\n</think>\n\n{write_answer(question)}",
            "solution": question.answer,
        }
    rows = list(prompts.values())[:n]
    assert len(rows) == n
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrlData:
    """Pairs of two corpora, and held-out questions of a file of their own."""
    folder = tmp_path_factory.mktemp("data")
    held = folder / "math.jsonl"
    stream = stream_questions("math-oe", seed=7, split="heldout")
    drawn = {question.prompt: question.answer for question in islice(stream, 2 * N_QUESTIONS)}
    rows = [{"question": prompt, "answer": answer} for prompt, answer in drawn.items()]
    held.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return TrlData(
        pairs={
            "general": write_pairs(folder / "general_pairs.jsonl", "general-oe", N_ROWS),
            "math": write_pairs(folder / "math_pairs.jsonl", "math-oe", N_ROWS),
        },
        questions=(held,),
        n_rows=N_ROWS,
        n_questions=N_QUESTIONS,
    )


def make_lab(data: TrlData, model: Path | str = MODEL, **training: Any) -> TrlLab:
    # One pass over the rows of a step instead of one for each.
    at_once = {"per_device_train_batch_size": "32", "gradient_accumulation_steps": "1"}
    asked: dict[str, Any] = {"device": "cpu", "learning_rate": 4e-3, "overrides": at_once}
    asked |= training
    return TrlLab(
        {"tiny": str(model)},
        data,
        training=TrlTraining(**asked),
        measuring=TrlMeasuring(backend="transformers"),
    )


@pytest.fixture(scope="module")
def lab(data: TrlData) -> TrlLab:
    return make_lab(data)


def ignore(_: Step) -> None:
    pass


def record(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "training.json").read_text("utf-8"))["runs"]


def test_a_small_study_is_trained_and_measured(lab: TrlLab, tmp_path: Path) -> None:
    design = StudyDesign(
        sizes=("tiny",),
        ratios=(0.0, 1.0),
        orders=(StudyOrder.GENERAL_IFT_MATH_REASONING,),
        corpora=("general",),
        seeds=(1,),
        n_rows=N_ROWS,
        n_questions=N_QUESTIONS,
        policies=POLICIES,
    )
    lab.check(design)
    students = design.students()
    assert students == [IFT, REASONING, TWO_STAGE]
    thinks: dict[Student, float] = {}
    accuracy: dict[Student, float] = {}
    for student in students:
        folder, steps = tmp_path / student.id / "model", list[Step]()
        lab.train(student, folder, work=tmp_path / "work", on_step=steps.append)
        # The library has read the very tokens that the plan counted; it logs four digits.
        runs = record(folder)
        planned = [lab.stage_cost("tiny", stage, 1).tokens for stage in student.stages]
        assert [run["n_tokens_planned"] for run in runs] == planned
        assert [run["n_tokens"] for run in runs] == pytest.approx(planned, rel=5e-4)
        assert steps[-1].done == steps[-1].total == sum(run["n_steps"] for run in runs)
        assert not (folder / "training_args.bin").exists()
        direct, reasoning = lab.measure(student, folder, policies=POLICIES, n_questions=N_QUESTIONS)
        assert (direct.mode, reasoning.mode) == ("ift", "reasoning")
        for cell in (direct, reasoning):
            assert cell.task_type == "math-oe"
            assert cell.n == len(cell.correct) == N_QUESTIONS
            assert cell.correct.count("1") == cell.n_correct
            assert cell.mean_flops > 0
        thinks[student] = reasoning.think_share
        accuracy[student] = reasoning.accuracy
        again = lab.measure(student, folder, policies=POLICIES, n_questions=N_QUESTIONS)
        assert tuple(again) == (direct, reasoning)
    # What students do follows from their rows: the base of all three can do both.
    assert thinks[IFT] < 0.2 < 0.8 < thinks[TWO_STAGE]
    assert thinks[REASONING] > 0.8
    assert accuracy[TWO_STAGE] > accuracy[IFT]
    # The two-stage student went on from the run of the other one, which was trained once.
    runs = record(tmp_path / TWO_STAGE.id / "model")
    assert runs[0] == record(tmp_path / IFT.id / "model")[0]
    shared = tmp_path / "work" / "stages" / IFT.id / "model.safetensors"
    assert shared.samefile(tmp_path / IFT.id / "model" / "model.safetensors")
    calls = (tmp_path / "work" / "logs" / f"{TWO_STAGE.id}.log").read_text("utf-8")
    assert calls.count("--config") == 1


def test_adapters_are_merged_into_a_whole_model(data: TrlData, tmp_path: Path) -> None:
    lab = make_lab(
        data,
        is_lora=True,
        n_epochs=2,
        overrides={"max_steps": "2", "per_device_train_batch_size": "8"},
    )
    stage = REASONING.stages[0]
    adapters = lab.stage_cost("tiny", stage, 1)
    full = make_lab(data, n_epochs=2).stage_cost("tiny", stage, 1)
    assert adapters.tokens == full.tokens
    # No gradients of frozen matrices, but adapters of rank 32 beside them; attention is the same.
    known = network(architecture_of(MODEL))
    per_token = 6 * 32 * known.active_adapter_params - 2 * known.n_product_params
    assert adapters.flops - full.flops == pytest.approx(per_token * full.tokens)
    folder = tmp_path / REASONING.id / "model"
    lab.train(REASONING, folder, work=tmp_path / "work", on_step=ignore)
    assert not (folder / "adapter_config.json").exists()
    (run,) = record(folder)
    assert "--num_train_epochs" in run["command"]
    from safetensors.torch import load_file

    before, after = load_file(MODEL / "model.safetensors"), load_file(folder / "model.safetensors")
    assert before.keys() == after.keys()
    assert any(not before[name].equal(after[name]) for name in before)
    (cell,) = lab.measure(REASONING, folder, policies=["reasoning@max"], n_questions=8)
    assert cell.n == 8


@pytest.mark.parametrize("order", [order for order in StudyOrder if not order.is_two_stage])
def test_orders_differ_in_nothing_but_the_order_of_rows(
    data: TrlData, tmp_path: Path, order: StudyOrder
) -> None:
    base, ratio = read_base("tiny", str(MODEL)), 0.75

    def rows(order: StudyOrder) -> list[tuple[str, str]]:
        run = write_stage(
            base,
            Stage("math", ratio, order),
            seed=1,
            pairs=data.pairs["math"],
            n_rows=64,
            max_length=512,
            training=TrlTraining(device="cpu", learning_rate=1e-3),
            start=base.folder,
            out=tmp_path / order.value,
        )
        config = (run.folder / "1_sft.yaml").read_text("utf-8")
        named = [line for line in config.splitlines() if "data_files" in line]
        assert [name for name in run.files if name in config] == list(run.files)
        assert len(named) == len(run.files)
        assert all(name in line for name, line in zip(run.files, named, strict=True))
        return run.rows()

    found = rows(order)
    assert sorted(found) == sorted(rows(StudyOrder.MIXED) if order.value != "mixed" else found)
    thought = ["<think>" in answer for _, answer in found]
    assert sum(thought) == 48
    if order is StudyOrder.IFT_THEN_REASONING:
        assert thought == [False] * 16 + [True] * 48
    if order is StudyOrder.REASONING_THEN_IFT:
        assert thought == [True] * 48 + [False] * 16
    if order is StudyOrder.REASONING_THEN_HYBRID:
        assert all(thought[:32])
        assert sum(thought[32:]) == 16
        assert not thought[-1] or not all(thought[32:48])


# Bad input: found by the check, before anything is trained.


def tampered(tmp_path: Path, change: Callable[[Path], None]) -> Path:
    import shutil

    folder = tmp_path / "base"
    shutil.copytree(MODEL, folder)
    change(folder)
    return folder


def drop_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    config.pop("chat_template", None)
    path.write_text(json.dumps(config), "utf-8")


def test_a_base_without_chat_template_is_refused_with_what_to_do(
    data: TrlData, tmp_path: Path
) -> None:
    bare = tampered(tmp_path, drop_template)
    with pytest.raises(InvalidInputError, match="has no chat template") as caught:
        make_lab(data, bare).check()
    assert caught.value.code == "no-chat-template"
    assert "--chat-template chatml" in caught.value.hint
    assert "--chat-template FILE" in caught.value.hint
    # And what to do helps.
    make_lab(data, bare, chat_template="chatml").check()


def test_a_base_that_does_not_know_the_marks_is_refused(data: TrlData, tmp_path: Path) -> None:
    def rename(folder: Path) -> None:
        path = folder / "tokenizer.json"
        text = path.read_text("utf-8").replace("<|im_start|>", "<|header|>")
        path.write_text(text, "utf-8")
        config = folder / "tokenizer_config.json"
        text = config.read_text("utf-8").replace("<|im_start|>", "<|header|>")
        config.write_text(text, "utf-8")

    with pytest.raises(InvalidInputError, match=r"has no <\|im_start\|>") as caught:
        make_lab(data, tampered(tmp_path, rename)).check()
    assert caught.value.code == "no-chat-template"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{{ messages[0].content }}", "template-without-marks"),
        (
            "{% generation %}{{ messages[0].content.split('</think>')[-1] }}{% endgeneration %}",
            "template-drops-thoughts",
        ),
    ],
)
def test_a_template_that_cannot_be_trained_with_is_refused(
    data: TrlData, tmp_path: Path, text: str, code: str
) -> None:
    path = tmp_path / "template.jinja"
    path.write_text(text, "utf-8")
    with pytest.raises(InvalidInputError) as caught:
        make_lab(data, chat_template=path).check()
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_that_is_no_model_is_refused(data: TrlData, tmp_path: Path, name: str) -> None:
    folder = tampered(tmp_path, lambda folder: (folder / name).unlink())
    with pytest.raises(InvalidInputError) as caught:
        make_lab(data, folder).check()
    assert caught.value.code == "no-base-model"


def mark_as_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}", "utf-8")


def test_a_missing_folder_and_an_adapter_are_refused(data: TrlData, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there is no model folder"):
        make_lab(data, tmp_path / "gone").check()
    adapter = tampered(tmp_path, mark_as_adapter)
    with pytest.raises(InvalidInputError, match="is an adapter"):
        make_lab(data, adapter).check()


def test_a_design_that_does_not_fit_is_refused(lab: TrlLab) -> None:
    fitting = StudyDesign(
        sizes=("tiny",), corpora=("general",), orders=(StudyOrder.MIXED,), n_rows=N_ROWS
    )
    lab.check(fitting)
    for change, error, message in (
        ({"sizes": ("large",)}, UnknownNameError, "base model 'large'"),
        ({"corpora": ("own",)}, InvalidInputError, "trains on own, but there are pairs of general"),
        ({"n_rows": 4096}, InvalidInputError, "the design has 4,096 rows"),
    ):
        with pytest.raises(error, match=message):
            lab.check(fitting.model_copy(update=change))


def test_pairs_longer_than_the_context_are_refused(data: TrlData, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="are longer than 60 tokens") as caught:
        make_lab(data, max_length=60).check()
    assert caught.value.code == "rows-too-long"


def test_a_missing_configuration_for_accelerate_is_refused(data: TrlData) -> None:
    for config in (Path("gone.cfg"), "gone.yaml"):
        with pytest.raises(InvalidInputError, match="no configuration for accelerate at gone"):
            make_lab(data, accelerate_config=config).check()


def test_a_plan_needs_no_gpu(data: TrlData) -> None:
    lab = make_lab(data, device="gpu", n_processes=4, gpu="h100")
    cost = lab.stage_cost("tiny", IFT.stages[0], 1)
    assert cost.tokens == make_lab(data).stage_cost("tiny", IFT.stages[0], 1).tokens
    assert cost.seconds is not None
    assert cost.seconds > 0


def test_missing_gpus_and_libraries_are_named(data: TrlData, tmp_path: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(MissingPrerequisiteError, match="1 GPUs are needed"):
            make_lab(data, device="gpu").check()
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.base_prefix}/bin/python3 -S "$@"\n', "utf-8")
    bare.chmod(0o755)
    with pytest.raises(MissingPrerequisiteError, match="has no trl and no torch"):
        make_lab(data, python=bare).check()


# What goes wrong on the way: a student is there whole, or not at all.


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: TrlData) -> TrlLab:
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {
        "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
        "trl": f"#!{sys.executable}\n{STAND_IN}",
    }
    for name, text in scripts.items():
        (folder / name).write_text(text, "utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("STAND_IN_CALLS", str(tmp_path / "calls"))
    return make_lab(data, python=folder / "python")


def train_all(lab: TrlLab, students: Sequence[Student], out: Path) -> list[Student]:
    """Train those that are not there yet; return them."""
    todo = [one for one in students if not (out / one.id / "model").exists()]
    for student in todo:
        lab.train(student, out / student.id / "model", work=out / "work", on_step=ignore)
    return todo


@pytest.mark.parametrize(
    ("ending", "error", "code"),
    [("full", StoreError, "disk-full"), ("killed", BackendError, "out-of-memory")],
)
def test_a_run_that_dies_leaves_no_half_student_and_is_trained_anew(
    stand_in: TrlLab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
    error: type[Exception],
    code: str,
) -> None:
    out, students = tmp_path / "out", [IFT, REASONING, TWO_STAGE]
    train_all(stand_in, students[:1], out)
    monkeypatch.setenv("STAND_IN_ENDING", ending)
    with pytest.raises(error) as caught:
        train_all(stand_in, students, out)
    assert getattr(caught.value, "code", "") == code
    assert "\n" not in str(caught.value)
    # The finished student is kept, of the other there is nothing but its log.
    assert record(out / IFT.id / "model")
    assert not list((out / REASONING.id).glob("*"))
    assert not list((out / "work" / "stages").glob(f"*{REASONING.id}*part*"))
    assert (out / "work" / "logs" / f"{REASONING.id}.log").is_file()
    monkeypatch.delenv("STAND_IN_ENDING")
    assert train_all(stand_in, students, out) == [REASONING, TWO_STAGE]
    starts = (tmp_path / "calls").read_text("utf-8").splitlines()
    # The IFT run, the one that died, its repetition, and the second stage on the first's output.
    assert len(starts) == 4
    assert starts[-1] == str((out / "work" / "stages" / IFT.id).resolve())


def test_what_a_killed_study_has_left_is_swept_away(stand_in: TrlLab, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for folder in (out / "work" / "stages", out / REASONING.id):
        for name in (REASONING.id, "model"):
            half = folder / f".{name}.part" / "export"
            half.mkdir(parents=True)
            (half / "model.safetensors").write_bytes(b"half")
    train_all(stand_in, [REASONING], out)
    assert record(out / REASONING.id / "model")
    assert not (out / REASONING.id / ".model.part").exists()


def test_a_disk_that_fills_up_while_a_student_is_saved_is_one_clear_error(
    stand_in: TrlLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    import advisor.study.trl._trl_lab as module

    out = tmp_path / "out"
    train_all(stand_in, [IFT], out)

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(module, "sync_path", full)
        with pytest.raises(StoreError, match="No space left on device") as caught:
            train_all(stand_in, [TWO_STAGE], out)
    assert caught.value.code == "disk-full"
    assert not list((out / TWO_STAGE.id).glob("*"))
    assert train_all(stand_in, [IFT, TWO_STAGE], out) == [TWO_STAGE]


def test_an_interrupted_student_is_not_there(stand_in: TrlLab, tmp_path: Path) -> None:
    def interrupt(_: Step) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / REASONING.id / "model"
    with pytest.raises(KeyboardInterrupt):
        stand_in.train(REASONING, folder, work=tmp_path / "work", on_step=interrupt)
    assert not list(folder.parent.glob("*"))
    assert not (tmp_path / "work" / "stages" / REASONING.id).exists()


def test_results_are_identified_by_bases_data_and_settings(data: TrlData) -> None:
    one = make_lab(data).identity()
    assert make_lab(data).identity() == one
    assert make_lab(data, n_epochs=3).identity()["training"] != one["training"]
    versions = json.loads(one["versions"])
    assert {"trl", "torch", "transformers"} <= versions.keys()
    assert len(json.loads(one["base/tiny"])["weights"]) == 64


def test_the_runner_of_studies_takes_the_lab_into_its_workers(
    stand_in: TrlLab, data: TrlData, tmp_path: Path
) -> None:
    from functools import partial

    from advisor.study._run import run_study

    design = StudyDesign(
        sizes=("tiny",),
        ratios=(0.0,),
        orders=(StudyOrder.MIXED,),
        corpora=("general",),
        seeds=(1,),
        n_rows=N_ROWS,
        n_questions=N_QUESTIONS,
        policies=("reasoning@max",),
    )
    spec = partial(
        TrlLab,
        {"tiny": str(MODEL)},
        data,
        training=TrlTraining(device="cpu", learning_rate=1e-3, python=tmp_path / "bin" / "python"),
        measuring=TrlMeasuring(backend="transformers"),
        teacher={"model": "a teacher", "acceptance": 0.5},
    )
    table = run_study(design, spec, tmp_path / "out", name="mine")
    (result,) = table.results
    assert result.student == IFT
    assert result.train_tokens == stand_in.stage_cost("tiny", IFT.stages[0], 1).tokens
    # The stand-in trains nothing, so that the student is the base, which thinks.
    (cell,) = result.cells
    assert cell.n == N_QUESTIONS
    assert cell.think_share > 0.9
    assert json.loads(table.provenance["lab"]["teacher"])["acceptance"] == 0.5
