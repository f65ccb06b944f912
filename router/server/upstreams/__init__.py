"""How the server reaches OpenAI-compatible servers, and what it does when they fail."""

from ._answer import Trail, UpstreamAnswer
from ._failures import UpstreamRefusalError
from ._pool import UpstreamPool
from ._settings import BreakerSettings, RetrySettings, UpstreamSettings
from ._upstream import UpstreamState

__all__ = [
    "BreakerSettings",
    "RetrySettings",
    "Trail",
    "UpstreamAnswer",
    "UpstreamPool",
    "UpstreamRefusalError",
    "UpstreamSettings",
    "UpstreamState",
]
