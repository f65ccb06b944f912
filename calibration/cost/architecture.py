"""The shape of a transformer, and its exact parameter counts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from policies import DataFileError, InvalidInputError

from ._config import parse_config
from ._latent import LatentAttention
from ._layer import Layer

__all__ = ["Architecture", "LatentAttention", "Layer"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Shape of a decoder-only transformer: what parameters and FLOPs follow from.

    Of a model that also sees or hears, this is the text network alone.

    Attributes:
        hidden: Width of the residual stream.
        vocab: Rows of the embedding, padding included.
        layers: One entry per layer.
        is_tied: Whether the output projection is the embedding.
        n_other_params: Parameters outside layers, embedding and output: the final norm.
        n_matmul_params: Entries of the layers' matrices one token is multiplied with: N in the
            formulas of `calibration.cost.flops`; active experts only, no embedding, no output.
        n_expansion_params: Entries a cached token passes again in a prefill; latent attention only.
        prefill_pair_flops: FLOPs of one query-key pair in prefill, summed over the layers of each
            window, as `(window, FLOPs)`.
        decode_pair_flops: The same in decode.

    Raises:
        InvalidInputError: A size is not positive.

    Example:
        >>> layer = Layer(n_heads=2, n_kv_heads=1, head_dim=8, intermediate=32)
        >>> Architecture(hidden=16, vocab=100, layers=(layer,) * 2, is_tied=True).n_params
        6208
    """

    hidden: int
    vocab: int
    layers: tuple[Layer, ...]
    is_tied: bool
    n_other_params: int = 0
    n_matmul_params: int = field(init=False, repr=False, compare=False)
    n_expansion_params: int = field(init=False, repr=False, compare=False)
    prefill_pair_flops: tuple[tuple[int | None, int], ...] = field(
        init=False, repr=False, compare=False
    )
    decode_pair_flops: tuple[tuple[int | None, int], ...] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Check the sizes and sum over layers once, so that FLOPs of a request are cheap."""
        if min(self.hidden, self.vocab, len(self.layers)) < 1 or self.n_other_params < 0:
            raise InvalidInputError(
                f"hidden={self.hidden}, vocab={self.vocab}, {len(self.layers)} layers:"
                " expected at least 1 of each"
            )
        n_matmul_params = sum(layer.n_matmul_params(self.hidden) for layer in self.layers)
        prefill: dict[int | None, int] = {}
        decode: dict[int | None, int] = {}
        for layer in self.layers:
            prefill[layer.window] = prefill.get(layer.window, 0) + layer.prefill_pair_flops
            decode[layer.window] = decode.get(layer.window, 0) + layer.decode_pair_flops
        n_expansion_params = sum(layer.n_expansion_params for layer in self.layers)
        object.__setattr__(self, "n_matmul_params", n_matmul_params)
        object.__setattr__(self, "n_expansion_params", n_expansion_params)
        object.__setattr__(self, "prefill_pair_flops", tuple(prefill.items()))
        object.__setattr__(self, "decode_pair_flops", tuple(decode.items()))

    @classmethod
    def from_config(cls, config: Mapping[str, object] | Path | str) -> "Architecture":
        """Read an architecture from a Hugging Face configuration.

        Only model types whose parameter count was compared with the real network are read;
        others are refused, because a plausible wrong number is worse than none. Class defaults
        are not the checkpoint: sizes that differ between checkpoints must be in the file.

        Args:
            config: The configuration as a mapping, the path of its `config.json`, or of the
                folder that holds one.

        Raises:
            DataFileError: The file cannot be read or used; the message names the fields.
            InvalidInputError: The mapping cannot be used; the message names the fields.
        """
        if isinstance(config, Mapping):
            return cls._from_mapping(config)
        path = Path(config)
        path = path / "config.json" if path.is_dir() else path
        try:
            return cls._from_mapping(_read(path))
        except InvalidInputError as error:
            raise DataFileError(error.message, path=path, hint=error.hint) from error

    @classmethod
    def _from_mapping(cls, config: Mapping[str, object]) -> "Architecture":
        parsed = parse_config(config)
        return cls(
            hidden=parsed.hidden,
            vocab=parsed.vocab,
            layers=parsed.layers,
            is_tied=parsed.is_tied,
            n_other_params=parsed.n_other_params,
        )

    @property
    def n_params(self) -> int:
        """All parameters; a tied embedding counts once."""
        return self._n_embedding_params + self._n_layer_params(active_only=False)

    @property
    def n_active_params(self) -> int:
        """Parameters one token passes: all but the idle experts; embedding and output included."""
        return self._n_embedding_params + self._n_layer_params(active_only=True)

    @property
    def n_non_embedding_params(self) -> int:
        """All parameters without embedding and output projection."""
        return self._n_layer_params(active_only=False)

    @property
    def is_moe(self) -> bool:
        """Whether any layer routes tokens to experts."""
        return any(layer.n_experts for layer in self.layers)

    @property
    def _n_embedding_params(self) -> int:
        return self.vocab * self.hidden * (1 if self.is_tied else 2)

    def _n_layer_params(self, *, active_only: bool) -> int:
        layers = sum(layer.n_params(self.hidden, active_only=active_only) for layer in self.layers)
        return layers + self.n_other_params


def _read(path: Path) -> Mapping[str, object]:
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(
            f"cannot be read: {error.strerror}", hint="give a model's config.json"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"is not JSON: {error}", hint="give a model's config.json"
        ) from error
    if not isinstance(content, dict):
        raise InvalidInputError("is not a JSON object", hint="give a model's config.json")
    return cast("dict[str, object]", content)
