"""Students of the pocket family, really trained: shared runs, stages, export and resuming."""

from functools import partial
from pathlib import Path

import pytest

pytestmark = [pytest.mark.train, pytest.mark.timeout(900)]
pytest.importorskip("torch", reason="the extra `train` is not installed")

from advisor.study._design import StudyDesign  # noqa: E402 - needs torch
from advisor.study._lab import Step  # noqa: E402
from advisor.study._pocket_lab import PocketLab  # noqa: E402
from advisor.study._run import StudentDone, StudyEvent, run_study  # noqa: E402
from advisor.study._student import Student, StudyOrder  # noqa: E402
from calibration.pocket.base import pretrain  # noqa: E402
from calibration.pocket.sizes import POCKET_SIZES  # noqa: E402
from policies import InvalidInputError, StoreError  # noqa: E402

N_ROWS = 256
RATIOS = (0.0, 0.5, 1.0)
ORDERS = (
    StudyOrder.MIXED,
    StudyOrder.IFT_THEN_REASONING,
    StudyOrder.REASONING_THEN_IFT,
    StudyOrder.GENERAL_IFT_MATH_REASONING,
)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that has hardly learned anything: what is tested does not depend on it."""
    folder = tmp_path_factory.mktemp("bases")
    pretrain(POCKET_SIZES["pocket-xs"], folder / "pocket-xs", n_steps=20)
    return folder


def lab(bases: Path) -> PocketLab:
    return PocketLab(ratios=RATIOS, orders=ORDERS, n_rows=N_ROWS, bases=bases)


def ignore(step: Step) -> None:
    assert 0 < step.done <= step.total
    assert step.loss > 0


def weights(folder: Path) -> bytes:
    return (folder / "model.onnx.data").read_bytes()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            Student("pocket-xs", "math", 0.0, StudyOrder.MIXED, 1),
            Student("pocket-xs", "math", 0.5, StudyOrder.IFT_THEN_REASONING, 1),
        ),
        (
            Student("pocket-xs", "math", 1.0, StudyOrder.MIXED, 1),
            Student("pocket-xs", "math", 0.5, StudyOrder.REASONING_THEN_IFT, 1),
        ),
        (
            Student("pocket-xs", "general", 0.0, StudyOrder.MIXED, 2),
            Student(
                "pocket-xs", "general_then_math", 0.5, StudyOrder.GENERAL_IFT_MATH_REASONING, 2
            ),
        ),
    ],
)
def test_going_on_from_a_shared_run_gives_the_student_of_training_it_alone_to_the_bit(
    bases: Path, tmp_path: Path, first: Student, second: Student
) -> None:
    own = lab(bases)
    steps: list[Step] = []
    own.train(first, tmp_path / "first", work=tmp_path / "shared", on_step=ignore)
    own.train(second, tmp_path / "after", work=tmp_path / "shared", on_step=steps.append)
    lab(bases).train(second, tmp_path / "alone", work=tmp_path / "none", on_step=ignore)
    assert weights(tmp_path / "after") == weights(tmp_path / "alone")
    assert weights(tmp_path / "after") != weights(tmp_path / "first")
    n_stage = N_ROWS // 32
    shared = n_stage // 2 if second.corpus == "math" else n_stage
    assert len(steps) == n_stage * len(second.stages) - shared


def test_another_seed_is_another_student(bases: Path, tmp_path: Path) -> None:
    own = lab(bases)
    for seed in (1, 2):
        student = Student("pocket-xs", "math", 1.0, StudyOrder.MIXED, seed)
        own.train(student, tmp_path / str(seed), work=tmp_path / "work", on_step=ignore)
    assert weights(tmp_path / "1") != weights(tmp_path / "2")


def test_a_study_is_trained_measured_and_gone_on_with(bases: Path, tmp_path: Path) -> None:
    def design(seeds: tuple[int, ...]) -> StudyDesign:
        return StudyDesign(
            sizes=("pocket-xs",),
            ratios=(0.0, 1.0),
            corpora=("math",),
            seeds=seeds,
            n_rows=N_ROWS,
            n_questions=20,
        )

    make = partial(
        PocketLab, ratios=(0.0, 1.0), orders=(StudyOrder.MIXED,), n_rows=N_ROWS, bases=bases
    )
    first = run_study(design((1,)), make, tmp_path, name="small", workers=1)
    assert [one.student.ratio for one in first.results] == [0.0, 1.0]
    for one in first.results:
        assert {cell.n for cell in one.cells} == {20}
        assert len(one.cells) == 8
        assert one.train_flops > 0
    events: list[StudyEvent] = []
    table = run_study(
        design((1, 2)), make, tmp_path, name="small", workers=2, on_event=events.append
    )
    done = [event for event in events if isinstance(event, StudentDone)]
    assert [event.is_new for event in done] == [False, False, True, True]
    assert table.results[: len(first.results)] == first.results


def test_a_state_that_was_not_kept_whole_is_trained_again(bases: Path, tmp_path: Path) -> None:
    student = Student("pocket-xs", "math", 0.0, StudyOrder.MIXED, 1)
    own, work = lab(bases), tmp_path / "work"
    own.train(student, tmp_path / "whole", work=tmp_path / "none", on_step=ignore)
    # What a kill between making the folder and filling it leaves behind.
    for step in (N_ROWS // 64, N_ROWS // 32):
        (work / "states" / "pocket-xs.math.seed1" / "ift" / str(step)).mkdir(parents=True)
    own.train(student, tmp_path / "again", work=work, on_step=ignore)
    assert weights(tmp_path / "again") == weights(tmp_path / "whole")


def test_a_base_of_another_schedule_is_not_gone_on_with(tmp_path: Path) -> None:
    pretrain(POCKET_SIZES["pocket-xs"], tmp_path, n_steps=2)
    assert {one.name for one in tmp_path.iterdir()} >= {"model", "base.json"}
    with pytest.raises(InvalidInputError, match="holds a base"):
        pretrain(POCKET_SIZES["pocket-xs"], tmp_path, n_steps=4)


def test_a_full_disk_while_a_state_is_kept_is_a_clear_error(
    bases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    def fill(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", fill)
    student = Student("pocket-xs", "math", 0.0, StudyOrder.MIXED, 1)
    with pytest.raises(StoreError, match="No space left on device"):
        lab(bases).train(student, tmp_path / "one", work=tmp_path / "work", on_step=ignore)
    assert not (tmp_path / "one").exists()
