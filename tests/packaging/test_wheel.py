"""What the built wheel and the source distribution hold, and what they do not."""

import re
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"policies", "calibration", "router", "advisor"}
MAX_WHEEL_BYTES = 40_000_000
SECRETS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|\bsk-(?:proj-|ant-)?[A-Za-z0-9]{20,}"
    rb"|\bAKIA[0-9A-Z]{16}\b"
    rb"|\bgh[pousr]_[A-Za-z0-9]{36}\b"
    rb"|\bhf_[A-Za-z0-9]{30,}\b"
)
TEXT_SUFFIXES = {
    ".py",
    ".json",
    ".jsonl",
    ".csv",
    ".toml",
    ".txt",
    ".md",
    ".jinja",
    ".typed",
    ".html",
}


class Built:
    """The two archives, opened."""

    def __init__(self, folder: Path) -> None:
        (self.wheel_path,) = folder.glob("*.whl")
        (sdist_path,) = folder.glob("*.tar.gz")
        with zipfile.ZipFile(self.wheel_path) as wheel:
            self.wheel = {name: wheel.read(name) for name in wheel.namelist()}
        with tarfile.open(sdist_path) as sdist:
            prefix = sdist_path.name.removesuffix(".tar.gz") + "/"
            self.sdist = {name.removeprefix(prefix) for name in sdist.getnames()}

    def metadata_file(self, name: str) -> str:
        (content,) = [
            content for path, content in self.wheel.items() if path.endswith(f".dist-info/{name}")
        ]
        return content.decode()

    def metadata(self) -> Message:
        return Parser().parsestr(self.metadata_file("METADATA"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build the source distribution, and the wheel from it, as a release does."""
    folder = tmp_path_factory.mktemp("dist")
    answer = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return Built(folder)


def test_top_level_names_are_exactly_ours(built: Built) -> None:
    names = {path.partition("/")[0] for path in built.wheel}
    assert names == {*PACKAGES, "thinkroute-0.1.0.dist-info"}


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_every_package_is_typed(built: Built, package: str) -> None:
    assert f"{package}/__init__.py" in built.wheel
    assert f"{package}/py.typed" in built.wheel


def test_every_file_of_the_packages_is_inside(built: Built) -> None:
    here = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    inside = {path for path in built.wheel if path.partition("/")[0] in PACKAGES}
    assert inside == here


@pytest.mark.parametrize(
    "pattern",
    [
        "policies/pocket_models/*/model.onnx",
        "policies/pocket_models/*/model.onnx.data",
        "policies/pocket_models/*/tokenizer.json",
        "policies/pocket_models/*/chat_template.jinja",
        "calibration/published/*.csv",
        "router/bundled/**/manifest.json",
    ],
)
def test_models_tables_and_the_bundled_router_are_inside_both(built: Built, pattern: str) -> None:
    expected = {path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)}
    assert expected, f"the tree has no {pattern}"
    assert expected <= built.wheel.keys()
    assert expected <= built.sdist


def test_nothing_runs_by_itself_and_no_test_is_shipped(built: Built) -> None:
    for name in built.wheel:
        path = PurePosixPath(name)
        assert path.suffix not in {".pth", ".pyc", ".so", ".sqlite", ".pkl", ".pt", ".exe"}, name
        assert "tests" not in path.parts, name
        assert path.name != "conftest.py", name
        assert not path.name.startswith("test_"), name


def test_no_secret_and_no_path_of_the_building_machine(built: Built) -> None:
    for name, content in built.wheel.items():
        if PurePosixPath(name).suffix in TEXT_SUFFIXES:
            assert not SECRETS.search(content), name
            assert str(ROOT).encode() not in content, name


def test_the_wheel_is_small(built: Built) -> None:
    assert built.wheel_path.stat().st_size < MAX_WHEEL_BYTES


def test_the_console_script_is_advisor(built: Built) -> None:
    entry_points = ConfigParser()
    entry_points.read_string(built.metadata_file("entry_points.txt"))
    assert dict(entry_points["console_scripts"]) == {"advisor": "advisor.cli:main"}


def test_core_requirements_are_light_and_exclude_the_malicious_releases(built: Built) -> None:
    requirements = built.metadata().get_all("Requires-Dist") or []
    core = {re.split(r"[^A-Za-z0-9_-]", line)[0] for line in requirements if "extra ==" not in line}
    assert core == {
        *("lightgbm", "numpy", "openai", "pyarrow", "pydantic", "rich"),
        *("scikit-learn", "scipy", "typer"),
    }
    litellm = [line for line in requirements if line.startswith("litellm")]
    assert litellm
    assert all("!=1.82.7" in line and "!=1.82.8" in line for line in litellm)


def test_metadata_names_licence_and_python(built: Built) -> None:
    metadata = built.metadata()
    assert metadata["Name"] == "thinkroute"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert any(path.endswith(".dist-info/licenses/LICENSE") for path in built.wheel)


def test_the_source_distribution_holds_what_a_rebuild_and_the_tests_need(built: Built) -> None:
    assert {"pyproject.toml", "README.md", "LICENSE", "Makefile", "constraints.txt"} <= built.sdist
    assert "tests/packaging/test_wheel.py" in built.sdist
    assert not any(path.startswith((".venv", ".git/", "runs/")) for path in built.sdist)
