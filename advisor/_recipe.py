"""How to train: a recipe, and the short label it is written by."""

import re
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer, model_validator

from policies import InvalidInputError, ModelSize

__all__ = ["Corpus", "Method", "Order", "Recipe", "SizeField", "read_label"]

Corpus: TypeAlias = Literal["general", "math-centric", "code", "own"]
"""Training corpus: one of the two of arXiv 2509.22193v2, code, or the user's own."""


def _read_size(value: object) -> object:
    if not isinstance(value, str):
        return value
    # What `_write_size` writes in full is read in full, however long it is.
    plain = value.isascii() and value.isdigit() and int(value) > 0
    return ModelSize(int(value)) if plain else ModelSize.parse(value)


def _write_size(size: ModelSize) -> str:
    """Return the usual spelling where it is exact, else the full parameter count."""
    text = str(size)
    return text if _read_size(text) == size else str(size.n_params)


SizeField = Annotated[
    ModelSize, BeforeValidator(_read_size), PlainSerializer(_write_size, return_type=str)
]
"""A model size that JSON documents hold as `3B`."""


class Order(StrEnum):
    """Order of the direct-answer (IFT) and reasoning examples in training.

    `IFT_THEN_REASONING` is the "sequential" of arXiv 2509.22193v2: one run over one corpus,
    IFT examples first. `MIXED` is one shuffled pass, and also stands for a pure recipe.
    """

    MIXED = "mixed"
    IFT_THEN_REASONING = "ift_then_reasoning"
    REASONING_THEN_IFT = "reasoning_then_ift"
    REASONING_THEN_HYBRID = "reasoning_then_hybrid"
    DOMAIN_GENERAL_THEN_MATH = "domain_general_then_math"


class Method(StrEnum):
    """Training method.

    `SFT`: supervised, on direct answers or a teacher's traces. `GRPO`: reinforcement learning from
    checkable answers. `TOPS`: supervised, on the model's own shortest correct answers, which
    `ITER_SFT` repeats. `DPO`: preference pairs of such answers. `BACKTRACKING`: supervised,
    on traces with retracted steps that a search program writes.
    """

    SFT = "sft"
    GRPO = "grpo"
    TOPS = "tops"
    ITER_SFT = "iter-sft"
    DPO = "dpo"
    BACKTRACKING = "backtracking"


_LABEL = re.compile(r"([a-z_]+)(?:@(0?\.\d+|[01](?:\.0+)?))?")
_ALIASES = {"sequential": Order.IFT_THEN_REASONING}


def read_label(text: str) -> tuple[float, Order] | None:
    """Return (reasoning ratio, order) of a recipe label, `None` if it is none.

    Labels are `ift`, `reasoning`, or an order with a ratio strictly between 0 and 1, such as
    `mixed@0.25` and `ift_then_reasoning@0.5`; `sequential` is read as `ift_then_reasoning`.

    Example:
        >>> read_label("sequential@0.25")
        (0.25, <Order.IFT_THEN_REASONING: 'ift_then_reasoning'>)
        >>> read_label("from the hub") is None
        True
    """
    match = _LABEL.fullmatch(text.strip().lower())
    if match is None:
        return None
    name, ratio_text = match.groups()
    if ratio_text is None:
        pure = {"ift": 0.0, "reasoning": 1.0}.get(name)
        return None if pure is None else (pure, Order.MIXED)
    order = _ALIASES.get(name) or (Order(name) if name in set(Order) else None)
    ratio = float(ratio_text)
    return (ratio, order) if order is not None and 0 < ratio < 1 else None


class Recipe(BaseModel, frozen=True, extra="forbid"):
    """How to train one model. Immutable and hashable."""

    size: SizeField
    """Base model size."""
    corpus: Corpus
    """What it is trained on."""
    reasoning_ratio: Annotated[float, Field(ge=0, le=1)]
    """Share of training examples that are reasoning traces, in [0, 1]; by rows, not by tokens."""
    order: Order = Order.MIXED
    """Order of the two kinds of examples; `mixed` where there is one kind."""
    method: Method = Method.SFT
    """Training method."""

    @model_validator(mode="after")
    def _check_order(self) -> "Recipe":
        one_kind = self.reasoning_ratio in {0.0, 1.0}
        staged = {Order.IFT_THEN_REASONING, Order.REASONING_THEN_IFT, Order.REASONING_THEN_HYBRID}
        if one_kind and self.order in staged:
            raise InvalidInputError(
                f"order {self.order.value!r} needs two kinds of examples, "
                f"but the reasoning ratio is {self.reasoning_ratio:g}",
                hint="use order 'mixed', or a ratio between 0 and 1",
                code="invalid-recipe",
            )
        return self

    @property
    def label(self) -> str:
        """Return `ift`, `reasoning`, an order with its ratio, such as `mixed@0.25`, or a method.

        Other methods than supervised training go by their own name, such as `grpo`.
        """
        if self.method is not Method.SFT:
            return self.method.value
        if self.order is Order.MIXED and self.reasoning_ratio in {0.0, 1.0}:
            return "reasoning" if self.reasoning_ratio else "ift"
        return f"{self.order.value}@{self.reasoning_ratio:g}"
