"""Run tests on a model's code where it can neither do harm nor forge the verdict.

Layers, each of which must hold or nothing is run: fresh user, network, mount, process, IPC and
UTS namespaces; a root that holds only Python's standard library and the system's libraries, read-
only, and an empty working directory in memory; the user nobody without capabilities and with
no_new_privs; limits on time, memory, processes and files; a kill of everything at the end. On
x86-64 and 64-bit ARM, a filter also refuses sockets, tracing, mounts and other system calls that
no such program needs.

The tests run in another process than the code, which the code cannot see, and which takes only
plain data from it: a program that prints, exits, patches the interpreter or returns an object
that equals everything has no way to the verdict. It also never holds the tests' text.

What remains: the code shares the host's kernel, so a hole in the kernel is a hole in this sandbox;
memory is limited for each process, not for all together; and code that sleeps instead of
computing ends as a problem (wall time over, no CPU time used), since a busy machine looks the
same.
"""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from .._errors import MissingPrerequisiteError
from ._fences import find_code
from ._names import bound_names

__all__ = [
    "Check",
    "Limits",
    "Verdict",
    "bound_names",
    "find_code",
    "require_isolation",
    "run_checks",
    "run_tests",
]

_CHILD = Path(__file__).with_name("_child.py")
_GRACE_S = 20.0
"""Wall time for the sandbox itself to start and to end, on a busy machine."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use.

    Attributes:
        cpu_s: CPU time of one process in seconds; a program that used it up has failed.
        wall_s: Wall time of program and tests together in seconds.
        memory_bytes: Address space of one process.
        n_processes: Processes and threads of the whole sandbox, four of which are its own.
        work_bytes: Files in the working directory.
    """

    cpu_s: int = 10
    wall_s: int = 40
    memory_bytes: int = 2**30
    n_processes: int = 16
    work_bytes: int = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a program.

    Attributes:
        kind: `passed` if all tests ran to their end, `failed` if one failed or the program
            broke a limit, `problem` if nothing can be said about the program.
        detail: Why, for `failed` and `problem`.
        cpu_s: CPU time of the program in seconds, `None` where it is not known.
    """

    kind: Literal["passed", "failed", "problem"]
    detail: str = ""
    cpu_s: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """What became of one of several checks on a program.

    Attributes:
        kind: `value` if it ran to its end; `raised` if it, or the program as it was loaded,
            raised an exception; `stopped` if the program broke a limit or ended; `unknown` if
            it was not reached because of that (no text), or hands over what is no plain data;
            `problem` if the sandbox did not do its work.
        text: The value of an expression (`None` for statements), written so that equal values
            are equal texts; else the exception or the reason.
    """

    kind: Literal["value", "raised", "stopped", "unknown", "problem"]
    text: str = ""


@cache
def require_isolation() -> None:
    """Check once that programs can be isolated here.

    Raises:
        MissingPrerequisiteError: They cannot; nothing may be run.
    """
    if sys.platform != "linux":
        raise _missing("it needs Linux")
    reports = _start("", "", "", "", (), Limits(cpu_s=2, wall_s=20))
    if not reports or not reports[0].get("isolated"):
        detail = reports[0].get("detail", "") if reports else "the sandbox did not start"
        raise _missing(str(detail))
    if reports[-1].get("verdict") != "passed":
        raise _missing(f"an empty program did not pass: {reports[-1]}")


def run_tests(
    code: str,
    test: str,
    *,
    prompt: str = "",
    names: Sequence[str] = (),
    limits: Limits | None = None,
) -> Verdict:
    """Run tests against a program; blocks, thread-safe, leaves nothing behind.

    Args:
        code: The model's code: a program, or the body of the function that `prompt` begins.
        test: Trusted code; it passes if it runs to its end.
        prompt: Trusted code that the program begins with; the tests see its definitions too.
        names: What the tests take from the program, even where `prompt` defines it.
        limits: What the program may use.

    Raises:
        MissingPrerequisiteError: Programs cannot be isolated here; nothing was run.
    """
    require_isolation()
    limits = limits or Limits()
    return _read(_start(code, prompt, prompt, test, names, limits), limits)


def run_checks(
    code: str,
    checks: Sequence[str],
    *,
    prompt: str = "",
    names: Sequence[str] = (),
    limits: Limits | None = None,
) -> tuple[Check, ...]:
    """Run checks against a program, one after the other in one sandbox, and return what each gives.

    Blocks, thread-safe, leaves nothing behind. The program is isolated as in `run_tests`, and no
    exception of one check keeps the others from running; a program that ends does.

    Args:
        code: The model's code: a program, or the body of the function that `prompt` begins.
        checks: Trusted code: an expression, statements, or statements and then an expression.
            What one check defines the others do not see; `__show__(value)` writes a value.
        prompt: Trusted code that the program begins with; the checks see its definitions too.
        names: What the checks take from the program.
        limits: What the program may use, for all checks together.

    Raises:
        MissingPrerequisiteError: Programs cannot be isolated here; nothing was run.
    """
    require_isolation()
    limits = limits or Limits()
    reports = _start(code, prompt, prompt, "", names, limits, checks)
    verdict = _read(reports, limits)
    done = reports[-1].get("done") if reports else None
    if done is None and reports and reports[-1].get("verdict") == "failed":
        return (Check("raised", verdict.detail),) * len(checks)
    found = [Check(kind, text) for kind, text in done or ()]
    if len(found) < len(checks):
        kind = "problem" if verdict.kind == "problem" else "stopped"
        found.append(Check(kind, verdict.detail))
    return (*found, *(Check("unknown") for _ in checks[len(found) :]))


def _start(
    code: str,
    prompt: str,
    setup: str,
    test: str,
    names: Sequence[str],
    limits: Limits,
    checks: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Run one sandbox and return what it reported."""
    bounds = {name: getattr(limits, name) for name in Limits.__slots__}
    tests = {"setup": setup, "names": list(names), "code": test, "checks": list(checks)}
    job = b"".join(map(_frame, (bounds, {"code": code, "prompt": prompt}, tests)))
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(job, timeout=limits.wall_s + _GRACE_S)
    except subprocess.TimeoutExpired:
        output = b""
    finally:
        # The first process takes the others with it: each dies with its parent, and the judge
        # is process 1 of the namespace that the program lives in.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return list(_unframe(output))


