"""What a server is started with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from policies import ConfigError, InvalidInputError
from policies.backends.openai import OpenAIBackend

from .._completion import BackendSpec
from ._callers import KeySettings
from ._gate import GateLimits
from ._service import Rules
from ._upstream_chat import ServedModel
from .upstreams import BreakerSettings, RetrySettings, UpstreamPool, UpstreamSettings

__all__ = ["ServerSettings", "served_models"]

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything about a server but its router.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        reached: How models are reached, by name, in the place of what the router's artifact says.
        keys: Keys by name; without any, everybody may call, and only from this machine.
        rules: How requests are served.
        gate: How many at once.
        log: File or URL of the decision log, `None` for none.
        stores_prompts: Whether the log keeps texts.
        log_salt: Secret that keys the hashes of prompts in the log.
        shows_texts: Whether the status page shows the beginnings of prompts.
        aliases: More names for models, each with the name it stands for.
        hosts: Names under which clients may address a server that asks for no keys, besides
            addresses and `localhost`: pages of other sites reach it under names of theirs.
        max_body_bytes: Largest body of a request.
        drain_s: Longest time for requests under way when the server is told to stop.
        retry: When upstreams are asked again.
        breaker: When they are left alone.
        denies_private: Whether upstreams must have public addresses.
    """

    host: str = "127.0.0.1"
    port: int = 8400
    reached: Mapping[str, BackendSpec] = field(default_factory=dict[str, BackendSpec])
    keys: Mapping[str, KeySettings] = field(default_factory=dict[str, KeySettings])
    rules: Rules = field(default_factory=Rules)
    gate: GateLimits = field(default_factory=GateLimits)
    log: str | None = None
    stores_prompts: bool = False
    log_salt: SecretStr = field(default_factory=lambda: SecretStr(""))
    shows_texts: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    hosts: Sequence[str] = ()
    max_body_bytes: int = 32 * 2**20
    drain_s: float = 8.0
    retry: RetrySettings = field(default_factory=RetrySettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    denies_private: bool = False

    def __post_init__(self) -> None:
        """Refuse to serve everybody without a key."""
        if self.host not in _LOOPBACK and not self.keys:
            raise ConfigError(
                f"host is {self.host!r} and there are no keys: anybody who reaches this machine"
                " could use the models",
                hint="give --keys keys.toml, or listen on 127.0.0.1",
            )
        if not 0 <= self.port <= 65_535:
            raise InvalidInputError(f"port is {self.port}, expected 0 to 65535")
        if not self.drain_s > 0 or self.max_body_bytes < 1:
            raise InvalidInputError(
                f"drain_s={self.drain_s:g} and max_body_bytes={self.max_body_bytes} cannot be"
                " used, expected numbers above 0"
            )


def served_models(
    specs: Mapping[str, BackendSpec], settings: ServerSettings
) -> dict[str, ServedModel]:
    """Return the models behind OpenAI-compatible servers; one pool for each set of addresses.

    Args:
        specs: How models are reached, by name.
        settings: How often servers are asked again.

    Raises:
        InvalidInputError: An option or an address cannot be used.
    """
    pools: dict[tuple[Any, ...], UpstreamPool] = {}
    models: dict[str, ServedModel] = {}
    for name, spec in specs.items():
        if spec.backend != OpenAIBackend.name:
            continue
        options = dict(spec.options)
        given = options.pop("base_url", ())
        urls = [given] if isinstance(given, str) else list(given)
        options.pop("retry_s", None)
        # It reads and checks the options, and asks nobody; what it is used for is the dialect.
        known = [OpenAIBackend(name, url, **options) for url in urls]
        if not known:
            raise InvalidInputError(f"the model {name!r} has no base_url")
        timeout_s = float(options.get("timeout_s", 600.0))
        key = _key_of(options)
        identity = (tuple(urls), timeout_s, key)
        if identity not in pools:
            pools[identity] = UpstreamPool(
                [
                    UpstreamSettings(
                        url,
                        key=None if key is None else SecretStr(key),
                        timeout_s=timeout_s,
                        silence_s=min(timeout_s, 300.0),
                        denies_private=settings.denies_private,
                    )
                    for url in urls
                ],
                retry=settings.retry,
                breaker=settings.breaker,
            )
        models[name] = ServedModel.of(name, pools[identity], known[0].dialect)
    return models


def _key_of(options: Mapping[str, Any]) -> str | None:
    import os

    variable = options.get("key_variable")
    return os.environ.get(variable) or None if isinstance(variable, str) else None
