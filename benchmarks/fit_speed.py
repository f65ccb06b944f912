"""How long a fit of 100,000 outcomes takes, of many arms and of many questions."""

import random
import time

from calibration import Outcome, OutcomeRecord
from router import Router

from ._report import Report
from .decision import ARMS, _p, _text  # pyright: ignore[reportPrivateUsage] - same synthetic texts

N_OUTCOMES = 100_000
MAX_S = 60.0
N_WORDS = (20, 40, 80, 160)


def run(report: Report) -> None:
    """Fit routers and report processor and wall time."""
    few = (ARMS[0], ARMS[5])
    for arms in (ARMS, few):
        n_questions = -(-N_OUTCOMES // len(arms))
        records = _records(random.Random(0), n_questions, arms)
        start, start_wall = time.process_time(), time.perf_counter()
        Router.fit(records)
        used, wall = time.process_time() - start, time.perf_counter() - start_wall
        case = f"fit of {len(records)} outcomes: {len(arms)} arms x {n_questions} questions"
        report.add(f"{case}, wall", wall, "s", at_most=MAX_S)
        report.add(f"{case}, processor", used, "s")


def _records(
    rng: random.Random, n_questions: int, arms: tuple[tuple[str, str], ...]
) -> list[OutcomeRecord]:
    questions = [_text(rng, rng.choice(N_WORDS)) for _ in range(n_questions)]
    return [
        OutcomeRecord(
            question_id=str(index),
            group=str(index),
            task=f"synthetic-{index % 4}",
            task_type=("math-oe", "general-mc")[index % 2],
            prompt=prompt,
            model=model,
            size=None,
            policy=policy,
            outcome=Outcome.CORRECT if rng.random() < _p(prompt, level) else Outcome.WRONG,
            prompt_tokens=len(prompt) // 5,
            completion_tokens=10 + 300 * level + len(prompt) % 50,
            flops=2e9 * (10 + 300 * level),
            seconds=0.01 + level,
        )
        for index, prompt in enumerate(questions)
        for level, (model, policy) in enumerate(arms)
    ]


if __name__ == "__main__":
    report = Report()
    report.begin("fit_speed")
    run(report)
    print(report.to_text())
