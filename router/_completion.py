"""What a routed call returns, and the backends it goes to."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from weakref import WeakKeyDictionary

from policies import Backend, Completion, ConfigError, InvalidInputError, Usage

from ._decision import Decision

__all__ = ["BackendPool", "BackendSpec", "RoutedCompletion"]

# Names of options whose values belong into the environment; `max_tokens` is none of them.
_SECRET = re.compile(r"api_?key|secret|passw|credential|authorization|bearer|(^|_)token$", re.I)


@dataclass(frozen=True, slots=True)
class RoutedCompletion:
    """An answer, the decision that led to it, and what it took.

    Attributes:
        decision: The chosen arm and all candidates.
        completion: The backend's completion under the chosen policy; after an escalation its
            usage and seconds are those of both calls together.
        n_calls: How many completions were asked for.
    """

    decision: Decision
    completion: Completion
    n_calls: int = 1

    @property
    def text(self) -> str:
        """The answer, without the thought."""
        return self.completion.text

    @property
    def usage(self) -> Usage:
        """Tokens of the whole call."""
        return self.completion.usage


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """How to reach a model, as an artifact stores it.

    Attributes:
        backend: Kind of backend, such as `pocket` or `openai`.
        options: Keyword arguments of the backend, JSON values, no secrets.
    """

    backend: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        """Refuse options that look like secrets: artifacts are shared."""
        secret = [name for name in self.options if _SECRET.search(name)]
        if secret:
            raise InvalidInputError(
                f"backend option {secret[0]!r} looks like a secret and is not stored",
                hint="backends read keys from the environment, or bind a backend at run time",
            )

    @classmethod
    def from_json(cls, document: "BackendSpec | Mapping[str, Any]") -> "BackendSpec":
        """Read `{"backend": ..., "options": {...}}`.

        Raises:
            InvalidInputError: It is no such object, or an option looks like a secret.
        """
        if isinstance(document, BackendSpec):
            return document
        options = document.get("options", {})
        is_sound = (
            set(document) <= {"backend", "options"}
            and isinstance(document.get("backend"), str)
            and isinstance(options, Mapping)
        )
        if not is_sound:
            raise InvalidInputError(
                f"backend {dict(document)!r} cannot be read",
                hint='write {"backend": "openai", "options": {"base_url": "http://..."}}',
            )
        return cls(document["backend"], dict(cast("Mapping[str, Any]", options)))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {"backend": self.backend, "options": dict(self.options)}


class BackendPool:
    """Backends by model, built when first needed, one per event loop.

    A backend's connections belong to the loop they were opened in, so each loop has its own.
    """

    def __init__(self, bound: Mapping[str, Backend], specs: Mapping[str, BackendSpec]) -> None:
        """Keep what is known.

        Args:
            bound: Backends the caller gave; they are used as they are and never closed.
            specs: How to reach the other models.
        """
        self._bound = dict(bound)
        self._specs = dict(specs)
        self._built: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Backend]] = (
            WeakKeyDictionary()
        )

    def get(self, model: str) -> Backend:
        """Return the backend of a model; call it inside the loop that will use it.

        Raises:
            ConfigError: Nobody said how the model is reached.
            UnknownNameError: No backend of the stored kind is installed.
        """
        if model in self._bound:
            return self._bound[model]
        if model not in self._specs:
            raise ConfigError(
                f"the router does not know how to reach the model {model!r}",
                hint=f"pass backends={{{model!r}: ...}} to Router.load or Router.bind",
                code="missing-backend",
            )
        built = self._built.setdefault(asyncio.get_running_loop(), {})
        if model not in built:
            from policies import build_backend

            spec = self._specs[model]
            built[model] = build_backend(spec.backend, model, **spec.options)
        return built[model]

    async def aclose(self) -> None:
        """Close the backends built for the running loop."""
        for backend in self._built.pop(asyncio.get_running_loop(), {}).values():
            await backend.aclose()
