"""A user's `router.py`, or another distribution's `router/`, is named instead of misunderstood.

Each test lays out an installation of its own: our real `policies` package and stand-ins for the
others, which hold nothing but the marker.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MARKED = '__distribution__ = "thinkroute"\n'
CHECK = """
import sys
# An editable installation puts the repository on the path; here it must not help.
sys.path = [path for path in sys.path if path != {root!r}]
from policies._siblings import check_sibling
try:
    check_sibling({name!r})
except ImportError as error:
    print(error.code, error.path, error, sep="\\n")
else:
    print("ours")
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the four packages lie side by side."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(
        ROOT / "policies",
        site / "policies",
        ignore=shutil.ignore_patterns("pocket_models", "__pycache__"),
    )
    for name in ("policies", "calibration", "router", "advisor"):
        (site / name).mkdir(exist_ok=True)
    for name in ("calibration", "router", "advisor"):
        (site / name / "__init__.py").write_text(MARKED)
    return site


def run(code: str, *path: Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def check(name: str, *path: Path, cwd: Path) -> list[str]:
    answer = run(CHECK.format(name=name, root=str(ROOT)), *path, cwd=cwd)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.splitlines()


def test_packages_side_by_side_pass(installation: Path, tmp_path: Path) -> None:
    for name in ("calibration", "router", "advisor"):
        assert check(name, installation, cwd=tmp_path) == ["ours"]


def test_a_script_named_router_is_named_and_not_run(installation: Path, tmp_path: Path) -> None:
    script = tmp_path / "router.py"
    script.write_text("print('side effect')\n")
    code, path, message = check("router", installation, cwd=tmp_path)
    assert code == "shadowed-package"
    assert path == str(script)
    assert str(script) in message
    assert str(installation / "router" / "__init__.py") in message
    assert "rename or move that file" in message


def test_a_folder_named_router_without_init_elsewhere_does_not_win(
    installation: Path, tmp_path: Path
) -> None:
    (tmp_path / "router").mkdir()
    assert check("router", installation, cwd=tmp_path) == ["ours"]


def test_a_foreign_package_overwritten_in_place_is_found(
    installation: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    shutil.copytree(installation, site)
    (site / "router" / "__init__.py").write_text("VERSION = '9.9'\n")
    code, path, message = check("router", site, cwd=tmp_path)
    assert code == "shadowed-package"
    assert path == str(site / "router" / "__init__.py")
    assert "another distribution has overwritten it" in message
    assert "pip install --force-reinstall thinkroute" in message


def test_a_missing_package_says_how_to_get_it_back(installation: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(installation, site)
    shutil.rmtree(site / "calibration")
    code, _, message = check("calibration", site, cwd=tmp_path)
    assert code == "missing-package"
    assert "pip install --force-reinstall thinkroute" in message


def test_an_already_imported_foreign_module_is_found(installation: Path, tmp_path: Path) -> None:
    script = tmp_path / "router.py"
    script.write_text("")
    answer = run(
        "import router\n" + CHECK.format(name="router", root=str(ROOT)), installation, cwd=tmp_path
    )
    assert answer.stdout.splitlines()[:2] == ["shadowed-package", str(script)]


@pytest.mark.parametrize("package", ["calibration", "router", "advisor"])
def test_a_script_named_policies_is_named_with_the_cure(package: str, tmp_path: Path) -> None:
    script = tmp_path / "policies.py"
    script.write_text("PRICE = 3\n")
    answer = run(f"import {package}", ROOT, cwd=tmp_path)
    assert answer.returncode == 1
    assert str(script) in answer.stderr
    assert "rename" in answer.stderr


@pytest.mark.parametrize(
    ("package", "shadow"),
    [("router", "calibration"), ("advisor", "router"), ("advisor", "calibration")],
)
def test_importing_a_package_checks_its_siblings(package: str, shadow: str, tmp_path: Path) -> None:
    script = tmp_path / f"{shadow}.py"
    script.write_text("")
    answer = run(f"import {package}", ROOT, cwd=tmp_path)
    assert answer.returncode == 1
    assert f"thinkroute needs its own package {shadow!r}" in answer.stderr
    assert str(script) in answer.stderr


@pytest.mark.parametrize("package", ["policies", "calibration", "router", "advisor"])
def test_every_package_carries_the_marker(package: str) -> None:
    assert MARKED in (ROOT / package / "__init__.py").read_text()
