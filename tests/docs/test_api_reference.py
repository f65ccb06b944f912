"""docs/reference/api/: the pages are those that the script writes, and they leave no name out."""

import sys
from pathlib import Path

import pytest

import advisor
import calibration
import policies
import router
from tests.docs.scripts import load_script

SCRIPT = load_script("write_api_reference")


def test_the_committed_pages_are_what_the_script_writes() -> None:
    there = {path.name: path.read_text("utf-8") for path in SCRIPT.TARGET.glob("*.md")}
    assert there == SCRIPT.reference(), "run: python scripts/write_api_reference.py"


def test_every_public_name_has_a_directive() -> None:
    texts = SCRIPT.reference()
    for package in (policies, calibration, router, advisor):
        for name in package.__all__:
            directive = f"::: {package.__name__}.{name}\n"
            assert texts[f"{package.__name__}.md"].count(directive) == 1, directive


def test_names_are_read_without_importing_and_private_ones_are_left_out(tmp_path: Path) -> None:
    files = {
        "policies/__init__.py": '"""All | of it."""\nfrom ._a import B\n__all__ = ["B", "shared"]\n1 / 0',
        "policies/_a.py": '__all__ = ["B"]',
        "policies/open.py": '"""Its own."""\n__all__: list[str] = ["shared", "alone"]',
        "policies/_hidden/deep.py": '__all__ = ["no"]',
        "policies/bare.py": "x = 1",
        "advisor/cli/ask.py": '__all__ = ["no"]',
        "advisor/cli/__init__.py": '__all__ = ["main"]',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    assert SCRIPT.public_names(tmp_path) == {
        "policies": {"policies": ["B", "shared"], "policies.open": ["alone"]}
    }
    texts = SCRIPT.reference(tmp_path)
    assert texts.keys() == {"index.md", "policies.md"}
    assert "| [`policies`](policies.md) | All \\| of it. | 3 |" in texts["index.md"]
    assert "::: policies.open.alone\n" in texts["policies.md"]


def test_check_names_the_pages_that_are_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(SCRIPT, "TARGET", tmp_path / "api")
    monkeypatch.setattr(sys, "argv", ["write"])
    assert SCRIPT.main() == 0
    (tmp_path / "api" / "router.md").write_text("# router\n", "utf-8")
    (tmp_path / "api" / "gone.md").write_text("# gone\n", "utf-8")
    monkeypatch.setattr(sys, "argv", ["write", "--check"])
    assert SCRIPT.main() == 1
    assert "(gone.md, router.md): run python scripts/write_api_reference.py" in (
        capsys.readouterr().err
    )
    monkeypatch.setattr(sys, "argv", ["write"])
    assert SCRIPT.main() == 0
    assert not (tmp_path / "api" / "gone.md").exists()
    monkeypatch.setattr(sys, "argv", ["write", "--check"])
    assert SCRIPT.main() == 0
