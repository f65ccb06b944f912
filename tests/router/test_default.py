from pathlib import Path

import pytest

import router as package
from policies import ArtifactError
from router import Router, _default


def test_the_variable_names_the_default_router(
    router: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    router.save(tmp_path / "mine")
    monkeypatch.setenv("THINKROUTE_ROUTER", str(tmp_path / "mine"))
    assert package.decide("Who is the boss of Ada?").artifact_id == router.artifact_id
    assert package.default_router() is package.default_router()


def test_a_variable_that_names_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THINKROUTE_ROUTER", str(tmp_path / "nowhere"))
    with pytest.raises(ArtifactError, match=r"THINKROUTE_ROUTER names .*nowhere"):
        package.complete("hello")


async def test_an_installation_without_the_bundled_router_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THINKROUTE_ROUTER", raising=False)
    monkeypatch.setattr(_default, "_BUNDLED", tmp_path / "bundled")
    with pytest.raises(ArtifactError, match="ships with the package is missing"):
        await package.acomplete("hello")
