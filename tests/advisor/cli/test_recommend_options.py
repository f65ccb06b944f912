"""From the flags of `advisor recommend` to the question that the engine is asked."""

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import advisor as advisor_package
from advisor import Recommendation, RecommendationRequest
from advisor.cli._recommend_request import read_traces
from advisor.cost import Gpus, InferBudget, TrainBudget, Workload
from advisor.evidence import MeasuredStudy
from calibration import Cell, OutcomeRecord
from policies import InvalidInputError, ModelSize, ThinkrouteError

Run = Callable[..., Any]
ANSWERS = Path(__file__).parents[2] / "golden" / "recommend_views"
ASKED = ("recommend", "--size", "3B", "--task", "math-oe")
USUAL = Workload().answer_tokens


class Engine:
    """Stands where the engine is: keeps what it was asked, and answers what it is told to."""

    def __init__(self) -> None:
        self.requests: list[RecommendationRequest] = []
        self.cells: list[Cell] = []
        text = (ANSWERS / "sequential.json").read_text("utf-8")
        self.answer = Recommendation.from_json(json.loads(text))

    def __call__(
        self,
        request: RecommendationRequest,
        *,
        cells: Sequence[Cell] = (),
        records: Sequence[OutcomeRecord] = (),
        study: MeasuredStudy | None = None,
    ) -> Recommendation:
        assert not records or cells
        assert study is None, "no test here names a study"
        self.requests.append(request)
        self.cells = list(cells)
        return self.answer


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    monkeypatch.setitem(vars(advisor_package), "recommend", made)
    return made


def asked(advisor: Run, engine: Engine, *arguments: object) -> RecommendationRequest:
    result = advisor(*ASKED, *arguments)
    assert result.code == 0, result.err
    (request,) = engine.requests
    return request


def test_size_and_task_alone_leave_everything_else_open(advisor: Run, engine: Engine) -> None:
    request = asked(advisor, engine)
    assert request == RecommendationRequest(size=ModelSize.parse("3B"), task_type="math-oe")
    assert request.given == {"size", "task_type"}


@pytest.mark.parametrize("word", ["any", "ANY", " any "])
def test_any_size_is_no_size(advisor: Run, engine: Engine, word: str) -> None:
    advisor("recommend", "--size", word, "--task", "math-oe")
    assert engine.requests[0].size is None


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (("--format", "oe"), "answer_format", "oe"),
        (("--corpus", "general"), "corpus", "general"),
        (("--corpus", "math"), "corpus", "math-centric"),
        (("--corpus", "code"), "corpus", "code"),
        (("--corpus", "OWN"), "corpus", "own"),
        (("--have", "reasoning"), "have", "reasoning"),
        (("--have", "ift"), "have", "ift"),
        (("--have", "base"), "have", "base"),
        (("--teacher", "none"), "teacher", "none"),
        (("--teacher", "None"), "teacher", "none"),
        (("--teacher", "Qwen3-32B"), "teacher", "Qwen3-32B"),
        (("--objective", "balanced"), "objective", "balanced"),
        (("--objective", "accuracy"), "objective", "accuracy"),
        (("--tolerance", "0.02"), "tolerance", 0.02),
        (("--max-size", "14B"), "max_size", ModelSize.parse("14B")),
        (("--train-budget", "3e19"), "train_budget", TrainBudget.parse("3e19")),
        (("--train-budget", "200h"), "train_budget", TrainBudget.parse("200h")),
        (("--train-budget", "$500"), "train_budget", TrainBudget.parse("$500")),
        (("--infer-budget", "1e12"), "infer_budget", InferBudget.parse("1e12")),
        (("--infer-budget", "512 tokens"), "infer_budget", InferBudget.parse("512 tokens")),
        (("--traffic", "1e6"), "queries_per_day", 1e6),
        (("--traffic", "10k"), "queries_per_day", 10_000.0),
        (("--traffic", "10k/day"), "queries_per_day", 10_000.0),
        (("--traffic", "3 qps"), "queries_per_day", 259_200.0),
        (("--gpu", "8xh100"), "gpus", Gpus.parse("8xh100")),
        (("--gpu", "a100x4"), "gpus", Gpus.parse("4xa100")),
        (("--gpu-price", "2.5"), "gpu_price", 2.5),
        (("--n-examples", "5000"), "n_examples", 5000),
        (("--pass-rate", "0.3"), "pass_rate", 0.3),
        (("--trace-length", "6000"), "trace_ratio", 6000 / USUAL),
        (("--trace-length", "6k"), "trace_ratio", 6000 / USUAL),
        (("--trace-length", "6,000 tokens"), "trace_ratio", 6000 / USUAL),
        (("--trace-length", "8x"), "trace_ratio", 8.0),
    ],
)
def test_each_flag_is_one_field(
    advisor: Run, engine: Engine, arguments: tuple[str, ...], field: str, value: object
) -> None:
    request = asked(advisor, engine, *arguments)
    assert getattr(request, field) == value
    assert request.given - {"size", "task_type", "trace_source"} == {field}


