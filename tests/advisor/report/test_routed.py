"""Pages of routers and evaluations: what they tell, and that they tell it of anything."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.report import Chart, Facts, Page, Prose, Section, Table, render
from advisor.report._evaluation_charts import _mixtures, _on_hull
from advisor.report._routed import evaluation_sections, router_page
from calibration.statistics import wilson_interval
from policies import ArtifactError
from router import Evaluation, Objective, Price, Router, default_router_path, evaluate
from tests.router.conftest import CREATED, RECORDS, draw_records

vl_convert = pytest.importorskip("vl_convert")

N = 240
B = TypeVar("B")


@pytest.fixture(scope="module")
def records() -> RECORDS:
    return draw_records(N)


@pytest.fixture(scope="module")
def evaluation(records: RECORDS) -> Evaluation:
    return evaluate(records, n_folds=2, n_resamples=100)


@pytest.fixture(scope="module")
def router(records: RECORDS) -> Router:
    return Router.fit(
        records,
        created=CREATED,
        backends={"toy": {"backend": "fake"}},
        prices={"toy": Price(1e-7, 4e-7)},
    )


@pytest.fixture(scope="module")
def artifact(router: Router, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("routers") / "toy-router"
    router.save(path)
    return path


@pytest.fixture(scope="module")
def page(artifact: Path) -> Page:
    return router_page(artifact)


@pytest.fixture(scope="module")
def bundled() -> Page:
    return router_page(default_router_path())


def fit_page(records: RECORDS, tmp_path: Path, **options: Any) -> Page:
    Router.fit(records, created=CREATED, **options).save(tmp_path / "fitted")
    return router_page(tmp_path / "fitted")


def as_page(evaluation: Evaluation) -> Page:
    return Page("Evaluation", (), tuple(evaluation_sections(evaluation)))


def section(page: Page, title: str) -> Section:
    return next(one for one in page.sections if one.title == title)


def blocks(page: Page, kind: type[B]) -> list[B]:
    return [one for part in page.sections for one in part.blocks if isinstance(one, kind)]


def table(page: Page, caption: str) -> Table:
    return next(one for one in blocks(page, Table) if one.caption.startswith(caption))


def chart(page: Page, title: str) -> Chart:
    return next(one for one in blocks(page, Chart) if one.title.startswith(title))


def drawn(plot: Chart, series: str) -> list[dict[str, Any]]:
    return [row for row in plot.spec["data"]["values"] if row["series"] == series]


def facts(page: Page) -> dict[str, str]:
    return dict(row for one in blocks(page, Facts) for row in one.rows)


def words(page: Page) -> str:
    parts = [line for one in blocks(page, Prose) for line in one.paragraphs]
    parts += [one.words for one in blocks(page, Chart)]
    return "\n".join([*page.lead, *page.notes, *parts])


def compile_all(page: Page) -> int:
    """Compile every plot as the browser does, and return how many there are."""
    plots = blocks(page, Chart)
    for plot in plots:
        text = json.dumps(plot.spec, allow_nan=False)
        vega = vl_convert.vegalite_to_vega({**json.loads(text), "width": 600})
        assert vega["marks"]
    return len(plots)


class Reader(HTMLParser):
    """Tags and texts of a page; scripts' own text is not text of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: Page) -> Reader:
    reader = Reader()
    reader.feed(render(page))
    return reader


def test_every_row_of_an_evaluation_is_told_with_n_and_intervals(evaluation: Evaluation) -> None:
    shown = table(as_page(evaluation), "Fixed arms")
    assert len(shown.rows) == len(evaluation.rows)
    for cells, row in zip(shown.rows, evaluation.rows, strict=True):
        assert cells[0] == row.name
        assert cells[1] == f"{row.accuracy:.3f} [{row.ci_low:.3f}, {row.ci_high:.3f}]"
        assert cells[2] == f"{row.n:,}"
        difference = (row.accuracy_difference, row.difference_low, row.difference_high)
        assert cells[3] == "{:+.3f} [{:+.3f}, {:+.3f}]".format(*difference)
        assert cells[4] == f"{row.mean_tokens:,.1f}"
        assert cells[6] == f"{row.tokens_saved:.1%}"
    assert {shown.rows[place][0] for place in shown.marked} == {
        "router",
        "router (most accurate)",
        "router (certified)",
    }


