"""Tests that a prompt itself shows: assertions, and doctest examples in docstrings."""

import ast
import builtins
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..sandbox import bound_names

__all__ = ["PublicTest", "PublicTests", "find_public_tests"]

_FENCED = re.compile(r"^[ \t]{0,3}```[ \t]*(\w*)[^\n`]*\n(.*?)^[ \t]{0,3}```", re.M | re.S)
_PYTHON = frozenset({"", "python", "python3", "py"})
_ASSERT = re.compile(r"[ \t]{0,3}assert\b")
_EXAMPLE = re.compile(r"\s*>>>\s?(.*)")
_CONTINUED = re.compile(r"\s*\.\.\.(?: (.*))?$")
_MOST_TESTS = 50
_MOST_LINES = 40
"""Lines that one assertion may have."""


@dataclass(frozen=True, slots=True)
class PublicTest:
    """One test of the prompt.

    Attributes:
        source: As the prompt shows it.
        code: The check to run; a wrong result is what its `AssertionError` says.
        call: The expression whose result is compared, "" if the test compares none.
    """

    source: str
    code: str
    call: str = ""


@dataclass(frozen=True, slots=True)
class PublicTests:
    """What a prompt shows of a program and its tests.

    Attributes:
        prompt: Code that the program continues or repeats; "" if it is to be written whole.
        tests: The tests in their order.
        names: What the program has to define, as far as the prompt tells.
    """

    prompt: str
    tests: tuple[PublicTest, ...]
    names: tuple[str, ...]


def find_public_tests(text: str) -> PublicTests:
    """Return the tests that a prompt shows, in fenced code or as lines of their own.

    A test is an `assert` statement outside any function, or a doctest example that has a result.
    """
    blocks = [body for language, body in _FENCED.findall(text) if language.lower() in _PYTHON]
    prompt = ""
    tests: list[PublicTest] = []
    stubs: list[str] = []
    for code in blocks or [text]:
        tree = _parsed(code)
        if tree is None:
            tests += _loose_assertions(code)
        else:
            stubs += [node.name for node in _functions(tree) if _is_stub(node)]
            assertions = [node for node in tree.body if isinstance(node, ast.Assert)]
            tests += _assertions(tree, is_prompt=bool(stubs))
            if stubs and not prompt:
                prompt = _without(code, assertions)
        tests += _examples(code)
    if blocks and not tests:
        # Prose may hold the tests beside the code.
        tests += [*_loose_assertions(text), *_examples(text)]
    distinct = {test.code: test for test in tests if _taken(test.code)}
    kept = list(distinct.values())[:_MOST_TESTS]
    # The last function of a prompt is the one that is to be written.
    names = dict.fromkeys([*stubs[-1:], *(name for test in kept for name in _taken(test.code))])
    return PublicTests(prompt, tuple(kept), tuple(names))


