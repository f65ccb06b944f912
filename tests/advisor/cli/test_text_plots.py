"""Pictures at a terminal: what they show, that they fit, and that nothing in them needs colour."""

import csv
import json
import math
import os
import pty
import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from advisor import Recommendation
from advisor.cli._plots import cells_plots, evaluation_plot, recommendation_plot
from advisor.cli._recommend_views import recommendation_page
from advisor.cli._text_plot import Axis, Series, draw, draw_intervals, letters
from calibration import Cell, MeasuredTable

from ...router.evaluations import made_evaluation, made_row

Run = Callable[..., Any]
GOLDEN = Path(__file__).parents[2] / "golden" / "text_plots"
RECOMMENDED = Path(__file__).parents[2] / "golden" / "recommend_views"
CELL = Cell(
    *("sums", "math-oe", "pocket-m", 10, "direct", ""),
    *(400, 200, 0, 0, 0.5, 0.45, 0.55, 20.0, 30.0, 1e7, 0.1),
)
ACCURACIES = {
    "direct": 0.40,
    "reasoning@16": 0.45,
    "reasoning@64": 0.60,
    "reasoning@256": 0.71,
    "reasoning@max": 0.70,
    "sc(n=5)/reasoning@64": 0.66,
    "sc(n=5)/reasoning@256": 0.74,
}
X, Y = Axis("cost", is_log=True), Axis("accuracy")


def made_cells() -> list[Cell]:
    """Return two models with a curve over budgets each, and a task without FLOPs or budgets."""
    found: list[Cell] = []
    for model, scale in (("pocket-m", 1.0), ("pocket-xs", 0.2)):
        for step, (policy, accuracy) in enumerate(ACCURACIES.items()):
            changes: dict[str, Any] = {
                "accuracy": accuracy * (0.6 + 0.4 * scale),
                "mean_flops": scale * 1e7 * 3**step,
                "mean_tokens": 5.0 * 3**step,
            }
            found.append(replace(CELL, model=model, policy=policy, **changes))
    other = replace(CELL, task="names", task_type="general-oe", mean_flops=None)
    return [*found, other, replace(other, policy="unheard of!", n=0, accuracy=math.nan)]