def test_the_claim_tells_what_is_guaranteed_of_what(evaluation: Evaluation) -> None:
    main = replace(
        evaluation.headline,
        is_certified=True,
        tokens_saved=0.5,
        tokens_saved_low=0.4,
        tokens_saved_high=0.6,
        accuracy_difference=0.004,
        ci_low=-0.008,
        tradeoff=1e-4,
        choice="router at 0.0001",
    )
    objectives = (Objective.trade(1e-4),)
    told = words(as_page(replace(evaluation, headline=main, objectives=objectives)))
    assert f"50.0% [40.0%, 60.0%] of the tokens of {main.reference} are saved" in told
    assert "router at 0.0001 (one point of accuracy is worth 100 tokens)" in told
    assert "Guarantee: at a confidence of 0.95" in told
    assert "at most 1 point on questions like these" in told
    assert "+0.40 points, one-sided lower bound -0.80" in told
    assert f"n = {main.n:,} questions in {main.n_groups:,} groups" in told


def test_nothing_certified_is_said_in_words_and_as_a_warning(evaluation: Evaluation) -> None:
    main = replace(evaluation.headline, is_certified=False)
    page = as_page(replace(evaluation, headline=main))
    first = page.sections[0].blocks[0]
    assert isinstance(first, Prose)
    assert first.is_warning
    assert first.paragraphs[0].startswith("No cheaper choice than toy:")
    assert "Guarantee" not in words(page)
    assert not any(row["marked"] for row in chart(page, "Accuracy over gen").spec["data"]["values"])


def test_headlines_are_told_with_what_is_optimistic(evaluation: Evaluation) -> None:
    shown = table(as_page(evaluation), "Tokens saved against")
    own = next(row for row in shown.rows if "each fold chose" in row[0])
    one = evaluation.headline_own_objective
    assert own[2].startswith(f"{one.tokens_saved:.1%} [{one.tokens_saved_low:.1%}, ")
    assert own[3:5] == (f"{100 * one.accuracy_difference:+.2f}", f"{100 * one.ci_low:+.2f}")
    assert own[6] == f"{one.n:,}"
    assert sum("optimistic" in row[0] for row in shown.rows) == 2


def test_the_curve_and_its_band_are_those_of_the_evaluation(evaluation: Evaluation) -> None:
    plot = chart(as_page(evaluation), "Accuracy over generated tokens")
    measured = {(row.mean_tokens, row.accuracy): row for row in evaluation.curve}
    curve = drawn(plot, "router, every trade-off")
    assert {(row["x"], row["y"]) for row in curve} == set(measured)
    for row in curve:
        one = measured[row["x"], row["y"]]
        assert (row["low"], row["high"]) == (one.ci_low, one.ci_high)
        assert row["n"] == str(evaluation.n)
    hull = drawn(plot, "fixed arms, mixed at random")
    assert {(row["x"], row["y"]) for row in hull} >= set(evaluation.hull)
    arms = drawn(plot, "fixed arms")
    assert {row["name"]: row["y"] for row in arms} == {
        row.name: row.accuracy for row in evaluation.rows[: evaluation.n_arms]
    }
    assert {row["label"] for row in arms} == {"direct", "reasoning@64", "reasoning@max"}
    n_rows = len(plot.table.rows)
    assert n_rows == len(curve) + len(hull) + len(evaluation.rows)


def test_flops_are_drawn_for_every_row_that_has_them(evaluation: Evaluation) -> None:
    plot = chart(as_page(evaluation), "Accuracy over FLOPs")
    values = plot.spec["data"]["values"]
    known = {row.name: row.mean_flops for row in evaluation.rows if row.mean_flops is not None}
    assert {row["name"]: row["x"] for row in values} == known
    assert "judged in tokens alone" in plot.words


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_unknown_flops_are_said_to_be_unknown(
    evaluation: Evaluation, unknown: float | None
) -> None:
    rows = tuple(replace(row, mean_flops=unknown) for row in evaluation.rows)
    page = as_page(replace(evaluation, rows=rows))
    assert not any("FLOPs" in one.title for one in blocks(page, Chart))
    assert "FLOPs are not known" in words(page)
    assert {row[5] for row in table(page, "Fixed arms").rows} == {""}
    some = (replace(evaluation.rows[0], mean_flops=unknown), *evaluation.rows[1:])
    partly = as_page(replace(evaluation, rows=some))
    assert "FLOPs of toy:direct are not known." in words(partly)
    compile_all(partly)


