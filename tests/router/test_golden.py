"""Artifacts of every layout ever released still load and still decide the same."""

import json
from pathlib import Path

import pytest

from router import Router

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("version", [1])
def test_released_artifacts_load_forever(version: int) -> None:
    router = Router.load(GOLDEN / f"router_v{version}")
    expected = json.loads((GOLDEN / f"router_v{version}_decisions.json").read_text("utf-8"))
    assert router.artifact_id == expected["artifact_id"]
    for prompt, decision in expected["decisions"].items():
        found = router.decide(prompt).to_json()
        for candidate, before in zip(found["candidates"], decision["candidates"], strict=True):
            # Other platforms round exponentials in the last digit differently.
            numbers = {key: value for key, value in before.items() if key != "arm"}
            assert {key: candidate[key] for key in numbers} == pytest.approx(numbers, rel=1e-9)
        for key in ("arm", "objective", "reasons", "features_version", "artifact_id"):
            assert found[key] == decision[key]
