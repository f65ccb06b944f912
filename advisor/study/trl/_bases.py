"""A base model as students start from it: its files, shape, tokenizer and chat template."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast

from calibration import architecture_of
from calibration.cost import Architecture
from policies import DataFileError, InvalidInputError, MissingPrerequisiteError

from ...data import hash_file
from ...export import CHATML as CHATML_TEMPLATE
from ...export import context_tokens, read_chat_template
from ._settings import CHATML

__all__ = ["Base", "base_names", "read_base", "with_switch"]

_MARKS = ("<|im_start|>", "<|im_end|>")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_USUAL_FOLDERS = {"model", "checkpoint", "base", "hf", "main"}
_SWITCH = (
    "{%- if add_generation_prompt and enable_thinking is defined and not enable_thinking %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
)
_BATCH = 256


@dataclass(frozen=True)
class Base:
    """A base model on the disk.

    Attributes:
        name: Its size in the study.
        folder: Its files.
        architecture: Its shape.
        context: Longest sequence in tokens, `None` if it does not say.
        template: The chat template that students are trained with.
        template_file: The user's file of it, `None` for that of exported recipes.
        tokenizer: What transformers loads.
    """

    name: str
    folder: Path
    architecture: Architecture
    context: int | None
    template: str
    template_file: Path | None
    tokenizer: Any = field(repr=False, compare=False)

    @property
    def tells_thoughts(self) -> bool:
        """Whether the end of a thought is one token, without which there are no budgets."""
        return len(self.tokenizer.encode("</think>", add_special_tokens=False)) == 1

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """Hashes of configuration, tokenizer and weights; reads all weights once."""
        kinds = {
            "config": ("config.json",),
            "tokenizer": ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json"),
            "weights": ("*.safetensors",),
        }
        found: dict[str, str] = {}
        for kind, patterns in kinds.items():
            digest = hashlib.sha256()
            for path in sorted({p for one in patterns for p in self.folder.glob(one)}):
                digest.update(f"{path.name}\0{hash_file(path)}\0".encode())
            found[kind] = digest.hexdigest()
        return found

    def row_lengths(self, rows: Sequence[tuple[str, str]]) -> list[int]:
        """Return the tokens of prompts with their answers, rendered as they are trained on."""
        lengths: list[int] = []
        for start in range(0, len(rows), _BATCH):
            turns = [
                [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
                for prompt, answer in rows[start : start + _BATCH]
            ]
            ids = self.tokenizer.apply_chat_template(
                turns, chat_template=self.template, tokenize=True, return_dict=False
            )
            lengths += map(len, cast("list[list[int]]", ids))
        return lengths

    def count(self, text: str) -> int:
        """Return the tokens of a text alone."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))


def base_names(models: Sequence[str]) -> dict[str, str]:
    """Return models by the names that a study gives to their sizes, in their order.

    A model is named by the last part of its path or hub name, or the part before a folder that
    is called `model` or the like; names are made fit for folders.

    Raises:
        InvalidInputError: A name is empty, or two models have one name.

    Example:
        >>> base_names(["Qwen/Qwen2.5-0.5B", "bases/tiny/model"])
        {'Qwen2-5-0-5B': 'Qwen/Qwen2.5-0.5B', 'tiny': 'bases/tiny/model'}
    """
    named: dict[str, str] = {}
    for model in models:
        parts = [part for part in model.strip().split("/") if part not in {"", ".", "~"}]
        while len(parts) > 1 and parts[-1].lower() in _USUAL_FOLDERS:
            parts.pop()
        name = _UNSAFE.sub("-", parts[-1]).strip("-") if parts else ""
        if not name:
            raise InvalidInputError(
                f"{model!r} is no model", hint="give a folder, or owner/name of a model hub"
            )
        if name in named:
            raise InvalidInputError(
                f"two base models have the name {name!r}: {named[name]} and {model}",
                hint="give folders of different names",
            )
        named[name] = model
    return named


