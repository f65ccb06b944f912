from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration import Outcome
from policies import InvalidInputError
from router import Objective, Router
from router.feedback._feedback import FeedbackLog
from router.feedback._logged import LoggedDecision, LoggedOutcome
from router.feedback._offpolicy import LoggedChoices, OffPolicyReport, evaluate_offpolicy
from router.feedback._offpolicy_log import evaluate_log

Floats = NDArray[np.float64]
N_ARMS = 3


class World(NamedTuple):
    """Prompts with known chances of every arm, a logging and a new policy, and their values."""

    chances: Floats
    logging: Floats
    policy: Floats

    @property
    def value(self) -> float:
        return float((self.chances * self.policy).sum(axis=1).mean())


def make_world(n: int, seed: int, floor: float = 0.1) -> World:
    rng = np.random.default_rng(seed)
    difficulty = rng.random((n, 1))
    chances = np.clip(
        1.0 - difficulty * np.array([1.2, 0.7, 0.3]) - np.array([0.0, 0.05, 0.15]), 0.05, 0.95
    )
    # The old router prefers the first arm on easy prompts; the new one the last on hard ones.
    old = np.where(difficulty < 0.6, 0, 1).ravel()
    new = np.where(difficulty < 0.3, 0, 2).ravel()
    eye = np.eye(N_ARMS)
    logging = floor + (1.0 - floor * N_ARMS) * eye[old]
    return World(chances, logging, eye[new])


def draw(world: World, rng: np.random.Generator, *, quality: float = 1.0) -> LoggedChoices:
    """Log decisions; predictions lie between a constant (quality 0) and the truth (1)."""
    n = len(world.chances)
    ladder = np.cumsum(world.logging, axis=1)
    choice = (ladder < rng.random((n, 1))).sum(axis=1)
    reward = (rng.random(n) < world.chances[np.arange(n), choice]).astype(np.float64)
    predicted = quality * world.chances + (1.0 - quality) * 0.5
    return LoggedChoices(choice, world.logging, reward, predicted, [f"g{i}" for i in range(n)])


def many(world: World, n_runs: int, seed: int, **options: float) -> list[OffPolicyReport]:
    rng = np.random.default_rng(seed)
    return [evaluate_offpolicy(draw(world, rng, **options), world.policy) for _ in range(n_runs)]


def values(reports: list[OffPolicyReport], name: str) -> Floats:
    return np.array([getattr(report, name).value for report in reports])


@pytest.mark.parametrize("quality", [0.0, 1.0])
def test_estimates_are_unbiased(quality: float) -> None:
    world = make_world(400, seed=1)
    reports = many(world, 400, seed=2, quality=quality)
    for name in ("ips", "snips", "doubly_robust"):
        found = values(reports, name)
        limit = 4.0 * found.std() / np.sqrt(len(found))
        # The self-normalised estimate is biased by the order of 1/n.
        limit += 0.004 if name == "snips" else 0.0
        assert found.mean() == pytest.approx(world.value, abs=limit), name
    # What the log itself says is far from it: the test would notice if weights did nothing.
    assert abs(values(reports, "logged").mean() - world.value) > 0.05


def test_good_predictions_make_doubly_robust_the_most_precise() -> None:
    reports = many(make_world(400, seed=1), 300, seed=3)
    spread = {name: values(reports, name).std() for name in ("ips", "snips", "doubly_robust")}
    assert spread["doubly_robust"] < 0.7 * spread["ips"]
    assert spread["doubly_robust"] < spread["snips"]


def test_wrong_predictions_do_not_bias_doubly_robust_but_the_direct_method() -> None:
    world = make_world(400, seed=4)
    rng = np.random.default_rng(5)
    found: list[OffPolicyReport] = []
    for _ in range(300):
        logged = draw(world, rng)
        wrong = LoggedChoices(
            logged.choice, logged.propensities, logged.reward, 1.0 - logged.predicted, logged.groups
        )
        found.append(evaluate_offpolicy(wrong, world.policy))
    robust = values(found, "doubly_robust")
    assert robust.mean() == pytest.approx(world.value, abs=4 * robust.std() / np.sqrt(300))
    assert abs(found[0].model_based - world.value) > 0.1


@pytest.mark.parametrize("name", ["ips", "snips", "doubly_robust", "difference"])
def test_intervals_cover_the_truth(name: str) -> None:
    """Prompts are drawn anew in every run: the interval is about the prompts to come."""
    population = make_world(20_000, seed=6)
    truth = population.value
    if name == "difference":
        truth -= float((population.chances * population.logging).sum(axis=1).mean())
    rng = np.random.default_rng(7)
    n_runs, n_covered = 500, 0
    for _ in range(n_runs):
        rows = rng.choice(20_000, 400, replace=False)
        world = World(*(part[rows] for part in population))
        found = getattr(evaluate_offpolicy(draw(world, rng, quality=0.5), world.policy), name)
        n_covered += found.ci_low <= truth <= found.ci_high
    # 95% nominal; 3.3 binomial standard errors below it.
    assert n_covered / n_runs >= 0.918


