"""What a notebook shows of a decision, its explanation and an evaluation."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.html_tables import clean
from router import Arm, Candidate, Decision, Explanation, Neighbour, Objective
from router._decision import Escalation
from router._explanation import ExplainedCandidate

from ..notebook_page import check_golden, names, read_page, shown
from .evaluations import made_evaluation, made_row

DASH = "\N{EN DASH}"
PROMPT = "the secret question"


def made_decision(model: str = "m", objective: Objective | None = None) -> Decision:
    arms = [Arm.parse(model, policy) for policy in ("direct", "reasoning@256")]
    return Decision(
        arm=arms[1],
        candidates=(
            Candidate(arms[0].name, 0.41, 6.0, 1.2e10, 0.05, 6.0),
            Candidate(arms[1].name, 0.83, 210.4, None, None, 210.4),
        ),
        objective=objective or Objective.trade(2e-5),
        reasons=("best-tradeoff", "task-guessed"),
        task_posterior={"math-oe": 0.9, "general-oe": 0.1},
        features_version="7",
        artifact_id="0123456789abcdef" * 4,
        latency_s=0.001,
        escalation=Escalation((arms[0].name,), 0.9, 320.0),
        prompt=PROMPT,
    )


def made_explanation(
    model: str = "m", question: str = "q7", task: str = "sums", *, is_known: bool = False
) -> Explanation:
    decision = made_decision(model)
    candidates = tuple(
        ExplainedCandidate(
            *(each.arm, each.p, each.p - 0.06, each.p + 0.05, 180, each.tokens),
            *(
                each.tokens / 2,
                2 * each.tokens,
                3 * each.tokens,
                each.flops,
                each.seconds,
                each.cost,
            ),
        )
        for each in decision.candidates
    )
    shares = {decision.candidates[0].arm: 0.0, decision.candidates[1].arm: None}
    neighbour = Neighbour(question, task, 0.87, shares)
    words = ("p minus the price of the cost is highest", "the task was guessed from the text")
    return Explanation(decision, candidates, words, (neighbour,), is_known)


@pytest.mark.parametrize("name", ["decision", "explanation", "evaluation"])
def test_views_are_shown_as_ever(name: str, request: pytest.FixtureRequest) -> None:
    views = {
        "decision": made_decision,
        "explanation": made_explanation,
        "evaluation": made_evaluation,
    }
    is_update = bool(request.config.getoption("--update-golden"))
    check_golden(name, views[name](), is_update=is_update)


def test_a_decision_names_its_arm_and_says_where_its_intervals_are() -> None:
    page = read_page(made_decision())
    (table,) = page.tables
    assert table.column("arm") == ["m:direct", "m:reasoning@256 (chosen)"]
    assert table.column("p(correct)") == ["0.410", "0.830"]
    assert table.column("FLOPs") == ["12G", DASH]
    assert "cost in USD" not in table.heads
    assert "Router.explain" in page.text
    assert "may go on to m:direct" in page.text


def test_chances_and_prices_are_shown_where_there_are_some() -> None:
    priced = made_decision(objective=Objective.within(0.01, "usd"))
    (table,) = read_page(replace(priced, propensities=(0.25, 0.75))).tables
    assert table.column("chance") == ["0.250", "0.750"]
    assert table.column("cost in USD") == ["6", "210"]


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (Objective.trade(2e-5), "highest p - 2e-05 * tokens"),
        (Objective.at_least(0.8, "flops"), "least FLOPs with p >= 0.8"),
        (Objective.within(300), "highest p with at most 300 tokens"),
        (Objective.on_average(0.002, "usd"), "most accuracy for 0.002 USD on average"),
        (replace(Objective.within(300), max_seconds=2.5), "at most 300 tokens, within 2.5 s"),
    ],
)
def test_objectives_are_told_in_words(objective: Objective, words: str) -> None:
    assert words in read_page(made_decision(objective=objective)).text


def test_every_p_of_an_explanation_has_its_n_and_interval() -> None:
    page = read_page(made_explanation(is_known=True))
    candidates, neighbours = page.tables
    assert candidates.column("n") == ["180", "180"]
    assert candidates.column("p(correct) [95%]")[0] == "0.410 [0.350, 0.460]"
    assert neighbours.rows == [["q7", "sums", "0.87", "0.00", DASH]]
    assert "its p is no forecast" in page.text


def test_a_prompt_that_resembles_nothing_says_so() -> None:
    page = read_page(replace(made_explanation(), neighbours=()))
    assert len(page.tables) == 1
    assert "no measured question resembles" in page.text


def test_no_part_of_a_prompt_is_shown() -> None:
    for one in (made_decision(), made_explanation()):
        assert PROMPT not in read_page(one).text


@given(names, names, names)
def test_names_are_shown_and_never_run(model: str, question: str, task: str) -> None:
    page = read_page(made_decision(model))
    assert page.tables[0].column("arm")[0] == shown(f"{model}:direct")
    assert clean(f"arm: {model}:reasoning@256") in page.isolated
    candidates, neighbours = read_page(made_explanation(model, question, task)).tables
    assert candidates.column("arm")[0] == shown(f"{model}:direct")
    assert neighbours.rows[0][:2] == [shown(question), shown(task)]
    assert neighbours.heads[3] == clean(f"{model}:direct")


def test_every_row_of_an_evaluation_has_its_n_and_interval() -> None:
    result = made_evaluation()
    page = read_page(result)
    rows, metrics, calibration, hints = page.tables
    assert rows.column("choice") == [row.name for row in result.rows]
    assert set(rows.column("n")) == {"800"}
    assert rows.column("accuracy [95%]")[0] == "0.550 [0.520, 0.580]"
    assert metrics.column("value [95%]")[0] == "0.812 [0.790, 0.830]"
    # No interval was computed for APGR: it is told as unknown, not left out.
    assert metrics.rows[4] == ["APGR over tokens", f"0.710 [{DASH}, {DASH}]", "812"]
    assert metrics.column("value [95%]")[3] == DASH
    assert calibration.column("n") == hints.column("n")[:1] == ["2,400"]
    assert "62% of tokens saved at non-inferior accuracy" in page.text
    assert "0.620 [0.580, 0.660], n = 800" in page.text
    assert "headroom_hull: the oracle gains nothing over the hull" in page.text


def test_an_evaluation_that_certifies_nothing_says_so() -> None:
    result = made_evaluation()
    page = read_page(replace(result, headline=replace(result.headline, is_certified=False)))
    assert "nothing cheaper than m:reasoning@max is certified at 95%, n = 800" in page.text


@given(names, st.sampled_from([0.5, math.nan]))
def test_names_in_an_evaluation_are_shown_and_never_run(name: str, accuracy: float) -> None:
    arms = [made_row(f"{name}{at}", 10.0, accuracy) for at in range(2)]
    result = replace(made_evaluation(*arms), reference=name, left_out=(name,))
    page = read_page(result)
    assert page.tables[0].column("choice")[:2] == [shown(f"{name}0"), shown(f"{name}1")]
