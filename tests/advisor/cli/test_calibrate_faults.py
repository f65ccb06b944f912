"""`advisor calibrate` against a server that fails in every way servers have been seen to fail.

Nothing that a server does wrong may become a wrong answer, be asked more often than was said, or
keep the same command from finishing once the server is well again.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.fault_server import Fault, FaultServer, Seen
from tests.servers.runs import arguments, is_question, rows, table, write_questions

N_QUESTIONS = 6
MAX_RETRIES = 1
POLICIES = "direct,reasoning@8,reasoning@max"
OPTIONS = ("--backend-option", f"max_retries={MAX_RETRIES}", "--backend-option", "timeout_s=3")

Run = Callable[..., Any]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    running = FaultServer()
    yield running
    running.close()


@pytest.fixture
def command(server: FaultServer, tmp_path: Path) -> list[str]:
    questions = write_questions(tmp_path, N_QUESTIONS)
    return arguments(server, questions, tmp_path / "run", *OPTIONS, policies=POLICIES)


def is_hit(seen: Seen) -> bool:
    """Tell the requests that go wrong: half of the questions, the probe and lists never."""
    has_question = seen.path in ("/v1/chat/completions", "/v1/completions") and is_question(seen)
    return has_question and int(seen.question.split("+")[0].split()[-1]) % 2 == 0


def message(document: dict[str, Any]) -> dict[str, Any]:
    """Return a chat's message, or a stand-in for a text completion's."""
    choice = document["choices"][0]
    return choice.setdefault("message", {"content": choice.get("text"), "reasoning": None})


def empty(document: dict[str, Any]) -> None:
    message(document).update(content="", reasoning=None)
    document["choices"][0]["text"] = ""


def ends_with(reason: str | None) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["choices"][0].update(finish_reason=reason)


def without_usage(document: dict[str, Any]) -> None:
    del document["usage"]


def of_another_model(document: dict[str, Any]) -> None:
    document["model"] = "another"


PASSING = {
    "429-with-retry-after": Fault(429, {"retry-after": "0.2"}, raw=b'{"error": "slow down"}'),
    "429": Fault(429, raw=b'{"error": {"message": "slow down"}}'),
    "500": Fault(500, raw=b"oops"),
    "503": Fault(503, raw=b"<html>busy</html>"),
    "cut": Fault(is_cut=True),
    "no-json": Fault(raw=b'{"choices": [{"mess'),
    "abort": Fault(change=ends_with("abort")),
    "no-finish-reason": Fault(change=ends_with(None)),
}
"""Faults that may pass: tried `max_retries + 1` times."""
FINAL = {
    "empty": Fault(change=empty),
    "no-usage": Fault(change=without_usage),
    "another-model": Fault(change=of_another_model),
    "400": Fault(400, raw=b'{"error": {"message": "too long"}}'),
    "unknown-finish-reason": Fault(change=ends_with("because")),
}
"""Faults that repeating does not cure: tried once."""


def outcomes(run: Path) -> dict[tuple[str, str], str]:
    found = rows(
        run,
        "SELECT q.prompt, a.policy, s.outcome FROM score s JOIN generation g ON g.key = s.key"
        " JOIN question q ON q.id = g.question JOIN arm a ON a.id = g.arm",
    )
    return {(str(prompt), str(policy)): str(outcome) for prompt, policy, outcome in found}


@pytest.mark.parametrize("name", [*PASSING, *FINAL])
def test_a_fault_is_an_error_row_and_the_same_command_finishes_later(
    advisor: Run, server: FaultServer, command: list[str], tmp_path: Path, name: str
) -> None:
    fault = (PASSING | FINAL)[name]
    server.fault = lambda seen: fault if is_hit(seen) else None
    result = advisor(*command)
    assert result.code == 5
    document = result.json()
    n_hit = N_QUESTIONS // 2 * 3
    assert document["samples"]["error"] == n_hit
    stored = rows(tmp_path / "run", "SELECT error_code, error FROM generation ORDER BY key")
    codes = Counter(code is not None and str(code).startswith("backend-") for code, _ in stored)
    assert codes == {True: n_hit, False: N_QUESTIONS * 3 - n_hit}
    kinds = Counter(outcomes(tmp_path / "run").values())
    assert kinds["error"] == n_hit
    # Each question was tried as often as was said, by one owner of retries. What is told from a
    # trace is not asked where the trace itself has failed.
    tries = Counter(seen.identity for seen in server.generations(of=is_hit))
    assert set(tries.values()) == {MAX_RETRIES + 1 if name in PASSING else 1}
    assert len(tries) == N_QUESTIONS // 2 * 2
    check_notes(result.err, n_hit)

    server.fault = None
    again = advisor(*command)
    assert again.code == 0, again.err
    assert again.json()["summary"]["n_asked"] == n_hit
    healthy = advisor(*command[: command.index("--out")], *after_out(command, tmp_path / "healthy"))
    assert healthy.code == 0
    assert table(tmp_path / "run") == table(tmp_path / "healthy")


def check_notes(err: str, n_failed: int) -> None:
    """Check that stderr tells in single lines what happened, and why the first one failed."""
    *_, failed, first = err.strip().splitlines()
    assert failed.startswith(f"{n_failed} samples failed and are not counted")
    assert first.startswith("the first said: ")
    assert "Traceback" not in err


def after_out(command: list[str], out: Path) -> list[str]:
    return ["--out", str(out), *command[command.index("--out") + 2 :]]


def test_a_server_that_hangs_is_left_after_the_time_that_was_said(
    advisor: Run, server: FaultServer, command: list[str], tmp_path: Path
) -> None:
    server.fault = lambda seen: Fault(hangs=True) if is_hit(seen) else None
    result = advisor(*command, "--backend-option", "timeout_s=2")
    assert result.code == 5
    errors = rows(tmp_path / "run", "SELECT DISTINCT error_code FROM generation")
    assert set(errors) == {(None,), ("backend-timeout",)}
    tries = Counter(seen.identity for seen in server.generations(of=is_hit))
    assert set(tries.values()) == {MAX_RETRIES + 1}


def test_a_fault_that_passes_within_the_retries_leaves_no_trace(
    advisor: Run, server: FaultServer, command: list[str], tmp_path: Path
) -> None:
    broken = Fault(500, raw=b"oops")
    server.fault = lambda seen: broken if is_hit(seen) and seen.n_before == 0 else None
    result = advisor(*command)
    assert result.code == 0, result.err
    assert result.json()["summary"]["n_error"] == 0
    assert "error" not in outcomes(tmp_path / "run").values()


def test_continuations_that_fail_are_errors_of_their_budget_alone(
    advisor: Run, server: FaultServer, command: list[str], tmp_path: Path
) -> None:
    def fails(seen: Seen) -> Fault | None:
        return Fault(500, raw=b"oops") if is_hit(seen) and seen.prefix else None

    server.fault = fails
    result = advisor(*command)
    assert result.code == 5
    kinds = Counter(
        (policy, kind == "error") for (_, policy), kind in outcomes(tmp_path / "run").items()
    )
    assert kinds["reasoning@8", True] == N_QUESTIONS // 2
    assert not kinds["reasoning@max", True] + kinds["direct", True]
    server.fault = None
    server.reset()
    assert advisor(*command).code == 0
    # The stored traces told what was missing.
    assert {seen.path for seen in server.generations(of=is_question)} == {"/v1/completions"}


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [("length", "cut"), ("repetition", "cut"), ("content_filter", "error")],
)
def test_answers_that_were_ended_for_the_model_are_not_wrong(
    advisor: Run, server: FaultServer, command: list[str], tmp_path: Path, reason: str, outcome: str
) -> None:
    server.fault = lambda seen: Fault(change=ends_with(reason)) if is_hit(seen) else None
    result = advisor(*command)
    assert result.code == 0, result.err
    hit = {
        kind
        for (prompt, _), kind in outcomes(tmp_path / "run").items()
        if int(prompt.split("+")[0].split()[-1]) % 2 == 0
    }
    assert hit == {outcome}
    cells = result.json()["cells"]
    assert sum(cell[f"n_{outcome}"] for cell in cells) == N_QUESTIONS // 2 * 3


def renamed(document: dict[str, Any]) -> None:
    message(document)["reasoning_content"] = message(document).pop("reasoning")


def inline(document: dict[str, Any]) -> None:
    parts = message(document)
    parts["content"] = f"<think>{parts.pop('reasoning')}</think>{parts['content']}"


def prefilled(document: dict[str, Any]) -> None:
    parts = message(document)
    parts["content"] = f"{parts.pop('reasoning')}</think>{parts['content']}"


def unclosed(document: dict[str, Any]) -> None:
    parts = message(document)
    parts["content"] = f"<think>{parts.pop('reasoning')}{parts['content']}"


def reopened(document: dict[str, Any]) -> None:
    parts = message(document)
    parts["content"] = f"<think>Answer: 999</think>{parts['content']}"


@pytest.mark.parametrize(
    ("form", "becomes"),
    [
        (renamed, "same"),
        (inline, "same"),
        (prefilled, "same"),
        (reopened, "same"),
        (unclosed, "cut"),
    ],
)
def test_a_thought_in_any_form_leaves_the_answer_what_it_is(
    advisor: Run,
    server: FaultServer,
    command: list[str],
    tmp_path: Path,
    form: Callable[[dict[str, Any]], None],
    becomes: str,
) -> None:
    thinking = [*command, "--policies", "reasoning@max", "--no-replay"]
    assert (
        advisor(*thinking[: thinking.index("--out")], *after_out(thinking, tmp_path / "h")).code
        == 0
    )

    def changes(seen: Seen) -> Fault | None:
        return Fault(change=form) if is_hit(seen) and seen.thinking else None

    server.fault = changes
    result = advisor(*thinking)
    assert result.code == 0, result.err
    healthy, formed = outcomes(tmp_path / "h"), outcomes(tmp_path / "run")
    assert formed.keys() == healthy.keys()
    for (prompt, policy), kind in formed.items():
        is_changed = int(prompt.split("+")[0].split()[-1]) % 2 == 0
        expected = "cut" if is_changed and becomes == "cut" else healthy[prompt, policy]
        assert kind == expected


def test_a_server_that_fails_for_good_ends_the_run_with_one_clear_line(
    advisor: Run, server: FaultServer, tmp_path: Path
) -> None:
    questions = write_questions(tmp_path, 60)
    command = arguments(server, questions, tmp_path / "run", *OPTIONS, policies="direct")
    broken = Fault(500, raw=b'{"error": "the \x1b[31mGPU\x1b[0m fell off"}')
    server.fault = lambda seen: broken if is_question(seen) and "+" in seen.question else None
    result = advisor(*command, "--concurrency", 2)
    assert (result.code, result.out) == (5, "")
    lines = [line for line in result.err.splitlines() if line.startswith("error[")]
    assert len(lines) == 1
    assert "GPU" in lines[0]
    assert "\x1b" not in result.err
    # Twenty questions in a row, and what was under way.
    assert 20 <= len({seen.question for seen in server.generations(of=is_question)}) <= 22
    server.fault = None
    assert advisor(*command).code == 0


@pytest.mark.parametrize("budgets", [4, 12])
def test_one_trace_that_fails_does_not_count_as_twenty_failures(
    advisor: Run, server: FaultServer, tmp_path: Path, budgets: int
) -> None:
    questions = write_questions(tmp_path, 8)
    policies = ",".join(["direct", *(f"reasoning@{n}" for n in range(budgets)), "reasoning@max"])
    command = arguments(server, questions, tmp_path / "run", *OPTIONS, policies=policies)
    server.fault = lambda seen: Fault(500, raw=b"oops") if is_hit(seen) and seen.thinking else None
    result = advisor(*command, "--concurrency", 1)
    assert result.code == 5
    assert result.json()["samples"]["error"] == 4 * (budgets + 1)
    assert result.json()["samples"]["generated"] == 8 * (budgets + 2) - 4 * (budgets + 1)


def test_json_is_one_document_or_nothing(
    advisor: Run, server: FaultServer, command: list[str], tmp_path: Path
) -> None:
    assert json.loads(advisor(*command).out)["schema_version"] == 1
    server.model.root = "other/weights"
    refused = advisor(*command)
    assert (refused.code, refused.out) == (3, "")
    server.close()
    gone = advisor(*command[: command.index("--out")], *after_out(command, tmp_path / "new"))
    assert (gone.code, gone.out) == (5, "")
    server.__init__()  # closed once more by the fixture
