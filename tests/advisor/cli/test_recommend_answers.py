"""`advisor recommend` from the command line to the printed answer, with the real engine."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import Recommendation, recommend
from advisor.cli._own_cells import load_own_cells
from advisor.cli._recommend_request import Flags, read_request
from advisor.cli._recommend_views import recommendation_page
from calibration.statistics import wilson_interval
from policies import InvalidInputError

Run = Callable[..., Any]
ROOT = Path(__file__).parents[3]
ASKED = ("recommend", "--size", "3B", "--task", "math-oe")


def cells_file(folder: Path, ift: float, reasoning: float, n: int) -> Path:
    path = folder / "mine.csv"
    path.write_text(
        f"task_type,size,recipe,accuracy,n\nmath-oe,3B,ift,{ift},{n}\n"
        f"math-oe,3B,reasoning,{reasoning},{n}\n"
    )
    return path


def test_the_answer_states_verdict_options_evidence_and_warnings(advisor: Run) -> None:
    result = advisor(*ASKED, "--corpus", "general", "--json")
    assert result.code == 0
    assert result.err == ""
    answer = Recommendation.from_json(result.json())
    printed = {
        option.recipe.label: option.accuracy.value
        for option in answer.options
        if str(option.size) == "3B" and option.recipe.corpus == "general"
    }
    # arXiv 2509.22193v2, Table 1, general corpus, Math-OE, 3B.
    assert printed["ift"] == pytest.approx(0.399)
    assert printed["reasoning"] == pytest.approx(0.554)
    assert printed["ift_then_reasoning@0.25"] is None
    assert answer.recommended is not None
    assert answer.recommended.recipe.label == "ift_then_reasoning@0.25"
    assert {"ift-after-reasoning"} <= {warning.code for warning in answer.warnings}
    assert answer.evidence
    assert answer.next_measurements
    assert answer.plan


def test_the_printed_answer_is_that_of_the_document(advisor: Run) -> None:
    answer = Recommendation.from_json(advisor(*ASKED, "--json").json())
    result = advisor(*ASKED)
    assert result.code == 0
    assert result.out.splitlines() == recommendation_page(answer, width=100).lines
    assert result.out.isascii()


def test_every_printed_accuracy_has_its_cell(advisor: Run) -> None:
    document = advisor(*ASKED, "--size", "any", "--json").json()
    ids = {item["id"] for item in document["evidence"]}
    for option in document["options"]:
        if option["accuracy"]["value"] is not None:
            assert set(option["accuracy"]["cells"]) <= ids
    out = advisor(*ASKED, "--size", "any").out
    assert all(item["id"] in out for item in document["evidence"])


def test_an_abstention_names_what_loses_least_and_exits_with_6(advisor: Run) -> None:
    question = ("recommend", "--size", "1.5B", "--task", "contract-qa", "--format", "oe")
    result = advisor(*question, "--corpus", "own")
    assert result.code == 6
    assert result.out.startswith("VERDICT   [none] ")
    assert "must be trained today" in result.out
    assert "MEASURE" in result.out
    assert "advisor calibrate" in result.out
    document = advisor(*question, "--corpus", "own", "--json")
    assert document.code == 6
    answer = Recommendation.from_json(document.json())
    fallback = answer.option(answer.verdict.fallback)
    assert fallback is not None
    assert fallback.is_feasible
    assert f"row {fallback.id}:" in result.out


def test_a_row_is_exported_even_on_an_abstention_but_the_exit_code_says_so(advisor: Run) -> None:
    question = ("recommend", "--size", "1.5B", "--task", "contract-qa", "--format", "oe")
    result = advisor(*question, "--row", "A")
    assert result.code == 6
    assert result.out.startswith("advisor export --to trl --size 1.5B --task contract-qa ")


def test_own_cells_decide_and_are_named(advisor: Run, tmp_path: Path) -> None:
    table = cells_file(tmp_path, 0.55, 0.40, 2000)
    document = advisor(*ASKED, "--table", table, "--json").json()
    assert document["verdict"]["action"] == "ift"
    assert document["verdict"]["confidence"] == "measured"
    own = [item for item in document["evidence"] if item["grade"] == "measured"]
    assert {item["value"] for item in own} == {0.55, 0.40}


def test_what_own_cells_do_not_say_is_not_known(advisor: Run, tmp_path: Path) -> None:
    table = cells_file(tmp_path, 0.40, 0.55, 800)
    flags = ("--table", table, "--infer-budget", "4096 tokens")
    document = advisor(*ASKED, *flags, "--json").json()
    own = [option for option in document["options"] if option["accuracy"]["basis"] == "measured"]
    assert own
    assert all(option["inference_basis"] in {None, "published-fit"} for option in own)
    assert not re.search(r"\bnan", advisor(*ASKED, *flags).out)


def test_too_few_questions_show_their_interval_and_soften_the_verdict(
    advisor: Run, tmp_path: Path
) -> None:
    many = advisor(*ASKED, "--table", cells_file(tmp_path, 0.50, 0.40, 2000), "--json").json()
    assert many["verdict"]["action"] == "ift"
    assert not many["verdict"]["is_leaning"]
    result = advisor(*ASKED, "--table", cells_file(tmp_path, 0.50, 0.40, 20), "--json")
    few = result.json()["verdict"]
    assert few["is_leaning"] or few["action"] == "abstain"
    low, high = wilson_interval(10, 20)
    assert f"{100 * low:.1f}-{100 * high:.1f}%" in result.err


def test_a_task_type_of_ones_own_needs_a_format_or_cells(advisor: Run, tmp_path: Path) -> None:
    question = ("recommend", "--size", "3B", "--task", "contract-qa")
    result = advisor(*question)
    assert result.code == 2
    assert result.out == ""
    assert "error[unknown-task-type]: unknown task type 'contract-qa'" in result.err
    assert "--format" in result.err
    assert advisor(*question, "--format", "oe").code == 6
    table = cells_file(tmp_path, 0.40, 0.55, 800)
    table.write_text(table.read_text().replace("math-oe", "contract-qa"))
    assert advisor(*question, "--table", table).code == 0


def test_close_task_types_are_named(advisor: Run) -> None:
    result = advisor("recommend", "--size", "3B", "--task", "maths-oe")
    assert result.code == 2
    assert "did you mean 'math-oe'" in result.err


def test_a_measured_run_is_used(advisor: Run, measured_run: Path) -> None:
    asked = ("recommend", "--size", "2131712", "--task", "math-oe", "--table", measured_run)
    # Far below what recipes were published for: refused, however much was measured.
    refused = advisor(*asked)
    assert refused.code == 2
    assert "error[size-out-of-range]" in refused.err
    assert advisor(*ASKED, "--table", measured_run).code in {0, 6}


def test_all_flags_together(advisor: Run, tmp_path: Path) -> None:
    traces = tmp_path / "traces.jsonl"
    line = {"prompt": "2 + 2?", "ift": "It is 4. " * 5, "reasoning": "so " * 400 + "</think>4"}
    traces.write_text(f"{json.dumps(line)}\n" * 120)
    result = advisor(
        *(*ASKED, "--format", "oe", "--corpus", "math", "--have", "ift", "--teacher", "R1"),
        *("--objective", "total", "--tolerance", "0.02", "--max-size", "7B"),
        *("--train-budget", "$2000", "--infer-budget", "4096 tokens", "--traffic", "20000"),
        *("--horizon-days", "90", "--gpu", "4xa100", "--gpu-price", "1.8"),
        *("--n-examples", "50000", "--pass-rate", "0.3", "--trace-length", traces),
        *("--table", cells_file(tmp_path, 0.40, 0.55, 800), "--json"),
    )
    assert result.code in {0, 6}, result.err
    document = result.json()
    given_names = {one["name"] for one in document["assumptions"] if one["is_given"]}
    assert {"size", "task", "corpus", "gpu", "teacher", "traffic", "tolerance"} <= given_names
    assert any(option["total_flops"] is not None for option in document["options"])
    assert Recommendation.from_json(document).to_json() == document


def test_an_answer_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from advisor.cli import main\n"
        "sys.argv = ['advisor', 'recommend', '--size', '3B', '--task', 'math-oe',"
        " '--gpu', '8xh100', '--train-budget', '200h', '--traffic', '1e5',"
        " '--trace-length', '6000']\n"
        "main_ended = False\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as stop:\n"
        "    main_ended = not stop.code\n"
        "heavy = {'numpy', 'pandas', 'scipy', 'sklearn', 'lightgbm', 'pyarrow', 'torch',"
        " 'transformers', 'tokenizers', 'datasets', 'openai', 'litellm', 'httpx', 'requests',"
        " 'rich', 'vllm', 'onnxruntime_genai', 'sqlite3', 'urllib.request', 'http.client'}\n"
        "sys.stderr.write(f'{main_ended} {sorted(heavy & set(sys.modules))}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.startswith("VERDICT")
    assert done.stderr == "True []"


def test_help_opens_with_an_example_and_groups_the_options(advisor: Run) -> None:
    text = advisor("recommend", "--help").out
    example = "advisor recommend --size 3B --task math-oe"
    assert text.index(example) < text.index("--size") + len("--size") + text.index(example)
    panels = [text.index(f" {name} ") for name in ("Question", "Budgets", "Data", "Output")]
    assert panels == sorted(panels)
    for flag in (
        *("--size", "--task", "--corpus", "--format", "--train-budget", "--infer-budget"),
        *("--traffic", "--horizon-days", "--gpu", "--gpu-price", "--teacher", "--have"),
        *("--trace-length", "--tokenizer", "--objective", "--max-size", "--n-examples"),
        *("--pass-rate", "--tolerance", "--table", "--row", "--short", "--full", "--json"),
    ):
        assert re.search(rf"{flag}\b", text), flag


@settings(max_examples=40)
@given(
    size=st.sampled_from(["any", "0.1B", "0.5B", "1B", "1.5B", "3B", "4B", "7B", "14B", "70B"]),
    task=st.sampled_from(["math-oe", "math-mc", "general-oe", "general-mc", "code-oe"]),
    corpus=st.sampled_from([None, "general", "math", "code", "own"]),
    have=st.sampled_from([None, "base", "ift", "reasoning"]),
    teacher=st.sampled_from([None, "none", "R1"]),
    objective=st.sampled_from([None, "balanced", "accuracy", "training", "inference", "total"]),
    max_size=st.sampled_from([None, "70B"]),
    train_budget=st.sampled_from([None, "1e18", "3e20", "20h", "$50"]),
    infer_budget=st.sampled_from([None, "1e11", "1e14", "200 tokens"]),
    traffic=st.sampled_from([None, "10", "1e8", "3 qps for 2 weeks"]),
    pass_rate=st.sampled_from([None, 0.0, 0.3, 1.0]),
    width=st.integers(60, 120),
)
def test_any_question_gets_a_page_that_says_its_verdict(width: int, **flags: Any) -> None:
    try:
        request = read_request(Flags(**flags))
    except InvalidInputError as error:
        assert error.code == "contradiction"  # noqa: PT017 - the other questions are answered
        return
    answer = recommend(request)
    lines = recommendation_page(answer, width=width).lines
    assert lines[0].startswith(f"VERDICT   [{answer.verdict.confidence}")
    assert all(line.isascii() for line in lines)
    assert "None" not in " ".join(lines)
    assert "nan" not in " ".join(lines).split()
    assert Recommendation.from_json(answer.to_json()) == answer


LABELS = ("ift", "reasoning", "mixed@0.25", "ift_then_reasoning@0.5", "reasoning_then_ift@0.5")


@settings(max_examples=30)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["math-oe", "general-mc", "contract-qa"]),
            st.sampled_from(["0.1B", "0.5B", "1.5B", "3B", "3.1B", "7B", "14B", "32B"]),
            st.sampled_from(LABELS),
            st.floats(0, 1),
            st.integers(1, 3000),
            st.sampled_from(["", "1", "250.5"]),
        ),
        max_size=8,
        unique_by=lambda row: row[:3],
    ),
    size=st.sampled_from(["any", "0.5B", "3B", "10B", "32B"]),
    task=st.sampled_from(["math-oe", "general-mc", "contract-qa"]),
    objective=st.sampled_from([None, "accuracy", "training", "inference"]),
    have=st.sampled_from([None, "ift", "reasoning"]),
)
def test_any_cells_get_a_page(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[Any, ...]],
    size: str,
    task: str,
    objective: str | None,
    have: str | None,
) -> None:
    table = tmp_path_factory.mktemp("cells") / "mine.csv"
    lines = ["task_type,size,recipe,accuracy,n,mean_tokens"]
    for *names, share, n, tokens in rows:
        lines.append(",".join(map(str, (*names, round(round(share * n) / n, 3), n, tokens))))
    table.write_text("\n".join(lines) + "\n")
    cells = load_own_cells(table, task_type=task).cells if rows else ()
    flags = Flags(
        size=size,
        task=task,
        answer_format=task[-2:] if "-qa" not in task else "oe",
        objective=objective,
        have=have,
    )
    try:
        request = read_request(flags)
    except InvalidInputError as error:
        assert error.code == "contradiction"  # noqa: PT017 - the other questions are answered
        return
    answer = recommend(request, cells=cells)
    text = " ".join(recommendation_page(answer, width=100).lines)
    assert not re.search(r"\b(nan|inf|None)\b", text)
    assert Recommendation.from_json(answer.to_json()) == answer
