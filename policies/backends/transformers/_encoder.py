# torch and transformers are not installed where types are checked, and a checker may take this
# folder for the latter.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
"""A loaded encoder of transformers: texts to the mean of their last hidden states."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..._errors import InvalidInputError
from ._model import checked_device, load_tokenizer, progress_on_terminals_only

__all__ = ["Encoded", "LoadedEncoder"]

_UNKNOWN_CONTEXT = 2**30


class Encoded(NamedTuple):
    """Vectors of a batch.

    Attributes:
        rows: One per text, of any length, shape `(n_texts, dimensions)`.
        is_cut: Whether a text was longer than the model reads, for each text.
    """

    rows: NDArray[np.float32]
    is_cut: list[bool]


class LoadedEncoder:
    """Weights on a device. Used from one thread at a time."""

    def __init__(
        self, folder: Path, *, dtype: str, device: str | None, max_tokens: int | None
    ) -> None:
        """Read tokenizer and weights; code that comes with the model is not run.

        Raises:
            InvalidInputError: They cannot be read, the model is no encoder or decoder, or there
                is no such dtype or device.
            MissingPrerequisiteError: A library or the device is not there.
        """
        self._tokenizer: Any = load_tokenizer(folder, trust_remote_code=False)
        import torch
        from transformers import AutoModel

        place = checked_device(device)
        if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise InvalidInputError(
                f"there is no dtype {dtype!r}", hint="auto, float32, bfloat16 or float16"
            )
        try:
            with progress_on_terminals_only():
                model: Any = AutoModel.from_pretrained(
                    str(folder), dtype=dtype, trust_remote_code=False
                )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            raise InvalidInputError(f"the model in {folder} cannot be loaded: {error}") from error
        config = model.config.get_text_config()
        if getattr(model.config, "is_encoder_decoder", False):
            raise InvalidInputError(
                f"the model in {folder} has an encoder and a decoder, which has no one last state",
                hint="take an encoder such as those for sentence similarity",
            )
        self._model: Any = model.to(place).eval()
        self.dtype = str(self._model.dtype).removeprefix("torch.")
        self.device = str(self._model.device)
        self.dimensions = int(config.hidden_size)
        self.context = _least(
            max_tokens,
            getattr(config, "max_position_embeddings", None),
            getattr(self._tokenizer, "model_max_length", None),
        )

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return the mean of each text's last hidden states over its own tokens.

        Raises:
            InvalidInputError: A text has no tokens.
        """
        import torch

        ids, is_cut = self._tokenize(texts)
        longest = max(map(len, ids))
        device = self._model.device
        # Padded on the right, so that the positions of a text are those it has alone.
        tokens = torch.zeros((len(ids), longest), dtype=torch.long)
        mask = torch.zeros((len(ids), longest), dtype=torch.long)
        for row, own in enumerate(ids):
            tokens[row, : len(own)] = torch.tensor(own, dtype=torch.long)
            mask[row, : len(own)] = 1
        mask = mask.to(device)
        with torch.inference_mode():
            states = self._model(input_ids=tokens.to(device), attention_mask=mask)[0]
            weights = mask.unsqueeze(-1).float()  # (n_texts, longest, 1)
            sums = (states.float() * weights).sum(dim=1)
            means = sums / weights.sum(dim=1)
        return Encoded(np.asarray(means.cpu().numpy(), dtype=np.float32), is_cut)

    def _tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], list[bool]]:
        # Rust's tokenizers want UTF-8, which carries no lone surrogates; callers took care.
        ids: list[list[int]] = []
        is_cut: list[bool] = []
        for text in texts:
            own = cast("list[int]", self._tokenizer(text, verbose=False)["input_ids"])
            is_cut.append(len(own) > self.context)
            if is_cut[-1]:
                cut = self._tokenizer(text, truncation=True, max_length=self.context)
                own = cast("list[int]", cut["input_ids"])
            if not own:
                raise InvalidInputError(
                    f"the text {text[:40]!r} has no tokens of this model", code="blank-text"
                )
            ids.append(own)
        return ids, is_cut


def _least(*limits: object) -> int:
    known = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    return min(known, default=_UNKNOWN_CONTEXT)
