"""The how-to about life after fitting is run."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "after-fit.md"


def test_the_example_runs_and_prints_what_its_comments_say(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(example, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    promised = re.findall(r"print\(.*\)  # (.*)", example)
    assert done.stdout.splitlines() == promised
    assert (tmp_path / "feedback.sqlite").is_file()