def test_traffic_counts_over_a_horizon_and_is_an_objective(advisor: Run, engine: Engine) -> None:
    flags = ("--traffic", "2000", "--horizon-days", "90", "--objective", "total")
    request = asked(advisor, engine, *flags)
    assert (request.queries_per_day, request.horizon_days) == (2000.0, 90.0)
    assert request.objective == "total"


@pytest.mark.parametrize("more", [(), ("--horizon-days", "90")])
def test_traffic_may_say_its_days_itself(
    advisor: Run, engine: Engine, more: tuple[str, ...]
) -> None:
    request = asked(advisor, engine, "--traffic", "10k/day for 90 days", *more)
    assert (request.queries_per_day, request.horizon_days) == (10_000.0, 90.0)


def pairs_file(folder: Path, *more: str, n: int = 120) -> Path:
    rows = [
        json.dumps(
            {
                "prompt": f"What is {i} + 2?",
                "ift": "It is " + "so " * 20,
                "reasoning": "<think>" + "we add " * 100 + f"</think>\nIt is {i + 2}.",
            }
        )
        for i in range(n)
    ]
    path = folder / "pairs.jsonl"
    path.write_text("\n".join([*rows[:60], *more, *rows[60:]]) + "\n", encoding="utf-8")
    return path


def test_a_file_of_pairs_is_measured(advisor: Run, engine: Engine, tmp_path: Path) -> None:
    from advisor.data import load_counter, measure_lengths

    path = pairs_file(tmp_path)
    request = asked(advisor, engine, "--trace-length", path)
    lengths = measure_lengths(path, load_counter())
    assert lengths.trace_ratio is not None
    assert request.trace_ratio == lengths.trace_ratio.estimate
    assert request.answer_tokens == lengths.mean_ift_tokens
    assert request.prompt_tokens == lengths.mean_prompt_tokens
    assert request.trace_p99_tokens == lengths.p99_tokens
    assert request.trace_source is not None
    assert "pairs.jsonl, 120 traces" in request.trace_source


def test_broken_lines_of_traces_are_named_and_counted_on_stderr(
    advisor: Run, engine: Engine, tmp_path: Path
) -> None:
    path = pairs_file(tmp_path, "{broken", '{"prompt": "x"}')
    result = advisor(*ASKED, "--trace-length", path)
    assert result.code == 0
    assert re.search(r"broken.*\b2\b|\b2\b.*broken", result.err)
    assert "line 61" in result.err
    assert "line 62" in result.err
    assert "broken" not in result.out


