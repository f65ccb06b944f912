"""Fixtures that tests of several packages share."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write golden files instead of comparing with them; review the diff",
    )


@pytest.fixture
def golden_json(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Compare a JSON document with `tests/golden/NAME`, or write it with --update-golden."""

    def compare(name: str, document: object) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", "utf-8")
        assert path.exists(), f"{path} is missing: run pytest with --update-golden"
        assert json.loads(path.read_text("utf-8")) == document

    return compare
