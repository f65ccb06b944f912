"""`advisor ask` on a router of the real pocket model: answers, explanations, odd prompts."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
PROMPT = "Compute mod ten, left to right: 7+5*3-4*9+2"
REASONING = "pocket-m:reasoning@max"


class _Stdin:
    """Standard input of given bytes."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Put bytes on standard input."""
    return lambda content: monkeypatch.setattr(sys, "stdin", _Stdin(content))


def test_ask_answers(advisor: Run, router_folder: Path) -> None:
    prompt = "Compute mod ten, left to right: 7+5*3"
    document = advisor("ask", "--router", router_folder, prompt, "--json").json()
    assert document["text"].startswith("Answer: ")
    assert document["text"] == f"Answer: {document['answer']}"
    decision = document["decision"]
    assert decision["arm"] in {candidate["arm"] for candidate in decision["candidates"]}
    assert decision["reasons"]
    assert document["usage"]["completion_tokens"] > 0
    assert document["n_calls"] in {1, 2}


@pytest.mark.parametrize("options", [(), ("--decide-only",)])
def test_an_explanation_says_what_it_rests_on(
    advisor: Run, router_folder: Path, options: tuple[str, ...]
) -> None:
    result = advisor("ask", "--router", router_folder, PROMPT, "--explain", "--json", *options)
    decision = result.json()["decision"]
    assert len(decision["candidates"]) == 2
    for each in decision["candidates"]:
        assert each.keys() >= {"arm", "p", "p_low", "p_high", "tokens", "flops"}
        assert 0 <= each["p_low"] <= each["p"] <= each["p_high"] <= 1
        assert each["tokens_p10"] <= each["tokens"] <= each["tokens_p99"]
        assert each["n_similar"] > 0
        assert each["flops"] > 0
    assert len(decision["explanation"]) >= len(decision["reasons"]) - 1
    assert len(decision["neighbours"]) == 5
    for near in decision["neighbours"]:
        assert near["task"] == "pocket-math-oe"
        assert near["correct"].keys() == {"pocket-m:direct", REASONING}
    assert decision["is_known"] is False


def test_the_shape_of_an_explanation_is_stable(
    advisor: Run, router_folder: Path, golden_json: Callable[[str, object], None]
) -> None:
    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {str(key): shape(item) for key, item in value.items()}
        if isinstance(value, list):
            return [shape(item) for item in value[:1]]
        return type(value).__name__

    # Without a cascade, which only some prompts get.
    options = ("--explain", "--decide-only", "--max-cost", 12, "--json")
    result = advisor("ask", "--router", router_folder, PROMPT, *options)
    golden_json("ask/explain.json", shape(result.json()))


def test_an_explanation_is_told_in_words(advisor: Run, router_folder: Path) -> None:
    result = advisor("ask", "--router", router_folder, PROMPT, "--explain", "--lambda", 0.001)
    assert result.code == 0, result.err
    assert result.out.startswith("Answer: ")
    words = [
        "p minus the price of the cost is highest",
        "the task was guessed from the text",
        "objective: one point of accuracy is worth 10 tokens",
        "task type: math-oe",
        "what was expected of every arm",
        "nearest measured questions",
        "pocket-math-oe",
    ]
    for each in words:
        assert each in result.out
    assert "fitted on this very prompt" not in result.out


def test_a_prompt_of_the_fit_is_known_again(
    advisor: Run, measured_run: Path, router_folder: Path
) -> None:
    from calibration import RunStore, store_path

    with RunStore.open(store_path(measured_run)) as store:
        prompt = next(iter(store.records())).prompt
    options = ("--explain", "--decide-only")
    assert (
        "fitted on this very prompt"
        in advisor("ask", "--router", router_folder, prompt, *options).out
    )
    document = advisor("ask", "--router", router_folder, prompt, "--json", *options).json()
    assert document["decision"]["is_known"] is True


def test_the_answer_names_the_arm_that_gave_it(advisor: Run, router_folder: Path) -> None:
    # At no cost the router looks at a direct answer first, or asks the reasoning arm at once.
    options = ("--lambda", 0, "--explain", "--json")
    document = advisor("ask", "--router", router_folder, PROMPT, *options).json()
    decision = document["decision"]
    assert document["n_calls"] == 1 + ("escalated" in decision["reasons"])
    if document["n_calls"] == 2:
        assert decision["arm"] == REASONING
        assert decision["escalation"]["arms"] == [REASONING]
    assert "look-first" not in decision["reasons"]


