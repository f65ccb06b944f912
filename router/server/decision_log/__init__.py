"""The server's decision log: what was asked, what was decided, what it cost, and what it saved."""

from ._open import open_log, read_log
from ._savings import savings
from ._savings_document import (
    ArmSavings,
    Compared,
    Estimate,
    Quantiles,
    ReferenceCheck,
    Savings,
)
from ._served import ServedRow
from ._store import LogStore
from ._writer import LogWriter

__all__ = [
    "ArmSavings",
    "Compared",
    "Estimate",
    "LogStore",
    "LogWriter",
    "Quantiles",
    "ReferenceCheck",
    "Savings",
    "ServedRow",
    "open_log",
    "read_log",
    "savings",
]
