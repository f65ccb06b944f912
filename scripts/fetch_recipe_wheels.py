"""Unpack the training libraries that recipes are exported for: `fetch_recipe_wheels.py [FOLDER]`.

Tests read exported configurations with the configuration classes of axolotl and LLaMA-Factory.
Installed in full these libraries cannot share an environment (each pins other versions of
transformers and trl), and take 2 to 4 GB each. Their own code alone is 4 MB, and its configuration
classes import in the environment for training. Nothing is done for what is there already.

FOLDER is `recipe-wheels` in the environment of the Python that runs this; each library lies in a
folder with its name there. The versions are those that exported configurations name.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from advisor.export import Library, tested_version

WHEELS: dict[Library, str] = {
    "axolotl": "f28eb3ad3709975eec4adfe13307dd980c7e7917cc43cb03f2c6f26c007135cc",
    "llamafactory": "10776e9b259798bf65f6c5343f6298f0302e92e9cd47472abe29eef69e286c6a",
}
"""sha256 of the wheel on the package index, by library."""


def fetch(library: str, version: str, sha256: str, folder: Path) -> None:
    """Download, check and unpack one wheel."""
    target = folder / library
    marker = target / f".complete-{version}"
    if marker.exists():
        print(f"{target} has {version}", file=sys.stderr)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as room:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet"),
                *("--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"),
                *("--dest", room, f"{library}=={version}"),
            ],
            check=True,
        )
        (wheel,) = Path(room).glob("*.whl")
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != sha256:
            raise SystemExit(f"{wheel.name} has sha256 {found}, expected {sha256}")
        fresh = Path(room) / library
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(fresh)
        (fresh / marker.name).touch()
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    print(f"{target}: {version}", file=sys.stderr)


def main() -> None:
    """Fetch all of them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(sys.prefix) / "recipe-wheels"
    for library, sha256 in WHEELS.items():
        fetch(library, tested_version(library), sha256, folder)


if __name__ == "__main__":
    main()
