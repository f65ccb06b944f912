"""A backend under test and the question it is asked."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from .._backend import Backend, Capability, Delta, GenerationRequest, Streams
from .._messages import Completion, user_message
from ._outcome import Skipped

__all__ = ["BackendProbe"]


@dataclass(frozen=True, slots=True)
class BackendProbe:
    """A backend and what to ask it.

    Attributes:
        backend: The backend to check.
        prompt: The question.
        budgets: Thinking budgets to try.
        max_tokens: Cap of each request.
        n_concurrent: Requests sent at once.
    """

    backend: Backend
    prompt: str
    budgets: tuple[int, ...]
    max_tokens: int
    n_concurrent: int

    async def ask(self, prompt: str | None = None, **changes: Any) -> Completion:
        """Return the completion of one request."""
        return await self.backend.generate(self._request(prompt, changes))

    def stream(
        self, prompt: str | None = None, **changes: Any
    ) -> AsyncGenerator[Delta | Completion]:
        """Return the stream of one request; skip the check where the backend has none."""
        if not isinstance(self.backend, Streams):
            raise Skipped("the backend does not hand out answers while they are generated")
        return self.backend.stream(self._request(prompt, changes))

    def _request(self, prompt: str | None, changes: Mapping[str, Any]) -> GenerationRequest:
        fields: dict[str, Any] = {
            "messages": user_message(prompt or self.prompt),
            "max_tokens": self.max_tokens,
            **changes,
        }
        return GenerationRequest(**fields)

    def need(self, *capabilities: Capability) -> None:
        """Skip the check where the backend does not claim a capability."""
        missing = set(capabilities) - self.backend.capabilities
        if missing:
            raise Skipped(f"the backend does not claim {', '.join(sorted(missing))}")
