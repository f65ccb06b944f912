"""A few worker processes that can be killed, asked from many threads.

Requests and replies are JSON in frames of four bytes of length and as many bytes of text, over
the worker's standard input and output.
"""

import contextlib
import json
import os
import queue
import select
import signal
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import IO, NamedTuple

__all__ = ["Reply", "WorkerPool", "python_command"]

_HEAD = struct.Struct(">I")
_LONGEST_REPLY = 2**20
_EXIT_WAIT_S = 5.0
"""How long a worker whose pipe has closed may take to become a status."""


class Reply(NamedTuple):
    """What became of a request; exactly one field is set.

    Attributes:
        value: What the worker answered.
        is_exhausted: The worker used up the CPU time that a request may take.
        problem: Why there is no answer although the request had CPU time left.
    """

    value: Mapping[str, object] | None = None
    is_exhausted: bool = False
    problem: str | None = None


class WorkerPool:
    """Worker processes, started when they are needed and replaced when they die.

    A worker ends itself by SIGPROF when a request has used its CPU time; the pool kills one that
    does not answer within the wall-clock limit. Safe to use from many threads. The workers end
    with `close`, when the pool is collected, and with this process however it ends: their
    standard input closes.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        n_workers: int,
        wall_limit_s: float,
        max_requests: int = 1000,
    ) -> None:
        """Prepare a pool without starting anything.

        Args:
            command: Program and arguments of a worker; it greets with `{"ready": true}` or
                `{"failure": TEXT}`.
            n_workers: Most processes at once, positive.
            wall_limit_s: Longest wait for a greeting or a reply, in seconds.
            max_requests: Requests after which a worker is replaced, so that what its libraries
                cache cannot grow for ever.
        """
        self._command = list(command)
        self._wall_limit_s = wall_limit_s
        self._max_requests = max_requests
        # Last in, first out: a second worker starts only when two are needed at once.
        self._slots: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(n_workers):
            self._slots.put(None)
        self._alive: set[_Worker] = set()
        self._finalizer = weakref.finalize(self, _end_all, self._alive)

    def ask(self, request: Mapping[str, str]) -> Reply:
        """Return what became of a request; it is tried again once, on a fresh worker."""
        reply = self._ask_once(request, fresh=False)
        return reply if reply.problem is None else self._ask_once(request, fresh=True)

    def close(self) -> None:
        """End all workers; a later request starts new ones."""
        _end_all(self._alive)

    def worker_ids(self) -> list[int]:
        """Return the process ids of the workers that run."""
        return [worker.pid for worker in list(self._alive)]

    def _ask_once(self, request: Mapping[str, str], *, fresh: bool) -> Reply:
        worker, keep = self._slots.get(), False
        try:
            if worker is not None and (fresh or not worker.is_usable(self._max_requests)):
                self._end(worker)
                worker = None
            if worker is None:
                worker = _Worker(self._command)
                self._alive.add(worker)
            reply = worker.exchange(request, self._wall_limit_s)
            keep = reply.value is not None
        except OSError as error:
            return Reply(problem=f"a worker process could not be used: {error}")
        else:
            return reply
        finally:
            # Whatever interrupts us, no worker with half a reply in its pipe is used again.
            if worker is not None and not keep:
                self._end(worker)
                worker = None
            self._slots.put(worker)

    def _end(self, worker: "_Worker") -> None:
        self._alive.discard(worker)
        worker.end()


class _Worker:
    """One process and its pipes; used by one thread at a time."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            # The order of sets must not depend on the process.
            env={**os.environ, "PYTHONHASHSEED": "0"},
            # Ctrl-C in a terminal is for us; a worker ends with its standard input.
            process_group=0,
        )
        self.pid = self._process.pid
        self._n_requests = 0
        self._has_greeted = False

    def is_usable(self, max_requests: int) -> bool:
        return self._n_requests < max_requests and self._process.poll() is None

    def exchange(self, request: Mapping[str, str], wall_limit_s: float) -> Reply:
        """Return the reply to one request; the worker is of no more use unless it has a value."""
        if not self._has_greeted:
            greeting = self._receive(wall_limit_s)
            if greeting.value is None:
                return greeting
            if "failure" in greeting.value:
                return Reply(problem=str(greeting.value["failure"]))
            self._has_greeted = True
        self._n_requests += 1
        body = json.dumps(dict(request)).encode()
        try:
            # Shorter than a pipe's buffer, and the worker has read all before it: no waiting.
            _stream(self._process.stdin).write(_HEAD.pack(len(body)) + body)
        except BrokenPipeError:
            return self._cause_of_death()
        return self._receive(wall_limit_s)

    def end(self) -> None:
        """Kill the process, wait for it and close the pipes; may be called twice.

        In a forked child, whose child the process is not, `kill` and `wait` find it gone, so
        that only the pipes are closed.
        """
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            _stream(stream).close()

    def _receive(self, wall_limit_s: float) -> Reply:
        deadline = time.monotonic() + wall_limit_s
        head = self._read(_HEAD.size, deadline)
        if isinstance(head, Reply):
            return head
        (length,) = _HEAD.unpack(head)
        body = self._read(min(length, _LONGEST_REPLY), deadline)
        if isinstance(body, Reply):
            return body
        try:
            return Reply(value=json.loads(body))
        except ValueError:
            return Reply(problem="a worker process answered something that is no JSON")

    def _read(self, n_bytes: int, deadline: float) -> bytes | Reply:
        data = b""
        stream = _stream(self._process.stdout)
        poll = select.poll()  # `select` itself cannot watch descriptors above 1023.
        poll.register(stream, select.POLLIN)
        while len(data) < n_bytes:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not poll.poll(left_s * 1000):
                return Reply(problem="a worker process ran into the wall-clock limit")
            piece = os.read(stream.fileno(), n_bytes - len(data))
            if not piece:
                return self._cause_of_death()
            data += piece
        return data

    def _cause_of_death(self) -> Reply:
        try:
            status = self._process.wait(timeout=_EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            return Reply(problem="a worker process closed its output and went on")
        if status == -signal.SIGPROF:
            return Reply(is_exhausted=True)
        cause = f"by signal {-status}" if status < 0 else f"with status {status}"
        return Reply(problem=f"a worker process ended {cause}")


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise AssertionError("unreachable: both pipes were asked for")
    return stream


def _end_all(alive: set[_Worker]) -> None:
    for worker in list(alive):
        alive.discard(worker)
        with contextlib.suppress(OSError):
            worker.end()


def python_command(program: str, *arguments: str) -> list[str]:
    """Return the command of a worker program in this very Python, its folder not importable."""
    return [sys.executable, "-P", "-W", "ignore", program, *arguments]
