"""GPUs as people write them, what they can do, and what an hour of one costs."""

import re
from dataclasses import dataclass

from calibration.cost import Device, known_device, known_device_names
from policies import InvalidInputError, UnknownNameError

from ._numbers import Range, check_number, check_whole, shown

__all__ = ["ASSUMED_PRICE", "Gpus", "default_gpus", "read_device"]

ASSUMED_PRICE = "assumed round figure, not a quote; pass --gpu-price"
"""Label of money that comes from no price of the user's."""

_ASSUMED_USD_PER_HOUR = {
    "A100-PCIe-80GB": 1.5,
    "A100-SXM-80GB": 2.0,
    "H100-PCIe": 2.5,
    "H100-SXM": 3.0,
    "H200-SXM": 4.0,
    "L4": 0.75,
    "L40S": 1.0,
    "MI300X": 3.0,
}
"""Round figures in the lower half of what clouds asked in 2026, where the dearest cloud asked
about four times as much as the cheapest for the same GPU. An assumption, and labelled as one."""

_ALIASES = {
    "a100": "A100-SXM-80GB",
    "a100-80gb": "A100-SXM-80GB",
    "a100-sxm": "A100-SXM-80GB",
    "a100-pcie": "A100-PCIe-80GB",
    "h100": "H100-SXM",
    "h100-80gb": "H100-SXM",
    "h100-sxm-80gb": "H100-SXM",
    "h200": "H200-SXM",
    "h200-141gb": "H200-SXM",
    "mi300": "MI300X",
}
_COUNT_FIRST = re.compile(r"([+-]?[\d.,]+)\s*[xX\u00d7*]\s*(\S.*)", re.DOTALL)
_COUNT_LAST = re.compile(r"(.*\S)\s*[xX\u00d7*]\s*([+-]?[\d.,]+)", re.DOTALL)
_MAX_GPUS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """Some GPUs of one kind.

    Attributes:
        device: The kind.
        n: How many.
        usd_per_hour: Price of an hour of one of them; `None` if there is none.
        is_price_assumed: Whether it is a round figure of ours instead of the user's.

    Raises:
        InvalidInputError: A number is not positive or absurd, or the device has no bf16 peak.

    Example:
        >>> gpus = Gpus.parse("8xh100")
        >>> str(gpus), gpus.peak_flops
        ('8 x H100-SXM', 989500000000000.0)
    """

    device: Device
    n: int = 1
    usd_per_hour: float | None = None
    is_price_assumed: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_whole("number of GPUs", self.n, at_most=_MAX_GPUS)
        if self.usd_per_hour is not None:
            hint = "give US dollars for an hour of one GPU, such as 2.5"
            check_number("GPU price", self.usd_per_hour, at_most=10_000, hint=hint)
        self.device.peak("bf16")

    @classmethod
    def parse(cls, text: str, *, usd_per_hour: float | None = None) -> "Gpus":
        """Read `h100`, `8xh100`, `h100x8`, `8 x H100-SXM` and their like.

        Args:
            text: A device with or without a count; letter case and blanks do not matter.
            usd_per_hour: Price of an hour of one GPU; by default a round figure that
                `price_note` says is assumed.

        Raises:
            InvalidInputError: No text, or a count out of range.
            UnknownNameError: No such device; close names are told.
        """
        device, n = _read(text)
        price = _ASSUMED_USD_PER_HOUR.get(device.name) if usd_per_hour is None else usd_per_hour
        return cls(
            device=device,
            n=n,
            usd_per_hour=price,
            is_price_assumed=usd_per_hour is None and price is not None,
        )

    @property
    def name(self) -> str:
        """Name of the kind."""
        return self.device.name

    @property
    def peak_flops(self) -> float:
        """Dense bfloat16 FLOPs per second of one."""
        return self.device.peak("bf16")

    @property
    def memory_bytes(self) -> float:
        """Memory of one, in bytes."""
        return self.device.memory_bytes

    @property
    def price_note(self) -> str:
        """Where the price is from, as people read it; empty without one."""
        if self.usd_per_hour is None:
            return ""
        source = ASSUMED_PRICE if self.is_price_assumed else "as given"
        return f"${self.usd_per_hour:g} per {self.name}-hour, {source}"

    def gpu_hours(self, flops: float, mfu: Range) -> Range:
        """Return hours of one GPU for some FLOPs; the highest MFU gives the fewest.

        Raises:
            InvalidInputError: `mfu` is not within (0, 1].
        """
        check_mfu(mfu)
        at_peak = flops / self.peak_flops / 3600
        return Range(at_peak / mfu.high, at_peak / mfu.mid, at_peak / mfu.low)

    def usd(self, gpu_hours: Range) -> Range | None:
        """Return what hours of one GPU cost, `None` without a price."""
        return None if self.usd_per_hour is None else gpu_hours.scaled(self.usd_per_hour)

    def __str__(self) -> str:
        """Return what `Gpus.parse` reads."""
        return f"{self.n} x {self.name}"


def default_gpus() -> Gpus:
    """Return what costs assume if nothing is said: 8 H100."""
    return Gpus.parse("8xH100-SXM")


def check_mfu(mfu: Range) -> None:
    """Refuse shares of the peak that are not within (0, 1]."""
    for value in (mfu.low, mfu.high):
        check_number("MFU", value, at_most=1.0, hint="it is a share of the peak, such as 0.4")


def read_device(name: str) -> Device:
    """Return a device by its data-sheet name or its everyday one.

    Raises:
        UnknownNameError: There is none; close names are told.
    """
    key = re.sub(r"[\s_]+", "-", name.strip().lower()).removeprefix("nvidia-").removeprefix("amd-")
    try:
        return known_device(_ALIASES.get(key, key))
    except UnknownNameError:
        everyday = [alias for alias in _ALIASES if "-" not in alias]
        error = UnknownNameError("GPU", name.strip(), [*known_device_names(), *everyday])
        # Codes are in lower case, whatever the thing is called.
        error.code = "unknown-gpu"
        raise error from None


def _read(text: str) -> tuple[Device, int]:
    stripped = text.strip()
    if not stripped:
        raise InvalidInputError(
            "no GPU is named", hint="write a name or a count and a name, such as h100 or 8xh100"
        )
    first = _COUNT_FIRST.fullmatch(stripped)
    if first is not None:
        return read_device(first.group(2)), _count(first.group(1), stripped)
    last = _COUNT_LAST.fullmatch(stripped)
    if last is not None:
        return read_device(last.group(1)), _count(last.group(2), stripped)
    return read_device(stripped), 1


def _count(digits: str, text: str) -> int:
    is_whole = digits.isascii() and digits.isdigit() and len(digits) <= len(str(_MAX_GPUS))
    if not (is_whole and 1 <= int(digits) <= _MAX_GPUS):
        raise InvalidInputError(
            f"{shown(text)}: expected a whole number of GPUs from 1 to {_MAX_GPUS:,}",
            hint="write a count and a name, such as 8xh100",
        )
    return int(digits)
