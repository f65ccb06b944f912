"""What is compared: the upstream itself, a bare proxy, thinkroute, and the litellm proxy."""

import json
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from ._processes import ROOT, Process, free_port, module, wait_until_ready
from ._upstream import MODEL
from ._world import write_router

__all__ = ["LITELLM_VENV", "Target", "World", "decision_s", "running"]

LITELLM_VENV = ROOT / ".venv-litellm"
# One worker, no keys, no database, nothing sent anywhere, no log lines: what its documentation
# calls production settings, as far as they apply to one process without keys, which ours has too.
_LITELLM_ENV = {
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    "NO_DOCS": "True",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers chats.

    Attributes:
        name: Its name in tables.
        url: Base URL.
        model: The model to name.
        process: The process that serves it.
    """

    name: str
    url: str
    model: str
    process: Process


@dataclass(frozen=True, slots=True)
class World:
    """Everything that runs.

    Attributes:
        targets: What is compared, the upstream itself first.
        upstream: Root of the upstream, for its behaviour.
        load: The process that sends.
    """

    targets: list[Target]
    upstream: str
    load: Process


@contextmanager
def running(folder: Path, litellm: Path | None) -> Generator[World]:
    """Start everything; it ends with the block.

    Args:
        folder: For the router, the log and what the processes say.
        litellm: Environment of the litellm proxy, `None` leaves it out.
    """
    with ExitStack() as stack:
        upstream, load = (
            stack.enter_context(Process(module(name), folder=folder, is_asked=True))
            for name in ("benchmarks.serving._upstream", "benchmarks.serving._load")
        )
        (url,) = upstream.line()["urls"]
        targets = [
            Target("direct", url, MODEL, upstream),
            _bare(stack, folder, url),
            _thinkroute(stack, folder, url),
        ]
        if litellm is not None:
            targets.append(_litellm(stack, folder, url, litellm))
        yield World(targets, url.removesuffix("/v1"), load)


def decision_s(target: Target) -> tuple[float, float]:
    """Return the seconds that thinkroute's decisions have taken, and how many there were."""
    with urlopen(target.url.removesuffix("/v1") + "/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    told = dict(line.split(" ", 1) for line in lines if not line.startswith("#"))
    name = "thinkroute_decision_seconds"
    return float(told[f"{name}_sum"]), float(told[f"{name}_count"])


def _bare(stack: ExitStack, folder: Path, url: str) -> Target:
    port = free_port()
    command = module("benchmarks.serving._proxy", "--upstream", url, "--port", str(port))
    process = stack.enter_context(Process(command, folder=folder))
    wait_until_ready(f"http://127.0.0.1:{port}/healthz", process)
    return Target("bare proxy", f"http://127.0.0.1:{port}/v1", MODEL, process)


def _thinkroute(stack: ExitStack, folder: Path, url: str) -> Target:
    router, log = write_router(folder / "router"), folder / "decisions.sqlite"
    options = ("--router", str(router), "--upstream", url, "--log", str(log), "--port", "0")
    process = stack.enter_context(Process(module("advisor", "serve", *options), folder=folder))
    return Target("thinkroute", process.told_url(), "thinkroute", process)


def _litellm(stack: ExitStack, folder: Path, url: str, venv: Path) -> Target:
    port = free_port()
    reached = {"model": f"openai/{MODEL}", "api_base": url, "api_key": "none"}
    config = {
        "model_list": [{"model_name": MODEL, "litellm_params": reached}],
        "litellm_settings": {"telemetry": False},
    }
    path = folder / "litellm.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML.
    options = ("--host", "127.0.0.1", "--port", str(port), "--num_workers", "1")
    command = [str(venv / "bin" / "litellm"), "--config", str(path), *options]
    command += ["--telemetry", "False"]
    process = stack.enter_context(
        Process(command, folder=folder, env={**_LITELLM_ENV, "PYTHONPATH": ""})
    )
    wait_until_ready(f"http://127.0.0.1:{port}/health/liveliness", process)
    return Target("litellm proxy", f"http://127.0.0.1:{port}/v1", MODEL, process)