def test_numbers_that_are_not_known_are_left_out_of_plots_but_not_of_tables(
    evaluation: Evaluation,
) -> None:
    odd = replace(evaluation.rows[0], accuracy=math.nan, ci_low=math.nan, mean_tokens=math.inf)
    page = as_page(replace(evaluation, rows=(odd, *evaluation.rows[1:])))
    plot = chart(page, "Accuracy over generated tokens")
    assert "1 of" in plot.words
    assert odd.name not in {row["name"] for row in plot.spec["data"]["values"]}
    assert odd.name in {row[0] for row in plot.table.rows}
    assert "nan" not in json.dumps([one.rows for one in blocks(page, Table)])
    compile_all(page)
    render(page)


def test_reliability_is_drawn_bin_by_bin_with_n_and_intervals(evaluation: Evaluation) -> None:
    page = as_page(evaluation)
    together, *arms = evaluation.reliability
    plot = chart(page, "All arms together")
    values = plot.spec["data"]["values"]
    for row, one in zip(values, together.bins, strict=True):
        assert (row["y"], row["low"], row["high"]) == (one.accuracy, one.ci_low, one.ci_high)
        assert row["n"] == f"{one.n:,}"
        assert row["shown_x"] == f"{one.p:.3f}"
    of_arms = chart(page, "Arms 1 to 3 of 3")
    assert len(of_arms.table.rows) == sum(len(one.bins) for one in arms)
    errors = table(page, "Calibration error")
    assert errors.rows[0] == (
        "all arms",
        f"{together.ece:.3f}",
        f"{together.ece_of_noise:.3f}",
        f"{together.ece_of_noise_high:.3f}",
        f"{together.n:,}",
    )


def test_an_evaluation_without_reliability_says_so(evaluation: Evaluation) -> None:
    empty = tuple(replace(one, bins=()) for one in evaluation.reliability)
    page = as_page(replace(evaluation, reliability=empty))
    assert "No probability has an outcome" in words(page)


def test_undefined_metrics_are_told_with_their_reason(evaluation: Evaluation) -> None:
    metrics = replace(
        evaluation.metrics,
        apgr=None,
        cpt50=None,
        notes={"apgr": "the gap is noise", "cpt50": "the gap is noise"},
    )
    page = as_page(replace(evaluation, metrics=metrics))
    told = words(page)
    assert "Not defined, as the gap is noise: APGR over tokens; CPT(50%)" in told
    rows = {row[0]: row for row in table(page, "Metrics").rows}
    assert rows["APGR over tokens"][1] == ""
    value, (low, high) = metrics.aiq, metrics.intervals["aiq"] or (0.0, 0.0)
    assert rows["AIQ: mean accuracy over tokens"][1] == f"{value:.3f} [{low:.3f}, {high:.3f}]"


def test_hints_are_told_with_what_each_adds(evaluation: Evaluation) -> None:
    shown = table(as_page(evaluation), "What each hint")
    first, second = evaluation.hints[:2]
    assert shown.rows[0][:3] == (first.name, f"{first.log_loss:.4f}", "")
    assert shown.rows[1][2].startswith(f"{second.log_loss_gain:+.4f} [{second.gain_low:+.4f}, ")


def test_remarks_say_what_is_not_judged(evaluation: Evaluation) -> None:
    told = words(
        as_page(
            replace(evaluation, left_out=("a:b",), n_incomplete=7, n_errors=5, n_seen=3, n_arms=3)
        )
    )
    assert "hardly a question has an answer of all arms: a:b" in told
    assert "7 questions have no answer of some arm" in told
    assert "5 requests ended in errors of infrastructure" in told
    assert "fitted on 3 of these questions" in told
    assert "some of which it was fitted on" in told


