"""Budgets of training, in FLOPs, GPU-hours or dollars, and of one answer, in FLOPs or tokens."""

import re
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from calibration.cost import Device
from policies import InvalidInputError

from ._amounts import FLOP_UNITS, read_amount, refuse_unless_within, written
from ._gpus import Gpus, check_mfu, default_gpus, read_device
from ._numbers import Range
from ._training import MFU

__all__ = ["BudgetVerdict", "Costed", "InferBudget", "TrainBudget"]

BudgetVerdict: TypeAlias = Literal["within", "uncertain", "over"]
"""Whether a cost is within a budget: for sure, for a part of its range, or not at all."""

_TRAIN_HINT = "write FLOPs such as 3e19, GPU-hours such as 200h, or dollars such as $500"
_INFER_HINT = "write FLOPs per query such as 1e12, or tokens per answer such as '512 tokens'"
_HOURS = re.compile(r"(?:(?P<device>.*?)[\s-]*)??(?:h|hr|hrs|hour|hours)")
_DOLLARS = {"", "usd", "dollar", "dollars", "us dollars", "$"}
_THOUSANDS = {"k": 1e3, "m": 1e6}
_CURRENCIES = re.compile(
    r"[€£¥₹₩]|eur|euros?|gbp|pounds?|jpy|yen|cny|rmb|yuan|inr|rupees?|krw|won|chf|francs?"
    r"|cad|aud|sek|nok|dkk|pln|brl|rub|try|ils|sgd|hkd|twd|mxn|zar"
)
_COUNTED = re.compile(r"(\d+\s*)?[x\u00d7*]\s*[a-z].*|.*[a-z0-9]\s*[x\u00d7*]\s*\d+")
"""More than one GPU, as in `8xh100` (whose 8 may have been read as the amount) or `h100x8`."""
_OTHER_TIMES = re.compile(r"(gpu[\s-]*)?(s|sec|secs|seconds?|min|mins|minutes?|d|days?|weeks?)")


class Costed(Protocol):
    """What a budget is compared with: a training run of any kind."""

    @property
    def flops(self) -> float:
        """FLOPs of the run."""
        ...

    @property
    def gpu_hours(self) -> Range:
        """Hours of one GPU."""
        ...

    @property
    def usd(self) -> Range | None:
        """US dollars, `None` without a price."""
        ...


