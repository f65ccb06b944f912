"""The error tree: one root, one built-in for each kind, and a drawing that is true."""

import copy
import inspect
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import policies
from policies import (
    BackendError,
    BackendRateLimitError,
    DataFileError,
    MissingPrerequisiteError,
    ThinkrouteError,
    UnknownNameError,
    _errors,
)

CLASSES = {
    name: value
    for name, value in vars(_errors).items()
    if inspect.isclass(value)
    and issubclass(value, ThinkrouteError)
    and value.__module__ == _errors.__name__
}
LINE = re.compile(r"^    ([│├└─ ]*)(\w+Error)(?: \((\w+)\))?", re.MULTILINE)


def drawn() -> dict[str, tuple[str | None, str | None]]:
    """Return name -> (parent, built-in) as the docstring draws them."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    path: list[str] = []
    for branch, name, built_in in LINE.findall(_errors.__doc__ or ""):
        depth = len(branch) // 4
        path = [*path[:depth], name]
        tree[name] = (path[depth - 1] if depth else None, built_in or None)
    return tree


def test_the_drawing_has_every_error() -> None:
    assert set(drawn()) == set(CLASSES)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_each_error_descends_as_drawn(name: str) -> None:
    parent, built_in = drawn()[name]
    bases = CLASSES[name].__mro__
    assert ThinkrouteError in bases
    assert parent is None or CLASSES[parent] in CLASSES[name].__bases__
    if built_in:
        builtins = __builtins__ if isinstance(__builtins__, dict) else vars(__builtins__)
        assert builtins[built_in] in bases


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_each_error_is_public(name: str) -> None:
    assert getattr(policies, name) is CLASSES[name]
    assert name in policies.__all__


def test_codes_are_distinct() -> None:
    codes = [value.code for value in CLASSES.values()]
    assert len(set(codes)) == len(codes)


def test_an_unknown_name_has_close_matches_and_the_valid_set() -> None:
    error = UnknownNameError("policy", "directt", ["direct", "reasoning"])
    assert error.code == "unknown-policy"
    assert str(error) == (
        "unknown policy 'directt' (did you mean 'direct'? known: direct, reasoning)"
    )


def test_a_missing_extra_has_the_command_that_installs_it() -> None:
    error = MissingPrerequisiteError.extra("pocket", "onnxruntime_genai")
    assert error.hint == 'pip install "thinkroute[pocket]"'
    assert isinstance(error, ImportError)


def test_a_data_file_error_tells_the_place() -> None:
    error = DataFileError("has no column 'prompt'", path="a.jsonl", line=3)
    assert str(error) == "a.jsonl:3: has no column 'prompt'"
    assert (error.path.name, error.line) == ("a.jsonl", 3)


def test_a_backend_error_keeps_what_a_retry_loop_needs() -> None:
    error = BackendRateLimitError(
        "slow down", backend="openai", model="m", status_code=429, retry_after_s=2.0
    )
    assert error.retryable
    assert (error.status_code, error.retry_after_s) == (429, 2.0)
    assert not BackendError("x", backend="b", model="m").retryable
    assert BackendError("x", backend="b", model="m", retryable=True).retryable


@pytest.mark.parametrize(
    "error",
    [
        BackendError("no answer", backend="openai", model="m", status_code=503, hint="wait"),
        UnknownNameError("policy", "cott", ["cot"]),
        DataFileError("no column", path=Path("a.csv"), line=3, hint="add it"),
        MissingPrerequisiteError.extra("train", "torch"),
    ],
)
def test_an_error_crosses_processes_as_it_was(error: ThinkrouteError) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(copy.copy, error).result()
    assert type(there) is type(error)
    assert str(there) == str(error)
    assert vars(there) == vars(error)