@pytest.mark.parametrize("n_questions", [2, 5, 12])
def test_tiny_evaluations_are_drawn(n_questions: int) -> None:
    result = evaluate(draw_records(n_questions), n_folds=2, n_resamples=100)
    page = as_page(result)
    assert compile_all(page) >= 2
    assert "nan" not in json.dumps([one.rows for one in blocks(page, Table)]).lower()
    render(page)


def test_an_evaluation_of_one_arm_is_drawn() -> None:
    page = as_page(evaluate(draw_records(20, policies=("direct",)), n_folds=2, n_resamples=100))
    assert compile_all(page) >= 2
    assert table(page, "Fixed arms").rows[0][0] == "toy:direct"
    assert sum("p against what happened" in one.title for one in blocks(page, Chart)) == 1


@given(
    corners=st.lists(
        st.tuples(st.floats(0.1, 1e6), st.floats(0.0, 1.0)),
        min_size=1,
        max_size=6,
        unique_by=lambda c: c[0],
    ),
    cost=st.floats(0.01, 1e7),
)
def test_mixing_is_linear_between_corners_and_flat_beyond(
    corners: list[tuple[float, float]], cost: float
) -> None:
    hull = sorted(corners)
    xs, ys = zip(*hull, strict=True)
    # Both interpolate linearly; rounding differs.
    assert _on_hull(hull, cost) == pytest.approx(float(np.interp(cost, xs, ys)), abs=1e-9)
    places = _mixtures(hull)
    assert set(xs) <= set(places)
    assert places == sorted(places)
    assert min(places) == xs[0]
    assert max(places) == xs[-1]


def test_a_router_page_tells_what_the_router_is(page: Page, router: Router) -> None:
    told = facts(page)
    assert told["arms"] == ", ".join(arm.name for arm in router.arms)
    assert told["task types"] == "general-oe, math-oe"
    assert told["questions"] == f"{N} in {N} groups: {N} fitted on, 0 held back for the guarantee"
    assert told["models are reached"] == "toy by fake"
    assert told["US dollars per million tokens"] == "toy: 0.1 read, 0.4 generated"
    assert told["calibration of p"] == router.describe()["calibration"]
    blends = table(page, "Blends")
    chosen = {blends.rows[place][0] for place in blends.marked}
    used = [each for each in router.describe()["contenders"] if each["is_chosen"]]
    assert chosen == {" + ".join(used[0]["learners"])}
    assert dict(page.sources)["artifact_id"] == router.artifact_id
    assert dict(page.sources)["created"] == CREATED.isoformat()
    assert "Nothing is guaranteed" in words(page)


def test_shares_of_decisions_are_those_of_the_replay(page: Page, router: Router) -> None:
    replay = router.replay()
    chosen = [(d.arm.name, kind) for d, kind in _decided(replay)]
    shown = table(page, "Share of decisions")
    heads = [column.name for column in shown.columns]
    for row in shown.rows:
        for head, cell in zip(heads[1:], row[1:], strict=True):
            kind, _, n_told = head.partition(", n = ")
            part = [arm for arm, other in chosen if kind in {"all questions", other}]
            assert len(part) == int(n_told)
            k = part.count(row[0])
            low, high = wilson_interval(k, len(part))
            assert cell == f"{k / len(part):.3f} [{low:.3f}, {high:.3f}]"
    bars = chart(page, "Which arm is asked").spec["data"]["values"]
    for kind in ("all questions", "math-oe", "general-oe"):
        assert sum(row["y"] for row in bars if row["x"] == kind) == pytest.approx(1.0)


def _decided(replay: Any) -> Iterator[tuple[Any, str]]:
    pairs = zip(replay.decisions, replay.task_types, strict=True)
    return ((decision, kind) for decision, kind in pairs if decision is not None)


