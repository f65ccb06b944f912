"""`advisor serve`: an OpenAI-compatible endpoint that decides per query."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import _option_groups as g
from ._output import note

if TYPE_CHECKING:
    from router import BackendSpec, Router

__all__ = ["serve"]

_SALT = "THINKROUTE_LOG_SALT"
_NETWORK, _SERVING, _LIMITS, _LOG = "Network", "Serving", "Limits", "Decision log"


@g.with_groups
def serve(
    router: Annotated[
        Path | None, typer.Option(help="Router folder; the default is the bundled one.")
    ] = None,
    reached: g.Reached = g.ROUTERS_OWN,
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            help="Address of an OpenAI-compatible server, [MODEL=]URL; several share the load.",
            rich_help_panel="Model",
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the servers' key, in the place of the variable.",
            rich_help_panel="Model",
        ),
    ] = None,
    host: Annotated[str, typer.Option(rich_help_panel=_NETWORK)] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", rich_help_panel=_NETWORK)] = 8400,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="TOML file of the keys that clients need, with what each may have.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Host name under which clients address a server without keys.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    deny_private: Annotated[
        bool,
        typer.Option(
            "--deny-private", help="Refuse upstreams in private networks.", rich_help_panel=_NETWORK
        ),
    ] = False,
    alias: Annotated[
        list[str] | None,
        typer.Option(
            help="Another name for a model, NAME=MODEL, such as gpt-4o=thinkroute.",
            rich_help_panel=_SERVING,
        ),
    ] = None,
    hide_thinking: Annotated[
        bool,
        typer.Option(
            "--hide-thinking", help="Leave out reasoning_content.", rich_help_panel=_SERVING
        ),
    ] = False,
    structured: Annotated[
        Literal["as-is", "direct", "reasoning"],
        typer.Option(
            help="Mode of requests with tools or a JSON schema; as-is leaves it to the model.",
            rich_help_panel=_SERVING,
        ),
    ] = "as-is",
    switch_freely: Annotated[
        bool,
        typer.Option(
            "--switch-freely",
            help="Decide on each turn of a conversation anew, whatever its prefix cache is worth.",
            rich_help_panel=_SERVING,
        ),
    ] = False,
    no_fallback: Annotated[
        bool,
        typer.Option(
            "--no-fallback",
            help="Fail where the chosen model fails, rather than ask another one.",
            rich_help_panel=_SERVING,
        ),
    ] = False,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Arm that savings are told against; by default the largest model's longest.",
            rich_help_panel=_SERVING,
        ),
    ] = None,
    max_answer_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most answer tokens of models in this process and of methods of many calls;"
            " by default as was measured.",
            rich_help_panel=_SERVING,
        ),
    ] = None,
    max_in_flight: Annotated[
        int, typer.Option(min=1, help="Requests served at once.", rich_help_panel=_LIMITS)
    ] = 256,
    max_waiting: Annotated[
        int,
        typer.Option(min=0, help="Requests that may wait; more get 429.", rich_help_panel=_LIMITS),
    ] = 512,
    max_output_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Most that a request may ask for.", rich_help_panel=_LIMITS),
    ] = None,
    max_prompt_bytes: Annotated[
        int, typer.Option(min=1, help="Longest conversation.", rich_help_panel=_LIMITS)
    ] = 4_000_000,
    max_body_bytes: Annotated[
        int, typer.Option(min=1, help="Largest request.", rich_help_panel=_LIMITS)
    ] = 32 * 2**20,
    drain_seconds: Annotated[
        float,
        typer.Option(
            help="Longest time that requests under way get after SIGTERM.", rich_help_panel=_LIMITS
        ),
    ] = 8.0,
    log: Annotated[
        str,
        typer.Option(
            help="SQLite file or postgresql:// URL of the decision log; none keeps none.",
            rich_help_panel=_LOG,
        ),
    ] = "decisions.sqlite",
    log_prompts: Annotated[
        bool,
        typer.Option(
            "--log-prompts", help="Keep prompts, not only their hashes.", rich_help_panel=_LOG
        ),
    ] = False,
    show_texts: Annotated[
        bool,
        typer.Option(
            "--show-texts",
            help="Show the beginnings of prompts on the status page.",
            rich_help_panel=_LOG,
        ),
    ] = False,
) -> None:
    """Serve an OpenAI-compatible endpoint that decides per query.

    Example: advisor serve --router routers/qwen --upstream http://127.0.0.1:8000/v1

    Clients change their base URL alone. The status page is at /, the API at /docs. The environment
    variable THINKROUTE_LOG_SALT keys the hashes of prompts in the log.
    """
    from dataclasses import replace

    from pydantic import SecretStr

    from policies import ConfigError, MissingPrerequisiteError
    from router import Router, default_router

    loaded = Router.load(router) if router is not None else default_router()
    try:
        from router.server import GateLimits, Rules, ServerSettings, read_keys, run
    except ImportError as error:
        raise MissingPrerequisiteError.extra("serve", error.name or "starlette") from error

    if api_key_file is not None:
        # Where keys are read: what is stored and shown holds the name of the variable alone.
        os.environ[reached.api_key_env] = _read_key(api_key_file)
    options = None
    if max_answer_tokens is not None:
        options = replace(loaded.options, max_answer_tokens=max_answer_tokens)
    settings = ServerSettings(
        host=host,
        port=port,
        reached=_reached(loaded, reached, upstream or ()),
        keys={} if keys is None else read_keys(keys),
        rules=Rules(
            structured=structured,
            is_sticky=not switch_freely,
            shows_thought=not hide_thinking,
            falls_back=not no_fallback,
            max_output_tokens=max_output_tokens,
            max_prompt_bytes=max_prompt_bytes,
            options=options,
            reference=reference,
        ),
        gate=GateLimits(max_in_flight, max_waiting),
        log=None if log in ("", "none") else log,
        stores_prompts=log_prompts,
        log_salt=SecretStr(os.environ.get(_SALT, "")),
        shows_texts=show_texts,
        aliases=dict(_named("--alias", one) for one in alias or ()),
        hosts=tuple(allow_host or ()),
        max_body_bytes=max_body_bytes,
        drain_s=drain_seconds,
        denies_private=deny_private,
    )
    missing = {arm.model for arm in loaded.arms} - {*loaded.reached, *settings.reached}
    if missing:
        raise ConfigError(
            f"nobody said how {', '.join(sorted(missing))} can be reached",
            hint="give --upstream MODEL=URL, or --backend",
            code="missing-backend",
        )

    _log_to_stderr()

    def tell(url: str) -> None:
        note(f"serving {len(loaded.arms)} arms at {url}/v1 (status: {url}/, API: {url}/docs)")

    run(loaded, settings, tell)


def _read_key(path: Path) -> str:
    from policies import ConfigError

    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--api-key-file {path} cannot be read: {error}") from error
    if not key:
        raise ConfigError(f"--api-key-file {path} is empty")
    return key


def _log_to_stderr() -> None:
    """Show warnings and defects; requests are in the decision log."""
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("thinkroute")
    logger.setLevel(logging.WARNING)
    logger.addHandler(handler)


def _reached(
    router: "Router", reached: g.Reached, upstreams: Sequence[str]
) -> "dict[str, BackendSpec]":
    """Return how models are reached where the command line says so."""
    from dataclasses import replace

    from policies import InvalidInputError
    from router import BackendSpec

    models = list(dict.fromkeys(arm.model for arm in router.arms))
    if reached.backend == g.ROUTERS_OWN.backend and not upstreams:
        if reached != g.ROUTERS_OWN:
            raise InvalidInputError(
                "options of a model are given, and neither --backend nor --upstream",
                hint="add --backend openai, or leave them out",
            )
        return {}
    if not upstreams:
        options = reached.options()
        return {model: BackendSpec(reached.backend, options) for model in models}
    if reached.backend not in (g.ROUTERS_OWN.backend, "openai"):
        raise InvalidInputError(
            f"--upstream {upstreams[0]!r} has no meaning with --backend {reached.backend}"
        )
    urls: dict[str, list[str]] = {}
    for text in upstreams:
        model, url = _named("--upstream", text) if "=" in text.partition("://")[0] else ("", text)
        if model and model not in models:
            raise InvalidInputError(
                f"--upstream {text!r}: the router has no model {model!r}",
                hint=f"it has {', '.join(models)}",
            )
        for name in [model] if model else models:
            urls.setdefault(name, []).append(url)
    found: dict[str, BackendSpec] = {}
    for name, own in urls.items():
        how: Any = replace(reached, backend="openai", base_url=own)
        found[name] = BackendSpec("openai", how.options())
    return found


def _named(option: str, text: str) -> tuple[str, str]:
    from policies import InvalidInputError

    name, equals, value = text.partition("=")
    if not (equals and name and value):
        raise InvalidInputError(f"{option} {text!r} is not NAME=VALUE")
    return name, value