@dataclass(frozen=True, slots=True)
class TrainBudget:
    """Most that training may cost.

    Attributes:
        amount: How much, in the unit of `kind`.
        kind: `flops`, `gpu-hours` or `usd`.
        device: The GPU whose hours are meant; `None` for those of whatever it will run on.

    Raises:
        InvalidInputError: The amount is not positive or absurd.

    Example:
        >>> [str(TrainBudget.parse(text)) for text in ("30 EFLOPs", "200h", "500 usd")]
        ['3e19 FLOPs', '200 gpu-hours', '$500']
    """

    amount: float
    kind: Literal["flops", "gpu-hours", "usd"]
    device: Device | None = None

    def __post_init__(self) -> None:
        """Check the amount."""
        low, high, example = _TRAIN_BOUNDS[self.kind]
        name = {"flops": "FLOPs", "gpu-hours": "GPU-hours", "usd": "US dollars"}[self.kind]
        refuse_unless_within(f"training budget in {name}", self.amount, low, high, example)

    @classmethod
    def parse(cls, text: str) -> "TrainBudget":
        """Read `3e19`, `30 EFLOPs`, `200h`, `200 H100-hours`, `$500`, `500 usd` and their like.

        A number alone is FLOPs, and hours are those of one GPU: of eight GPUs for a day, 192.

        Raises:
            InvalidInputError: No such amount, or another currency than US dollars.
            UnknownNameError: Hours of an unknown GPU; close names are told.
        """
        value, unit, sign = read_amount("training budget", text, _TRAIN_HINT)
        if sign == "$" or unit.endswith(("usd", "dollar", "dollars", "$")):
            return cls(_dollars(value, unit, text), "usd")
        if sign or _CURRENCIES.fullmatch(unit):
            raise InvalidInputError(
                f"training budget {text.strip()!r} is not in US dollars, and exchange rates are"
                " not known here",
                hint="convert it, and write dollars such as $500",
            )
        if unit in FLOP_UNITS or not unit:
            value *= FLOP_UNITS.get(unit, 1.0)
            if not unit and value < _TRAIN_BOUNDS["flops"][0]:
                raise InvalidInputError(
                    f"training budget {text.strip()!r} has no unit, and as FLOPs it would train"
                    " nothing",
                    hint=f"write {text.strip()}h for GPU-hours, or ${text.strip()}",
                )
            return cls(value, "flops")
        hours = _HOURS.fullmatch(unit)
        if hours is not None:
            return cls(value, "gpu-hours", _hours_of(hours.group("device")))
        raise InvalidInputError(*_train_unit_error(text, unit))

    def share_used(self, cost: Costed, gpus: Gpus | None = None) -> Range:
        """Return how much of the budget a run takes: 1 is all of it.

        Hours of another GPU than it runs on are converted by the ratio of their peaks.

        Args:
            cost: The run.
            gpus: What it was costed on; 8 H100 by default, as for costs.

        Raises:
            InvalidInputError: The budget is money, but the run has no price.
        """
        if self.kind == "flops":
            return Range.exactly(cost.flops / self.amount)
        if self.kind == "usd":
            if cost.usd is None:
                raise InvalidInputError(
                    "a budget in dollars needs a price of a GPU-hour, and there is none",
                    hint="pass --gpu-price, or give the budget in FLOPs or GPU-hours",
                )
            return cost.usd.scaled(1 / self.amount)
        machine = default_gpus() if gpus is None else gpus
        ratio = 1.0 if self.device is None else machine.peak_flops / self.device.peak("bf16")
        return cost.gpu_hours.scaled(ratio / self.amount)

    def verdict(self, cost: Costed, gpus: Gpus | None = None) -> BudgetVerdict:
        """Return whether a run is within the budget over all, a part, or none of its range.

        Raises:
            InvalidInputError: The budget is money, but the run has no price.
        """
        used = self.share_used(cost, gpus)
        if used.high <= 1:
            return "within"
        return "over" if used.low > 1 else "uncertain"

    def flops(self, gpus: Gpus | None = None, mfu: Range = MFU) -> Range:
        """Return the FLOPs that the budget buys.

        Args:
            gpus: What training runs on; 8 H100 by default.
            mfu: Share of the peak that training reaches.

        Raises:
            InvalidInputError: The budget is money, but the GPUs have no price.
        """
        if self.kind == "flops":
            return Range.exactly(self.amount)
        check_mfu(mfu)
        machine = default_gpus() if gpus is None else gpus
        hours, peak = self.amount, machine.peak_flops
        if self.kind == "usd":
            if machine.usd_per_hour is None:
                raise InvalidInputError(
                    f"a budget in dollars needs a price of a {machine.name}-hour, and there is none",
                    hint="pass --gpu-price, or give the budget in FLOPs or GPU-hours",
                )
            hours /= machine.usd_per_hour
        elif self.device is not None:
            peak = self.device.peak("bf16")
        return mfu.scaled(hours * 3600 * peak)

    def __str__(self) -> str:
        """Return what `TrainBudget.parse` reads."""
        if self.kind == "flops":
            return f"{written(self.amount)} FLOPs"
        if self.kind == "usd":
            return f"${written(self.amount)}"
        return f"{written(self.amount)} {'gpu' if self.device is None else self.device.name}-hours"