def compare(name: str, lines: Sequence[str], request: pytest.FixtureRequest) -> None:
    path = GOLDEN / f"{name}.txt"
    text = "".join(f"{line}\n" for line in lines)
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text("utf-8") == text


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("is_ascii", [False, True])
@pytest.mark.parametrize("name", ["table", "evaluation"])
def test_pictures_are_as_agreed(
    name: str,
    columns: int,
    is_ascii: bool,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("advisor.cli._plots.writes_ascii", lambda: is_ascii)
    drawn = cells_plots(made_cells()) if name == "table" else evaluation_plot(made_evaluation())
    assert all(cell_len(line) <= columns for line in drawn)
    assert not is_ascii or all(line.isascii() for line in drawn)
    assert all(line == line.rstrip() for line in drawn)
    compare(f"{name}.{columns}{'.ascii' * is_ascii}", drawn, request)


def test_capitals_are_the_cells_on_the_front() -> None:
    drawn = "\n".join(cells_plots(made_cells()))
    assert "A pocket-m:direct" in drawn
    assert "j pocket-m:reasoning@max" in drawn
    assert "mean FLOPs per question (logarithmic)" in drawn
    assert "mean generated tokens per question (logarithmic)" in drawn
    assert "left out: 1 without" in drawn


def test_a_curve_over_budgets_starts_at_the_direct_answer_and_ends_at_max() -> None:
    drawn = cells_plots(made_cells())
    ticks = next(line for line in drawn if "direct" in line and "max" in line)
    assert ticks.split() == ["direct", "16", "64", "256", "max"]
    assert sum("over thinking budgets" in line for line in drawn) == 1


def test_more_cells_than_letters_are_counted_and_the_front_stays() -> None:
    cells = [
        replace(CELL, policy=f"p{at}", accuracy=0.5 - at / 1000, mean_flops=1e7 * (at + 2))
        for at in range(40)
    ]
    best = replace(CELL, policy="best", accuracy=0.9, mean_flops=1e12)
    drawn = "\n".join(cells_plots([*cells, best]))
    assert "not drawn: 15 more cells" in drawn
    assert "B best" in drawn
    arms = [made_row(f"m:p{at}", 10.0 + at, 0.5) for at in range(30)]
    assert "not drawn: 4 more arms" in "\n".join(evaluation_plot(made_evaluation(*arms)))


def test_a_table_without_a_single_answer_has_nothing_to_draw() -> None:
    drawn = cells_plots([replace(CELL, n=0, accuracy=math.nan)])
    assert "nothing to draw" in drawn
    assert cells_plots([]) == []


FINITE = st.floats(allow_nan=False, allow_infinity=False)
ANY = st.one_of(FINITE, st.floats(), st.sampled_from([0.0, 1.0, -1.0, 5e-324, 1.7e308, -1.7e308]))
NAMES = st.one_of(st.text(max_size=80), st.sampled_from(["\x1b[31mred", "日本" * 40, "a\nb"]))
POINTS = st.lists(st.tuples(ANY, ANY), max_size=6)


@given(
    st.lists(st.tuples(NAMES, POINTS, st.booleans()), min_size=1, max_size=8),
    st.integers(60, 120),
    st.integers(6, 20),
    st.booleans(),
    st.booleans(),
)
def test_any_numbers_are_drawn_within_the_width(
    found: list[tuple[str, list[tuple[float, float]], bool]],
    width: int,
    height: int,
    is_log: bool,
    is_ascii: bool,
) -> None:
    series = [
        Series(f"s{name}", mark, points, is_line=is_line)
        for (name, points, is_line), mark in zip(found, letters(0, len(found)), strict=True)
    ]
    x = Axis("cost", is_log=is_log)
    drawn = draw(series, x, Y, width=width, height=height, is_ascii=is_ascii)
    assert all(cell_len(line) <= width for line in drawn)
    assert not any("\x1b" in line for line in drawn)
    assert not is_ascii or all(line.isascii() for line in drawn)

    def is_drawn(x: float, y: float) -> bool:
        return abs(y) <= 1e300 and (1e-300 <= x <= 1e300 if is_log else abs(x) <= 1e300)

    kept = {one.mark: sum(is_drawn(*point) for point in one.points) for one in series}
    n_lost = sum(len(one.points) for one in series) - sum(kept.values())
    assert any(line.startswith(f"left out: {n_lost:,} ") for line in drawn) == (n_lost > 0)
    if not any(kept.values()):
        assert drawn[0] == "nothing to draw"
        return
    edge = re.compile("[|+]" if is_ascii else "[│┤]")
    rows = [edge.split(line, maxsplit=1)[1] for line in drawn[1 : height + 1]]
    seen = set("".join(rows))
    legend = drawn[height + 4 :]
    for mark, n in kept.items():
        entry = next((line for line in legend if re.search(rf"(^|   ){mark} s", line)), None)
        assert (entry is not None) == (n > 0)
        if n and mark not in seen:
            assert "(under " in str(entry)


@given(st.floats(1e-6, 1e15), st.floats(0, 1))
def test_a_single_point_is_drawn(x: float, y: float) -> None:
    drawn = draw([Series("one", "a", [(x, y)])], X, Y, width=80)
    assert sum(line.count("a") for line in drawn[1:15]) == 1
    assert "a one" in drawn


def test_points_at_one_place_are_told() -> None:
    points = [(10.0, 0.5)]
    series = [Series(name, mark, points) for name, mark in (("one", "a"), ("two", "b"))]
    drawn = draw([*series, Series("far", "c", [(1000.0, 0.9)])], X, Y, width=80)
    assert drawn[-1] == "a one   b two (under a)   c far"


@given(FINITE, FINITE, st.booleans())
def test_ticks_are_round_distinct_and_ascending(one: float, other: float, is_log: bool) -> None:
    values = [min(max(value, -1e300), 1e300) for value in (one, other)]
    values = [max(abs(value), 1e-300) if is_log else value for value in values]
    points = [(value, 0.5) for value in values]
    drawn = draw([Series("s", "a", points)], Axis("x", is_log=is_log), Y, width=80, is_ascii=True)
    labels = drawn[16].split()
    scale = {"k": "e3", "M": "e6", "G": "e9", "T": "e12", "P": "e15", "E": "e18"}
    ticks = [
        float(label[:-1] + scale[label[-1]]) if label[-1] in scale else float(label)
        for label in labels
    ]
    assert ticks == sorted(set(ticks))


def test_a_straight_line_is_bent_where_the_axis_is_logarithmic() -> None:
    line = Series("mixing", ".", [(1.0, 0.0), (1000.0, 1.0)], is_line=True)
    drawn = draw([line], X, Y, width=80, height=11)
    half = [row for row in drawn[1:12] if row.find(".", 6) != -1][5].find(".", 6)
    # Half of the way up costs half of 1,000: far to the right of the middle.
    assert half > 60


def test_letters_are_a_to_z() -> None:
    assert letters(1, 2) == ["A", "b", "c"]
    assert letters(3, 40)[-1] == "z"
    assert len(letters(0, 40)) == 26


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(0, 100)).map(sorted),
        min_size=1,
        max_size=8,
    ),
    st.integers(50, 110),
)
def test_intervals_hold_their_estimates(found: list[list[float]], width: int) -> None:
    rows = [(f"  {at}", mid, low, high) for at, (low, mid, high) in enumerate(found)]
    drawn = draw_intervals(rows, label="%", width=width)
    assert len(drawn) == len(rows) + 1
    for line in drawn[:-1]:
        assert len(line) <= width
        assert re.fullmatch(r"  \d +\[?-*o-*\]?", line), line
    assert len(drawn[-1]) <= width