def test_traces_without_direct_answers_are_held_against_the_usual_answer(
    advisor: Run, engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text('{"tokens": 6000}\n{"tokens": 3000}\n')
    result = advisor(*ASKED, "--trace-length", path)
    assert engine.requests[0].trace_ratio == 4500 / USUAL
    assert engine.requests[0].answer_tokens is None
    assert "direct answers" in result.err


def test_a_tokenizer_that_is_not_there_is_named(
    advisor: Run, engine: Engine, tmp_path: Path
) -> None:
    missing = tmp_path / "tokenizer.json"
    flags = ("--trace-length", pairs_file(tmp_path), "--tokenizer", missing)
    result = advisor(*ASKED, *flags)
    assert result.code == 3
    assert str(missing) in result.err
    assert not engine.requests


def cells_file(folder: Path, *, n: int = 500) -> Path:
    path = folder / "mine.csv"
    path.write_text(
        "task_type,size,recipe,accuracy,n\n"
        f"math-oe,3B,ift,0.40,{n}\nmath-oe,3B,reasoning,0.55,{n}\n"
    )
    return path


def test_tables_add_up_to_the_users_cells(
    advisor: Run, engine: Engine, measured_run: Path, tmp_path: Path
) -> None:
    asked(advisor, engine, "--table", cells_file(tmp_path), "--table", measured_run)
    assert [cell.accuracy for cell in engine.cells[:2]] == [0.40, 0.55]
    assert len(engine.cells) > 2
    assert {cell.n for cell in engine.cells[2:]} == {120}


def test_what_is_weak_about_a_table_is_told_on_stderr(
    advisor: Run, engine: Engine, tmp_path: Path
) -> None:
    result = advisor(*ASKED, "--table", cells_file(tmp_path, n=20))
    assert "2 of 2 cells have fewer than 100 questions" in result.err
    assert len(engine.cells) == 2


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("--size", "3X"), "invalid-size", "'3X' is not a size"),
        (("--size", ""), "invalid-size", "'' is not a size"),
        (("--size", "101B"), "size-out-of-range", "between 0.1B and 100B"),
        (("--max-size", "200B"), "size-out-of-range", "between 0.1B and 100B"),
        (("--max-size", "1B"), "invalid-max-size", "'1B' is smaller than size '3B'"),
        (("--task", "Math OE"), "invalid-task-type", "'Math OE' is not a name"),
        (("--format", "mc"), "contradiction", "'mc'"),
        (("--format", "essay"), "unknown-format", "'essay'"),
        (("--corpus", "legal"), "unknown-corpus", "'legal'"),
        (("--have", "instruct"), "unknown-have", "'instruct'"),
        (("--objective", "speed"), "unknown-objective", "'speed'"),
        (("--objective", "total"), "contradiction", "--traffic"),
        (("--horizon-days", "30"), "contradiction", "--traffic"),
        (("--traffic", "0"), "invalid-input", "--traffic 0"),
        (("--traffic", "-5"), "invalid-input", "--traffic -5"),
        (("--traffic", "nan"), "invalid-input", "--traffic nan"),
        (("--traffic", "lots"), "invalid-input", "--traffic lots"),
        (("--traffic", "5 for ever"), "invalid-input", "--traffic 5 for ever"),
        (
            ("--traffic", "10k/day for 90 days", "--horizon-days", "30"),
            "contradiction",
            "--horizon-days 30",
        ),
        (("--traffic", "9", "--horizon-days", "0"), "invalid-input", "--horizon-days 0"),
        (("--gpu", "h999"), "unknown-gpu", "'h999'"),
        (("--gpu", "0xh100"), "invalid-input", "0xh100"),
        (("--gpu-price", "0"), "invalid-input", "--gpu-price 0"),
        (("--gpu-price", "nan"), "invalid-input", "--gpu-price nan"),
        (("--train-budget", "500 eur"), "invalid-input", "'500 eur'"),
        (("--train-budget", "-3e19"), "invalid-input", "-3e19"),
        (("--infer-budget", "much"), "invalid-input", "'much'"),
        (("--n-examples", "0"), "invalid-input", "--n-examples 0"),
        (("--pass-rate", "30"), "invalid-input", "0.3 for 30%"),
        (("--pass-rate", "-0.1"), "invalid-input", "pass_rate"),
        (("--pass-rate", "nan"), "invalid-input", "pass_rate"),
        (("--tolerance", "1"), "invalid-input", "0.01 is one point"),
        (("--tolerance", "-0.01"), "invalid-input", "tolerance"),
        (("--teacher", " "), "invalid-input", "--teacher"),
        (("--trace-length", "200"), "invalid-input", "200x"),
        (("--trace-length", "0x"), "invalid-input", "'0x'"),
        (("--trace-length", "nothing.jsonl"), "invalid-input", "'nothing.jsonl'"),
        (("--trace-length", "-6000"), "invalid-input", "'-6000'"),
        (("--tokenizer", "Qwen/Qwen3-8B"), "contradiction", "--trace-length"),
        (("--trace-length", "6000", "--tokenizer", "x"), "contradiction", "--tokenizer"),
        (("--json", "--short"), "contradiction", "--short"),
        (("--json", "--full"), "contradiction", "--full"),
        (("--short", "--full"), "contradiction", "--full"),
        (("--full", "--row", "A"), "contradiction", "--row"),
        (("--json", "--row", "A"), "contradiction", "--row"),
        (("--short", "--row", "A"), "contradiction", "--row"),
        (("--row", "Z"), "unknown-row", "'Z'"),
    ],
)
def test_bad_values_and_contradictions_are_one_clear_line(
    advisor: Run, engine: Engine, arguments: tuple[str, ...], error: str, words: str
) -> None:
    result = advisor(*ASKED, *arguments)
    assert result.code == 2
    assert result.out == ""
    first, *rest = result.err.splitlines()
    assert first.startswith(f"error[{error}]: "), result.err
    assert words in result.err
    assert rest, "there is no hint"


