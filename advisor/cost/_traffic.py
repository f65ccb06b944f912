"""Traffic as people write it: queries a day, and for how long."""

import re
from dataclasses import dataclass

from policies import InvalidInputError

from ._amounts import read_amount, written
from ._numbers import check_number
from ._serving import MOST_QUERIES

__all__ = ["Traffic"]

_HINT = "write queries a day such as 10000, 10k/day or '3 qps', and '10k/day for 90 days'"
_PER_DAY = {
    "": 1.0,
    "day": 1.0,
    "d": 1.0,
    "hour": 24.0,
    "h": 24.0,
    "minute": 1440.0,
    "min": 1440.0,
    "second": 86_400.0,
    "sec": 86_400.0,
    "s": 86_400.0,
    "week": 1 / 7,
    "month": 12 / 365,
    "year": 1 / 365,
}
_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}
_UNIT = re.compile(
    r"(?P<factor>[kmb]?)\s*(?:queries|query|requests|request|q)?\s*"
    r"(?:(?:/|per\s|a\s|an\s)\s*(?P<period>[a-z]+))?"
)
_LASTS = re.compile(r"(?P<rate>.*?)\s+for\s+(?P<days>\S+)\s*(?P<unit>days?|weeks?|months?|years?)")
_DAYS = {"day": 1.0, "week": 7.0, "month": 365 / 12, "year": 365.0}


@dataclass(frozen=True, slots=True)
class Traffic:
    """Queries a day, and how many days of them training is weighed against.

    Attributes:
        queries_per_day: Queries a day.
        days: Days in service; a year by default, which is an assumption to state.

    Raises:
        InvalidInputError: A number is not positive or absurd.

    Example:
        >>> Traffic.parse("3 qps").queries_per_day
        259200.0
        >>> str(Traffic.parse("10k/day for 90 days"))
        '10000 queries/day for 90 days'
    """

    queries_per_day: float
    days: float = 365.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_number("queries per day", self.queries_per_day, at_most=MOST_QUERIES, hint=_HINT)
        hint = "give days in service, such as 365"
        check_number("days of traffic", self.days, at_most=36_500, hint=hint)

    @classmethod
    def parse(cls, text: str) -> "Traffic":
        """Read `10000`, `10k/day`, `3 qps`, `500 requests per hour for 90 days` and their like.

        Raises:
            InvalidInputError: No such traffic.
        """
        lowered = text.strip().lower()
        lasting = _LASTS.fullmatch(lowered)
        rate, days = (lasting.group("rate"), 365.0) if lasting is not None else (lowered, 365.0)
        if lasting is not None:
            amount = read_amount("days of traffic", lasting.group("days"), _HINT)
            if amount.unit or amount.sign:
                raise InvalidInputError(f"traffic {text.strip()!r} is not readable", hint=_HINT)
            days = amount.value * _DAYS[lasting.group("unit").removesuffix("s")]
        value, unit, sign = read_amount("traffic", rate, _HINT)
        if unit == "qps":
            return cls(value * _PER_DAY["s"], days)
        match = _UNIT.fullmatch(unit)
        period = (match.group("period") or "") if match is not None else ""
        if sign or match is None or period not in _PER_DAY:
            raise InvalidInputError(f"traffic {text.strip()!r} is not readable", hint=_HINT)
        return cls(value * _FACTORS[match.group("factor")] * _PER_DAY[period], days)

    @property
    def n_queries(self) -> float:
        """Queries over all days."""
        return self.queries_per_day * self.days

    def __str__(self) -> str:
        """Return what `Traffic.parse` reads."""
        return f"{written(self.queries_per_day)} queries/day for {written(self.days)} days"