def test_repeated_prompts_do_not_narrow_the_intervals() -> None:
    logged = draw(make_world(300, seed=8), np.random.default_rng(9))
    policy = make_world(300, seed=8).policy
    copies = np.repeat(np.arange(300), 10)
    groups = [f"g{i}" for i in copies]
    arrays = (logged.choice[copies], logged.propensities[copies], logged.reward[copies])
    tied = LoggedChoices(*arrays, logged.predicted[copies], groups)
    once, ten = evaluate_offpolicy(logged, policy), evaluate_offpolicy(tied, policy[copies])
    assert once.doubly_robust
    assert ten.doubly_robust
    assert ten.doubly_robust.value == pytest.approx(once.doubly_robust.value)
    assert ten.doubly_robust.ci_high == pytest.approx(once.doubly_robust.ci_high)
    assert (ten.n, ten.n_groups) == (3000, 300)


def test_the_logging_policy_itself_is_worth_what_was_logged() -> None:
    world = make_world(300, seed=10)
    logged = draw(world, np.random.default_rng(11))
    report = evaluate_offpolicy(logged, world.logging)
    assert report.ips == report.snips == report.logged
    assert report.effective_n == pytest.approx(300)
    assert report.max_weight == pytest.approx(1.0)
    assert report.bounds
    assert report.bounds[0] <= report.logged.value <= report.bounds[1]


def test_deterministic_logs_are_refused_with_what_can_be_said() -> None:
    world = make_world(500, seed=12, floor=0.0)
    logged = draw(world, np.random.default_rng(13))
    report = evaluate_offpolicy(logged, world.policy)
    assert report.refusal is not None
    assert "without exploration" in report.refusal
    assert (report.ips, report.snips, report.doubly_robust, report.difference) == (None,) * 4
    agree = (world.logging * world.policy).sum(axis=1) > 0
    assert report.supported == pytest.approx(agree.mean())
    assert report.n_agreed == agree.sum()
    assert report.agreed
    assert report.agreed.value == pytest.approx(logged.reward[agree].mean())
    assert report.bounds
    assert report.bounds[0] <= world.value <= report.bounds[1]
    assert report.bounds[1] - report.bounds[0] >= 1.0 - report.supported
    assert report.model_based == pytest.approx(world.value, abs=1e-9)


def test_equal_deterministic_routers_need_no_exploration() -> None:
    world = make_world(200, seed=14, floor=0.0)
    logged = draw(world, np.random.default_rng(15))
    report = evaluate_offpolicy(logged, world.logging)
    assert report.refusal is None
    assert report.doubly_robust == report.logged


def test_an_arm_that_could_not_be_chosen_is_refused_although_others_were_explored() -> None:
    world = make_world(200, seed=16)
    logging = world.logging.copy()
    logging[:, 2] = 0.0
    logging /= logging.sum(axis=1, keepdims=True)
    logged = draw(world._replace(logging=logging), np.random.default_rng(17))
    report = evaluate_offpolicy(logged, world.policy)
    assert report.refusal is not None
    assert "probability 0" in report.refusal


def test_clipping_is_told() -> None:
    world = make_world(400, seed=18, floor=0.02)
    logged = draw(world, np.random.default_rng(19))
    free, cut = (evaluate_offpolicy(logged, world.policy, clip=clip) for clip in (None, 5.0))
    assert free.max_weight > 5.0
    assert (free.clip, free.clipped_mass) == (None, 0.0)
    assert (cut.clip, cut.max_weight) == (5.0, 5.0)
    assert cut.clipped_mass > 0.0
    assert cut.effective_n > free.effective_n
    assert free.ips
    assert cut.ips
    assert cut.ips.value <= free.ips.value


def test_bad_values_are_refused() -> None:
    world = make_world(10, seed=20)
    logged = draw(world, np.random.default_rng(21))
    with pytest.raises(InvalidInputError, match="sum to 1"):
        evaluate_offpolicy(logged, world.policy * 0.5)
    with pytest.raises(InvalidInputError, match="shape"):
        evaluate_offpolicy(logged, world.policy[:5])
    with pytest.raises(InvalidInputError, match="clip"):
        evaluate_offpolicy(logged, world.policy, clip=0.0)
    tokens = LoggedChoices(
        logged.choice, logged.propensities, logged.reward * 100, logged.predicted, logged.groups
    )
    with pytest.raises(InvalidInputError, match="has_unit_rewards"):
        evaluate_offpolicy(tokens, world.policy)
    assert evaluate_offpolicy(tokens, world.policy, has_unit_rewards=False).bounds is None
    none = LoggedChoices(
        logged.choice[:0], logged.propensities[:0], logged.reward[:0], logged.predicted[:0], []
    )
    with pytest.raises(InvalidInputError, match="no logged decision"):
        evaluate_offpolicy(none, world.policy[:0])
    impossible = world.logging.copy()
    impossible[np.arange(10), logged.choice] = 0.0
    for propensities in (impossible, world.logging * 2):
        with pytest.raises(InvalidInputError, match="distribution"):
            LoggedChoices(
                logged.choice, propensities, logged.reward, logged.predicted, logged.groups
            )
    with pytest.raises(InvalidInputError, match="do not fit"):
        LoggedChoices(
            logged.choice[:3], world.logging, logged.reward, logged.predicted, logged.groups
        )


