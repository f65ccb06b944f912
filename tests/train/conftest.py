"""The unpacked wheels of axolotl and LLaMA-Factory."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

WHEELS = Path(os.environ.get("THINKROUTE_WHEELS") or Path(sys.prefix) / "recipe-wheels")


@pytest.fixture(scope="session")
def wheel() -> Callable[[str], Path]:
    """Return a function from a library to the folder its wheel was unpacked into."""

    def find(library: str) -> Path:
        folder = WHEELS / library
        if not (folder / library).is_dir():
            pytest.skip(
                f"{folder} is missing: make test-train, or scripts/fetch_recipe_wheels.py, puts the"
                f" wheel of {library} there (or name its folder in THINKROUTE_WHEELS)"
            )
        return folder

    return find
