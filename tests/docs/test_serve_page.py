"""docs/how-to/serve.md: its commands run, its programs print what they say, its tables are whole."""

import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_args

import pytest
import typer.main

sys.path.insert(0, str(Path(__file__).parent))

from pages import ROOT, blocks, environment, page, promised, run_command, run_python

from advisor.cli._app import app
from policies.backends.pocket import pocket_model_names
from router.server import GateLimits, KeySettings, ServerSettings, read_keys
from router.server._metrics import Metrics
from router.server._schema import ThinkrouteFields
from router.server._wishes import EFFORTS, HEADERS, NAME, TIERS
from router.server.upstreams import BreakerSettings, RetrySettings

PAGE = page("how-to/serve.md")
WHY = page("explanation/serving.md")
ADDRESS = "http://127.0.0.1:8400"
LINES = [line for block in blocks(PAGE) for line in block.splitlines()]
SERVE = [line for line in LINES if line.startswith("advisor serve")]

needs_pocket = pytest.mark.skipif(
    "pocket-m" not in pocket_model_names(), reason="the model pocket-m is not there"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Run the page's first server, on a free port."""
    (command,) = [line for line in SERVE if "--backend pocket" in line]
    words = [*shlex.split(command)[1:], "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "advisor", *words],
        cwd=folder,
        env=environment({}),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = process.stderr.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    try:
        assert found is not None, said
        yield found.group()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        process.stderr.close()


def rows(heading: str, text: str = PAGE) -> list[list[str]]:
    """Return the cells of the first table after a heading."""
    after = text.partition(heading)[2]
    (table,) = re.findall(r"(?:^\|.*\n)+", after, re.MULTILINE)[:1]
    cells = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()]
    return cells[2:]


def named(cell: str) -> str:
    return cell.strip("`")


@needs_pocket
def test_the_quick_start_is_answered(address: str, folder: Path) -> None:
    (command,) = [line for line in LINES if line.startswith("curl ")]
    words = shlex.split(command.replace(ADDRESS, address))
    done = subprocess.run(["curl", "-sf", *words[1:]], capture_output=True, text=True, check=True)
    assert "Answer: 0" in done.stdout


@needs_pocket
def test_programs_print_what_they_say_and_the_log_tells_of_them(address: str, folder: Path) -> None:
    programs = [code for code in blocks(PAGE, "python") if "OpenAI(" in code]
    assert len(programs) == 2
    for code in programs:
        done = run_python(code.replace(ADDRESS, address), folder)
        assert done.stdout.splitlines() == promised(code), done.stderr
    tellers = [line for line in LINES if line.startswith("advisor ") and line not in SERVE]
    assert [line.split()[1] for line in tellers] == ["report", "drift"]
    for line in tellers:
        done = run_command(line, folder)
        assert done.returncode == 0, done.stderr


@needs_pocket
def test_the_classifier_prints_what_it_says(tmp_path: Path) -> None:
    (code,) = [code for code in blocks(PAGE, "python") if "litellm_plugin" in code]
    done = run_python(code, tmp_path)
    assert done.stdout.splitlines()[0] == "SIMPLE", done.stderr
    assert promised(code) == ["SIMPLE"]


@pytest.mark.parametrize("line", [*SERVE, *re.findall(r"`(advisor serve [^`]+)`", PAGE)])
def test_the_cli_takes_every_command(line: str) -> None:
    group = cast("Any", typer.main.get_command(app))
    group.commands["serve"].make_context("serve", shlex.split(line)[2:])


def test_every_option_that_is_named_exists() -> None:
    group = cast("Any", typer.main.get_command(app))
    known: set[str] = set()
    for name in ("serve", "drift"):
        known |= {opt for each in group.commands[name].params for opt in each.opts}
    told = set(re.findall(r"`(--[a-z-]+)", PAGE + WHY)) | set(re.findall(r" (--[a-z-]+)", PAGE))
    assert told - known <= {"--since"}
    assert len(told) > 15


def test_numbers_of_the_page_are_the_defaults() -> None:
    gate, retry, breaker = GateLimits(), RetrySettings(), BreakerSettings()
    assert f"served at once ({gate.max_in_flight})" in PAGE
    assert f"wait for their turn ({gate.max_waiting})" in PAGE
    assert f"for {gate.wait_s:g} s at most" in PAGE
    assert f"`--drain-seconds` ({ServerSettings().drain_s:g})" in PAGE
    assert (retry.max_retries, breaker.n_failures, breaker.failure_share) == (2, 5, 0.5)
    assert f"none {retry.give_up_s:g} s after" in PAGE
    assert f"at most {retry.budget_share:.0%}" in PAGE
    assert f"for {breaker.open_s:g} s, then twice as long, up to a minute" in PAGE
    assert breaker.longest_open_s == 60
    assert f"asked\n  every {breaker.check_every_s:g} s" in PAGE
    assert TIERS == {"cheap": 0.05, "balanced": 0.01, "best": 0.0}


def test_the_tables_of_wishes_are_whole() -> None:
    told = rows("in a field `thinkroute` of its body")
    assert {named(row[0]) for row in told} == set(ThinkrouteFields.model_fields)
    assert {named(row[1]): named(row[0]) for row in told} == dict(HEADERS)
    names = {named(row[0]) for row in rows("## What a request can ask for")}
    assert {NAME, *(f"{NAME}:{tier}" for tier in TIERS)} <= names
    effort = PAGE.partition("OpenAI's `reasoning_effort`")[2].partition("The more specific")[0]
    assert set(EFFORTS) <= set(re.findall(r"`(\w+)`", effort))


def test_the_table_of_answer_headers_is_whole() -> None:
    code = (ROOT / "router" / "server" / "_serving.py").read_text("utf-8")
    sent = set(re.findall(r'"(x-thinkroute-[a-z-]+)"', code))
    assert {named(row[0]) for row in rows("Answers have these headers")} == sent


def test_the_keys_file_can_be_read_and_its_table_is_whole(tmp_path: Path) -> None:
    (text,) = blocks(PAGE, "toml")
    path = tmp_path / "keys.toml"
    path.write_text(text, "utf-8")
    keys = read_keys(path)
    assert keys.keys() == tomllib.loads(text)["keys"].keys()
    assert keys["operations"].is_admin
    assert {named(row[0]) for row in rows("is_admin = true")} == set(KeySettings.model_fields)


def test_metrics_that_are_named_are_told() -> None:
    text, _ = Metrics().exposition(
        n_in_flight=0, n_waiting=0, upstreams=[], log={"waiting": 0, "dropped": 0}
    )
    told = set(re.findall(r"^# TYPE (thinkroute_\w+)", text.decode(), re.MULTILINE))
    named_ones = set(re.findall(r"(thinkroute_\w+)", PAGE + WHY))
    assert len(named_ones) >= 8
    assert {name.removesuffix("_bucket") for name in named_ones} <= told
    assert 'state="dropped"' in text.decode()


def test_links_lead_somewhere() -> None:
    for name, text in (("how-to/serve.md", PAGE), ("explanation/serving.md", WHY)):
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert ((ROOT / "docs" / name).parent / link).exists(), link


def test_policies_for_tools_are_those_of_the_server() -> None:
    from router.server._service import Structured

    for name in get_args(Structured):
        assert f"--structured {name}`" in PAGE
