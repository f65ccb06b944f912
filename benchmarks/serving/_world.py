"""The router that is served: fitted on made-up outcomes of the made-up upstream's model."""

import random
from datetime import UTC, datetime
from pathlib import Path

from calibration import Outcome, OutcomeRecord
from router import Router

from ._upstream import MODEL

__all__ = ["POLICIES", "prompt_of", "write_router"]

POLICIES = ("direct", "reasoning@256", "reasoning@max")
_CREATED = datetime(2026, 1, 2, tzinfo=UTC)
_NAMES = ("Ada", "Ben", "Cal", "Dee", "Eva", "Fay", "Gus", "Hal", "Ida", "Jan", "Kim", "Leo")
# Chance of a right answer: short and long sums, and questions that thinking harms.
_CHANCE = {
    "direct": (0.95, 0.2, 0.9),
    "reasoning@256": (0.95, 0.9, 0.75),
    "reasoning@max": (0.9, 0.92, 0.7),
}
_TOKENS = {"direct": (4, 0), "reasoning@256": (40, 20), "reasoning@max": (120, 60)}


def prompt_of(rng: random.Random, kind: str, level: int) -> str:
    """Return a question of a kind (`sum` or `who`) and a level from 1 to 6."""
    if kind == "who":
        chain = " of the ".join(rng.choice(("friend", "boss", "teacher")) for _ in range(level))
        return f"Who is the {chain} of {rng.choice(_NAMES)}?"
    terms = (f"{rng.choice('+-*')}{rng.randrange(1, 10)}" for _ in range(level))
    return f"Compute, left to right: {rng.randrange(10)}{''.join(terms)}"


def write_router(folder: Path, n_questions: int = 600) -> Path:
    """Fit a small router, and return the folder it was written to."""
    rng = random.Random(0)
    records: list[OutcomeRecord] = []
    for number in range(n_questions):
        kind, level = rng.choice(("sum", "who")), rng.randint(1, 6)
        prompt = prompt_of(rng, kind, level)
        case = 2 if kind == "who" else int(level > 2)
        for policy in POLICIES:
            is_right = rng.random() < _CHANCE[policy][case]
            base, slope = _TOKENS[policy]
            tokens = base + slope * level
            records.append(
                OutcomeRecord(
                    question_id=f"q{number}",
                    group=f"q{number}",
                    task=f"made-up-{kind}",
                    task_type="general-oe" if kind == "who" else "math-oe",
                    prompt=prompt,
                    model=MODEL,
                    size=1_000_000_000,
                    policy=policy,
                    outcome=Outcome.CORRECT if is_right else Outcome.WRONG,
                    prompt_tokens=len(prompt),
                    completion_tokens=tokens,
                    flops=2e9 * (len(prompt) + tokens),
                    seconds=0.01 * tokens,
                )
            )
    fitted = Router.fit(records, created=_CREATED, backends={MODEL: {"backend": "fake"}})
    fitted.save(folder)
    return folder
