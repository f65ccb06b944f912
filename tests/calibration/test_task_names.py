"""Names of tasks: groups, close matches, and tasks that other packages install."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from calibration import Question, Task, load_tasks, task_names
from calibration.graders import grader_names
from calibration.tasks import Benchmark, get_benchmark
from policies import TASK_TYPES, InvalidInputError, UnknownNameError, check_task_type

GROUPS = {
    "general-mc": ["mmlu-misc", "winogrande", "openbookqa"],
    "general-oe": ["squad", "coqa", "ifeval"],
    "math-mc": ["mmlu-math", "mmlu-pro-math", "aqua-rat"],
    "math-oe": ["gsm8k", "math-500", "aime"],
    "code-oe": ["humaneval", "mbpp"],
}
ALL = [name for names in GROUPS.values() for name in names]


def asked_for(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """Return what names stand for, without reading anything."""
    asked: list[str] = []

    def load(benchmark: Benchmark, *_: object, **__: object) -> Task:
        asked.append(benchmark.name)
        return Task("x", "x", (), "exact")

    monkeypatch.setattr("calibration.tasks._loading.load_benchmark", load)
    load_tasks(names, limit=1, seed=0)
    return asked


@pytest.mark.parametrize("group", GROUPS)
def test_a_task_type_stands_for_its_benchmarks(monkeypatch: pytest.MonkeyPatch, group: str) -> None:
    assert asked_for(monkeypatch, group) == GROUPS[group]


def test_all_stands_for_every_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(asked_for(monkeypatch, "all")) == sorted(ALL)


def test_a_benchmark_in_two_groups_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked_for(monkeypatch, "gsm8k", "math-oe") == GROUPS["math-oe"]


def test_every_name_is_listed() -> None:
    assert {"pocket", "pocket-math-oe", "all", *GROUPS, *ALL} <= set(task_names())
    assert len(task_names()) == len(set(task_names()))


@pytest.mark.parametrize("name", ALL)
def test_a_benchmark_has_a_built_in_task_type_and_a_grader(name: str) -> None:
    benchmark = get_benchmark(name)
    assert check_task_type(benchmark.task_type) in TASK_TYPES
    assert benchmark.grader in grader_names()
    assert len(benchmark.stems) == len(benchmark.hub)


@pytest.mark.parametrize(
    ("name", "close"), [("gms8k", "gsm8k"), ("mathoe", "math-oe"), ("human-eval", "humaneval")]
)
def test_an_unknown_name_lists_close_ones(name: str, close: str) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean .*'{close}'"):
        load_tasks([name], limit=1, seed=0)
    with pytest.raises(UnknownNameError):
        get_benchmark(name)


def test_all_names_are_checked_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("calibration.tasks._loading.load_benchmark", pytest.fail)
    with pytest.raises(UnknownNameError, match="unknown task 'gms8k'"):
        load_tasks(["gsm8k", "gms8k"], limit=1, seed=0)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, **objects: object) -> None:
    """Install a distribution whose entry points are objects of the group `thinkroute.tasks`."""
    module = ModuleType("installed_tasks")
    module.__dict__.update(objects)
    monkeypatch.setitem(sys.modules, "installed_tasks", module)
    metadata = folder / "installed_tasks-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: installed-tasks\nVersion: 1.0\n"
    )
    lines = [f"{name} = installed_tasks:{name}\n" for name in objects]
    (metadata / "entry_points.txt").write_text("[thinkroute.tasks]\n" + "".join(lines))
    monkeypatch.syspath_prepend(folder)


def test_an_installed_task_is_listed_and_called_with_limit_and_seed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mine(limit: int | None, seed: int) -> Task:
        questions = (Question("1", f"{limit} {seed}?", "1", "1"),)
        return Task("mine", "math-oe", questions, "number")

    install(tmp_path, monkeypatch, mine=mine)
    assert "mine" in task_names()
    [task] = load_tasks(["mine"], limit=7, seed=3)
    assert (task.name, task.questions[0].prompt) == ("mine", "7 3?")
    with pytest.raises(UnknownNameError, match="did you mean 'mine'"):
        load_tasks(["minee"], limit=7, seed=3)


def test_a_built_in_name_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, **{"pocket-math-oe": pytest.fail})
    [task] = load_tasks(["pocket-math-oe"], limit=1, seed=0)
    assert task.grader == "pocket"
    assert task_names().count("pocket-math-oe") == 1


def test_an_installed_task_that_returns_something_else_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mine(limit: int | None, seed: int) -> list[int]:
        return [seed]

    install(tmp_path, monkeypatch, mine=mine)
    with pytest.raises(InvalidInputError, match=r"'mine' \(installed_tasks:mine\) returned list"):
        load_tasks(["mine"], limit=1, seed=0)


def test_a_file_named_like_a_benchmark_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gsm8k").mkdir()
    monkeypatch.chdir(tmp_path)
    assert asked_for(monkeypatch, "gsm8k") == ["gsm8k"]
