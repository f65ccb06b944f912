"""What an answer on its way is, whoever gives it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from policies import Usage

__all__ = ["Answer", "AnswerFacts"]


@dataclass(slots=True)
class AnswerFacts:
    """What is known about an answer so far; complete when it has been read to its end.

    Attributes:
        usage: Tokens over all calls; `None` as long as nobody told.
        finish_reason: As the client is told, "" before the end.
        upstream: Address of the server that answers, "" for a model in this process.
        n_attempts: Requests sent.
        wait_s: Seconds spent waiting for models.
        n_pieces: Pieces of generated text that came so far: at least as many tokens were generated.
    """

    usage: Usage | None = None
    finish_reason: str = ""
    upstream: str = ""
    n_attempts: int = 0
    wait_s: float = 0.0
    n_pieces: int = 0


class Answer(Protocol):
    """An answer that can be read once, whole or in pieces.

    Both ways tell all tokens in `usage`, pieces in a last one without choices.
    """

    @property
    def facts(self) -> AnswerFacts:
        """What is known about it so far."""
        ...

    @property
    def has_begun(self) -> bool:
        """Whether a model has answered already, so that no status can fail any more."""
        ...

    async def document(self) -> dict[str, Any]:
        """Return the chat completion document.

        Raises:
            BackendError: The model could not be asked.
        """
        ...

    def chunks(self) -> AsyncGenerator[dict[str, Any]]:
        """Yield the pieces as they are generated.

        Raises:
            BackendError: The model failed on the way.
        """
        ...

    async def aclose(self) -> None:
        """Stop what is still being generated; nothing where it has ended."""
        ...
