"""Data-sheet numbers of accelerators, and rows of your own.

Peaks are dense (data sheets of NVIDIA print twice that, "with sparsity", for most rows).
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policies import DataFileError, InvalidInputError, UnknownNameError

__all__ = ["Device", "NumberFormat", "known_device", "known_device_names", "load_devices"]

NumberFormat = Literal["bf16", "fp8", "fp32"]
"""Format that matrix products are computed in."""

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Device(BaseModel):
    """What an accelerator can do at most; several of one kind make one row of their sum.

    Example:
        >>> known_device("H200-SXM").bandwidth_bytes_per_s
        4800000000000.0
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    """Name in reports."""
    peak_flops: Mapping[NumberFormat, _Positive] = Field(min_length=1)
    """Dense matrix FLOPs per second, by number format."""
    bandwidth_bytes_per_s: _Positive
    """Bytes per second between memory and compute units."""
    memory_bytes: _Positive
    """Memory for weights and caches."""
    source: str = Field(min_length=1)
    """Where the numbers are printed."""

    def peak(self, number_format: NumberFormat) -> float:
        """Return the peak FLOPs per second in one number format.

        Raises:
            InvalidInputError: The row does not have it.
        """
        if number_format not in self.peak_flops:
            raise InvalidInputError(
                f"{self.name} has no peak for {number_format!r}, only for"
                f" {', '.join(sorted(self.peak_flops))}"
            )
        return self.peak_flops[number_format]


def _row(
    name: str, bf16: float, fp8: float | None, bandwidth: float, memory: float, source: str
) -> Device:
    peaks: dict[NumberFormat, float] = {"bf16": bf16 * 1e12}
    if fp8 is not None:
        peaks["fp8"] = fp8 * 1e12
    return Device(
        name=name,
        peak_flops=peaks,
        bandwidth_bytes_per_s=bandwidth * 1e9,
        memory_bytes=memory * 1e9,
        source=source,
    )


_ROWS = (
    # TFLOP/s in bf16 and fp8, GB/s, GB
    _row("A100-PCIe-80GB", 312, None, 1935, 80, "NVIDIA A100 data sheet, 2022"),
    _row("A100-SXM-80GB", 312, None, 2039, 80, "NVIDIA A100 data sheet, 2022"),
    _row("H100-PCIe", 756, 1513, 2000, 80, "NVIDIA H100 data sheet, 2023; half of sparse"),
    _row("H100-SXM", 989.5, 1979, 3350, 80, "NVIDIA H100 data sheet, 2023; half of sparse"),
    _row("H200-SXM", 989.5, 1979, 4800, 141, "NVIDIA H200 data sheet, 2024; half of sparse"),
    _row("L4", 121, 242.5, 300, 24, "NVIDIA L4 data sheet, 2023; half of sparse"),
    _row("L40S", 362.05, 733, 864, 48, "NVIDIA L40S data sheet, 2023"),
    _row("MI300X", 1307.4, 2614.9, 5300, 192, "AMD Instinct MI300X data sheet, 2023"),
)
_BY_NAME = {device.name.lower(): device for device in _ROWS}


def known_device_names() -> list[str]:
    """Return the names of all shipped rows."""
    return [device.name for device in _ROWS]


def known_device(name: str) -> Device:
    """Return a shipped row by name; letter case does not matter.

    Raises:
        UnknownNameError: There is none; the error lists close ones.
    """
    found = _BY_NAME.get(name.strip().lower())
    if found is None:
        raise UnknownNameError("device", name, known_device_names())
    return found


def load_devices(path: Path | str) -> dict[str, Device]:
    """Read rows of your own from a TOML file, one table `[devices.NAME]` each.

    Raises:
        DataFileError: The file cannot be read, a field is missing, unknown or out of range.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataFileError(f"cannot be read: {error}", path=path) from error
    try:
        return _Devices.model_validate(content).devices
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataFileError(
            f"{place}: {first['msg']} ({error.error_count()} problems)",
            path=path,
            hint="expected [devices.NAME] with name, peak_flops, bandwidth_bytes_per_s,"
            " memory_bytes and source",
        ) from error


class _Devices(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    devices: dict[str, Device]