def test_what_routing_brings_is_told_as_expected_and_as_measured(
    page: Page, router: Router, records: RECORDS
) -> None:
    replay = router.replay()
    names = [arm.name for arm in router.arms]
    right = {(one.question_id, f"toy:{one.policy}"): one.outcome == "correct" for one in records}
    tokens = {(one.question_id, f"toy:{one.policy}"): one.completion_tokens or 0 for one in records}
    rows = {row[0]: row for row in table(page, "Each fixed arm").rows}
    ways = {name: dict.fromkeys(replay.question_ids, name) for name in names}
    decided = zip(replay.question_ids, replay.decisions, strict=True)
    ways["router, default objective"] = {key: d.arm.name for key, d in decided if d is not None}
    for name, choice in ways.items():
        hits = [right[pair] for pair in choice.items()]
        spent = [tokens[pair] for pair in choice.items()]
        low, high = wilson_interval(sum(hits), N)
        p = [
            replay.p_correct[place, names.index(choice[key])]
            for place, key in enumerate(replay.question_ids)
        ]
        row = rows[name]
        assert row[1:3] == (f"{np.mean(p):.3f}", str(N))
        assert row[3:5] == (f"{np.mean(hits):.3f} [{low:.3f}, {high:.3f}]", str(N))
        assert row[6] == f"{np.mean(spent):,.1f}"
    plot = chart(page, "Accuracy over generated tokens")
    assert {row["name"] for row in drawn(plot, "fixed arms, measured")} == set(names)
    own = [row for row in drawn(plot, "router, measured") if row["marked"]]
    assert [row["shown_y"] for row in own] == [rows["router, default objective"][3]]
    assert len(drawn(plot, "router, measured")) == len(drawn(plot, "router, expected")) > 3
    assert "low" not in drawn(plot, "router, expected")[0]
    expected = rows["router, default objective"][1]
    assert any(expected in line and f"n = {N}" in line for line in page.lead)


def test_cost_in_another_unit_has_a_plot_of_its_own(page: Page) -> None:
    plot = chart(page, "Accuracy over expected FLOPs")
    assert "cost is expected" in plot.words
    assert table(page, "Each fixed arm").columns[-1].name == "FLOPs expected"


def test_examples_have_reasons_and_p_but_no_text_of_a_question(
    page: Page, records: RECORDS, router: Router
) -> None:
    examples = [one for one in section(page, "Examples").blocks if isinstance(one, Facts)]
    chosen = {d.arm.name for d, _ in _decided(router.replay())}
    assert {value.partition(": ")[0] for _, value in examples[0].rows} == chosen
    for _, value in examples[0].rows:
        assert re.search(r"p \d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\], n = \d+", value)
        assert "Why: p minus the price of the cost is highest" in value
        assert re.search(r"measured: [01]\.00 right", value)
    html = render(page)
    assert not [one.prompt for one in records if one.prompt in html]


@pytest.mark.parametrize("kind", ["page", "bundled"])
def test_every_plot_of_a_router_compiles(kind: str, request: pytest.FixtureRequest) -> None:
    page: Page = request.getfixturevalue(kind)
    assert compile_all(page) == 3
    assert read(page).tags["figure"] == 3


def test_every_plot_of_an_evaluation_compiles(evaluation: Evaluation) -> None:
    assert compile_all(as_page(evaluation)) == 4


def test_decisions_that_look_first_are_told_apart(bundled: Page) -> None:
    rows = {row[0]: row for row in table(bundled, "Each fixed arm").rows}
    whole = rows["router, default objective"]
    alone = rows["router, default objective: by a single call"]
    first = rows["router, default objective: looks first"]
    assert int(alone[2].replace(",", "")) + int(first[2]) == int(whole[2].replace(",", ""))
    assert whole[3] == first[3] == ""
    assert "[" in alone[3]
    assert "the arm is a first one" in words(bundled)
    assert "that are decided by a single call" in words(bundled)
    assert table(bundled, "First answers").rows


def test_a_router_of_one_arm_has_nothing_to_decide(tmp_path: Path) -> None:
    page = fit_page(draw_records(60, policies=("direct",)), tmp_path)
    assert "There is one arm only: nothing is decided." in page.notes
    assert not [one for one in blocks(page, Chart) if one.title.startswith("Accuracy")]
    assert [row[0] for row in table(page, "Each fixed arm").rows] == [
        "toy:direct",
        "router, default objective",
    ]
    assert page.lead[0].startswith("Chooses among 1 arm of 1 model")
    compile_all(page)
    render(page)


@pytest.mark.parametrize("n_questions", [1, 2, 20])
def test_a_router_of_few_questions_says_that_nothing_is_out_of_fold(
    n_questions: int, tmp_path: Path
) -> None:
    page = fit_page(draw_records(n_questions), tmp_path)
    told = " ".join(page.notes)
    assert "too few questions or groups for folds" in told
    assert "fewer than 50 questions" in told
    assert "not out of fold" in words(page)
    assert "nan" not in json.dumps([one.rows for one in blocks(page, Table)]).lower()
    compile_all(page)
    render(page)


