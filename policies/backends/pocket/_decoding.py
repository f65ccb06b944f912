"""Decode one batch of requests with onnxruntime-genai.

Rows are padded on the right: that gives the same logits as single runs (left padding does
not, since the attention kernel derives positions from sequence lengths).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ._chat import SpecialTokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Row", "decode_batch"]

_FORBIDDEN = -1e9


@dataclass(slots=True)
class Row:
    """One request inside a batch, and what has been generated for it.

    Attributes:
        prompt: Token ids of the prompt, given answer tokens included.
        max_tokens: Cap on generated tokens.
        budget: Cap on tokens inside the thought, `None` for no cap.
        temperature: 0 is greedy.
        top_p: Nucleus mass.
        rng: Random numbers of this row; `None` if it is greedy.
        wants_logprobs: Whether `logprobs` is filled.
        bias: (token ids, amounts) added to the logits.
        continuation: Ids of `prompt` that already belong to the answer.
        generated: Output ids without the end of turn.
        logprobs: Log-probability of each generated id, natural log.
        is_done: Whether generation has ended.
        stopped: Whether it ended by the end of turn rather than by the cap.
    """

    prompt: list[int]
    max_tokens: int
    budget: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    rng: "np.random.Generator | None" = None
    wants_logprobs: bool = False
    bias: "tuple[NDArray[np.int64], NDArray[np.float32]] | None" = None
    continuation: tuple[int, ...] = ()
    generated: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    is_done: bool = False
    stopped: bool = False
    _is_thinking: bool = False
    _n_thinking: int = 0

    def needs_logits(self) -> bool:
        """Tell whether this row's next token may differ from the plain greedy one."""
        return (
            self.budget is not None
            or self.rng is not None
            or self.wants_logprobs
            or self.bias is not None
        )

    def must_close_thought(self) -> bool:
        """Tell whether the thinking budget is used up inside the thought."""
        return self.budget is not None and self._is_thinking and self._n_thinking >= self.budget

    def take(self, token: int, special: SpecialTokens) -> None:
        """Record one generated token."""
        if token == special.end_of_turn:
            self.is_done = self.stopped = True
            return
        self.follow(token, special, is_first=not self.generated and not self.continuation)
        self.generated.append(token)
        self.is_done = len(self.generated) >= self.max_tokens

    def follow(self, token: int, special: SpecialTokens, *, is_first: bool) -> None:
        """Keep count of the thought."""
        if token == special.think and is_first:
            self._is_thinking = True
        elif token == special.end_think:
            self._is_thinking = False
        elif self._is_thinking:
            self._n_thinking += 1


def decode_batch(og: Any, model: Any, rows: Sequence[Row], special: SpecialTokens) -> None:
    """Generate every row to its end, in place.

    Args:
        og: The module `onnxruntime_genai`.
        model: Its loaded `Model`.
        rows: Requests of any mix of modes and parameters.
        special: Special token ids of the model.
    """
    import numpy as np

    longest = max(len(row.prompt) for row in rows)
    prompts = np.full((len(rows), longest), special.pad, dtype=np.int32)
    for index, row in enumerate(rows):
        prompts[index, : len(row.prompt)] = row.prompt
        for position, token in enumerate(row.continuation):
            row.follow(token, special, is_first=position == 0)
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(
        batch_size=len(rows),
        max_length=longest + max(row.max_tokens for row in rows),
        do_sample=False,
    )
    generator = og.Generator(model, parameters)
    generator.append_tokens(prompts)
    if any(row.needs_logits() for row in rows):
        _decode_steered(generator, rows, special)
    else:
        _decode_greedily(generator, rows, special)


def _decode_greedily(generator: Any, rows: Sequence[Row], special: SpecialTokens) -> None:
    """Take the runtime's own greedy tokens; rows are cut apart only at the end, which is faster."""
    import numpy as np

    caps = np.array([row.max_tokens for row in rows])
    has_stopped = np.zeros(len(rows), dtype=np.bool_)
    steps: list[NDArray[np.int32]] = []
    while not generator.is_done() and not (has_stopped | (caps <= len(steps))).all():
        generator.generate_next_token()
        tokens = np.array(generator.get_next_tokens(), dtype=np.int32)
        steps.append(tokens)
        has_stopped |= tokens == special.end_of_turn
    for row, tokens in zip(rows, np.stack(steps, axis=1), strict=True):
        capped = tokens[: row.max_tokens].tolist()
        row.stopped = special.end_of_turn in capped
        row.generated = capped[: capped.index(special.end_of_turn)] if row.stopped else capped
        row.is_done = True


def _decode_steered(generator: Any, rows: Sequence[Row], special: SpecialTokens) -> None:
    """Choose tokens ourselves where a row asks for more than the most likely one."""
    open_rows = list(enumerate(rows))
    while open_rows and not generator.is_done():
        _steer(generator, open_rows, special)
        generator.generate_next_token()
        tokens = generator.get_next_tokens().tolist()
        for index, row in open_rows:
            row.take(tokens[index], special)
        open_rows = [(index, row) for index, row in open_rows if not row.is_done]


def _steer(generator: Any, open_rows: list[tuple[int, Row]], special: SpecialTokens) -> None:
    """Replace the logits of rows whose next token is not simply the most likely one."""
    import numpy as np

    logits = generator.get_logits()
    table = logits.reshape(-1, logits.shape[-1])
    changed = False
    for index, row in open_rows:
        if row.must_close_thought():
            choice = special.end_think
            changed = True
        elif row.rng is None and row.bias is None:
            if row.wants_logprobs:
                row.logprobs.append(_log_probability(table[index], int(table[index].argmax())))
            continue
        else:
            choice = _choose(row, table[index])
            changed = True
        if row.wants_logprobs:
            row.logprobs.append(_log_probability(table[index], choice))
        table[index] = _FORBIDDEN
        table[index, choice] = 0.0
    if changed:
        generator.set_logits(np.ascontiguousarray(table.reshape(logits.shape)))


def _choose(row: Row, logits: "NDArray[np.float32]") -> int:
    """Sample (or take the best) after bias, temperature and nucleus."""
    import numpy as np

    scores = logits.astype(np.float64)
    if row.bias is not None:
        scores[row.bias[0]] += row.bias[1]
    if row.rng is None:
        return int(scores.argmax())
    scores = scores / row.temperature
    probabilities = np.exp(scores - scores.max())
    probabilities /= probabilities.sum()
    if row.top_p < 1.0:
        order = np.argsort(-probabilities, kind="stable")
        before = np.cumsum(probabilities[order]) - probabilities[order]
        probabilities[order[before >= row.top_p]] = 0.0
        probabilities /= probabilities.sum()
    cumulative = np.cumsum(probabilities)
    threshold = row.rng.random() * float(cumulative[-1])
    drawn = int(np.searchsorted(cumulative, threshold, side="right"))
    return min(drawn, len(cumulative) - 1)


def _log_probability(logits: "NDArray[np.float32]", token: int) -> float:
    import numpy as np

    top = float(logits.max())
    return float(logits[token] - top - np.log(np.exp(logits - top).sum()))
