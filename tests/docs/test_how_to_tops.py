"""The commands of docs/how-to/tops.md are run, one after the other, in one folder."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from policies.backends.pocket import pocket_model_names

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "tops.md").read_text("utf-8")
NEEDS_A_SERVER = "--base-url"
EXPECTED_CODES = {"data/none": 6}

pytestmark = pytest.mark.skipif(
    "pocket-xs" not in pocket_model_names(), reason="the model pocket-xs is not there"
)


def commands() -> list[str]:
    blocks = re.findall(r"^```\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("advisor ") and NEEDS_A_SERVER not in line]


def test_every_command_runs_and_writes_what_the_page_names(tmp_path: Path) -> None:
    paths = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    assert len(commands()) == 5
    for command in commands():
        program, *arguments = shlex.split(command)
        assert program == "advisor"
        done = subprocess.run(
            [sys.executable, "-m", "advisor", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": paths},
        )
        expected = next((code for out, code in EXPECTED_CODES.items() if out in command), 0)
        assert done.returncode == expected, done.stderr
    named = set(re.findall(r"`(\w+\.jsonl?)`", PAGE))
    written = {path.name for path in (tmp_path / "data" / "tops").iterdir()}
    assert written | {"tops_tag.jsonl"} == named | {"dataset_info.json"}
    manifest = json.loads((tmp_path / "data" / "tops" / "manifest.json").read_text("utf-8"))
    assert manifest["missing"].keys() == {"tag"}
