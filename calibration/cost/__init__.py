"""What a request costs: FLOPs, bytes, seconds, joules and dollars.

Architectures and FLOPs need the standard library only; the other names are loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .architecture import Architecture, LatentAttention, Layer
from .flops import (
    decode_flops,
    kv_bytes_per_token,
    paper_flops,
    prefill_flops,
    request_flops,
    request_flops_batch,
    request_flops_calls,
    training_flops,
    two_n_flops,
)
from .known import known_architecture, known_architecture_names

if TYPE_CHECKING:
    from .checkpoint import (
        ParameterCheck,
        TensorHeader,
        check_parameters,
        read_checkpoint_header,
    )
    from .devices import Device, NumberFormat, known_device, known_device_names, load_devices
    from .energy import EnergyMeter, EnergyReading, Nvml
    from .hub import HubClient, HubModel, architecture_from_hub
    from .litellm_prices import litellm_price
    from .load import LoadReport, measure_load
    from .prices import Price, PriceTier, Rates, cost_usd, load_prices, max_cost_usd
    from .roofline import (
        RooflineBound,
        Step,
        bound_request,
        bound_step,
        decode_step,
        distinct_experts,
        kv_cache_bytes,
        prefill_step,
        weight_bytes,
    )
    from .roofline_fit import MeasuredStep, RooflineFit, fit_roofline

__all__ = [
    "Architecture",
    "Device",
    "EnergyMeter",
    "EnergyReading",
    "HubClient",
    "HubModel",
    "LatentAttention",
    "Layer",
    "LoadReport",
    "MeasuredStep",
    "NumberFormat",
    "Nvml",
    "ParameterCheck",
    "Price",
    "PriceTier",
    "Rates",
    "RooflineBound",
    "RooflineFit",
    "Step",
    "TensorHeader",
    "architecture_from_hub",
    "bound_request",
    "bound_step",
    "check_parameters",
    "cost_usd",
    "decode_flops",
    "decode_step",
    "distinct_experts",
    "fit_roofline",
    "known_architecture",
    "known_architecture_names",
    "known_device",
    "known_device_names",
    "kv_bytes_per_token",
    "kv_cache_bytes",
    "litellm_price",
    "load_devices",
    "load_prices",
    "max_cost_usd",
    "measure_load",
    "paper_flops",
    "prefill_flops",
    "prefill_step",
    "read_checkpoint_header",
    "request_flops",
    "request_flops_batch",
    "request_flops_calls",
    "training_flops",
    "two_n_flops",
    "weight_bytes",
]

_NAMES_BY_HOME = {
    ".checkpoint": (
        "ParameterCheck",
        "TensorHeader",
        "check_parameters",
        "read_checkpoint_header",
    ),
    ".devices": ("Device", "NumberFormat", "known_device", "known_device_names", "load_devices"),
    ".energy": ("EnergyMeter", "EnergyReading", "Nvml"),
    ".hub": ("HubClient", "HubModel", "architecture_from_hub"),
    ".litellm_prices": ("litellm_price",),
    ".load": ("LoadReport", "measure_load"),
    ".prices": ("Price", "PriceTier", "Rates", "cost_usd", "load_prices", "max_cost_usd"),
    ".roofline": (
        "RooflineBound",
        "Step",
        "bound_request",
        "bound_step",
        "decode_step",
        "distinct_experts",
        "kv_cache_bytes",
        "prefill_step",
        "weight_bytes",
    ),
    ".roofline_fit": ("MeasuredStep", "RooflineFit", "fit_roofline"),
}
_HOMES = {name: home for home, names in _NAMES_BY_HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value
