"""A small world in which the right arm is known, and a router fitted on it."""

import random
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from calibration import Outcome, OutcomeRecord
from router import Router

CREATED = datetime(2026, 1, 2, tzinfo=UTC)
ARMS = ("direct", "reasoning@64", "reasoning@max")
NAMES = ["Ada", "Ben", "Cal", "Dee", "Eva", "Fay", "Gus", "Hal", "Ida", "Jan", "Kim", "Leo"]
RECORDS = list[OutcomeRecord]


def true_p(task_type: str, level: int, policy: str) -> float:
    """Reasoning pays on long sums; on relations it hurts; the longest thought is never best."""
    if task_type == "general-oe":
        return {"direct": 0.9, "reasoning@64": 0.75, "reasoning@max": 0.7}[policy]
    easy = level <= 2
    return {
        "direct": 0.95 if easy else 0.15,
        "reasoning@64": 0.95 if easy else 0.9,
        "reasoning@max": 0.9 if easy else 0.85,
    }[policy]


def true_tokens(level: int, policy: str) -> int:
    return {"direct": 4, "reasoning@64": 20 + 10 * level, "reasoning@max": 60 + 30 * level}[policy]


def draw_prompt(rng: random.Random, task_type: str, level: int) -> str:
    if task_type == "general-oe":
        chain = " of the ".join(rng.choice(["friend", "boss", "teacher"]) for _ in range(level))
        return f"Who is the {chain} of {rng.choice(NAMES)}?"
    expression = str(rng.randrange(10)) + "".join(
        f"{rng.choice('+-*')}{rng.randrange(1, 10)}" for _ in range(level)
    )
    return f"Compute, left to right: {expression}"


def draw_records(n_questions: int, seed: int = 0, policies: tuple[str, ...] = ARMS) -> RECORDS:
    rng = random.Random(seed)
    records: RECORDS = []
    for question in range(n_questions):
        task_type = rng.choice(["math-oe", "general-oe"])
        level = rng.randint(1, 6)
        prompt = draw_prompt(rng, task_type, level)
        for policy in policies:
            is_correct = rng.random() < true_p(task_type, level, policy)
            tokens = true_tokens(level, policy)
            records.append(
                OutcomeRecord(
                    question_id=f"q{question}",
                    group=f"q{question}",
                    task=f"toy-{task_type.split('-', maxsplit=1)[0]}",
                    task_type=task_type,
                    prompt=prompt,
                    model="toy",
                    size=1_000_000,
                    policy=policy,
                    outcome=Outcome.CORRECT if is_correct else Outcome.WRONG,
                    prompt_tokens=len(prompt),
                    completion_tokens=tokens,
                    flops=2e6 * (len(prompt) + tokens),
                    seconds=0.01 * tokens,
                )
            )
    return records


@pytest.fixture(scope="session")
def make_records() -> Callable[..., RECORDS]:
    return draw_records


@pytest.fixture(scope="session")
def truth() -> Callable[[str, int, str], float]:
    return true_p


@pytest.fixture(scope="session")
def records() -> RECORDS:
    return draw_records(600)


@pytest.fixture(scope="session")
def router(records: RECORDS) -> Router:
    return Router.fit(records, created=CREATED, backends={"toy": {"backend": "fake"}})
