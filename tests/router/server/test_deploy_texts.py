"""What deploy/ and examples/ tell people to type exists: commands, options, files, models."""

import ast
import configparser
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import typer.main
import yaml

from advisor.cli._app import app
from router.server import ServerSettings
from router.server._wishes import NAME, TIERS

ROOT = Path(__file__).parents[3]
DEPLOY, EXAMPLES = ROOT / "deploy", ROOT / "examples"
TEXTS = [
    path
    for folder in (DEPLOY, EXAMPLES)
    for path in sorted(folder.rglob("*"))
    if path.suffix not in {".pyc"} and path.is_file()
]
UNIT = DEPLOY / "thinkroute.service"


def containerfile() -> dict[str, list[str]]:
    """Return the arguments of each instruction of the last stage."""
    text = (DEPLOY / "Containerfile").read_text("utf-8").replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("FROM"):
            found = {}
        name, _, rest = line.partition(" ")
        if re.fullmatch(r"[A-Z]+", name):
            found.setdefault(name, []).append(rest.strip())
    return found


def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))


def unit() -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue] - as documented
    parser.read_string(UNIT.read_text("utf-8").replace("\\\n", " "))
    return {name: dict(parser[name]) for name in parser.sections()}


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the place and the words of every `advisor` command."""
    yield "Containerfile", json.loads(containerfile()["ENTRYPOINT"][0])
    service = compose()["services"]["thinkroute"]
    yield "compose.yaml", ["advisor", *service["entrypoint"][3:], *service["command"]]
    words = shlex.split(unit()["Service"]["ExecStart"])
    assert words[0].endswith("/bin/advisor")
    yield "thinkroute.service", ["advisor", *words[1:]]
    for path in TEXTS:
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("advisor "):
                yield path.name, shlex.split(line)


def given(words: list[str], option: str) -> str:
    """Return the value of an option, in either spelling."""
    for place, word in enumerate(words):
        if word == option:
            return words[place + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    raise AssertionError(f"{option} is not given in {words}")


def parsed(words: list[str]) -> dict[str, Any]:
    """Return the options of a command as the real CLI reads them."""
    group = cast("Any", typer.main.get_command(app))
    name, *arguments = words[1:]
    assert name in group.commands, f"there is no command advisor {name}"
    # Raises for options and values that do not exist.
    return group.commands[name].make_context(name, arguments).params


COMMANDS = list(commands())


@pytest.mark.parametrize(("place", "words"), COMMANDS, ids=[place for place, _ in COMMANDS])
def test_the_cli_takes_every_command(place: str, words: list[str]) -> None:
    assert parsed(words)["port"] > 0


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(Exception, match="no-such-option"):
        parsed(["advisor", "serve", "--no-such-option"])
    with pytest.raises(AssertionError, match="no command advisor sevre"):
        parsed(["advisor", "sevre"])


def test_all_kinds_of_texts_are_looked_at() -> None:
    places = {place for place, _ in COMMANDS}
    assert places >= {"Containerfile", "compose.yaml", "thinkroute.service", "openai_sdk.py"}
    assert len(COMMANDS) >= 7


def test_the_unit_gives_no_rights_and_more_time_than_draining_takes() -> None:
    service = unit()["Service"]
    hardened = {
        "DynamicUser": "yes",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "KillSignal": "SIGTERM",
        "CapabilityBoundingSet": "",
    }
    assert hardened.items() <= service.items()
    assert "EnvironmentFile" in service
    words = shlex.split(service["ExecStart"])
    assert float(service["TimeoutStopSec"]) > float(given(words, "--drain-seconds"))
    state = f"/var/lib/{service['StateDirectory']}/"
    assert given(words, "--log").startswith(state)
    credential = service["LoadCredential"].partition(":")[0]
    assert given(words, "--keys") == f"%d/{credential}"


def test_the_unit_has_no_setting_twice() -> None:
    settings = re.findall(r"^(\w+)=", UNIT.read_text("utf-8"), re.MULTILINE)
    assert len(settings) == len(set(settings))


def test_the_image_runs_as_nobody_special_and_says_when_it_is_ready() -> None:
    image = containerfile()
    words: list[str] = json.loads(image["ENTRYPOINT"][0])
    assert int(image["USER"][0]) > 0
    assert image["STOPSIGNAL"] == ["SIGTERM"]
    port = given(words, "--port")
    assert image["EXPOSE"] == [port]
    (check,) = image["HEALTHCHECK"]
    code = json.loads(check.partition("CMD ")[2])[2]
    ast.parse(code)
    assert f"127.0.0.1:{port}/readyz" in code
    # docker and podman kill ten seconds after they asked.
    assert float(given(words, "--drain-seconds")) < 10
    assert ServerSettings().port == int(port)
    sources = " ".join(containerfile_sources())
    for package in ("policies", "calibration", "router", "advisor", "pyproject.toml"):
        assert package in sources.split()
        assert (ROOT / package).exists()


def containerfile_sources() -> list[str]:
    text = (DEPLOY / "Containerfile").read_text("utf-8").replace("\\\n", " ")
    return [line.removeprefix("COPY ") for line in text.splitlines() if line.startswith("COPY")]


def test_the_services_fit_each_other() -> None:
    document = compose()
    services = document["services"]
    ours = services["thinkroute"]
    words = ours["command"]
    assert ours["depends_on"].keys() <= services.keys()
    upstream = given(words, "--upstream")
    assert upstream.split("/")[2].partition(":")[0] in services
    log = re.fullmatch(r"postgresql://(\w+)@(\w+)/(\w+)", given(words, "--log"))
    assert log is not None
    user, host, database = log.groups()
    assert host in services
    environment = services[host]["environment"]
    assert (environment["POSTGRES_USER"], environment["POSTGRES_DB"]) == (user, database)
    assert set(ours["secrets"]) <= document["secrets"].keys()
    assert given(words, "--keys").rpartition("/")[2] in ours["secrets"]
    grace_s = float(ours["stop_grace_period"].removesuffix("s"))
    assert grace_s > float(given(words, "--drain-seconds"))
    mounted = {volume.split(":")[1] for volume in ours["volumes"]}
    assert given(words, "--router") in mounted
    assert all(volume.endswith(":ro") for volume in ours["volumes"])
    for service in services.values():
        for volume in service.get("volumes", []):
            name = volume.partition(":")[0]
            assert name.startswith(".") or name in document["volumes"]


def test_no_secret_is_written_into_a_text() -> None:
    for path in TEXTS:
        text = path.read_text("utf-8")
        assert not re.search(r"postgres(ql)?://[^@\s]*:[^@\s]*@", text), path
        assert not re.search(r"\b(sk-|hf_)\w{8,}", text), path


@pytest.mark.parametrize("name", ["openai_sdk.py", "langchain_chat.py", "llamaindex_chat.py"])
def test_examples_are_python_and_ask_for_models_that_there_are(name: str) -> None:
    text = (EXAMPLES / name).read_text("utf-8")
    compile(text, name, "exec")
    models = set(re.findall(r'model="([^"]+)"', text))
    assert models
    assert models <= {NAME, *(f"{NAME}:{tier}" for tier in TIERS)}


def test_the_entries_for_llm_ask_for_models_that_there_are() -> None:
    text = (EXAMPLES / "llm_command.md").read_text("utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    entries = yaml.safe_load(block)
    names = {entry["model_name"] for entry in entries}
    assert names <= {NAME, *(f"{NAME}:{tier}" for tier in TIERS)}
    known = {entry["model_id"] for entry in entries}
    known |= {alias for entry in entries for alias in entry.get("aliases", [])}
    assert set(re.findall(r"^llm -m (\S+)", text, re.MULTILINE)) <= known
