"""Benchmarks from the Hugging Face hub: the library `datasets`, with local repositories."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from calibration import load_tasks
from calibration.tasks import get_benchmark
from policies import MissingPrerequisiteError

ROOT = Path(__file__).parents[2]
EXAMPLES: dict[str, Any] = json.loads(
    Path(__file__).with_name("benchmark_rows.json").read_text("utf-8")
)
NEEDS_DATASETS = pytest.mark.skipif(
    find_spec("datasets") is None, reason="the extra `benchmarks` is not installed"
)
# In a process of its own: the library reads its settings when it is imported, and keeps threads.
LOAD = """
import json, sys
from calibration import load_tasks
from policies import MissingPrerequisiteError

loaded = {}
for name in sys.argv[1:]:
    try:
        [task] = load_tasks([name], limit=None, seed=0)
        loaded[name] = [[q.id, q.prompt, q.gold, q.group, q.level] for q in task.questions]
    except MissingPrerequisiteError as error:
        loaded[name] = [error.code, error.message, error.hint]
print(json.dumps(loaded))
"""


def load_in_process(folder: Path, *names: str, **environment: str) -> dict[str, list[Any]]:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *names],
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"}
        | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def publish(folder: Path, name: str) -> None:
    """Write an example row as a repository of the benchmark's name, the way hub ones look."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for dataset in get_benchmark(name).hub:
        config = dataset.config or "default"
        repository = folder / dataset.path
        (repository / config).mkdir(parents=True, exist_ok=True)
        (repository / "README.md").write_text(
            f"---\nconfigs:\n- config_name: {config}\n  data_files:\n  - split: {dataset.split}\n"
            f"    path: {config}/{dataset.split}-*\n---\n"
        )
        row = EXAMPLES[name]["hub"]
        parquet.write_table(
            arrow.Table.from_pylist([row, row]),
            repository / config / f"{dataset.split}-00000-of-00001.parquet",
        )


@NEEDS_DATASETS
def test_what_the_library_loads_is_what_a_local_file_holds(tmp_path: Path) -> None:
    # Two benchmarks share the repository of MMLU.
    names = [name for name in EXAMPLES if name != "mmlu-math"]
    for name in names:
        publish(tmp_path, name)
    loaded = load_in_process(tmp_path, *names)
    for name in names:
        path = tmp_path / f"{name}.jsonl"
        path.write_text(json.dumps(EXAMPLES[name]["hub"]), "utf-8")
        [task] = load_tasks([name], limit=None, seed=0, data=[path])
        questions = [[q.id, q.prompt, q.gold, q.group, q.level] for q in task.questions]
        assert loaded[name] == questions, name


@NEEDS_DATASETS
def test_without_a_connection_the_error_says_what_to_do(tmp_path: Path) -> None:
    [code, message, hint] = load_in_process(tmp_path, "math-500")["math-500"]
    assert code == "benchmark-unavailable"
    assert "math-500 cannot be loaded" in message
    assert "HuggingFaceH4/MATH-500 (test)" in message
    assert "--data math-500=PATH" in hint


@pytest.mark.slow  # the library tries six times
@NEEDS_DATASETS
def test_a_hub_that_refuses_connections_gives_the_same_error(tmp_path: Path) -> None:
    loaded = load_in_process(
        tmp_path, "gsm8k", HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9"
    )
    assert loaded["gsm8k"][0] == "benchmark-unavailable"


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPrerequisiteError) as caught:
        load_tasks(["gsm8k"], limit=1, seed=0)
    assert caught.value.hint == 'pip install "thinkroute[benchmarks]"'
    assert caught.value.code == "missing-extra"


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("no route\nand a long story"),
        FileNotFoundError("no such data set"),
        ValueError("unknown config"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_the_library_raises_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A stand-in for the library raises; the real one is used above."""
    asked: list[tuple[Any, ...]] = []

    def load_dataset(path: str, **options: Any) -> Any:
        asked.append((path, options))
        raise error

    library, exceptions = ModuleType("datasets"), ModuleType("datasets.exceptions")
    library.__dict__["load_dataset"] = load_dataset
    exceptions.__dict__["DatasetsError"] = type("DatasetsError", (Exception,), {})
    monkeypatch.setitem(sys.modules, "datasets", library)
    monkeypatch.setitem(sys.modules, "datasets.exceptions", exceptions)
    with pytest.raises(MissingPrerequisiteError) as caught:
        load_tasks(["winogrande"], limit=1, seed=0)
    assert asked == [
        (
            "allenai/winogrande",
            {"name": "winogrande_xl", "split": "validation", "revision": None},
        )
    ]
    assert caught.value.code == "benchmark-unavailable"
    assert "\n" not in caught.value.message
    assert caught.value.__cause__ is error
