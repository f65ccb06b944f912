"""The printed answer of `advisor recommend`, from documents that lie in tests/golden.

`NAME.json` is an answer of the engine, and `NAME.100.txt` and the like are how it is printed. The
option --update-golden asks the engine again and writes all of them; without it the engine is not
asked, so that what is tested here is the page alone.
"""

import io
import json
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import advisor as advisor_package
from advisor import Conflict, Method, Recommendation, recommend
from advisor.cli._output import harmless
from advisor.cli._own_cells import load_own_cells
from advisor.cli._page import Page, wrap_command
from advisor.cli._recommend_request import Flags, read_request
from advisor.cli._recommend_views import Detail, recommendation_page, show_recommendation
from advisor.cli._recommend_words import export_command, flops
from advisor.cost import Gpus
from advisor.export import default_base_model
from calibration.published import load_conflicts
from policies import InvalidInputError, ModelSize

Run = Callable[..., Any]
FOLDER = Path(__file__).parents[2] / "golden" / "recommend_views"
OWN = """task_type,size,recipe,task,accuracy,n,mean_tokens
math-oe,3B,ift,exam,0.412,740,210
math-oe,3B,reasoning,exam,0.524,740,2300
math-oe,3B,ift_then_reasoning@0.25,exam,0.507,740,1900
math-oe,0.5B,ift,exam,0.110,740,190
math-oe,0.5B,reasoning,exam,0.095,740,3100
"""
QUESTIONS: dict[str, dict[str, Any]] = {
    "abstention": {
        "size": "1.5B",
        "task": "contract-qa",
        "answer_format": "oe",
        "corpus": "own",
    },
    "any-size": {
        "size": "any",
        "task": "general-oe",
        "train_budget": "3e19",
        "traffic": "100k",
        "objective": "total",
    },
    "have-reasoning": {"size": "7B", "task": "math-oe", "have": "reasoning", "pass_rate": 0.3},
    "no-teacher": {"size": "3B", "task": "math-oe", "teacher": "none", "pass_rate": 0.3},
    "own-cells": {"size": "3B", "task": "math-oe"},
    "sequential": {"size": "3B", "task": "math-oe", "corpus": "general", "gpu": "4xa100"},
}
NAMES = sorted(QUESTIONS)
WIDTHS = (60, 80, 100, 120)
MOST_LINES = 110
MOST_LINES_OF_ANY_SIZE = 120
"""Of the usual page at 100 columns: what can be read at once."""
DETAILS: tuple[Detail, ...] = ("short", "usual", "full")
FORMS: dict[str, tuple[int, Detail]] = {
    "100": (100, "usual"),
    "80": (80, "usual"),
    "short": (100, "short"),
    "full": (100, "full"),
}
USUAL = (
    "VERDICT",
    "WHY",
    "OPTIONS",
    "DIFFER",
    "COSTS",
    "NEEDS",
    "PLAN",
    "EVIDENCE",
    "WARNINGS",
    "CONFLICTS",
    "CHANGES",
    "MEASURE",
    "METHODS",
    "ASSUMED",
    "MORE",
)
FULL = (
    "VERDICT",
    "WHY",
    "OPTIONS",
    "COSTS",
    "DIFFER",
    "NEEDS",
    "PLAN",
    "EVIDENCE",
    "WARNINGS",
    "CONFLICTS",
    "CHANGES",
    "MEASURE",
    "METHODS",
    "ASSUMED",
    "EXPORT",
)


def from_engine(name: str, folder: Path) -> Recommendation:
    """Ask the engine."""
    table = folder / "mine.csv"
    table.write_text(OWN, encoding="utf-8")
    is_own = name == "own-cells"
    cells = load_own_cells(table, task_type="math-oe").cells if is_own else ()
    return recommend(read_request(Flags(**QUESTIONS[name])), cells=cells)


def document(name: str) -> Recommendation:
    return Recommendation.from_json(json.loads((FOLDER / f"{name}.json").read_text("utf-8")))