def read_base(name: str, model: str, chat_template: Path | Literal["chatml"] | None = None) -> Base:
    """Return a base model, after checking all that can be checked without its weights.

    Args:
        name: Its size in the study.
        model: A folder, or `owner/name` of a model hub, which is downloaded once.
        chat_template: See `TrlTraining`.

    Raises:
        InvalidInputError: There is no such model, it is an adapter, or it cannot be trained with
            any chat template that is known.
        DataFileError: A file of it, or the template, cannot be read.
        MissingPrerequisiteError: transformers is not installed.
    """
    folder = _folder_of(model)
    if (folder / "adapter_config.json").exists():
        raise InvalidInputError(
            f"base model {model!r} is an adapter, not a model",
            hint="merge it into its model first",
            code="base-model-is-adapter",
        )
    for what, pattern in (("configuration", "config.json"), ("weights", "*.safetensors")):
        if not any(folder.glob(pattern)):
            raise InvalidInputError(
                f"base model {model!r} has no {what}: no {pattern} in {folder}",
                hint="give the folder with config.json, tokenizer and safetensors",
                code="no-base-model",
            )
    tokenizer = _tokenizer(folder, model)
    file = chat_template if isinstance(chat_template, Path) else None
    if file is None:
        _check_chatml(model, tokenizer, is_asked=chat_template == CHATML)
    return Base(
        name=name,
        folder=folder,
        architecture=architecture_of(folder),
        context=context_tokens(str(folder)),
        template=CHATML_TEMPLATE if file is None else read_chat_template(file),
        template_file=file,
        tokenizer=tokenizer,
    )


def with_switch(template: str) -> str:
    """Return a training template with a thinking switch behind its generation prompt.

    Thinking on leaves the prompt as students were trained on it, so that they decide for
    themselves; thinking off adds the empty thought that the templates of Qwen3 write.
    """
    return template.rstrip("\n") + _SWITCH + "\n"


def _folder_of(model: str) -> Path:
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder.resolve()
    owner, _, rest = model.partition("/")
    if not owner or not rest or "/" in rest or owner[0] in ".~":
        raise InvalidInputError(
            f"there is no model folder {model!r}",
            hint="give an existing folder, or owner/name of a model hub",
            code="no-base-model",
        )
    try:
        hub = import_module("huggingface_hub")
    except ImportError as error:
        raise MissingPrerequisiteError.extra("transformers", "huggingface_hub") from error
    wanted = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    try:
        return Path(hub.snapshot_download(model, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except Exception as error:  # the library's errors have several roots
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InvalidInputError(
            f"the base model {model!r} cannot be had from the hub: {reason[:200]}",
            hint="check name and network, or give a folder",
            code="no-base-model",
        ) from error


def _tokenizer(folder: Path, model: str) -> Any:
    try:
        library = import_module("transformers")
    except ImportError as error:
        raise MissingPrerequisiteError.extra("transformers", "transformers") from error
    try:
        return library.AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # the library raises no class of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataFileError(
            f"the tokenizer of the base model {model!r} cannot be read: {reason[:200]}",
            path=folder,
        ) from error


def _check_chatml(model: str, tokenizer: Any, *, is_asked: bool) -> None:
    """Refuse a base that cannot, or was not asked to, learn the template of exported recipes."""
    known = cast("dict[str, int]", tokenizer.get_vocab())
    unknown = [mark for mark in _MARKS if mark not in known]
    has_own = bool(getattr(tokenizer, "chat_template", None))
    if unknown:
        has = "a chat template that cannot be trained with" if has_own else "no chat template"
        raise InvalidInputError(
            f"base model {model!r} has {has}, and its tokenizer has no {' and no '.join(unknown)},"
            " the marks of the one of exported recipes",
            hint="give --chat-template FILE with the marks of that model, and {% generation %}"
            " around what the assistant writes",
            code="no-chat-template",
        )
    if not has_own and not is_asked:
        raise InvalidInputError(
            f"base model {model!r} has no chat template",
            hint=f"give --chat-template {CHATML}, whose marks its tokenizer knows (thoughts are"
            " then written as literal <think> text), or --chat-template FILE",
            code="no-chat-template",
        )
