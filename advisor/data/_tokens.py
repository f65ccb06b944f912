"""Counting tokens: exactly with a tokenizer, or by an approximation that says how far it is off."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from policies import DataFileError, InvalidInputError, MissingPrerequisiteError

from ._approximate import ApproximateCounter

__all__ = ["TEMPLATE_TOKENS", "TokenCounter", "load_counter"]

TEMPLATE_TOKENS = 48
"""Room for what a chat template puts around one prompt and one answer, in tokens.

Counted: 31 for Qwen2.5 with its default system prompt, 14 for Qwen3 with an empty thought, about
36 for Llama 3.1 with its dates.
"""


class TokenCounter(Protocol):
    """Counts the tokens of a text.

    Attributes:
        name: What counts, as manifests name it.
        is_exact: Whether the count is that of a tokenizer.
        upper_factor: What a count is multiplied by where it must not be too small, as for the
            longest sequence; 1 if exact.
    """

    @property
    def name(self) -> str:
        """What counts."""
        ...

    @property
    def is_exact(self) -> bool:
        """Whether the count is that of a tokenizer."""
        ...

    @property
    def upper_factor(self) -> float:
        """Factor for lengths that must not be too small, 1 or more."""
        ...

    def count(self, text: str) -> int:
        """Return the number of tokens of a text, without any that a template adds."""
        ...


@dataclass(frozen=True, slots=True)
class _ExactCounter:
    """Counts with a tokenizer of the library `tokenizers`."""

    name: str
    tokenizer: Any
    is_exact: bool = True
    upper_factor: float = 1.0

    def count(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)


def load_counter(tokenizer: str | None = None) -> TokenCounter:
    """Return what counts tokens.

    Args:
        tokenizer: A `tokenizer.json`, the folder of a model that holds one, or a model's name on
            the hub, which is downloaded unless it is in the cache. `None` is the approximation,
            which needs no library.

    Raises:
        DataFileError: The path does not exist or holds no such tokenizer.
        InvalidInputError: The hub gives no tokenizer of that name.
        MissingPrerequisiteError: `tokenizers` is not installed.

    Example:
        >>> load_counter().count("What is 12 + 30?")
        9
    """
    if tokenizer is None:
        return ApproximateCounter()
    if not tokenizer.strip():
        raise InvalidInputError("the tokenizer's name is empty", hint=_HINT)
    path = Path(tokenizer).expanduser()
    if path.exists() or path.suffix == ".json" or tokenizer.startswith((".", "/", "~")):
        return _from_file(path, tokenizer)
    return _from_hub(tokenizer)


_HINT = "give a tokenizer.json, a model's folder or its name on the hub"


def _from_file(path: Path, name: str) -> TokenCounter:
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise DataFileError("no such tokenizer", path=file, hint=_HINT)
    library = _library()
    try:
        made = library.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises no class of its own
        raise DataFileError(
            f"is no tokenizer that can be read: {str(error)[:200]}", path=file, hint=_HINT
        ) from error
    return _counter(made, name, library)


def _from_hub(name: str) -> TokenCounter:
    library = _library()
    try:
        made = library.Tokenizer.from_pretrained(name)
    except Exception as error:  # the library raises no class of its own
        reason = str(error).strip().splitlines()
        raise InvalidInputError(
            f"the hub gives no tokenizer {name!r}: {reason[0][:200] if reason else 'no reason'}",
            hint="give a tokenizer.json or a model's folder, or no tokenizer to approximate",
            code="no-tokenizer",
        ) from error
    return _counter(made, name, library)


def _counter(made: Any, name: str, library: Any) -> TokenCounter:
    # Some files ask for truncation at the length the model was trained with.
    made.no_truncation()
    made.no_padding()
    return _ExactCounter(f"{name} (tokenizers {library.__version__})", made)


def _library() -> Any:
    try:
        return importlib.import_module("tokenizers")
    except ImportError as error:
        raise MissingPrerequisiteError.extra("tokenizers", "tokenizers") from error
