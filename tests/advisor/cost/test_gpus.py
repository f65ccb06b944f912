"""GPUs as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.cost import ASSUMED_PRICE, Gpus, Range, default_gpus
from calibration.cost import Device, known_device, known_device_names
from policies import InvalidInputError, ThinkrouteError, UnknownNameError

CROSS = "\N{MULTIPLICATION SIGN}"


@pytest.mark.parametrize(
    ("text", "name", "n"),
    [
        ("h100", "H100-SXM", 1),
        ("8xh100", "H100-SXM", 8),
        ("8XH100", "H100-SXM", 8),
        (" 8 x H100 ", "H100-SXM", 8),
        ("h100x8", "H100-SXM", 8),
        ("h100 x 8", "H100-SXM", 8),
        ("h100*8", "H100-SXM", 8),
        (f"8{CROSS}h100", "H100-SXM", 8),
        ("NVIDIA H100 PCIe", "H100-PCIe", 1),
        ("a100", "A100-SXM-80GB", 1),
        ("h200 x 16", "H200-SXM", 16),
        ("mi300x", "MI300X", 1),
        ("8xmi300x", "MI300X", 8),
        ("mi300x8", "MI300X", 8),
        ("mi300x x 8", "MI300X", 8),
        ("2 x l40s", "L40S", 2),
    ],
)
def test_the_usual_spellings_are_read(text: str, name: str, n: int) -> None:
    gpus = Gpus.parse(text)
    assert (gpus.name, gpus.n) == (name, n)


@given(
    name=st.sampled_from(known_device_names()),
    n=st.integers(1, 100_000),
    pattern=st.sampled_from(["{n}x{name}", "{name}x{n}", "{n} x {name}", "{name} * {n}"]),
)
def test_every_device_and_count_is_read_back(name: str, n: int, pattern: str) -> None:
    gpus = Gpus.parse(pattern.format(n=n, name=name.lower()))
    assert (gpus.device, gpus.n) == (known_device(name), n)
    assert Gpus.parse(str(gpus)) == gpus


@given(text=st.text(max_size=30))
def test_any_text_is_read_or_refused_on_purpose(text: str) -> None:
    try:
        gpus = Gpus.parse(text)
    except ThinkrouteError:
        return
    assert Gpus.parse(str(gpus)) == gpus


@pytest.mark.parametrize(
    "text", ["0xh100", "-2xh100", "2.5xh100", "1000000xh100", "h100x0", f"{'9' * 40}xh100"]
)
def test_a_count_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="whole number of GPUs from 1 to 100,000"):
        Gpus.parse(text)


@pytest.mark.parametrize("text", ["h101", "8xh101", "h100 8", "8xh100x8", "v100", "tpu"])
def test_an_unknown_device_is_told_its_close_ones(text: str) -> None:
    with pytest.raises(UnknownNameError, match="known: A100-PCIe-80GB") as caught:
        Gpus.parse(text)
    assert caught.value.code == "unknown-gpu"


def test_no_text_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="such as h100 or 8xh100"):
        Gpus.parse("  ")


def test_a_price_of_ours_is_labelled_as_assumed() -> None:
    assumed, given_price = Gpus.parse("h100"), Gpus.parse("h100", usd_per_hour=2.49)
    assert assumed.is_price_assumed
    assert ASSUMED_PRICE in assumed.price_note
    assert "not a quote" in assumed.price_note
    assert not given_price.is_price_assumed
    assert given_price.price_note == "$2.49 per H100-SXM-hour, as given"


@pytest.mark.parametrize("name", known_device_names())
def test_every_known_device_has_an_assumed_price(name: str) -> None:
    gpus = Gpus.parse(name)
    assert gpus.usd_per_hour is not None
    assert 0.1 < gpus.usd_per_hour < 20
    assert gpus.is_price_assumed
    assert "not a quote" in gpus.price_note


def test_a_device_of_ones_own_has_no_price_unless_given() -> None:
    device = Device(
        name="mine",
        peak_flops={"bf16": 1e14},
        bandwidth_bytes_per_s=1e12,
        memory_bytes=48e9,
        source="a test",
    )
    gpus = Gpus(device=device, n=2)
    assert (gpus.usd_per_hour, gpus.price_note) == (None, "")
    assert gpus.usd(Range.exactly(3)) is None
    assert Gpus(device=device, usd_per_hour=1.5).usd(Range.exactly(3)) == Range.exactly(4.5)


def test_a_device_without_the_format_that_training_uses_is_refused() -> None:
    device = Device(
        name="old",
        peak_flops={"fp32": 1e13},
        bandwidth_bytes_per_s=1e12,
        memory_bytes=16e9,
        source="a test",
    )
    with pytest.raises(InvalidInputError, match="no peak for 'bf16'"):
        Gpus(device=device)


@pytest.mark.parametrize("price", [0, -1, float("nan"), float("inf"), 1e6])
def test_a_price_that_is_none_is_refused(price: float) -> None:
    with pytest.raises(InvalidInputError, match="GPU price"):
        Gpus.parse("h100", usd_per_hour=price)


def test_the_default_is_a_node_of_eight() -> None:
    assert str(default_gpus()) == "8 x H100-SXM"


def test_peaks_are_those_of_the_data_sheets() -> None:
    # Rounded down to 989 and 312 in the tools that log the share of the peak.
    assert Gpus.parse("h100").peak_flops == pytest.approx(989e12, rel=1e-3)
    assert Gpus.parse("a100").peak_flops == pytest.approx(312e12)
