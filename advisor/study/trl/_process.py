"""The process that trains: started, watched and ended; what it says goes into a log file."""

import ast
import contextlib
import json
import math
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from policies import BackendError, MissingPrerequisiteError, StoreError

__all__ = ["Environment", "Training", "disk_error", "look_at", "run_tool", "run_training"]

_PROBE = """
import importlib.metadata as m, json
found = {}
for name in ("trl", "torch", "transformers", "accelerate", "datasets", "peft"):
    try: found[name] = m.version(name)
    except m.PackageNotFoundError: pass
n_gpus = 0
if "torch" in found:
    import torch
    n_gpus = torch.cuda.device_count()
print(json.dumps({"versions": found, "n_gpus": n_gpus}))
"""
_FULL = ("no space left on device", "os error 28", "errno 28", "disk quota exceeded")
_NO_MEMORY = ("out of memory", "cannot allocate memory", "outofmemoryerror")
_TAIL_LINES = 60
_GRACE_S = 20.0


@dataclass(frozen=True, slots=True)
class Environment:
    """What there is to train with.

    Attributes:
        versions: Versions of the libraries that are installed, by name.
        n_gpus: GPUs that torch sees.
    """

    versions: Mapping[str, str]
    n_gpus: int


@dataclass(frozen=True, slots=True)
class Training:
    """What a run of training has told.

    Attributes:
        n_steps: Steps done.
        loss: Loss of the last step.
        n_tokens: Tokens read, as the library logs them, with four digits; `None` if it does not
            tell.
    """

    n_steps: int
    loss: float
    n_tokens: int | None


@cache
def look_at(python: Path) -> Environment:
    """Return what an environment has to train with; it is looked at once in a process.

    Raises:
        MissingPrerequisiteError: There is no such Python, or it cannot import what it has.
    """
    try:
        done = subprocess.run(
            [str(python), "-P", "-c", _PROBE], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise MissingPrerequisiteError(
            f"{python} cannot be started: {error.strerror}",
            hint="give the Python of the environment that has TRL",
        ) from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise MissingPrerequisiteError(f"torch cannot be used by {python}: {said[:200]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return Environment(found["versions"], found["n_gpus"])


def run_training(
    command: Sequence[str],
    folder: Path,
    log: Path,
    *,
    student: str,
    on_step: Callable[[int, float], None],
) -> Training:
    """Run a training command to its end.

    The process and all that it starts end with this call, however it ends.

    Args:
        command: Program and arguments.
        folder: Where it is started.
        log: File that all it says is added to.
        student: Whom it trains, for errors.
        on_step: Called with the steps done and the loss, after every step.

    Raises:
        StoreError: The disk is full.
        MissingPrerequisiteError: The program is not there.
        BackendError: Training failed, or its loss is no number; the log is named.
    """
    n_steps, loss, n_tokens = 0, math.nan, None
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file, _started(command, folder) as process:
        file.write(f"$ {' '.join(command)}\n")
        for line in process.stdout or ():
            file.write(line)
            file.flush()
            told = _told(line)
            if told is None:
                tail.append(line.rstrip())
            elif "loss" in told:
                n_steps, loss = n_steps + 1, _number(told["loss"])
                n_tokens = int(_number(told.get("num_tokens", n_tokens or 0))) or None
                on_step(n_steps, loss)
        code = process.wait()
    if code != 0:
        raise _failure(code, list(tail), log, student)
    if not math.isfinite(loss):
        raise _failed(
            f"the loss of student {student!r} is {loss} after {n_steps} steps",
            student,
            f"lower --learning-rate; the log is {log}",
            "training-diverged",
        )
    return Training(n_steps, loss, n_tokens)


def run_tool(command: Sequence[str], folder: Path, log: Path, *, student: str) -> None:
    """Run a program that prepares a student's files; errors are those of `run_training`."""
    with log.open("a", encoding="utf-8") as file, _started(command, folder) as process:
        said = process.stdout.readlines() if process.stdout else []
        file.writelines(said)
        code = process.wait()
    if code != 0:
        raise _failure(code, [line.rstrip() for line in said[-_TAIL_LINES:]], log, student)


def disk_error(place: Path, reason: str) -> StoreError:
    """Return the error for a place that cannot be written."""
    return StoreError(
        f"{place} cannot be written: {reason}",
        hint="make room and run the same command again; finished students are kept",
        code="disk-full" if _says(reason, _FULL) else None,
    )


@contextlib.contextmanager
def _started(command: Sequence[str], folder: Path) -> "Generator[subprocess.Popen[str]]":
    program = Path(command[0])
    environment = {
        **os.environ,
        "PATH": f"{program.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        # All files are here: nothing is to be asked of a hub, nor left in the user's cache.
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "PYTHONUNBUFFERED": "1",
    }
    try:
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise MissingPrerequisiteError(
            f"{program} cannot be started: {error.strerror}",
            hint='pip install "trl" into the environment that trains',
        ) from error
    try:
        yield process
    finally:
        _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    """End a process with all that it has started; do nothing if it has ended."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    if process.stdout is not None:
        process.stdout.close()


def _told(line: str) -> dict[str, object] | None:
    """Return the figures on a line of the trainer's log, `None` if it is another line."""
    text = line.strip()
    if not (text.startswith("{'") and text.endswith("}")):
        return None
    try:
        found: object = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
    return cast("dict[str, object]", found) if isinstance(found, dict) else None


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return math.nan


def _failure(code: int, tail: Sequence[str], log: Path, student: str) -> Exception:
    text = "\n".join(tail)
    said = next((line.strip() for line in reversed(tail) if line.strip()), "nothing")[:300]
    if _says(text, _FULL):
        return disk_error(log.parent.parent, f"no space left on device, said the training: {said}")
    if _says(text, _NO_MEMORY) or code == -signal.SIGKILL:
        return _failed(
            f"training student {student!r} was killed or ran out of memory: {said}",
            student,
            f"lower --max-length, use --lora or more processes; the log is {log}",
            "out-of-memory",
        )
    return _failed(
        f"training student {student!r} failed with code {code}: {said}",
        student,
        f"the log is {log}",
        "training-failed",
    )


def _failed(message: str, student: str, hint: str, code: str) -> BackendError:
    error = BackendError(message, backend="trl", model=student, hint=hint)
    error.code = code
    return error


def _says(text: str, marks: Sequence[str]) -> bool:
    return any(mark in text.lower() for mark in marks)
