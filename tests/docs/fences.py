"""Every fenced block of the README and of docs/, and whether the commands in it can be given."""

import ast
import re
import shlex
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer.main

from advisor.cli._app import app

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^( *)(```+|~~~+) *([^`\n]*)$")
ASSIGNMENT = re.compile(r"[A-Z_0-9]+=")
# Programs of others, whose options are theirs to check.
FOREIGN = {"cd", "curl", "export", "openssl", "printf", "sed", "sha256sum", "vllm"}
# What the folder that `advisor export` writes has in it.
EXPORTED = {"launch.sh"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, the line of its first fence, its language and its text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        first = self.text.split("\n", 1)[0]
        return f"{self.page}, line {self.line} ({self.language or 'no language'}): {first!r}"


def pages() -> list[str]:
    """Return the README and every page, relative to the repository."""
    found = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md"))
    return ["README.md", *found]


def fenced(page: str, text: str) -> list[Block]:
    """Return the fenced blocks of a page in order; one that is not closed is an error."""
    found: list[Block] = []
    opened: tuple[int, str, str, str] | None = None
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        mark = FENCE.match(line)
        if opened is None:
            if mark:
                opened, body = (number, mark[1], mark[2], mark[3].strip()), []
            continue
        at, indent, fence, language = opened
        if mark and mark[2].startswith(fence) and not mark[3]:
            found.append(Block(page, at, language, "".join(f"{one}\n" for one in body)))
            opened = None
        else:
            body.append(line.removeprefix(indent))
    if opened is not None:
        raise ValueError(f"{page}, line {opened[0]}: this block is not closed")
    return found


def all_blocks() -> dict[str, list[Block]]:
    """Return the blocks of every page that has some."""
    found = {page: fenced(page, (ROOT / page).read_text("utf-8")) for page in pages()}
    return {page: blocks for page, blocks in found.items() if blocks}


def shell_lines(text: str) -> list[str]:
    """Return the commands of a block, without comments and with continued lines joined."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.split("#")[0].strip()]


def why_wrong(line: str) -> str:
    """Return why a line of a shell cannot be given as it stands, or nothing."""
    words = shlex.split(line, comments=True)
    while words and ASSIGNMENT.match(words[0]):
        if words[0].startswith("KEY=$("):
            return ""
        words.pop(0)
    program, *arguments = words
    if program == "advisor":
        return why_not_advisor(arguments)
    if program == "pip":
        return _why_not_installed(arguments)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        return "" if set(arguments) <= {*targets} else f"no target {arguments}"
    if program in {"bash", "python"}:
        there = arguments[0] in EXPORTED or (ROOT / arguments[0]).is_file()
        return "" if there else f"there is no {arguments[0]}"
    return "" if program in FOREIGN else f"{program}: what is this? see FOREIGN"


def why_not_advisor(arguments: list[str]) -> str:
    """Return why the command line would refuse these words, or nothing; nothing is run.

    With `...` among them, which stands for words that are left out, only options are looked up.
    """
    command = _command_line()
    words = list(arguments)
    try:
        while getattr(command, "commands", None):
            # A group may choose among its commands by what it is given.
            context = command.make_context(command.name, words)
            given = [*context._protected_args, *context.args]
            _, command, words = command.resolve_command(context, given)
        if "..." in words:
            context = command.context_class(command, info_name=command.name)
            command.make_parser(context).parse_args([word for word in words if word != "..."])
        else:
            command.make_context(command.name, words)
    except Exception as error:  # noqa: BLE001 - whatever the parser has to say
        return f"{type(error).__name__}: {error}"
    return ""


@cache
def _command_line() -> Any:
    return typer.main.get_command(app)


def _why_not_installed(arguments: list[str]) -> str:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    known = {*document["project"]["optional-dependencies"]}
    for word in arguments:
        asked = re.fullmatch(r"(?:thinkroute|\.)\[([a-z,-]+)\]", word)
        if asked and not {*asked[1].split(",")} <= known:
            return f"no such extra: {word}"
    return ""


def names_of_tests(path: Path) -> set[str]:
    """Return the names of the tests in a file."""
    tree = ast.parse(path.read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {one.name for one in tree.body if isinstance(one, kinds) and one.name[:5] == "test_"}
