"""The how-to pages: what they show is loaded, and what they list is what there is."""

import re
from pathlib import Path
from typing import Any

from calibration import load_tasks
from calibration.tasks import get_benchmark, task_names
from policies import TASK_TYPES

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
OWN = (HOW_TO / "own-questions.md").read_text("utf-8")
BENCHMARKS = (HOW_TO / "benchmarks.md").read_text("utf-8")


def block(text: str, language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return found


def test_the_files_of_the_page_on_own_questions_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text(block(OWN, "json"), "utf-8")
    (tmp_path / "mytask.toml").write_text(block(OWN, "toml"), "utf-8")
    paths = [str(tmp_path / name) for name in ("questions.jsonl", "mytask.toml")]
    plain, declared = load_tasks(paths, limit=None, seed=0)
    assert (len(plain.questions), plain.grader) == (2, "number")
    assert (declared.name, declared.source, declared.licence) == (
        "school-sums",
        "our own",
        "CC0-1.0",
    )
    assert "Solve: Half of 90? Give the number, without unit, inside \\boxed{}." in {
        question.prompt for question in declared.questions
    }


def test_the_installed_task_of_the_page_returns_a_task() -> None:
    names: dict[str, Any] = {}
    exec(block(OWN, "python"), names)
    task = names["school_sums"](limit=3, seed=0)
    assert [q.gold for q in task.questions] == ["0", "2", "4"]


def test_the_page_on_benchmarks_lists_each_with_its_names_and_data_set() -> None:
    listed: dict[str, str] = {}
    for names, rest in re.findall(r"^\| (`[^|]*`) \| (.*) \|$", BENCHMARKS, re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", names):
            listed[name] = rest
    known = {*task_names()} - {*TASK_TYPES, "all", "pocket"}
    for name in sorted(name for name in known if not name.startswith("pocket-")):
        benchmark = get_benchmark(name)
        stems = [f"`{stem}`" for stems in benchmark.stems for stem in stems]
        data = [
            f"`{d.path}` ({', '.join(filter(None, (d.config, d.split)))})" for d in benchmark.hub
        ]
        for word in [*stems, *data]:
            assert word in listed[name], (name, word)
        assert f"`{name}`" in listed[benchmark.task_type]
        assert f"`{benchmark.grader}`" in listed[benchmark.task_type]
