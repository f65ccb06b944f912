"""The examples of docs/explanation/guarantees.md are run."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "guarantees.md"


def test_the_examples_print_what_their_comments_say(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text("\n".join(examples), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    promised = re.findall(r"print\(.*\)  # (.*)", script.read_text(encoding="utf-8"))
    assert len(promised) == 4
    assert done.stdout.splitlines() == promised