def _read(reports: list[dict[str, Any]], limits: Limits) -> Verdict:
    if not reports:
        return Verdict("problem", "the sandbox did not start, or did not end in time")
    if not reports[0].get("isolated"):
        return Verdict("problem", f"no isolation: {reports[0].get('detail')}")
    report = reports[-1]
    verdict, detail = report.get("verdict"), str(report.get("detail", ""))
    cpu_s = float(report.get("cpu_s", 0.0))
    # The kernel ends a process by a finer clock than the one it reports at the end.
    is_spent = cpu_s >= 0.8 * limits.cpu_s
    if verdict == "passed":
        return Verdict("passed", cpu_s=cpu_s)
    if verdict == "failed":
        return Verdict("failed", detail, cpu_s)
    if is_spent and verdict in {"died", "late"}:
        return Verdict("failed", f"the CPU time of {limits.cpu_s} s was used up", cpu_s)
    if verdict == "died":
        return Verdict("failed", f"the program ended before its tests: {detail}", cpu_s)
    if verdict == "late":
        text = f"{limits.wall_s} s went by, of which the program computed {cpu_s:.1f} s"
        return Verdict("problem", text, cpu_s)
    return Verdict("problem", detail or "the sandbox ended without a verdict")


def _frame(message: object) -> bytes:
    body = json.dumps(message).encode()
    return struct.pack("!I", len(body)) + body


def _unframe(data: bytes) -> Iterator[dict[str, Any]]:
    while len(data) >= 4:
        (length,) = struct.unpack("!I", data[:4])
        body, data = data[4 : 4 + length], data[4 + length :]
        if len(body) == length:
            yield json.loads(body)


def _missing(reason: str) -> MissingPrerequisiteError:
    return MissingPrerequisiteError(
        f"code cannot be isolated on this machine: {reason}",
        hint="run code on Linux 5.12 or later with user namespaces allowed "
        "(sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns), or in a "
        "virtual machine",
        code="no-isolation",
    )
