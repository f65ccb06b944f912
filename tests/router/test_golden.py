"""Released artifacts: the present layout decides what it always did, an older one is refused.

`pytest --update-golden` writes `tests/golden/router_v2` anew: a new layout or new features need
it, anything else that changes it changes what released routers decide.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from calibration import Outcome, OutcomeRecord
from policies import ArtifactError, Evidence
from router import Decision, Router
from router.model._model import LEARNERS

from .conftest import CREATED

GOLDEN = Path(__file__).parents[1] / "golden"
PROMPTS = (
    "Compute, left to right: 1+2",
    "Compute, left to right: 3+4*5-1*2+7*3",
    "Who is the boss of Ada?",
    "Who is the friend of the teacher of the boss of Kim?",
    "",
    "What does “x” cost?\n```python\nprint(3)\n```",
    "下列哪一项是正确的 ข้อใดถูกต้อง সঠিক উত্তর কোনটি",
)
Records = list[OutcomeRecord]


def told(records: Records) -> Records:
    """Let the direct answers say how sure they are."""
    rng = random.Random(1)
    return [
        record
        if record.policy != "direct"
        else replace(
            record,
            evidence=Evidence(
                -abs(rng.gauss(0.1 if record.outcome is Outcome.CORRECT else 0.9, 0.1))
            ),
        )
        for record in records
    ]


def plain(decision: Decision) -> dict[str, Any]:
    document = json.loads(json.dumps(decision.to_json()))
    return {key: value for key, value in document.items() if key != "latency_s"}


def assert_close(found: Any, expected: Any) -> None:
    """Compare JSON documents; platforms round exponentials in the last digit differently."""
    if isinstance(expected, Mapping):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_close(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
    else:
        assert found == expected


def test_the_present_layout_decides_what_it_always_did(
    request: pytest.FixtureRequest,
    make_records: Callable[..., Records],
    golden_json: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = GOLDEN / "router_v2"
    if request.config.getoption("--update-golden"):
        monkeypatch.setattr("router.model._fit._BLENDS", (LEARNERS,))
        made = Router.fit(told(make_records(120)), created=CREATED)
        made.save(path, overwrite=path.exists())
    router = Router.load(path)
    decisions = {
        f"{task or ''}|{prompt}": plain(router.decide(prompt, task))
        for prompt in PROMPTS
        for task in (None, "math-oe", "toy-general")
    }
    document: Mapping[str, Any] = {"artifact_id": router.artifact_id, "decisions": decisions}
    name = "router_v2_decisions.json"
    if request.config.getoption("--update-golden"):
        golden_json(name, document)
    assert_close(document, json.loads((GOLDEN / name).read_text("utf-8")))


def test_the_golden_router_has_all_there_is_to_keep() -> None:
    router = Router.load(GOLDEN / "router_v2")
    described = router.describe()
    assert len(described["learners"]) >= 3
    assert described["cascade"] is not None
    assert {entry.suffix for entry in (GOLDEN / "router_v2").iterdir()} == {".json", ".npy", ".txt"}


def test_an_older_layout_is_refused_with_the_cure() -> None:
    with pytest.raises(ArtifactError, match="fit the router again") as caught:
        Router.load(GOLDEN / "router_v1")
    assert caught.value.code == "artifact-too-old"
