"""Grader `code`: the answer is a program, judged by running tests in a sandbox."""

import ast
import builtins

from pydantic import BaseModel, ConfigDict, ValidationError

from policies.sandbox import Limits, bound_names, find_code, require_isolation, run_tests

from ._grader import Grade

__all__ = ["CodeGold", "CodeGrader", "find_code"]

_SHORT = 2000
"""Characters of the code that are kept as what was read from the answer."""


class CodeGold(BaseModel):
    """What a program is judged by, as the JSON text of a gold answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    prompt: str
    """Code that the answer continues or repeats; empty if the answer is the whole program."""
    test: str
    """Code that raises if the program is wrong: assertions, or a function `check(candidate)`."""
    entry_point: str | None
    """The function that is asked for; `None` takes what `test` calls."""


class CodeGrader:
    """Run the tests of a gold answer against the code in an answer.

    The code is the last fenced Python block (the last one that defines what the tests call, if
    any does), else the whole text. Failed tests, an exception, a syntax error, and time or memory
    used up are wrong answers; a sandbox that could not do its work is a problem.

    Calls go to the program as plain data and come back as plain data (see `policies.sandbox`), so a
    change the program makes to its arguments is not seen by the tests, and neither are objects of
    its own classes beyond being called, asked for attributes and handed back.

    Raises:
        MissingPrerequisiteError: Code cannot be isolated on this machine.
    """

    name = "code"
    version = 1
    is_slow = True
    runs_code = True

    def __init__(self, limits: Limits | None = None) -> None:
        """Check that code can be isolated here.

        Args:
            limits: What one program may use.
        """
        require_isolation()
        self._limits = limits

    def check_gold(self, gold: str) -> str | None:
        """Return a problem unless gold holds tests that call something."""
        try:
            parsed = CodeGold.model_validate_json(gold)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "gold"
            return f"{place}: {first['msg']}"
        try:
            _, names = _plan(parsed)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return f"its code does not parse: {error}"
        return None if names else "its test calls nothing of the answer's"

    def grade(self, answer: str, gold: str) -> Grade:
        """Judge one answer."""
        parsed = CodeGold.model_validate_json(gold)
        test, names = _plan(parsed)
        code = find_code(answer, names)
        shown = code if len(code) <= _SHORT else f"{code[: _SHORT - 1]}…"
        if not code.strip():
            return Grade(False, None)
        verdict = run_tests(code, test, prompt=parsed.prompt, names=names, limits=self._limits)
        if verdict.kind == "problem":
            return Grade(False, shown, problem=verdict.detail)
        return Grade(verdict.kind == "passed", shown)


def _plan(gold: CodeGold) -> tuple[str, list[str]]:
    """Return the whole test, and the names it takes from the program.

    Raises:
        SyntaxError: The prompt or the test is no Python.
    """
    prompt, test = ast.parse(gold.prompt), ast.parse(gold.test)
    functions = [node.name for node in prompt.body if isinstance(node, ast.FunctionDef)]
    entry = gold.entry_point or (functions[-1] if functions else None)
    defined = {node.name for node in test.body if isinstance(node, ast.FunctionDef)}
    text = gold.test
    if entry and "check" in defined and not any(map(_is_check, test.body)):
        text = f"{text}\n\ncheck({entry})\n"
    own = bound_names(test) | bound_names(prompt)
    used = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)} - own
    names = used - set(dir(builtins))
    if entry:
        names.add(entry)
    if not names:
        # The task is to write a function that is named like a built-in one. Only then: a
        # program that redefines `sorted` must not change what the tests mean by it.
        calls = (node.func for node in ast.walk(test) if isinstance(node, ast.Call))
        names = {call.id for call in calls if isinstance(call, ast.Name)} - own
    return text, sorted(names)


def _is_check(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "check"
    )