def test_arms_on_different_questions_are_not_drawn_as_a_curve(tmp_path: Path) -> None:
    policies = ("direct", "reasoning@64")
    # Every question was asked of one arm alone.
    apart = [
        one
        for one in draw_records(120, policies=policies)
        if policies[int(one.question_id[1:]) % 2] == one.policy
    ]
    page = fit_page(apart, tmp_path)
    assert "rows must not be compared" in words(page)
    plot = chart(page, "Accuracy over generated tokens")
    assert not drawn(plot, "router, measured")
    assert drawn(plot, "router, expected")
    assert "No curve was measured." in plot.words
    assert {row[4] for row in table(page, "Each fixed arm").rows[:2]} == {"60"}
    compile_all(page)


def test_a_router_that_measured_no_flops_is_told_in_tokens(tmp_path: Path) -> None:
    records = [replace(one, flops=None, seconds=0.0) for one in draw_records(60)]
    page = fit_page(records, tmp_path)
    assert not [one for one in blocks(page, Chart) if "FLOPs" in one.title]
    assert "tokens" in facts(page)["objective"]
    assert len(table(page, "Each fixed arm").columns) == 7


def test_questions_without_an_admissible_arm_are_counted(tmp_path: Path) -> None:
    # Of these costs some questions' cheapest are above, some below.
    records = [
        replace(one, completion_tokens=4 if "friend" in one.prompt else 400)
        for one in draw_records(120)
    ]
    page = fit_page(records, tmp_path, objective=Objective.within(40.0, "tokens"))
    replay = Router.load(tmp_path / "fitted").replay()
    n = replay.decisions.count(None)
    assert 0 < n < 120
    assert f"On {n} of 120 questions no arm satisfies the objective" in " ".join(page.notes)
    assert f"all questions, n = {120 - n}" in [c.name for c in table(page, "Share").columns]
    compile_all(page)


def test_groups_that_the_artifact_does_not_keep_are_a_caveat(tmp_path: Path) -> None:
    grouped = [replace(one, group=f"g{int(one.question_id[1:]) // 4}") for one in draw_records(120)]
    page = fit_page(grouped, tmp_path)
    assert "The 120 questions come in 30 groups" in " ".join(page.notes)


def test_a_guarantee_is_told_with_what_it_rests_on(tmp_path: Path) -> None:
    page = fit_page(draw_records(300), tmp_path, max_loss=0.2, confidence=0.9)
    promise = Router.load(tmp_path / "fitted").guarantee
    assert promise is not None
    told = words(page)
    assert "Guarantee: at a confidence of 0.9 the default objective loses at most 20 points" in told
    assert f"against {promise.reference}" in told
    assert f"n = {promise.n_calibration} questions in {promise.n_groups} groups held back" in told
    assert f"p = {promise.p_value:.3g}" in told
    assert promise.cost is not None
    assert f"{promise.cost.saved:.1%} saved" in told
    assert "The guarantee was tested on other questions" in told


HOSTILE = '<script>alert("x")</script><img src=q onerror=alert(1)>&amp;\x1b[31m\u202egnp.exe'


def test_hostile_names_reach_the_page_only_as_text(tmp_path: Path) -> None:
    records = [
        replace(
            one, model=HOSTILE, task=f"{one.task}{HOSTILE}", question_id=HOSTILE + one.question_id
        )
        for one in draw_records(40)
    ]
    routed = fit_page(records, tmp_path)
    judged = as_page(evaluate(records, n_folds=2, n_resamples=100))
    for page in (routed, judged):
        compile_all(page)
        html, reader = render(page), read(page)
        assert reader.tags["img"] == 0
        # Data of each plot, Vega, and our own few lines.
        assert reader.tags["script"] == len(blocks(page, Chart)) + 2
        assert "<script>alert" not in html
        assert "<img src=q" not in html
        assert "\x1b" not in html
        assert "onerror=alert(1)" in reader.text


def test_a_path_without_a_router_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no artifact"):
        router_page(tmp_path / "none")
