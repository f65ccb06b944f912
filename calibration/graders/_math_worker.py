"""Program of the math grader's worker processes; the pool starts it by its path.

It reads frames from standard input and writes frames to what was standard output when it
started: four bytes of length, big-endian, then JSON. It ends when standard input does, so that
it never outlives whoever asked. It imports nothing of this package, only the standard library
and math-verify.

Arguments: CPU seconds per comparison, bytes of address space.
"""

import json
import logging
import os
import resource
import signal
import struct
import sys
from importlib import import_module
from typing import Any, BinaryIO

_HEAD = struct.Struct(">I")
_RELATIVE_TOLERANCE = 1e-6
_NONSENSE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,  # Recursion and what is not implemented.
    TypeError,
    ValueError,
)
"""What the libraries raise for a text they can make no sense of: it equals nothing."""


def main() -> None:
    """Answer comparisons until standard input ends."""
    cpu_limit_s, memory_limit = float(sys.argv[1]), int(sys.argv[2])
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    # What the libraries print must not end up between the frames.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    _limit_memory(memory_limit)
    logging.disable(logging.CRITICAL)
    try:
        library: Any = import_module("math_verify")
    except ImportError as error:
        _write(replies, {"failure": f"math-verify cannot be imported: {error}"})
        return
    _write(replies, {"ready": True})
    while (request := _read(requests)) is not None:
        # The default action of SIGPROF ends the process, inside C code too, where no Python
        # handler would run; it counts CPU time, so a busy machine changes no judgement.
        signal.setitimer(signal.ITIMER_PROF, cpu_limit_s)
        try:
            is_equal = _is_equal(library, request["gold"], request["answer"])
        except _NONSENSE:
            is_equal = False
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
        _write(replies, {"equal": is_equal})


def _is_equal(library: Any, gold: str, answer: str) -> bool:
    # The box makes the library read the whole text, not the last number in it. Its own time
    # limits use an alarm signal that long C code ignores; ours covers the whole comparison.
    config = [library.LatexExtractionConfig(boxed_match_priority=0)]
    wanted, said = (
        library.parse(f"\\boxed{{{text}}}", extraction_config=config, parsing_timeout=None)
        for text in (gold, answer)
    )
    if not wanted or not said or not _states_a_value(wanted[0], said[0]):
        return False
    is_equal = library.verify(wanted, said, timeout_seconds=None, allow_set_relation_comp=True)
    return bool(is_equal) and ("%" in gold + answer or _are_close(wanted[0], said[0]))


def _states_a_value(gold: Any, answer: Any) -> bool:
    """Return false for an equation such as `x^2 - 4 = 0` where the gold answer is a value.

    The library compares the right-hand side alone, which suits `x = 5` and `3 + 4 = 7` only.
    """
    sympy: Any = import_module("sympy")
    functions: Any = import_module("sympy.core.function")
    first = answer
    while isinstance(first, sympy.And):
        # In the order of writing; `args` is sorted.
        first = getattr(first, "_unsorted_args", first.args)[0]
    if isinstance(gold, (sympy.Rel, sympy.And)) or not isinstance(first, sympy.Eq):
        return True
    left: Any = first.lhs
    return isinstance(left, (sympy.Symbol, functions.AppliedUndef)) or not left.free_symbols


def _are_close(gold: Any, answer: Any) -> bool:
    """Return false for two numbers that agree only because both round to the same decimals."""
    if not (getattr(gold, "is_number", False) and getattr(answer, "is_number", False)):
        return True
    try:
        a, b = complex(gold.evalf()), complex(answer.evalf())
    except (OverflowError, TypeError, ValueError):
        return True  # Too large for a float, or no number after all: the library has decided.
    return abs(a - b) <= _RELATIVE_TOLERANCE * max(abs(a), abs(b))


def _limit_memory(n_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or n_bytes < hard:
        resource.setrlimit(resource.RLIMIT_AS, (n_bytes, hard))


def _read(stream: BinaryIO) -> dict[str, str] | None:
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    (length,) = _HEAD.unpack(head)
    body = stream.read(length)
    return json.loads(body) if len(body) == length else None


def _write(stream: Any, reply: dict[str, object]) -> None:
    body = json.dumps(reply).encode()
    try:
        stream.write(_HEAD.pack(len(body)) + body)
    except BrokenPipeError:
        sys.exit(0)  # Nobody waits for it any more.


if __name__ == "__main__":
    main()