def _parsed(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _is_stub(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a function has no body yet, apart from docstring and imports."""
    return all(
        isinstance(part, ast.Pass | ast.Import | ast.ImportFrom)
        or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
        for part in function.body
    )


def _without(code: str, statements: Sequence[ast.stmt]) -> str:
    """Return code without some of its statements, every other line as it was."""
    dropped = {n for one in statements for n in range(one.lineno, (one.end_lineno or 0) + 1)}
    lines = code.splitlines(keepends=True)
    return "".join(line for number, line in enumerate(lines, 1) if number not in dropped)


def _assertions(tree: ast.Module, *, is_prompt: bool) -> Iterator[PublicTest]:
    """Yield a block's assertions, each after the statements that prepare it."""
    setup: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.Assert):
            yield _test(ast.unparse(node), node, setup)
        elif not is_prompt:
            setup.append(node)


def _loose_assertions(text: str) -> Iterator[PublicTest]:
    """Yield assertions that stand among prose or in code that is not whole."""
    lines = text.splitlines()
    place = 0
    while place < len(lines):
        n_lines = 1
        if _ASSERT.match(lines[place]):
            for n_lines in range(1, _MOST_LINES + 1):
                source = "\n".join(lines[place : place + n_lines]).strip()
                tree = _parsed(source)
                if (
                    tree is not None
                    and len(tree.body) == 1
                    and isinstance(tree.body[0], ast.Assert)
                ):
                    yield _test(source, tree.body[0], [])
                    break
            else:
                n_lines = 1
        place += n_lines


def _test(source: str, node: ast.Assert, setup: Sequence[ast.stmt]) -> PublicTest:
    prepared = "".join(f"{ast.unparse(one)}\n" for one in setup)
    compared = node.test
    if not (
        isinstance(compared, ast.Compare)
        and isinstance(compared.ops[0], ast.Eq)
        and len(compared.ops) == 1
    ):
        return PublicTest(source, _whole(f"{prepared}{ast.unparse(node)}"))
    call, wanted = ast.unparse(compared.left), ast.unparse(compared.comparators[0])
    return _comparison(source, call, wanted, prepared)


def _comparison(source: str, call: str, wanted: str, prepared: str = "") -> PublicTest:
    # The right side first: it may use what the left side changes.
    check = f"_wanted = {wanted}\n_given = {call}\nassert _given == _wanted, __show__(_given)"
    return PublicTest(source, _whole(f"{prepared}{check}"), call)


def _examples(text: str) -> Iterator[PublicTest]:
    """Yield doctest examples with a result; examples without one prepare those below them.

    Read line by line, since the standard library's parser gives up a whole docstring for one
    odd indentation. What is expected ends at an empty line, the next example or the docstring's
    end.
    """
    lines = text.splitlines()
    setup = ""
    place = 0
    while place < len(lines):
        begin = _EXAMPLE.fullmatch(lines[place])
        place += 1
        if begin is None:
            if lines[place - 1].lstrip().startswith(("def ", "class ")):
                setup = ""
            continue
        source = [begin[1]]
        while place < len(lines) and (more := _CONTINUED.fullmatch(lines[place])):
            source.append(more[1] or "")
            place += 1
        wanted: list[str] = []
        while place < len(lines) and _is_expected(lines[place]):
            wanted.append(lines[place].strip())
            place += 1
        code, result = "\n".join(source).strip(), "\n".join(wanted)
        test = _example(code, result, setup) if result else _claim(code, setup)
        if test is not None:
            yield test
        elif not result and _parsed(code) is not None:
            setup += f"{code}\n"


def _claim(code: str, setup: str) -> PublicTest | None:
    """Return the test of an example without a result: `f(1) == 2`, or a call that gives None."""
    tree = _parsed(code)
    if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr):
        return None
    value = tree.body[0].value
    prepared = ast.parse(setup).body
    if isinstance(value, ast.Compare):
        return _test(f">>> {code}", ast.Assert(value, None), prepared)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and "#" not in code:
        return _comparison(f">>> {code}", ast.unparse(value), "None", setup)
    return None


def _is_expected(line: str) -> bool:
    return bool(line.strip()) and not _EXAMPLE.fullmatch(line) and line.strip()[:3] not in _QUOTES


_QUOTES = frozenset({'"""', "'''", "```"})


def _example(code: str, result: str, setup: str) -> PublicTest | None:
    try:
        tree = ast.parse(code, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    call = ast.unparse(tree)
    result = result.removesuffix('"""').removesuffix("'''").rstrip()
    source = f">>> {code}\n{result}"
    for expected in (result, result.partition("\n")[0]):  # Prose may follow at once.
        try:
            wanted = repr(ast.literal_eval(expected))
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
            continue
        source = f">>> {code}\n{expected}"
        return _comparison(source, call, wanted, setup)
    if result.startswith("Traceback"):
        return None
    check = f"_given = {call}\nassert repr(_given) == {result!r}, __show__(_given)"
    return PublicTest(source, _whole(f"{setup}{check}"), call)


def _whole(code: str) -> str:
    """Return a check with the imports of the standard library that it uses without them."""
    tree = ast.parse(code)
    bases = {
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    wanted = sorted((bases & sys.stdlib_module_names) - bound_names(tree))
    return "".join(f"import {name}\n" for name in wanted) + code


def _taken(code: str) -> list[str]:
    """Return the names that a check takes from the program."""
    tree = ast.parse(code)
    nodes = list(ast.walk(tree))
    used = {node.id for node in nodes if isinstance(node, ast.Name)} - bound_names(tree)
    if names := used - {"__show__", *dir(builtins)}:
        return sorted(names)
    # A function that is named like a built-in one may be what is asked for.
    functions = (node.func for node in nodes if isinstance(node, ast.Call))
    called = {function.id for function in functions if isinstance(function, ast.Name)}
    return sorted(called - {"__show__", "repr"})
