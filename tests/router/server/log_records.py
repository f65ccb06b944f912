"""Records of served requests, made up for the tests of the decision log."""

import random
from dataclasses import replace
from typing import Any

from policies import Mode, Usage
from router._arms import Arm
from router._decision import Candidate, Decision
from router._objective import Objective
from router.server._record import ServedRequest

CHEAP = Arm("toy", "direct", Mode.IFT, None, None)
DEAR = Arm("toy", "reasoning@max", Mode.REASONING, "max", None)


def decision(arm: Arm = CHEAP, prompt: str | None = "2+2?", **changes: Any) -> Decision:
    made = Decision(
        arm=arm,
        candidates=(
            Candidate(CHEAP.name, 0.6, 50.0, None, None, 50.0),
            Candidate(DEAR.name, 0.9, 500.0, None, None, 500.0),
        ),
        objective=Objective.trade(1e-3),
        reasons=("best-tradeoff", "task-guessed"),
        task_posterior={"general-oe": 0.25, "math-oe": 0.75},
        features_version="model-1",
        artifact_id="abc",
        latency_s=1e-4,
        prompt=prompt,
    )
    return replace(made, **changes)


def record(name: str, **changes: Any) -> ServedRequest:
    made = ServedRequest(
        decision_id=name,
        time_s=1.7e9,
        endpoint="chat",
        asked="thinkroute:cheap",
        arm=CHEAP.name,
        status=200,
        seconds=1.5,
        caller="team",
        mode="ift",
        reasons=("best-tradeoff", "task-guessed"),
        p=0.6,
        expected_tokens=50.0,
        reference_arm=DEAR.name,
        reference_tokens=500.0,
        usage=Usage(10, 40, None, 2),
        finish_reason="stop",
        n_attempts=1,
        decision_s=1e-4,
        added_s=1e-3,
    )
    return replace(made, **changes)


def records(n: int, prefix: str = "d", *, seed: int = 0) -> list[ServedRequest]:
    """Return requests of both arms, some with a decision."""
    rng = random.Random(seed)
    made: list[ServedRequest] = []
    for number in range(n):
        arm = rng.choice((CHEAP, DEAR))
        made.append(
            record(
                f"{prefix}{number}",
                time_s=1.7e9 + number,
                arm=arm.name,
                usage=Usage(10, rng.randrange(1, 900)),
                decision=decision(arm, f"prompt {number}") if number % 3 else None,
            )
        )
    return made
