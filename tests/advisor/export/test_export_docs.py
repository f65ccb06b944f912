"""docs/how-to/train-a-recipe.md is run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.advisor.conftest import Advisor

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "train-a-recipe.md"


def test_the_commands_of_the_page_run_as_written(
    advisor: Advisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text("utf-8")
    (data,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    commands = [
        line
        for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
        for line in block.splitlines()
    ]
    subprocess.run([sys.executable, "-c", data], check=True, cwd=tmp_path)
    for command in commands:
        program, *arguments = command.split()
        assert program == "advisor"
        done = advisor(*arguments)
        assert done.code == 0, done.err
    there = {path.name for path in (tmp_path / "recipe").iterdir()}
    named = re.findall(r"^\| `([\w.]+)`", page, re.MULTILINE)
    assert {"README.md", "launch.sh", "1_sft.yaml"} <= set(named) <= there
    assert (tmp_path / "by-hand" / "launch.sh").is_file()
    manifest = json.loads((tmp_path / "two-stages" / "manifest.json").read_text("utf-8"))
    assert [run["name"] for run in manifest["runs"]] == ["1_sft", "2_grpo"]
