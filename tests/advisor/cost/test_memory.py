"""Memory against published figures, and what changes it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.cost import Gpus, Tuning, memory_per_gpu, network, smallest_n_gpus
from calibration.cost import Architecture, LatentAttention, Layer
from policies import InvalidInputError

ONE = Gpus.parse("h100")
NODE = Gpus.parse("8xh100")
GB = 1e9


@pytest.mark.parametrize(
    ("size", "low", "high"), [("3B", 49, 56), ("14B", 236, 266), ("0.5B", 7.9, 8.9)]
)
def test_state_is_16_to_18_bytes_a_parameter(size: str, low: float, high: float) -> None:
    state = memory_per_gpu(size, sequence_tokens=1024, gpus=ONE).state
    assert state.low / GB == pytest.approx(low, rel=0.01)
    assert state.high / GB == pytest.approx(high, rel=0.01)


def test_state_in_bfloat16_alone_is_8_bytes_a_parameter() -> None:
    state = memory_per_gpu("3B", sequence_tokens=1024, gpus=ONE, method="full-bf16").state
    assert state.low == state.high == 8 * network("3B").n_params


def test_lora_keeps_two_bytes_a_frozen_parameter_and_trains_the_adapters() -> None:
    state = memory_per_gpu("7B", sequence_tokens=1024, gpus=ONE, method="lora").state
    frozen = 2 * network("7B").n_params
    adapters = 16 * network("7B").adapter_params
    assert state.low == frozen + 16 * adapters
    assert state.high == frozen + 18 * adapters
    assert state.high < 1.06 * frozen


@pytest.mark.parametrize(
    ("size", "gigabytes"), [("1.5B", 1.4), ("3B", 2.4), ("7B", 3.3), ("14B", 8.1)]
)
def test_checkpointed_activations_of_16k_tokens_are_2shl(size: str, gigabytes: float) -> None:
    needed = memory_per_gpu(size, sequence_tokens=16_384)
    assert needed.activations.low == needed.activations.high
    assert needed.activations.mid / GB == pytest.approx(gigabytes, abs=0.06)
    assert needed.recomputed.low > 0


def test_logits_of_16k_tokens_are_ten_gigabytes_and_more_with_their_gradients() -> None:
    logits = memory_per_gpu("3B", sequence_tokens=16_384).logits
    assert logits.low / GB == pytest.approx(10, abs=0.05)
    assert logits.mid == pytest.approx(2 * logits.low)
    assert logits.high == pytest.approx(3 * logits.low)
    fused = memory_per_gpu("3B", sequence_tokens=16_384, fused_logits=True)
    assert fused.logits.high == 0


def test_a_gpt_layer_keeps_the_published_34_sh_without_its_dropout_masks() -> None:
    hidden = 1024
    layer = Layer(n_heads=16, n_kv_heads=16, head_dim=64, intermediate=4 * hidden, is_gated=False)
    architecture = Architecture(hidden=hidden, vocab=10, layers=(layer,) * 2, is_tied=True)
    sums_of_the_softmax = 4 * 16  # fused attention keeps one per head, scores it keeps none
    expected = 2 * ((34 - 2) * hidden + sums_of_the_softmax)
    needed = memory_per_gpu(architecture, sequence_tokens=1, checkpointing=False)
    assert needed.activations.low == expected


def test_latent_attention_is_counted_over_its_expanded_keys() -> None:
    latent = LatentAttention(kv_rank=128, q_rank=192, nope_dim=64, rope_dim=32, value_dim=64)
    layer = Layer(n_heads=8, n_kv_heads=8, head_dim=96, intermediate=1024, latent=latent)
    known = network(Architecture(hidden=512, vocab=64, layers=(layer,), is_tied=True))
    queries, keys, values, mixed = 8 * 96, 8 * 96, 8 * 64, 8 * 64
    latents = 2 * 192 + 2 * 128 + 32
    kept = 4 * 512 + queries + keys + values + mixed + latents + 4 * 1024
    assert known.kept_bytes == 2 * kept + 4 * 8
    # peft prints 4,512 for the five matrices of this attention.
    assert known.adapter_params == 4512 + 3 * (512 + 1024)
    shared = replace(latent, q_rank=0)
    without = replace(layer, latent=shared)
    known = network(Architecture(hidden=512, vocab=64, layers=(without,), is_tied=True))
    assert known.adapter_params == 4512 - (512 + 192) - (192 + 768) + (512 + 768) + 4608


def test_experts_keep_their_own_copies_and_only_the_chosen_ones_work() -> None:
    sizes = Layer(
        n_heads=2, n_kv_heads=1, head_dim=16, intermediate=0, n_experts=8, top_k=2,
        moe_intermediate=48,
    )  # fmt: skip
    known = network(Architecture(hidden=32, vocab=64, layers=(sizes,), is_tied=True))
    attention = 2 * 32 + 2 * 16
    assert known.kept_bytes == 2 * (4 * 32 + attention + 4 * 2 * 48) + 4 * 2 + 2 * 2 * 32 * 2
    attention_adapters = 2 * (32 + 32) + 2 * (32 + 16)
    assert known.adapter_params == attention_adapters + 8 * 3 * (32 + 48)
    assert known.active_adapter_params == attention_adapters + 2 * 3 * (32 + 48)


def test_scores_that_are_not_fused_are_the_published_5as() -> None:
    tokens = 8192
    known = network("7B")
    fused, plain = (
        memory_per_gpu("7B", sequence_tokens=tokens, checkpointing=False, fused_attention=fused)
        for fused in (True, False)
    )
    scores = 5 * tokens * tokens * 28 * 28  # heads x layers
    assert plain.activations.low - fused.activations.low == pytest.approx(scores)
    assert known.n_heads == 28 * 28


def test_checkpointing_trades_memory_for_a_fourth_forward_pass() -> None:
    with_it, without = (
        memory_per_gpu("7B", sequence_tokens=16_384, checkpointing=on) for on in (True, False)
    )
    assert without.recomputed.high == 0
    assert without.activations.low > 10 * with_it.activations.high
    assert without.total.low > with_it.total.low


@pytest.mark.parametrize("n", [2, 4, 8, 64])
def test_zero3_splits_the_state_and_gathers_layers(n: int) -> None:
    alone = memory_per_gpu("7B", sequence_tokens=4096, gpus=ONE)
    split = memory_per_gpu("7B", sequence_tokens=4096, gpus=Gpus.parse(f"{n}xh100"))
    copied = memory_per_gpu(
        "7B", sequence_tokens=4096, gpus=Gpus.parse(f"{n}xh100"), sharding="none"
    )
    assert split.state.mid == pytest.approx(alone.state.mid / n)
    assert copied.state == alone.state
    assert alone.gathered.high == copied.gathered.high == 0
    assert split.gathered.low > 0


def test_the_total_is_the_sum_of_its_parts_at_the_high_end() -> None:
    needed = memory_per_gpu("3B", sequence_tokens=16_384)
    assert needed.total.high == pytest.approx(sum(part.high for part in needed.parts.values()))
    assert needed.total.low < sum(part.low for part in needed.parts.values())
    assert needed.total.low < needed.total.mid < needed.total.high


def test_the_largest_part_is_named() -> None:
    assert memory_per_gpu("3B", sequence_tokens=16_384).dominant == "logits"
    assert memory_per_gpu("3B", sequence_tokens=1024, gpus=ONE).dominant == "state"
    long = memory_per_gpu("3B", sequence_tokens=16_384, checkpointing=False)
    assert long.dominant == "activations"
    assert "an estimate, not measured" in long.assumptions


def test_fits_is_judged_by_the_high_estimate() -> None:
    full = memory_per_gpu("7B", sequence_tokens=4096, gpus=ONE)
    assert not full.fits
    assert not full.may_fit
    lora = memory_per_gpu("7B", sequence_tokens=4096, gpus=ONE, method="lora")
    assert lora.fits
    between = memory_per_gpu("14B", sequence_tokens=16_384, gpus=NODE)
    assert between.may_fit
    assert not between.fits
    assert memory_per_gpu("14B", sequence_tokens=16_384, gpus=NODE, fused_logits=True).fits


@given(
    size=st.sampled_from(["0.5B", "3B", "4B", "7B", "14B", "32B", "70B"]),
    tokens=st.integers(64, 40_000),
    device=st.sampled_from(["h100", "a100", "h200", "l40s", "l4"]),
    method=st.sampled_from(["full", "full-bf16", "lora"]),
    checkpointing=st.booleans(),
    fused_logits=st.booleans(),
)
def test_the_fewest_gpus_fit_and_one_less_does_not(
    size: str, tokens: int, device: str, method: Tuning, checkpointing: bool, fused_logits: bool
) -> None:
    gpus = Gpus.parse(device)

    def fits(n: int) -> bool:
        some = Gpus(device=gpus.device, n=n)
        return memory_per_gpu(
            size,
            sequence_tokens=tokens,
            gpus=some,
            method=method,
            checkpointing=checkpointing,
            fused_logits=fused_logits,
        ).fits

    n = smallest_n_gpus(
        size,
        sequence_tokens=tokens,
        gpus=gpus,
        method=method,
        checkpointing=checkpointing,
        fused_logits=fused_logits,
    )
    if n is None:
        assert not fits(1024)
    else:
        assert fits(n)
        assert n == 1 or not fits(n - 1)


def test_more_gpus_do_not_help_where_the_state_is_copied() -> None:
    assert smallest_n_gpus("7B", sequence_tokens=1024, sharding="none") is None
    assert smallest_n_gpus("0.5B", sequence_tokens=1024, sharding="none") == 1


def test_more_gpus_do_not_help_where_one_sequence_is_too_much() -> None:
    assert smallest_n_gpus("3B", sequence_tokens=200_000) is None


@pytest.mark.parametrize("tokens", [0, -1, 2.5, True, 10**9])
def test_an_impossible_length_is_refused(tokens: int) -> None:
    with pytest.raises(InvalidInputError, match="sequence_tokens"):
        memory_per_gpu("3B", sequence_tokens=tokens)


@pytest.mark.parametrize(("field", "value"), [("method", "qlora"), ("sharding", "zero2")])
def test_an_unknown_choice_is_refused_with_the_known_ones(field: str, value: str) -> None:
    choice: dict[str, Any] = {field: value}
    with pytest.raises(InvalidInputError, match=f"{field}='{value}': expected '"):
        memory_per_gpu("3B", sequence_tokens=1024, **choice)
