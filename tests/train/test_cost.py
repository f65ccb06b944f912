"""The memory that costs count, against what torch really keeps. Needs the extra `train`."""

import gc
import weakref
from typing import Any, ClassVar

import pytest

from advisor.cost import memory_per_gpu, network
from calibration.cost import Architecture, Layer

pytestmark = pytest.mark.train

N_TOKENS = 16
STUDENTS = {"0.5B": (896, 4864, 14, 2), "3B": (2048, 11_008, 16, 2)}


def build(hidden: int, inner: int, heads: int, kv_heads: int, n_layers: int, vocab: int) -> Any:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=n_layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        tie_word_embeddings=True,
        use_cache=False,
    )
    return Qwen2ForCausalLM(config).to(torch.bfloat16).train()


def kept_bytes(model: Any) -> int:
    """Bytes that a forward pass of the layers keeps for its backward pass."""
    import torch

    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor
        return tensor

    def unpack(tensor: Any) -> Any:
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        model.model(torch.randint(0, 64, (1, N_TOKENS)))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("size", STUDENTS)
def test_a_layer_keeps_what_is_counted_and_float32_copies_of_its_norms(size: str) -> None:
    one, two = (kept_bytes(build(*STUDENTS[size], n_layers, 64)) for n_layers in (1, 2))
    measured = (two - one) / N_TOKENS
    counted = network(size).most_kept_bytes
    hidden = STUDENTS[size][0]
    # Each of two norms keeps its input in float32 and one scale a token.
    assert measured == counted + 2 * (4 * hidden + 4)
    assert 1.14 < measured / counted < 1.15


def test_plain_logits_take_what_the_high_estimate_says() -> None:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    vocab = 8192
    model = build(64, 128, 2, 1, 1, vocab)
    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    table = N_TOKENS * vocab

    class Watch(TorchDispatchMode):  # pyright: ignore[reportUntypedBaseClass]
        """Adds up the tables of logits that are alive after each operation."""

        live: ClassVar[dict[int, tuple[Any, int]]] = {}
        peak = 0

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.numel() == table:
                storage = out.untyped_storage()
                if storage.data_ptr() not in weights:
                    self.live[storage.data_ptr()] = (weakref.ref(out), storage.nbytes())
            gc.collect(0)
            for place in [place for place, (each, _) in self.live.items() if each() is None]:
                del self.live[place]
            self.peak = max(self.peak, sum(n for _, n in self.live.values()))
            return out

    ids = torch.randint(0, 64, (1, N_TOKENS))
    with Watch() as watch:
        loss = model(ids, labels=ids).loss
        loss.backward()
    layer = Layer(n_heads=2, n_kv_heads=1, head_dim=32, intermediate=128)
    shape = Architecture(hidden=64, vocab=vocab, layers=(layer,), is_tied=True)
    assert watch.peak == memory_per_gpu(shape, sequence_tokens=N_TOKENS).logits.high