CHEAPEST = Objective.trade(1.0)
BEST = Objective.trade(0.0)
PROMPTS = ("Compute, left to right: 3+4*5-1*2+7*3", "Who is the boss of the friend of Ada?")


def log_of(
    path: Path, router: Router, n: int, *, is_explored: bool, store_prompts: bool = True
) -> FeedbackLog:
    """Log decisions of a router in a world where its predictions are true."""
    rng = np.random.default_rng(22)
    log = FeedbackLog.open(path, store_prompts=store_prompts)
    names = tuple(arm.name for arm in router.arms)
    entries: list[LoggedDecision] = []
    for number in range(n):
        prompt = f"{PROMPTS[number % 2]} {number}"
        decision = router.decide(prompt, objective=CHEAPEST)
        p = tuple(float(candidate[1]) for candidate in decision.candidates)
        arm = int(rng.integers(len(names))) if is_explored else names.index(decision.arm.name)
        is_right = bool(rng.random() < p[arm])
        tokens = round(decision.candidates[arm].tokens)
        entries.append(
            LoggedDecision(
                decision_id=f"d{number}",
                time_s=float(number),
                artifact_id=router.artifact_id,
                arms=names,
                arm=names[arm],
                p=p,
                tokens=tuple(candidate.tokens for candidate in decision.candidates),
                cost=tuple(candidate.cost for candidate in decision.candidates),
                unit=decision.objective.unit,
                propensities=(1.0 / len(names),) * len(names) if is_explored else None,
                posterior=decision.task_posterior,
                prompt=prompt,
                outcome=LoggedOutcome(
                    float(number),
                    Outcome.CORRECT if is_right else Outcome.WRONG,
                    float(is_right),
                    tokens,
                ),
            )
        )
    log.record_many(entries)
    return log


@pytest.fixture
def explored(tmp_path: Path, router: Router) -> Iterator[FeedbackLog]:
    with log_of(tmp_path / "log.sqlite", router, 400, is_explored=True) as log:
        yield log


def test_a_router_is_evaluated_on_a_log_with_exploration(
    explored: FeedbackLog, router: Router
) -> None:
    explored.record_outcome("d0", "error", replace=True)
    study = evaluate_log(explored, router=router)
    assert study.refusal is None
    assert (study.n_decisions, study.n_without_outcome, study.n_without_prompt) == (400, 1, 0)
    assert study.policy == router.artifact_id
    found = study.accuracy.doubly_robust
    assert found
    # The world is as predicted, so the predictions tell the value.
    assert found.ci_low <= study.accuracy.model_based <= found.ci_high
    assert study.tokens
    assert study.tokens.doubly_robust
    assert study.tokens.doubly_robust.value == pytest.approx(study.tokens.model_based, rel=0.02)
    assert study.tokens.bounds is None


def test_another_objective_needs_no_prompts(tmp_path: Path, router: Router) -> None:
    path = tmp_path / "log.sqlite"
    with log_of(path, router, 300, is_explored=True, store_prompts=False) as log:
        free = evaluate_log(log, objective=BEST)
        cheap = evaluate_log(log, objective=CHEAPEST)
        assert free.tokens
        assert cheap.tokens
        assert free.tokens.doubly_robust
        assert cheap.tokens.doubly_robust
        assert cheap.tokens.doubly_robust.value < 0.5 * free.tokens.doubly_robust.value
        assert free.accuracy.model_based > cheap.accuracy.model_based
        with pytest.raises(InvalidInputError, match="store_prompts") as raised:
            evaluate_log(log, router=router)
        assert raised.value.code == "prompts-not-stored"
        with pytest.raises(InvalidInputError, match="tokens only"):
            evaluate_log(log, objective=Objective.trade(0.0, "usd"))
        with pytest.raises(InvalidInputError, match="router, an objective"):
            evaluate_log(log)


def test_a_log_without_exploration_is_refused(tmp_path: Path, router: Router) -> None:
    with log_of(tmp_path / "log.sqlite", router, 100, is_explored=False) as log:
        same = evaluate_log(log, router=router, objective=CHEAPEST)
        other = evaluate_log(log, router=router, objective=BEST)
    assert same.refusal is None
    assert other.refusal is not None
    assert other.tokens
    assert other.tokens.refusal is not None
    assert other.to_json()["accuracy"]["refusal"] == other.refusal


def test_an_empty_log_is_refused(tmp_path: Path, router: Router) -> None:
    with (
        FeedbackLog.open(tmp_path / "log.sqlite") as log,
        pytest.raises(InvalidInputError, match="none of 0 logged decisions"),
    ):
        evaluate_log(log, router=router)
