"""The README's claims that can be run are run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs_and_prints_what_its_comments_say(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(example, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    (promised,) = re.findall(r"print\(answer\.text\)  # (.*)", example)
    lines = done.stdout.splitlines()
    assert lines[0] == promised
    assert len(lines) >= 3


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md"], ids=str)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_every_entry_of_the_tree_is_there() -> None:
    _, _, tree = README.partition("## The tree")
    folder, n_seen = ROOT, 0
    for indent, entry in re.findall(r"^( *)([\w./-]+) {2,}", tree, re.MULTILINE):
        folder = folder if indent else ROOT / entry
        place = folder / entry if indent else folder
        assert place.exists(), entry
        n_seen += 1
    assert n_seen >= 30