@dataclass(frozen=True, slots=True)
class InferBudget:
    """Most that one answer may cost.

    Attributes:
        amount: How much, in the unit of `kind`.
        kind: `flops` per query, prompt and answer together, or `tokens` per answer.

    Raises:
        InvalidInputError: The amount is not positive or absurd.

    Example:
        >>> InferBudget.parse("512 tokens")
        InferBudget(amount=512.0, kind='tokens')
    """

    amount: float
    kind: Literal["flops", "tokens"]

    def __post_init__(self) -> None:
        """Check the amount."""
        low, high, hint = _INFER_BOUNDS[self.kind]
        name = {"flops": "FLOPs per query", "tokens": "tokens per answer"}[self.kind]
        refuse_unless_within(f"inference budget in {name}", self.amount, low, high, hint)

    @classmethod
    def parse(cls, text: str) -> "InferBudget":
        """Read `1e12`, `2 TFLOPs`, `512 tokens` and their like; a number alone is FLOPs.

        Raises:
            InvalidInputError: No such amount.
        """
        value, unit, sign = read_amount("inference budget", text, _INFER_HINT)
        unit = re.sub(r"\s*(?:/|per)\s*(?:query|answer|request)$", "", unit)
        if sign or "usd" in unit or "dollar" in unit:
            raise InvalidInputError(
                f"inference budget {text.strip()!r} is money, which depends on who serves",
                hint=_INFER_HINT,
            )
        thousand = re.fullmatch(r"(k\s*)?(?:tokens?|tok)", unit)
        if thousand is not None:
            return cls(value * (1000 if thousand.group(1) else 1), "tokens")
        if unit not in FLOP_UNITS and unit:
            what = "is a speed, not an amount" if unit.endswith("/s") else "has no unit known here"
            raise InvalidInputError(f"inference budget {text.strip()!r} {what}", hint=_INFER_HINT)
        value *= FLOP_UNITS.get(unit, 1.0)
        if not unit and value < _INFER_BOUNDS["flops"][0]:
            raise InvalidInputError(
                f"inference budget {text.strip()!r} has no unit, and as FLOPs it would answer"
                " nothing",
                hint=f"write '{text.strip()} tokens' for the tokens of an answer",
            )
        return cls(value, "flops")

    def share_used(self, flops_per_query: float, answer_tokens: float) -> float:
        """Return how much of the budget an answer takes: 1 is all of it."""
        return (flops_per_query if self.kind == "flops" else answer_tokens) / self.amount

    def allows(self, flops_per_query: float, answer_tokens: float) -> bool:
        """Return whether a mean answer is within the budget."""
        return self.share_used(flops_per_query, answer_tokens) <= 1

    def __str__(self) -> str:
        """Return what `InferBudget.parse` reads."""
        return f"{written(self.amount)} {'FLOPs' if self.kind == 'flops' else 'tokens'}"


_TRAIN_BOUNDS: dict[str, tuple[float, float, str]] = {
    "flops": (1e12, 1e30, "a 3B model on 300,000 rows takes about 4e18 to 3e19"),
    "gpu-hours": (0.01, 1e9, "a 3B model on 300,000 rows takes about 3 to 30 H100-hours"),
    "usd": (0.01, 1e12, "give US dollars for all of training, such as $500"),
}
_INFER_BOUNDS: dict[str, tuple[float, float, str]] = {
    "flops": (1e6, 1e21, "a 3B model takes about 7e12 for 1,000 tokens"),
    "tokens": (1, 1e8, "give the tokens of one answer, such as '512 tokens'"),
}


def _dollars(value: float, unit: str, text: str) -> float:
    factor = _THOUSANDS.get(unit[:1], 1.0) if unit[:1] in _THOUSANDS else 1.0
    rest = unit[1:].strip() if factor > 1 else unit
    if rest not in _DOLLARS:
        raise InvalidInputError(
            f"training budget {text.strip()!r}: {unit!r} is not known behind dollars",
            hint="write dollars such as $500, $2k or '500 usd'",
        )
    return value * factor


def _hours_of(device: str | None) -> Device | None:
    """Return the device that hours are of, `None` for any."""
    name = (device or "").strip(" -")
    if name in {"", "gpu", "gpus"}:
        return None
    if _COUNTED.fullmatch(name):
        raise InvalidInputError(
            f"hours of {name!r}: a budget counts hours of one GPU",
            hint="multiply the hours by the number of GPUs, and give --gpu 8xh100 apart",
        )
    return read_device(name)


def _train_unit_error(text: str, unit: str) -> tuple[str]:
    what = f"training budget {text.strip()!r}"
    if unit.endswith(("/s", "/sec", "per second")):
        return (f"{what} is a speed, not an amount: {_TRAIN_HINT}",)
    if _OTHER_TIMES.fullmatch(unit):
        return (f"{what} is not in hours: write GPU-hours, days x 24 x GPUs, such as 192h",)
    return (f"{what} has no unit known here: {_TRAIN_HINT}",)
