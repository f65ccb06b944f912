"""What routing saved, as the document that is shown and printed."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = [
    "ArmSavings",
    "Compared",
    "Estimate",
    "Quantiles",
    "ReferenceCheck",
    "Savings",
    "Verdict",
]

Verdict = Literal["too-high", "too-low", "consistent", "too-few"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval; NaN or infinite for an end that cannot be told.

    Attributes:
        value: The estimate.
        low: Lower end of the interval.
        high: Upper end.
        n: Requests behind it.
        n_clusters: Conversations among them; a request without one counts as one.
    """

    value: float
    low: float
    high: float
    n: int
    n_clusters: int


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Median and tail of a time.

    Attributes:
        p50: Median, seconds.
        p95: 95th percentile, seconds.
        n: Requests behind them.
    """

    p50: float
    p95: float
    n: int


@dataclass(frozen=True, slots=True)
class Compared:
    """A cost against that of always reasoning, over the requests on which both are known.

    Attributes:
        n: Those requests; all that ended without an error and have both numbers.
        used: What they cost.
        reference: What always reasoning was expected to cost on them.
        saved: `reference - used`, with its interval.
        share: `1 - used / reference`, likewise.
    """

    n: int
    used: float
    reference: float
    saved: Estimate | None
    share: Estimate | None


@dataclass(frozen=True, slots=True)
class ReferenceCheck:
    """Whether always reasoning was expected to use what it uses, where it was used.

    Attributes:
        n: Requests that the reference arm answered alone.
        expected_tokens: Tokens that it was expected to use on them.
        used_tokens: Tokens that it used.
        ratio: Used over expected tokens.
        verdict: `too-high` where less was used than expected (savings are overstated), `too-low`
            where more was, `consistent` where the interval holds 1, `too-few` below 30 requests or
            15 conversations.
        saved_tokens: Tokens saved if the expectation is off by the same ratio everywhere; `None`
            where there are too few requests to tell.
        saved_share: Share saved, likewise.
    """

    n: int
    expected_tokens: float
    used_tokens: float
    ratio: Estimate | None
    verdict: Verdict
    saved_tokens: Estimate | None
    saved_share: Estimate | None


@dataclass(frozen=True, slots=True)
class ArmSavings:
    """What one arm did, or all of them.

    Attributes:
        arm: Name of the arm; `*` for all, "" for requests that no arm answered.
        n: Requests.
        n_clusters: Conversations; a request without one counts as one.
        tokens: Generated tokens, compared.
        flops: Expected FLOPs, of the arm and of always reasoning: nobody measures those used.
        usd: Costs, compared.
        all_tokens: Generated tokens of all requests that told, failed ones included.
        all_usd: Cost of all requests that told.
        failed_tokens: Generated tokens of those that ended with an error.
        errors: Share of requests that ended with each error, by code.
        escalated: Share of requests that were asked again of another arm, among those that could
            have been; `None` where none could.
        score: Mean of what callers told about the answers, in [0, 1]; `None` without feedback.
        n_unscored: Answers about which callers told of an infrastructure error, which is no score.
        added_s: Seconds spent outside of the model.
        decision_s: Seconds that decisions took.
    """

    arm: str
    n: int
    n_clusters: int
    tokens: Compared
    flops: Compared
    usd: Compared
    all_tokens: float
    all_usd: float
    failed_tokens: float
    errors: dict[str, Estimate]
    escalated: Estimate | None
    score: Estimate | None
    n_unscored: int
    added_s: Quantiles | None
    decision_s: Quantiles | None


@dataclass(frozen=True, slots=True)
class Savings:
    """What routing saved against always reasoning.

    Attributes:
        n: Requests.
        first_s: When the first one arrived, seconds since 1970; `None` without any.
        last_s: When the last one did.
        confidence: Nominal coverage of every interval.
        total: All requests.
        arms: By arm, the one with most requests first.
        check: Whether the expectation behind the savings held.
        not_compared: Requests without a comparison of tokens, by reason: `error`, `no-usage`,
            `no-reference`.
    """

    n: int
    first_s: float | None
    last_s: float | None
    confidence: float
    total: ArmSavings
    arms: tuple[ArmSavings, ...]
    check: ReferenceCheck
    not_compared: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return one JSON object."""
        return asdict(self)
