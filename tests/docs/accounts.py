"""What becomes of each block of a page, and running those that a test of their own does not run."""

import ast
import asyncio
import contextlib
import io
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from advisor.cli import main
from tests.docs.fences import Block, shell_lines
from tests.docs.pages import promised


@dataclass(frozen=True)
class Elsewhere:
    """Another test runs the block, or computes again what it shows: FILE::TEST."""

    begins: str
    test: str


@dataclass(frozen=True)
class Ran:
    """The block is run here, after those before it, in one folder and one namespace per page.

    Attributes:
        begins: The beginning of the block.
        language: What the block is, where its fence does not say; `python` or a shell.
        codes: Exit codes that are right besides 0, by the beginning of the command.
        parsed: Why commands of the block are only parsed, by their beginning.
        later: Why commands are only run where the page is run as written, by their beginning.
        instead: What stands in for parts of the text that are not to be had here.
        smaller: The same, but only where the page is not run as written.
    """

    begins: str
    language: str = ""
    codes: Mapping[str, int] = field(default_factory=dict[str, int])
    parsed: Mapping[str, str] = field(default_factory=dict[str, str])
    later: Mapping[str, str] = field(default_factory=dict[str, str])
    instead: Mapping[str, str] = field(default_factory=dict[str, str])
    smaller: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Read:
    """A file, which is read by what reads such files; its name is where the page's blocks find it."""

    begins: str
    name: str
    read: Callable[[Path], object]


@dataclass(frozen=True)
class Parsed:
    """Commands, or Python, that are only parsed, and why."""

    begins: str
    why: str


@dataclass(frozen=True)
class Listed:
    """No code: what it is."""

    begins: str
    what: str


Account = Elsewhere | Ran | Read | Parsed | Listed


@dataclass
class Given:
    """What the blocks of a page need that the page does not make itself.

    Attributes:
        names: What is in their namespace from the beginning; afterwards with all that they made.
        instead: What stands in for parts of their texts.
    """

    names: dict[str, Any] = field(default_factory=dict[str, Any])
    instead: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Done:
    """What a command did."""

    line: str
    code: int
    out: str
    err: str


class PageRun:
    """The blocks of a page, run in this process."""

    def __init__(self, folder: Path, given: Given) -> None:
        self._folder = folder
        self._instead = given.instead
        self._names = given.names
        self._names["__name__"] = "__main__"
        self.done: list[Done] = []

    def run(self, block: Block, account: Ran, *, as_written: bool) -> None:
        """Run one block; what goes wrong fails the test that runs it."""
        text = block.text
        smaller = {} if as_written else account.smaller
        for old, new in {**account.instead, **smaller}.items():
            assert old in text, f"{block}: {old!r} is not in it any more"
            text = text.replace(old, new)
        for old, new in self._instead.items():
            text = text.replace(old, new)
        if "python" in {block.language, account.language}:
            self._run_python(block, text)
            return
        left_out = {**account.parsed, **({} if as_written else account.later), "pip ": "no network"}
        for line in shell_lines(text):
            if not _found(left_out, line):
                self._run_advisor(block, line, {0, _found(account.codes, line) or 0})

    def _run_python(self, block: Block, text: str) -> None:
        code = compile(text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        printed = io.StringIO()
        with contextlib.chdir(self._folder), contextlib.redirect_stdout(printed):
            awaited = eval(code, self._names)
            if asyncio.iscoroutine(awaited):
                asyncio.run(awaited)
        if told := promised(text):
            assert printed.getvalue().splitlines() == told, block

    def _run_advisor(self, block: Block, line: str, codes: set[int]) -> None:
        done = run_advisor(line, self._folder)
        self.done.append(done)
        assert done.code in codes, f"{block}\n{line}\nexit code {done.code}\n{done.err}"


def run_advisor(line: str, folder: Path) -> Done:
    """Run `advisor ...` in a folder, in this process."""
    program, *arguments = shlex.split(line, comments=True)
    assert program == "advisor", line
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(sys, "argv", ["advisor", *arguments])
        patch.setitem(os.environ, "NO_COLOR", "1")
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Done(line, code, out.getvalue(), err.getvalue())


def _found(values: Mapping[str, Any], line: str) -> Any:
    return next((value for begins, value in values.items() if line.startswith(begins)), None)
