"""What requests cost in US dollars, from a stated price list.

Reasoning tokens are part of the completion tokens, so they are priced once: at their own price
where there is one, else at the output price. The same holds for cached tokens within the prompt.

Source: the billing pages of the providers; wrong sums seen elsewhere that the tests guard
against: only reasoning tokens counted (BerriAI/litellm #18599), reasoning tokens added on top of
the completion (sst/opencode #17566).
"""

import datetime
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from policies import DataFileError, InvalidInputError, Usage

__all__ = ["Price", "PriceTier", "Rates", "cost_usd", "load_prices", "max_cost_usd"]

_PER_MILLION = 1_000_000
_Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Rates(BaseModel):
    """US dollars per million tokens of each kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_usd_per_million: _Usd
    """Prompt tokens that were read anew."""
    output_usd_per_million: _Usd
    """Generated tokens."""
    reasoning_usd_per_million: _Usd | None = None
    """Generated tokens inside the thought; absent: as output."""
    cached_input_usd_per_million: _Usd | None = None
    """Prompt tokens served from a prefix cache; absent: as input."""

    @property
    def reasoning(self) -> float:
        """Price of a million reasoning tokens."""
        own = self.reasoning_usd_per_million
        return self.output_usd_per_million if own is None else own

    @property
    def cached_input(self) -> float:
        """Price of a million cached prompt tokens."""
        own = self.cached_input_usd_per_million
        return self.input_usd_per_million if own is None else own


class PriceTier(Rates):
    """Prices of requests whose prompt is longer than a threshold; for all of their tokens."""

    above_prompt_tokens: int = Field(gt=0)
    """The tier holds for prompts with more tokens than this."""


class Price(Rates):
    """One model's prices, with where and when they were read.

    Example:
        >>> price = Price(
        ...     model="m",
        ...     input_usd_per_million=1.0,
        ...     output_usd_per_million=4.0,
        ...     source="https://example.com/pricing",
        ...     date="2026-01-31",
        ... )
        >>> cost_usd(Usage(prompt_tokens=1000, completion_tokens=500, thinking_tokens=400), price)
        0.003
    """

    model: str = Field(min_length=1)
    """Name of the model."""
    tiers: tuple[PriceTier, ...] = ()
    """Prices of long prompts."""
    currency: Literal["USD"] = "USD"
    """Always US dollars; convert before."""
    source: str = Field(min_length=1)
    """Page or file that the prices were read from."""
    date: datetime.date | None
    """Day they were read; `None` where the source is a versioned file without days."""

    @model_validator(mode="after")
    def _has_different_tiers(self) -> "Price":
        thresholds = [tier.above_prompt_tokens for tier in self.tiers]
        if len(set(thresholds)) < len(thresholds):
            raise ValueError(f"two tiers above the same number of tokens: {sorted(thresholds)}")
        return self

    def rates(self, prompt_tokens: int) -> Rates:
        """Return the prices of a request with so many prompt tokens, cached ones included."""
        tiers = sorted(self.tiers, key=lambda tier: tier.above_prompt_tokens, reverse=True)
        return next((tier for tier in tiers if prompt_tokens > tier.above_prompt_tokens), self)

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values, to be kept in the record of a run."""
        return self.model_dump(mode="json")


def cost_usd(usage: Usage, price: Price) -> float:
    """Return what one request cost, in US dollars.

    A policy that asks several times costs the sum over its requests; with price tiers the sum of
    their usages must not be priced instead, because tiers go by each request's prompt. What some
    providers charge for writing a prompt cache is not in here, since no usage tells it.

    Args:
        usage: Tokens of one request.
        price: Prices of its model.

    Raises:
        InvalidInputError: The counts contradict each other, or reasoning has its own price and
            the usage does not tell how many reasoning tokens there were.
    """
    prompt, completion, cached = usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens
    thinking = usage.thinking_tokens
    rates = price.rates(prompt)
    if thinking is None:
        if completion and rates.reasoning != rates.output_usd_per_million:
            raise InvalidInputError(
                f"reasoning tokens of {price.model} have their own price, and the usage does not"
                " tell how many there were",
                hint="use a backend that reports them, or max_cost_usd for a bound",
            )
        thinking = 0
    if min(prompt, completion, cached, thinking) < 0 or cached > prompt or thinking > completion:
        raise InvalidInputError(
            f"{usage!r}: expected counts >= 0, cached tokens within the prompt and thinking tokens"
            " within the completion"
        )
    total = (
        (prompt - cached) * rates.input_usd_per_million
        + cached * rates.cached_input
        + (completion - thinking) * rates.output_usd_per_million
        + thinking * rates.reasoning
    )
    return total / _PER_MILLION


def max_cost_usd(prompt_tokens: int, max_tokens: int, price: Price) -> float:
    """Return the most that one request can cost, to be held against a ceiling before it is sent.

    Nothing cached or everything, all output reasoning or none: whatever costs more.

    Args:
        prompt_tokens: Tokens of the rendered prompt, or an upper bound of them.
        max_tokens: Cap on generated tokens.
        price: Prices of the model.

    Raises:
        InvalidInputError: A count is negative.
    """
    if min(prompt_tokens, max_tokens) < 0:
        raise InvalidInputError(
            f"prompt_tokens={prompt_tokens!r}, max_tokens={max_tokens!r}: expected >= 0"
        )
    # A shorter prompt than the bound may fall into another tier, which may be the dearer one.
    reachable = [
        price,
        *(tier for tier in price.tiers if prompt_tokens > tier.above_prompt_tokens),
    ]
    prompt_rate = max(max(r.input_usd_per_million, r.cached_input) for r in reachable)
    output_rate = max(max(r.output_usd_per_million, r.reasoning) for r in reachable)
    return (prompt_tokens * prompt_rate + max_tokens * output_rate) / _PER_MILLION


def load_prices(path: Path | str) -> dict[str, Price]:
    """Read prices from a TOML file, one table `[prices."MODEL"]` each.

    Args:
        path: The file. Each table has `input_usd_per_million`, `output_usd_per_million`, `source`
            and `date`, and may have the other fields of `Price` but `model`, its name.

    Returns:
        Prices by model.

    Raises:
        DataFileError: The file cannot be read, or a field is missing, unknown or out of range.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataFileError(f"cannot be read: {error}", path=path) from error
    tables = content.get("prices")
    if not isinstance(tables, dict) or set(content) != {"prices"}:
        raise DataFileError('expected tables [prices."MODEL"] and nothing else', path=path)
    try:
        return _Prices.model_validate(
            {
                "prices": {
                    name: {"model": name, **row} if isinstance(row, dict) else row
                    for name, row in tables.items()  # pyright: ignore[reportUnknownVariableType]
                }
            }
        ).prices
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        raise DataFileError(problems, path=path) from error


class _Prices(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    prices: dict[str, Price]