def printed(answer: Recommendation, width: int = 100, *, detail: Detail = "usual") -> list[str]:
    return recommendation_page(answer, width=width, detail=detail).lines


def flat(text: str) -> str:
    return " ".join(text.split())


def sections(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    heading = ""
    for line in lines:
        match = re.match(r"[A-Z]{3,9}(?= )", f"{line} ")
        heading = match[0] if match else heading
        found.setdefault(heading, []).append(line[10:] if match else line)
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", FORMS)
def test_the_printed_answer_is_as_agreed(
    name: str, form: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if request.config.getoption("--update-golden"):
        answer = json.dumps(from_engine(name, tmp_path).to_json(), indent=2)
        (FOLDER / f"{name}.json").write_text(f"{answer}\n", encoding="utf-8")
    width, detail = FORMS[form]
    lines = printed(document(name), width, detail=detail)
    text = "".join(f"{line}\n" for line in lines)
    path = FOLDER / f"{name}.{form}.txt"
    if request.config.getoption("--update-golden"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text("utf-8") == text


def test_all_kinds_of_answers_are_among_the_examples() -> None:
    answers = {name: document(name) for name in NAMES}
    assert answers["abstention"].verdict.action == "abstain"
    assert answers["abstention"].verdict.fallback is not None
    assert answers["any-size"].request.size is None
    assert answers["have-reasoning"].request.have == "reasoning"
    assert answers["no-teacher"].request.teacher == "none"
    assert any(item.grade == "measured" for item in answers["own-cells"].evidence)
    assert answers["sequential"].verdict.action == "sequential"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("detail", DETAILS)
def test_lines_fit_the_width_and_are_plain_ascii(name: str, width: int, detail: Detail) -> None:
    for line in printed(document(name), width, detail=detail):
        assert line.isascii()
        assert line == line.rstrip()
        is_command = "--" in line or line.lstrip().startswith("advisor ")
        assert len(line) <= width or is_command, line


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("detail", "order"), [("usual", USUAL), ("full", FULL)])
def test_the_verdict_comes_first_with_its_confidence(
    name: str, detail: Detail, order: tuple[str, ...]
) -> None:
    answer = document(name)
    lines = printed(answer, detail=detail)
    word = answer.verdict.confidence + ", leaning" * answer.verdict.is_leaning
    assert lines[0].startswith(f"VERDICT   [{word}] ")
    headings = [heading for heading in sections(lines) if heading]
    assert headings == [heading for heading in order if heading in headings]
    assert {"VERDICT", "OPTIONS", "COSTS", order[-1]} <= set(headings)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_part_of_the_document_is_printed_in_full(name: str, width: int) -> None:
    answer = document(name)
    page = flat(" ".join(printed(answer, width, detail="full")))
    said = [
        answer.verdict.text,
        answer.cost_formula,
        *(reason.text for reason in answer.verdict.reasons),
        *(stage.title for stage in answer.plan),
        *(conflict.text for conflict in answer.conflicts),
        *(warning.text for warning in answer.warnings),
        *(change.condition for change in answer.changes),
        *(one.text for one in answer.next_measurements),
        *(method.text for method in answer.methods),
        *(one.text for one in answer.assumptions),
        *(note for option in answer.options for note in option.notes),
    ]
    for text in said:
        assert flat(text) in page
    for item in answer.evidence:
        # An id longer than a line is broken, as it has no blanks.
        assert item.id.replace(" ", "") in page.replace(" ", "")
        assert f"{100 * item.value:.1f}%" in page


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_that_decides_is_left_out_of_the_usual_page(name: str, width: int) -> None:
    answer = document(name)
    page = flat(" ".join(printed(answer, width)))
    first, others = answer.next_measurements[:1], answer.next_measurements[1:]
    said = [
        answer.verdict.text,
        *(reason.text for reason in answer.verdict.reasons[:2]),
        *(reason.text for reason in answer.verdict.reasons[-3:]),
        *(note for option in answer.options for note in option.notes),
        *(text for option in answer.options for text in option.why_not),
        *(stage.title for stage in answer.plan),
        *(warning.text for warning in answer.warnings),
        *(change.condition for change in answer.changes),
        *(one.text for one in first),
        *(" ".join(one.text.split()[:3]) for one in others),
        *(one.method for one in answer.methods),
    ]
    for text in said:
        assert flat(text) in page
    for one in answer.differences:
        assert f"{one.first}-{one.second} {100 * one.value:+.1f}" in page
    for item in answer.evidence:
        assert item.id in page.replace(" ", "")
        assert f"{100 * item.value:.1f}% ({item.grade}" in page
    taken = flat(" ".join(sections(printed(answer, width))["ASSUMED"]))
    for one in answer.assumptions:
        assert one.is_given or (one.name in taken and one.value in taken)


@pytest.mark.parametrize("name", NAMES)
def test_a_published_conflict_is_told_by_what_it_means_and_by_its_id(
    advisor: Run, name: str
) -> None:
    answer = document(name)
    page = flat(" ".join(printed(answer)))
    known = {one.id: one for one in load_conflicts()}
    for conflict in answer.conflicts:
        published = known.get(conflict.id)
        if published is None:
            assert flat(conflict.text) in page
        else:
            assert flat(f"{conflict.id}: {published.meaning}") in page
            shown = advisor("tables", "show", conflict.id)
            assert shown.code == 0
            assert conflict.id in shown.out


def test_a_conflict_that_is_not_published_is_told_whole() -> None:
    answer = document("sequential")
    own = Conflict(id="conflicts/own-against-general", text="yours points elsewhere", sources=())
    lines = printed(answer.model_copy(update={"conflicts": (own,)}))
    assert "CONFLICTS - yours points elsewhere" in lines


@pytest.mark.parametrize("name", NAMES)
def test_the_usual_page_is_about_half_of_the_full_one(name: str) -> None:
    answer = document(name)
    usual, full = (len(printed(answer, detail=detail)) for detail in ("usual", "full"))
    assert usual <= (MOST_LINES if answer.request.size else MOST_LINES_OF_ANY_SIZE)
    assert usual < 0.7 * full


def test_a_command_of_the_plan_is_not_printed_again_by_what_to_measure() -> None:
    answer = document("sequential")
    step = answer.plan[-1]
    assert step.command is not None
    one = answer.next_measurements[0].model_copy(update={"commands": ("advisor x", step.command)})
    lines = printed(answer.model_copy(update={"next_measurements": (one,)}))
    measure = flat(" ".join(sections(lines)["MEASURE"]))
    assert "advisor x" in measure
    assert f"(then the command of step {len(answer.plan)} above)" in measure
    assert "advisor calibrate" not in measure


def test_methods_that_are_not_for_now_are_named_only() -> None:
    answer = document("no-teacher")
    lines = sections(printed(answer))["METHODS"]
    called = [one.method for one in answer.methods if one.status in {"advised", "later"}]
    assert [line.lstrip(" -").split(",")[0] for line in lines[: len(called)]] == called
    assert "impossible: distillation" in flat(" ".join(lines))
    assert all("..." in line or "advised" in line for line in lines if line)


@pytest.mark.parametrize(("price", "is_assumed"), [(None, True), (2.5, False)])
@pytest.mark.parametrize("detail", DETAILS)
def test_money_says_that_its_price_is_assumed(
    price: float | None, is_assumed: bool, detail: Detail
) -> None:
    answer = document("sequential")
    request = replace(answer.request, gpu_price=price)
    page = " ".join(printed(answer.model_copy(update={"request": request}), detail=detail))
    assert ("USD*" in page) == is_assumed
    assert ("*: $2 per A100-SXM-80GB-hour, assumed round figure" in page) == is_assumed


def test_a_price_from_python_is_not_called_assumed() -> None:
    answer = document("sequential")
    request = replace(answer.request, gpus=Gpus.parse("4xa100", usd_per_hour=1.2))
    assert "USD*" not in " ".join(printed(answer.model_copy(update={"request": request})))


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_has_no_number(name: str) -> None:
    answer = document(name)
    table = [line.split() for line in sections(printed(answer, 120))["OPTIONS"]]
    rows = {row[1] if row[0] == ">" else row[0]: " ".join(row) for row in table if row}
    for option in answer.options:
        row = rows[option.id]
        assert str(option.size) in row
        if option.accuracy.value is None:
            assert "not known" in row
            assert "[" not in row
            assert " rule " in f"{row} "
        else:
            assert f"{100 * option.accuracy.value:.1f} [" in row
            assert option.accuracy.basis in row


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_commands_can_be_copied(name: str, width: int) -> None:
    answer = document(name)
    lines = printed(answer, width)
    joined: list[str] = []
    continued = False
    for line in lines:
        text = line[10:].strip() if line[:1].isupper() else line.strip()
        continued = continued and bool(joined)
        if continued:
            joined[-1] += f" {text.removesuffix(chr(92))}"
        else:
            joined.append(text.removesuffix("\\"))
        continued = text.endswith("\\")
    copied = {flat(text) for text in joined}
    commands = [stage.command for stage in answer.plan if stage.command]
    commands += [text for one in answer.next_measurements[:1] for text in one.commands]
    # A model that was measured already is kept: there is nothing to run.
    assert commands or name == "own-cells"
    for command in commands:
        assert flat(command) in copied


@pytest.mark.parametrize("name", NAMES)
def test_short_is_verdict_options_and_plan(name: str) -> None:
    answer = document(name)
    short = sections(printed(answer, detail="short"))
    assert set(short) <= {"VERDICT", "OPTIONS", "COSTS", "PLAN"}
    whole = sections(printed(answer))
    for heading, lines in short.items():
        assert "".join(lines) == "".join(whole[heading])


@pytest.mark.parametrize("name", NAMES)
def test_a_chosen_row_is_marked_and_exported(name: str) -> None:
    answer = document(name)
    lines = printed(answer)
    marked = [line for line in lines if line.startswith("  > ")]
    chosen = answer.recommended
    if chosen is None:
        assert not marked
        assert "EXPORT" in sections(printed(answer, detail="full"))
        fallback = answer.option(answer.verdict.fallback)
        assert fallback is None or f"trained today, row {fallback.id}" in flat(" ".join(lines))
    else:
        assert {line.split()[1] for line in marked} == {chosen.id}
        command = flat(export_command(answer, chosen)).split(" --")[1]
        assert command in flat(" ".join(printed(answer, detail="full")))


@pytest.mark.parametrize("size", ["0.5B", "1.5B", "2B", "3B", "7B", "8B", "14B", "32B"])
def test_an_export_asks_for_a_base_model_where_there_is_no_usual_one(size: str) -> None:
    answer = document("sequential")
    option = answer.options[0].model_copy(update={"size": ModelSize.parse(size)})
    try:
        default_base_model(option.size)
        is_known = True
    except InvalidInputError:
        is_known = False
    assert ("--base-model" not in export_command(answer, option)) == is_known


@pytest.mark.parametrize(
    ("method", "said"),
    [("grpo", "PAIRS"), ("tops", "TOPS"), ("iter-sft", "TOPS"), ("dpo", "PREFERENCES")],
)
def test_other_methods_are_exported_by_name(method: str, said: str) -> None:
    answer = document("sequential")
    option = answer.options[2]
    recipe = option.recipe.model_copy(update={"method": Method(method)})
    command = export_command(answer, option.model_copy(update={"recipe": recipe}))
    assert f"--method {method} " in command
    assert "--ratio" not in command
    assert f"--data {said}.jsonl" in command


def test_an_export_goes_on_from_the_model_that_is_there() -> None:
    answer = document("sequential")
    request = replace(answer.request, have="ift", corpus=None, gpus=None)
    command = export_command(answer.model_copy(update={"request": request}), answer.options[0])
    assert "--base-model YOUR-MODEL" in command
    assert "--corpus" not in command
    assert "--gpu" not in command


def test_texts_cannot_steer_the_terminal() -> None:
    answer = document("sequential")
    verdict = answer.verdict.model_copy(update={"text": "train \x1b[2J\u202e it"})
    lines = printed(answer.model_copy(update={"verdict": verdict}))
    assert "\x1b" not in "".join(lines)
    assert "\\x1b[2J\\u202e" in lines[0]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_colour_unless_it_is_unwanted(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = document("sequential")

    def shown(**environment: str) -> str:
        screen = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", screen)
            for name in ("NO_COLOR", "TERM", "COLORTERM", "FORCE_COLOR", "TTY_COMPATIBLE"):
                patch.delenv(name, raising=False)
            for name, value in {"TERM": "xterm-256color", "COLUMNS": "90", **environment}.items():
                patch.setenv(name, value)
            show_recommendation(answer)
        return screen.getvalue()

    page = recommendation_page(answer, width=90, is_drawn=True)
    plain = "".join(f"{line}\n" for line in page.lines)
    coloured = shown()
    assert coloured != plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    assert shown(NO_COLOR="1") == plain
    assert shown(TERM="dumb") == plain


@pytest.mark.parametrize(("columns", "width"), [("40", 60), ("80", 80), ("300", 120)])
def test_the_page_is_as_wide_as_the_terminal_within_reason(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    columns: str,
    width: int,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    show_recommendation(document("sequential"))
    assert capsys.readouterr().out.splitlines() == printed(document("sequential"), width)


def test_an_abstention_is_printed_whole_and_exits_with_6(
    advisor: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = document("abstention")

    def engine(*_: object, **__: object) -> Recommendation:
        return answer

    monkeypatch.setitem(vars(advisor_package), "recommend", engine)
    result = advisor("recommend", "--size", "3B", "--task", "math-oe")
    assert result.code == 6
    assert result.out.splitlines() == printed(answer)
    assert "measure" in result.err
    as_json = advisor("recommend", "--size", "3B", "--task", "math-oe", "--json")
    assert as_json.code == 6
    assert as_json.json() == answer.to_json()


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (4.2e18, "4.2e18"), (5.6e8, "5.6e8"), (9.96e9, "1.0e10"), (0.0, "0")],
)
def test_flops_are_written_short(value: float | None, text: str) -> None:
    assert flops(value) == text


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=200)


@given(text=WORDS, bullet=st.sampled_from(["", "- ", "12. "]), width=st.integers(60, 120))
def test_any_text_fits_and_loses_nothing(text: str, bullet: str, width: int) -> None:
    page = Page(width)
    page.section("TEXT")
    page.text(text, bullet=bullet)
    assert all(len(line) <= width for line in page.lines)
    assert page.lines[0].startswith("TEXT")


@given(text=WORDS, tail=st.sampled_from(["", " (4.3e19 FLOPs, worth 3.5 points)"]))
def test_a_text_in_one_line_says_where_it_was_cut(text: str, tail: str) -> None:
    page = Page(100)
    page.section("TEXT")
    page.line(text, bullet="- ", tail=tail)
    (line,) = page.lines
    assert len(line) <= 100
    assert line.endswith(tail)
    whole = flat(harmless(text))
    assert "..." in line or flat(whole) in flat(line)


@given(
    rows=st.lists(st.tuples(st.just("A"), WORDS, WORDS, st.sampled_from(["1.5", "-"])), max_size=4),
    width=st.integers(60, 120),
)
def test_any_table_fits(rows: list[tuple[str, ...]], width: int) -> None:
    page = Page(width)
    page.columns(("", "words", "more words", "number"), rows)
    assert all(len(line) <= width for line in page.lines)


@given(
    st.lists(st.text("abcXYZ/._-", min_size=1, max_size=30), min_size=1, max_size=12),
    st.integers(30, 120),
)
def test_a_wrapped_command_is_the_same_command(values: list[str], width: int) -> None:
    command = "advisor ask " + " ".join(f"--flag{i} {value}" for i, value in enumerate(values))
    lines = wrap_command(command, width)
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == shlex.split(command)
    assert all(line.endswith(" \\") for line, _ in pairwise(lines))