def document(name: str) -> Recommendation:
    return Recommendation.from_json(json.loads((RECOMMENDED / f"{name}.json").read_text("utf-8")))


@pytest.mark.parametrize("name", ["abstention", "any-size", "own-cells", "sequential"])
@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_drawn_recommendation_is_little_longer(name: str, width: int) -> None:
    answer = document(name)
    plain = recommendation_page(answer, width=width).lines
    drawn = recommendation_page(answer, width=width, is_drawn=True).lines
    added = drawn[:]
    for line in plain:
        added.remove(line)
    n_known = sum(option.accuracy.value is not None for option in answer.options)
    assert len(drawn) - len(plain) == (n_known + 1 if n_known > 1 else 0) <= 12
    assert all(len(line) <= width and line.isascii() for line in added)


def test_the_options_are_drawn_as_agreed(request: pytest.FixtureRequest) -> None:
    drawn = [*recommendation_plot(document("own-cells"), width=70), ""]
    compare(
        "recommendation", [*drawn, *recommendation_plot(document("any-size"), width=50)], request
    )


@pytest.fixture(scope="module")
def own_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "run"
    MeasuredTable(tuple(made_cells()), {}).save(folder)
    return folder


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outcomes") / "rows.csv"
    rng = random.Random(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["question_id", "task", "prompt", "model", "policy", "correct", "completion_tokens"]
        )
        for question in range(120):
            prompt = f"Compute {rng.randrange(10**6)} + {question}"
            for policy, chance, tokens in (("direct", 0.4, 5), ("reasoning@64", 0.9, 60)):
                row = [f"q{question}", "toy", prompt, "m", policy]
                writer.writerow([*row, int(rng.random() < chance), tokens])
    return path


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "NO_COLOR": "1", **changes}


