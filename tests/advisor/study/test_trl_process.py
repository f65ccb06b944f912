"""The process that trains: its progress is read, its end is sure, its errors are clear."""

import os
import sys
import time
from pathlib import Path

import pytest

from advisor.study.trl._process import look_at, run_training
from policies import BackendError, MissingPrerequisiteError, StoreError


def program(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "program.py"
    path.write_text(text, "utf-8")
    return (sys.executable, str(path))


def ignore(_done: int, _loss: float) -> None:
    pass


def test_steps_are_told_as_the_trainer_logs_them(tmp_path: Path) -> None:
    command = program(
        tmp_path,
        "print('Loading weights:  50%', end='\\r')\n"
        "print({'loss': '2.5', 'num_tokens': '10', 'epoch': '0.5'})\n"
        "print({'loss': 1.25, 'num_tokens': 30, 'epoch': 1})\n"
        "print({'train_runtime': '3', 'train_loss': '9'})\n",
    )
    told: list[tuple[int, float]] = []

    def tell(n_done: int, loss: float) -> None:
        told.append((n_done, loss))

    log = tmp_path / "logs" / "log"
    done = run_training(command, tmp_path, log, student="a", on_step=tell)
    assert told == [(1, 2.5), (2, 1.25)]
    assert (done.n_steps, done.loss, done.n_tokens) == (2, 1.25, 30)
    assert "train_runtime" in log.read_text("utf-8")


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    # A device that is always full: what the system says is real.
    command = program(tmp_path, "open('/dev/full', 'w').write('x' * 10**6)\n")
    with pytest.raises(StoreError) as caught:
        run_training(command, tmp_path, tmp_path / "logs" / "log", student="a", on_step=ignore)
    assert caught.value.code == "disk-full"
    assert "\n" not in str(caught.value)
    assert "finished students are kept" in caught.value.hint


def test_a_failure_names_its_last_words_and_the_log(tmp_path: Path) -> None:
    command = program(tmp_path, "raise ValueError('no such optimiser')\n")
    log = tmp_path / "logs" / "log"
    with pytest.raises(BackendError, match=r"student 'a' failed .* no such optimiser") as caught:
        run_training(command, tmp_path, log, student="a", on_step=ignore)
    assert caught.value.code == "training-failed"
    assert str(log) in caught.value.hint


def test_a_killed_training_is_told_apart(tmp_path: Path) -> None:
    command = program(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n")
    with pytest.raises(BackendError, match="killed or ran out of memory") as caught:
        run_training(command, tmp_path, tmp_path / "logs" / "log", student="a", on_step=ignore)
    assert caught.value.code == "out-of-memory"


def test_a_loss_that_is_no_number_is_no_trained_student(tmp_path: Path) -> None:
    command = program(tmp_path, "print({'loss': 'nan', 'epoch': 1})\n")
    with pytest.raises(BackendError, match="loss of student 'a' is nan after 1 steps"):
        run_training(command, tmp_path, tmp_path / "logs" / "log", student="a", on_step=ignore)


def test_an_interruption_ends_the_process_and_what_it_started(tmp_path: Path) -> None:
    command = program(
        tmp_path,
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "open('pids', 'w').write(f'{os.getpid()} {child.pid}')\n"
        "print({'loss': 1.0, 'epoch': 1}, flush=True)\n"
        "time.sleep(600)\n",
    )

    def interrupt(_done: int, _loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(command, tmp_path, tmp_path / "logs" / "log", student="a", on_step=interrupt)
    for pid in map(int, (tmp_path / "pids").read_text("utf-8").split()):
        deadline = time.monotonic() + 10
        while is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # What nobody has waited for yet has ended too.
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"


def test_a_missing_program_is_a_missing_prerequisite(tmp_path: Path) -> None:
    with pytest.raises(MissingPrerequisiteError, match="cannot be started"):
        look_at(tmp_path / "python")
    with pytest.raises(MissingPrerequisiteError, match="cannot be started"):
        run_training(
            (str(tmp_path / "trl"),), tmp_path, tmp_path / "l" / "log", student="a", on_step=ignore
        )
