"""`advisor calibrate` on the real pocket model: documents, resume, interruption, bad input."""

import http.server
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CELL_KEYS = {
    "task_type", "model", "size", "policy", "n", "n_cut", "n_error", "accuracy", "ci_low",
    "ci_high", "mean_tokens", "mean_flops",
}  # fmt: skip

Run = Callable[..., Any]
Arguments = Callable[..., list[str]]


@pytest.fixture
def nonsense_server() -> Iterator[str]:
    """Serve an HTML page for everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>It works!</html>")

        do_GET = do_POST = _answer  # noqa: N815 - names that http.server calls

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            del format, arguments

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_document_names_run_table_and_cells(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    result = advisor(*calibrate_arguments(tmp_path / "run"), "--json")
    document = result.json()
    assert result.code == 0
    assert document["schema_version"] == 1
    assert Path(document["table"]).is_file()
    assert (Path(document["run"]) / "run.sqlite").is_file()
    assert len(document["cells"]) == 8
    for cell in document["cells"]:
        assert cell.keys() >= CELL_KEYS
        assert cell["n"] == 40
        assert cell["ci_low"] <= cell["accuracy"] <= cell["ci_high"]
        assert cell["mean_flops"] > 0
        assert cell["size"] == 2_131_712


def test_reasoning_spends_more_tokens_and_flops_than_direct(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    document = advisor(
        *calibrate_arguments(tmp_path / "run", tasks="pocket-math-oe", limit=20), "--json"
    ).json()
    direct, reasoning = sorted(document["cells"], key=lambda cell: cell["policy"])
    assert direct["policy"] == "direct"
    assert reasoning["mean_tokens"] > 2 * direct["mean_tokens"]
    assert reasoning["mean_flops"] > direct["mean_flops"]


def test_a_second_call_asks_nothing_again_and_a_larger_limit_only_the_rest(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = advisor(*calibrate_arguments(out, limit=10), "--json").json()
    again = advisor(*calibrate_arguments(out, limit=10), "--json").json()
    larger = advisor(*calibrate_arguments(out, limit=15), "--json").json()
    assert (first["summary"]["n_asked"], first["summary"]["n_resumed"]) == (80, 0)
    assert (again["summary"]["n_asked"], again["summary"]["n_resumed"]) == (0, 80)
    assert (larger["summary"]["n_asked"], larger["summary"]["n_resumed"]) == (40, 80)
    assert again["cells"] == first["cells"]


def test_dry_run_prints_the_plan_and_writes_nothing(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = advisor(*calibrate_arguments(out), "--dry-run", "--json")
    assert result.json()["plan"]["n_requests"] == 320
    assert not out.exists()


def test_a_file_of_questions_is_measured(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [{"q": f"Compute mod ten, left to right: {i}+1", "a": str(i + 1)} for i in range(8)]
    file.write_text("\n".join(map(json.dumps, rows)))
    columns = ("--prompt-column", "q", "--gold-column", "a", "--grader", "number")
    arguments = calibrate_arguments(tmp_path / "run", tasks=file, policies="reasoning@max")
    result = advisor(*arguments, *columns, "--instruction", "", "--json")
    (cell,) = result.json()["cells"]
    assert (cell["task"], cell["task_type"], cell["n"]) == ("mine", "math-oe", 8)


@pytest.mark.parametrize(
    ("changes", "code", "error"),
    [
        ({"policies": "direkt"}, 2, "unknown-policy"),
        ({"policies": "reasoning@x"}, 2, "invalid-policy"),
        ({"policies": "direct@5"}, 2, "invalid-policy"),
        ({"policies": ""}, 2, "invalid-input"),
        ({"model": "pocket-q"}, 2, "unknown-model"),
        ({"tasks": "nothing"}, 2, "unknown-task"),
        ({"backend": "pockett"}, 2, "unknown-backend"),
        ({"size": "3X"}, 2, "invalid-size"),
        ({"temperature": 9}, 2, "invalid-input"),
        ({"top_p": 0}, 2, "invalid-input"),
        ({"tasks": "missing.jsonl"}, 3, "invalid-data-file"),
    ],
)
def test_bad_input_gets_one_clear_line_and_leaves_nothing_behind(
    advisor: Run,
    calibrate_arguments: Arguments,
    tmp_path: Path,
    changes: dict[str, str],
    code: int,
    error: str,
) -> None:
    out = tmp_path / "run"
    result = advisor(*calibrate_arguments(out, **changes), "--json")
    lines = result.err.strip().splitlines()
    assert result.code == code
    assert result.out == ""
    assert lines[0].startswith(f"error[{error}]: ")
    assert all(line.startswith("  hint: ") for line in lines[1:])
    assert not out.exists()


def test_a_broken_line_is_named_with_its_file(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    file = tmp_path / "broken.jsonl"
    file.write_text('{"prompt": "a", "gold": "b"}\n{"prompt": "a", \n')
    result = advisor(*calibrate_arguments(tmp_path / "run", tasks=file))
    assert result.code == 3
    assert f"{file}:2: not JSON" in result.err


def test_errors_of_single_questions_are_told_and_not_counted(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    result = advisor(
        *calibrate_arguments(tmp_path / "run", policies="reasoning@5000", limit=2), "--json"
    )
    assert result.code == 5
    assert {cell["n"] for cell in result.json()["cells"]} == {0}
    assert "exceed the context of 1024" in result.err


def test_a_server_that_is_down_is_a_backend_failure(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    arguments = calibrate_arguments(tmp_path / "run", backend="openai", model="m", limit=3)
    result = advisor(*arguments, "--base-url", "http://127.0.0.1:9/v1", "--yes")
    assert result.code == 5
    assert "error[backend-unreachable]" in result.err


def test_a_server_that_answers_nonsense_is_a_backend_failure(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path, nonsense_server: str
) -> None:
    arguments = calibrate_arguments(tmp_path / "run", backend="openai", model="m", limit=3)
    result = advisor(*arguments, "--base-url", nonsense_server, "--yes")
    assert result.code == 5
    assert "error[backend-" in result.err


def test_interrupt_keeps_what_was_finished_and_the_same_command_resumes(
    calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "advisor", *calibrate_arguments(out, limit=400), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while _n_finished(out) < 50:
        assert time.monotonic() < deadline, "nothing was measured within a minute"
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)  # poll the store of another process
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    kept = _n_finished(out)
    assert process.returncode == 130
    assert "the same command resumes" in err
    assert 50 <= kept < 3200
    resumed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    summary = json.loads(resumed.stdout)["summary"]
    assert (summary["n_resumed"], summary["n_asked"]) == (kept, 3200 - kept)


def _n_finished(out: Path) -> int:
    try:
        with sqlite3.connect(f"file:{out / 'run.sqlite'}?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT count(*) FROM generation").fetchone()[0])
    except sqlite3.Error:
        return 0


def n_with_evidence(run: Path) -> tuple[int, int]:
    with sqlite3.connect(run / "run.sqlite") as connection:
        query = "SELECT count(margin), count(*) FROM generation WHERE error_code IS NULL"
        [counts] = connection.execute(query).fetchall()
    connection.close()
    return counts


def test_evidence_is_kept_unless_it_is_not_wanted(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    arguments = calibrate_arguments(tmp_path / "run")
    assert advisor(*arguments, "--json").code == 0
    n_told, n_all = n_with_evidence(tmp_path / "run")
    assert n_told == n_all > 0
    arguments = calibrate_arguments(tmp_path / "blind")
    assert advisor(*arguments, "--no-evidence", "--json").code == 0
    assert n_with_evidence(tmp_path / "blind") == (0, n_all)
    # What is finished stays finished, also if evidence is wanted now.
    again = advisor(*arguments, "--evidence", "--json").json()
    assert again["samples"]["generated"] == 0


def test_evidence_that_a_backend_cannot_give_is_refused_at_once(
    advisor: Run, tmp_path: Path
) -> None:
    result = advisor(
        *("calibrate", "--model", "gemini-2.5-flash", "--tasks", "pocket", "--limit", "1"),
        *("--backend", "openai", "--dialect", "gemini", "--base-url", "http://127.0.0.1:9/v1"),
        *("--policies", "direct", "--out", str(tmp_path / "run"), "--evidence"),
    )
    assert result.code != 0
    assert "logprobs" in result.err
    assert not (tmp_path / "run").exists()
