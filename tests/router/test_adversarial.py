"""A small run of the attacks: their effect is measured, and the cap holds against every one."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks import adversarial
from benchmarks._report import Report
from calibration import OutcomeRecord
from router import Objective, Router


@pytest.fixture(scope="module")
def prompts(make_records: Callable[..., list[OutcomeRecord]]) -> list[str]:
    found = sorted({record.prompt for record in make_records(160, seed=9)})
    random.Random(0).shuffle(found)
    return found


@pytest.fixture(scope="module")
def target(router: Router, prompts: list[str]) -> adversarial.Target:
    is_dear = adversarial.dear_arms(router, prompts)
    target = adversarial.Target(router, is_dear, Objective.trade(1e-3, "tokens"))
    return target.frugal(prompts[:50])


@pytest.fixture(autouse=True)
def small_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adversarial, "N_TOKENS", 4)
    monkeypatch.setattr(adversarial, "N_ROUNDS", 1)
    monkeypatch.setattr(adversarial, "N_CANDIDATES", 12)


def test_the_arms_that_reason_are_the_dear_ones(router: Router, target: adversarial.Target) -> None:
    assert [arm.policy for arm, dear in zip(router.arms, target.is_dear, strict=True) if dear] == [
        "reasoning@64",
        "reasoning@max",
    ]


def test_the_search_finds_a_gadget_that_pays(
    target: adversarial.Target, prompts: list[str]
) -> None:
    gadget, gain = adversarial.search(target, prompts[:50])
    assert gain > target.gain(prompts[:50])
    attack = adversarial.Attack("", before=gadget)
    assert gain == pytest.approx(target.gain([attack(prompt) for prompt in prompts[:50]]))


def test_every_attack_is_reported_and_bounded_by_the_cap(
    target: adversarial.Target, prompts: list[str]
) -> None:
    measured = adversarial.attack_all(target, prompts[:50], prompts[50:])
    assert len(measured) == 2 * len(adversarial.GADGETS) + 2
    for each in measured:
        assert 0.0 <= each.share_after.low <= each.share_after.estimate <= each.share_after.high
        change = each.share_after.estimate - each.share_before.estimate
        assert each.difference.estimate == pytest.approx(change)
        assert each.share_capped <= each.cap
    # Attacks get through where nothing bounds them; that is why there is a cap.
    assert max(each.share_after.estimate for each in measured) > adversarial.CAP

    report = Report()
    adversarial._add_rows(report, "toy", measured, is_full=True)
    rows = {row.case: row for row in report.rows}
    assert rows["toy: plain prompts"].value == measured[0].share_before.estimate
    assert {f"toy: {each.attack}" for each in measured} <= set(rows)
    assert rows["toy: worst attack under a cap of 0.25"].is_met


def test_shares_are_those_of_the_decisions(
    router: Router, target: adversarial.Target, prompts: list[str]
) -> None:
    attack = adversarial.Attack("nothing")
    measured = adversarial.measure(target, prompts, attack)
    dear = {arm.name for arm, flag in zip(router.arms, target.is_dear, strict=True) if flag}
    decided = [router.decide(each, objective=target.objective).arm.name in dear for each in prompts]
    assert measured.share_before.estimate == pytest.approx(np.mean(decided))
    assert measured.difference.estimate == 0.0
    assert measured.tokens_ratio == 1.0
