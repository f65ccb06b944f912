"""The training set that costs are computed for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from policies import InvalidInputError

from ._numbers import check_fraction, check_number, check_whole

__all__ = ["RowLength", "Workload"]

MAX_TOKENS = 10_000_000
"""Tokens of one text beyond which a count is taken for a mistake."""


@dataclass(frozen=True, slots=True)
class RowLength:
    """Length of the rows of one kind: enough for a cost that is quadratic in it.

    Attributes:
        mean_tokens: Mean length, prompt and answer together.
        mean_square: Mean of the squared length; at least the squared mean.
    """

    mean_tokens: float
    mean_square: float

    @classmethod
    def of(cls, mean_tokens: float, variation: float = 0.0) -> "RowLength":
        """Return the length of rows with a mean and a standard deviation / mean."""
        return cls(mean_tokens, mean_tokens * mean_tokens * (1.0 + variation * variation))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Rows of a training set: how many, and how long they are.

    The same for every option of one recommendation, so that costs compare. Attention is
    quadratic in the length, so a spread of lengths costs more than rows of one length do. Where
    only means are known (`ift_variation` and `reasoning_variation` of 0) every row is taken to
    be as long as its mean, which is a lower bound (Jensen); `Workload.measured` knows the spread.

    Attributes:
        n_rows: Rows of the training set, of both kinds together.
        prompt_tokens: Mean prompt length.
        answer_tokens: Mean length of a direct answer.
        trace_ratio: Length of a reasoning answer, trace included / of a direct answer.
            Source: arXiv 2509.22193v2 prints 5-20x (abstract); 10 is their geometric mean.
        n_epochs: Passes over the rows. Source of the default: the same, section 2.1.
        ift_variation: Standard deviation / mean of the length of a whole direct-answer row.
        reasoning_variation: The same for reasoning rows.

    Raises:
        InvalidInputError: A number is not positive, not finite, or absurd.

    Example:
        >>> Workload(trace_ratio=8).reasoning_tokens
        4800.0
    """

    n_rows: int = 300_000
    prompt_tokens: float = 150.0
    answer_tokens: float = 600.0
    trace_ratio: float = 10.0
    n_epochs: float = 1
    ift_variation: float = 0.0
    reasoning_variation: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_whole("n_rows", self.n_rows, at_most=10**12)
        if self.prompt_tokens != 0:
            check_number("prompt_tokens", self.prompt_tokens, at_most=MAX_TOKENS)
        check_number("answer_tokens", self.answer_tokens, at_most=MAX_TOKENS)
        hint = "it is the length of a reasoning answer / of a direct answer, 5 to 20 as a rule"
        check_number("trace_ratio", self.trace_ratio, at_least=1e-4, at_most=10_000, hint=hint)
        check_number("n_epochs", self.n_epochs, at_most=1000)
        for name in ("ift_variation", "reasoning_variation"):
            if getattr(self, name) != 0:
                hint = "it is the standard deviation of the row lengths / their mean"
                check_number(name, getattr(self, name), at_most=100, hint=hint)

    @classmethod
    def measured(
        cls,
        prompt_tokens: Sequence[int],
        ift_tokens: Sequence[int],
        reasoning_tokens: Sequence[int],
        *,
        n_rows: int | None = None,
        n_epochs: float = 1,
    ) -> "Workload":
        """Return the workload of a paired data set, spread of the lengths included.

        Costs of the pure recipes are then exactly the sum over the rows. A mixture draws its
        rows at random from both columns.

        Args:
            prompt_tokens: Tokens of each prompt, shape `(n,)`.
            ift_tokens: Tokens of each direct answer, shape `(n,)`.
            reasoning_tokens: Tokens of each reasoning answer with its trace, shape `(n,)`.
            n_rows: Rows that will be trained on; as many as there are pairs by default.
            n_epochs: Passes over them.

        Raises:
            InvalidInputError: No pair, lengths that differ, or a negative count.
        """
        lengths = {len(prompt_tokens), len(ift_tokens), len(reasoning_tokens)}
        n = len(prompt_tokens)
        if len(lengths) != 1 or not n:
            raise InvalidInputError(
                f"{len(prompt_tokens)} prompts, {len(ift_tokens)} direct answers and"
                f" {len(reasoning_tokens)} reasoning answers: expected as many of each, at least 1"
            )
        if min(*prompt_tokens, *ift_tokens, *reasoning_tokens) < 0:
            raise InvalidInputError("a token count is negative: expected counts >= 0")
        mean_ift = math.fsum(ift_tokens) / n
        if not mean_ift:
            raise InvalidInputError(
                "every direct answer is empty: expected at least one token in some",
                hint="check which column holds the direct answers",
            )
        ift = [p + a for p, a in zip(prompt_tokens, ift_tokens, strict=True)]
        reasoning = [p + a for p, a in zip(prompt_tokens, reasoning_tokens, strict=True)]
        return cls(
            n_rows=n if n_rows is None else n_rows,
            prompt_tokens=math.fsum(prompt_tokens) / n,
            answer_tokens=mean_ift,
            trace_ratio=math.fsum(reasoning_tokens) / n / mean_ift,
            n_epochs=n_epochs,
            ift_variation=_variation(ift),
            reasoning_variation=_variation(reasoning),
        )

    @property
    def reasoning_tokens(self) -> float:
        """Mean length of a reasoning answer, trace included."""
        return self.answer_tokens * self.trace_ratio

    @property
    def ift_row(self) -> RowLength:
        """Length of a direct-answer row, prompt included."""
        return RowLength.of(self.prompt_tokens + self.answer_tokens, self.ift_variation)

    @property
    def reasoning_row(self) -> RowLength:
        """Length of a reasoning row, prompt included."""
        return RowLength.of(self.prompt_tokens + self.reasoning_tokens, self.reasoning_variation)

    def n_tokens(self, reasoning_ratio: float) -> float:
        """Return the tokens that training reads, prompts and epochs included.

        `D(rho) = S E ((1 - rho)(p + a) + rho (p + m a))` of S rows and E epochs.

        Args:
            reasoning_ratio: Share rho of rows that are reasoning traces, in [0, 1].

        Raises:
            InvalidInputError: It is no share.
        """
        check_fraction("reasoning_ratio", reasoning_ratio)
        ift, reasoning = self.ift_row.mean_tokens, self.reasoning_row.mean_tokens
        mean = (1.0 - reasoning_ratio) * ift + reasoning_ratio * reasoning
        return self.n_rows * self.n_epochs * mean


def _variation(lengths: Sequence[int]) -> float:
    mean = math.fsum(lengths) / len(lengths)
    return math.sqrt(math.fsum((n - mean) ** 2 for n in lengths) / len(lengths)) / mean
