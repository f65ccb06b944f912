"""What docs/how-to/recommend.md shows is what the commands print; --update-golden writes it."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "recommend.md"
BLOCK = re.compile(r"```\n\$ advisor ([^\n]*)\n(.*?)```\n", re.DOTALL)


def test_the_commands_print_what_the_page_shows(
    advisor: Run,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    (table,) = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    (tmp_path / "mine.csv").write_text(table, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def printed(block: re.Match[str]) -> str:
        result = advisor(*shlex.split(block[1]))
        assert result.code in {0, 6}, result.err
        return f"```\n$ advisor {block[1]}\n{result.out}```\n"

    new, n_blocks = BLOCK.subn(printed, page)
    assert n_blocks == 3
    if request.config.getoption("--update-golden"):
        PAGE.write_text(new, encoding="utf-8")
        return
    assert new == page


def test_the_example_prints_what_its_comments_say(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(example, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines() == re.findall(r"print\(.*\)  # (.*)", example)


def test_every_flag_of_the_page_exists(advisor: Run) -> None:
    flags = set(re.findall(r"--[a-z]+(?:-[a-z]+)*", PAGE.read_text("utf-8").split("## Say")[1]))
    known = advisor("recommend", "--help").out + "--recipe --order --ratio --to --data --out"
    known += "--backend --base-url --tasks --task-type --policies --limit --model --repeats --max-answer-tokens"
    assert flags <= set(re.findall(r"--[a-z]+(?:-[a-z]+)*", known))