def piped(*arguments: object, **changes: str) -> str:
    """Return what a command writes into a pipe."""
    command = [sys.executable, "-m", "advisor", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, env=environment(**changes), check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode(changes.get("PYTHONIOENCODING", "utf-8"))


def at_terminal(*arguments: object, **changes: str) -> str:
    """Return what a command writes to a terminal."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "advisor", *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=follower, stderr=subprocess.DEVNULL, env=environment(**changes)
    )
    os.close(follower)
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # Linux says so that the other end was closed.
            break
        if not part:
            break
        parts.append(part)
    os.close(leader)
    assert process.wait(timeout=60) in {0, 6}
    return b"".join(parts).decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [60, 80])
def test_a_piped_plot_is_plain_and_as_wide_as_asked(own_table: Path, columns: int) -> None:
    out = piped("tables", "show", own_table, "--plot", COLUMNS=str(columns))
    assert "\x1b" not in out
    lines = out.splitlines()
    start = lines.index("sums (math-oe), n = 400")
    assert max(map(len, lines[start:])) <= columns
    assert [line.rstrip() for line in lines[start:]] == (
        (GOLDEN / f"table.{columns}.txt").read_text("utf-8").splitlines()
    )


def test_a_plot_is_ascii_where_stdout_is(own_table: Path) -> None:
    changes = {"COLUMNS": "80", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    out = piped("tables", "show", own_table, "--plot", **changes)
    lines = out.splitlines()
    start = lines.index("sums (math-oe), n = 400")
    assert lines[start:] == (GOLDEN / "table.80.ascii.txt").read_text("utf-8").splitlines()


def test_a_table_is_drawn_on_demand_only(advisor: Run, own_table: Path) -> None:
    plain = advisor("tables", "show", own_table).out
    drawn = advisor("tables", "show", own_table, "--plot").out
    assert drawn.startswith(plain)
    assert "(logarithmic)" in drawn
    assert "(logarithmic)" not in plain


@pytest.mark.parametrize(
    ("name", "more", "told"),
    [
        ("pocket-study", (), "is none"),
        ("conflicts", (), "is none"),
        ("nowhere", (), "is none"),
        (None, ("--json",), "exclude each other"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    advisor: Run, own_table: Path, name: str | None, more: tuple[str, ...], told: str
) -> None:
    result = advisor("tables", "show", name or own_table, "--plot", *more)
    assert (result.code, result.out) == (2, "")
    assert told in result.err


def test_an_evaluation_is_drawn_at_a_terminal_and_not_into_a_pipe(outcomes: Path) -> None:
    evaluate = ("evaluate", outcomes, "--folds", 2)
    plain = piped(*evaluate, COLUMNS="80")
    assert "(logarithmic)" not in plain
    asked = piped(*evaluate, "--text-plot", COLUMNS="80")
    assert "mean generated tokens per question (logarithmic)" in asked
    assert "\x1b" not in asked
    drawn = at_terminal(*evaluate, COLUMNS="80", TERM="xterm")
    picture = drawn[drawn.index("accuracy\n") : drawn.index("(logarithmic)")]
    assert picture in asked
    assert "\x1b" not in picture
    assert "a direct" in drawn
    assert "(logarithmic)" not in at_terminal(*evaluate, "--no-text-plot", COLUMNS="80")


def test_a_recommendation_is_drawn_at_a_terminal_and_not_into_a_pipe() -> None:
    question = ("recommend", "--size", "3B", "--task", "math-oe")
    intervals = re.compile(r"^ +[> ]+[A-E] +\[-*o-*\]$", re.MULTILINE)
    assert not intervals.search(piped(*question, COLUMNS="80"))
    drawn = at_terminal(*question, COLUMNS="80", TERM="xterm")
    assert len(intervals.findall(drawn)) == 3
    assert "\x1b" not in drawn


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("tables", "show"), ("--plot",)),
        (("evaluate",), ("--text-plot", "on a", "terminal only")),
        (("recommend",), ("On a terminal",)),
    ],
)
def test_the_help_says_when_there_is_a_picture(
    advisor: Run, command: tuple[str, ...], words: tuple[str, ...]
) -> None:
    text = " ".join(advisor(*command, "--help").out.replace("│", " ").split())
    assert all(word in text for word in words)