def test_ask_follows_the_objective_given(advisor: Run, router_folder: Path) -> None:
    def decided(*objective: object) -> dict[str, Any]:
        arguments = ("ask", "--router", router_folder, PROMPT, "--decide-only", "--json")
        result = advisor(*arguments, *objective)
        assert result.code == 0, result.err
        return result.json()["decision"]

    capped = decided("--max-cost", 12)
    assert (capped["arm"], capped["escalation"]) == ("pocket-m:direct", None)
    free = decided("--lambda", 0)
    assert REASONING in {free["arm"], *(free["escalation"] or {"arms": []})["arms"]}
    poor, rich = decided("--max-mean-cost", 5), decided("--max-cost-per-1000", 60_000)
    assert poor["arm"] == "pocket-m:direct"
    assert rich["objective"]["max_mean_cost"] == 60.0
    assert REASONING in {rich["arm"], *(rich["escalation"] or {"arms": []})["arms"]}
    default = decided()["objective"]
    assert decided("--max-seconds", 60)["objective"] == {**default, "max_seconds": 60.0}


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--max-cost", "0.01"], 6, "every arm is expected to cost more than 0.01 tokens"),
        (["--max-mean-cost", "0.01"], 6, "a mean cost of 0.01 tokens is below"),
        (["--max-seconds", "1e-9"], 6, "every arm is expected to need more than 1e-09 s"),
        (["--max-seconds", "0"], 2, "max_seconds is 0.0"),
        (["--lambda", "1", "--max-mean-cost", "1"], 2, "--lambda and --max-mean-cost are two"),
        (["--unit", "flops"], 2, "--unit 'flops' has no rule"),
        (["--unit", "usd", "--lambda", "1"], 2, "there is no price for pocket-m"),
        (["--target-accuracy", "2"], 2, "target_accuracy is 2.0"),
        (["--task", "nonsense"], 2, "'nonsense'"),
    ],
)
def test_objectives_that_cannot_be_followed(
    advisor: Run, router_folder: Path, options: list[str], code: int, told: str
) -> None:
    result = advisor("ask", "--router", router_folder, "7+5", "--decide-only", *options)
    assert (result.code, result.out) == (code, "")
    assert told in result.err


def test_a_task_may_be_named(advisor: Run, router_folder: Path) -> None:
    for task in ("math-oe", "pocket-math-oe"):
        options = ("--task", task, "--decide-only", "--json")
        document = advisor("ask", "--router", router_folder, "7+5", *options).json()
        assert "task-given" in document["decision"]["reasons"]
        assert document["decision"]["task_posterior"]["math-oe"] == pytest.approx(1.0)


@pytest.mark.parametrize("prompt", ["", "   \n"])
def test_an_empty_prompt_is_refused(advisor: Run, router_folder: Path, prompt: str) -> None:
    result = advisor("ask", "--router", router_folder, prompt)
    assert result.code == 2
    assert "the prompt is empty" in result.err


def test_a_prompt_may_come_from_stdin(
    advisor: Run, router_folder: Path, type_in: Callable[[bytes], None]
) -> None:
    def ask() -> Any:
        return advisor("ask", "-", "--router", router_folder, "--decide-only", "--json")

    type_in(PROMPT.encode() + b"\n")
    from_stdin = ask().json()["decision"]
    given = advisor(
        "ask", PROMPT + "\n", "--router", router_folder, "--decide-only", "--json"
    ).json()["decision"]
    assert from_stdin["candidates"] == given["candidates"]
    type_in(b" \n")
    assert (ask().code, "stdin holds no prompt" in ask().err) == (2, True)
    type_in(b"What is \xff\xfe?")
    binary = ask()
    assert binary.code == 2
    assert "stdin is no UTF-8 text, from position 8 on" in binary.err


def test_a_prompt_that_is_no_text_is_refused(advisor: Run, router_folder: Path) -> None:
    # As Python hands on bytes of the command line that are no UTF-8.
    result = advisor("ask", "a\udcff", "--router", router_folder)
    assert result.code == 2
    assert "the prompt is no UTF-8 text, from position 1 on" in result.err


def test_a_prompt_of_a_megabyte_is_routed_and_refused_by_the_model_alone(
    advisor: Run, router_folder: Path, type_in: Callable[[bytes], None]
) -> None:
    type_in(b"7+5*3 " * 170_000)
    decided = advisor("ask", "-", "--router", router_folder, "--decide-only", "--json")
    assert decided.code == 0
    candidates = decided.json()["decision"]["candidates"]
    assert all(candidate["flops"] > 1e11 for candidate in candidates)
    type_in(b"7+5*3 " * 170_000)
    answered = advisor("ask", "-", "--router", router_folder)
    assert (answered.code, answered.out) == (5, "")
    assert len(answered.err.splitlines()) == 2
    assert "context of 1024" in answered.err


def test_control_characters_do_not_steer_the_terminal(
    advisor: Run, router_folder: Path, type_in: Callable[[bytes], None]
) -> None:
    type_in(b"7+5\x00\x1b[31m")
    result = advisor("ask", "-", "--router", router_folder, "--explain")
    assert result.code in {0, 5}, result.err
    assert not {"\x00", "\x1b"} & set(result.out + result.err)


def test_ask_uses_the_bundled_router_by_default(advisor: Run) -> None:
    document = advisor("ask", "For Ana: name the pet of Bob.", "--json").json()
    assert document["text"].startswith("Answer: ")


def test_a_router_decodes_the_way_it_was_measured(advisor: Run, router_folder: Path) -> None:
    # With the caps of a large model a pocket prompt would not fit into the context at all.
    result = advisor("ask", "--router", router_folder, "7+5", "--lambda", 0, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["text"]