@pytest.mark.parametrize(
    "arguments",
    [
        ("recommend",),
        ("recommend", "--size", "3B"),
        ("recommend", "--task", "math-oe"),
        (*ASKED, "--n-examples", "many"),
        (*ASKED, "--horizon-days", "lots"),
        (*ASKED, "--bogus"),
        (*ASKED, "--priority", "accuracy"),
        (*ASKED, "extra"),
    ],
)
def test_wrong_usage_exits_with_2(advisor: Run, engine: Engine, arguments: tuple[str, ...]) -> None:
    result = advisor(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert not engine.requests


def test_contradictions_are_refused_before_any_file_is_read(
    advisor: Run, engine: Engine, tmp_path: Path
) -> None:
    missing = tmp_path / "none"
    flags = ("--table", missing, "--trace-length", missing, "--max-size", "1B")
    result = advisor(*ASKED, *flags)
    assert result.code == 2
    assert str(missing) not in result.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("task_type,size,recipe,accuracy\nmath-oe,3B,ift,0.4\n", "has no column n"),
        ("task_type,size,recipe,accuracy,n\nmath-oe,3B,ift,1.4e9,10\n", "is impossible"),
        (
            "task_type,size,recipe,accuracy,n\nmath-oe,3B,ift,0.4,9\nmath-oe,3B,reasoning,55,9\n",
            "like percent",
        ),
        (
            "task_type,size,recipe,accuracy,n,metric\n"
            "math-oe,3B,ift,0.4,9,exact\nmath-oe,3B,reasoning,0.5,9,f1\n",
            "metric 'f1'",
        ),
    ],
)
def test_a_bad_table_is_one_clear_line_and_exit_3(
    advisor: Run, engine: Engine, tmp_path: Path, content: str, words: str
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(content)
    result = advisor(*ASKED, "--table", path)
    assert result.code == 3
    assert result.out == ""
    assert words in result.err
    assert str(path) in result.err
    assert not engine.requests


def test_row_prints_the_export_command_of_that_row_alone(advisor: Run, engine: Engine) -> None:
    result = advisor(*ASKED, "--row", "b")
    assert result.code == 0
    (line,) = result.out.splitlines()
    assert line.startswith("advisor export --to trl --size 3B --task math-oe ")
    assert "--ratio 0.25" in line
    assert "--order ift_then_reasoning" in line
    larger = next(one for one in engine.answer.options if str(one.size) == "14B")
    (other,) = advisor(*ASKED, "--row", larger.id).out.splitlines()
    assert "--size 14B" in other
    assert "--ratio 0 " in other


def test_json_is_the_document(advisor: Run, engine: Engine) -> None:
    result = advisor(*ASKED, "--json")
    assert result.json() == engine.answer.to_json()
    assert Recommendation.from_json(result.json()) == engine.answer


@given(st.text(max_size=12))
def test_any_trace_length_is_read_or_refused(text: str) -> None:
    try:
        fields = read_traces(text).fields
    except ThinkrouteError:
        return
    assert fields["trace_ratio"] >= 0
    assert math.isfinite(fields["trace_ratio"])


@given(st.integers(601, 10**6))
def test_a_length_and_its_ratio_say_the_same(tokens: int) -> None:
    by_length = read_traces(f"{tokens:,}").fields["trace_ratio"]
    by_ratio = read_traces(f"{tokens / USUAL}x").fields["trace_ratio"]
    assert by_length == pytest.approx(by_ratio)


def test_a_trace_shorter_than_an_answer_is_no_length() -> None:
    with pytest.raises(InvalidInputError, match="not longer than a direct answer"):
        read_traces("8")
