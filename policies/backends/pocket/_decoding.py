"""Decode one batch of requests with onnxruntime-genai.

Rows are padded on the right: that gives the same logits as single runs (left padding does
not, since the attention kernel derives positions from sequence lengths).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._stops import StopWatch
from .._switching import SwitchWatch
from ._chat import SpecialTokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Row", "decode_batch"]

_FORBIDDEN = -1e9
# Below, sampling is greedy, and the quotients would overflow; vLLM's bound too.
_LEAST_TEMPERATURE = 1e-5


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
        wants_logprobs: Whether `logprobs` and `margins` are filled.
        bias: (token ids, amounts) added to the logits.
        continuation: Ids of `prompt` that already belong to the answer.
        stops: What else ends generation, `None` for nothing.
        switch: What lowers the logits of words that switch the thought, `None` for nothing.
        streams: Whether somebody waits for each token.
        generated: Output ids without the end of turn.
        logprobs: Log-probability of each generated id, natural log; NaN inside the thought,
            where nobody asks for it.
        margins: Gap between the two most likely ids at each place, natural log; NaN likewise.
        is_done: Whether generation has ended.
        stopped: Whether it ended by the end of turn rather than by the cap.
        was_stopped: Whether it ended by one of `stops`.
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
    stops: StopWatch | None = None
    switch: SwitchWatch | None = None
    streams: bool = False
    generated: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    margins: list[float] = field(default_factory=list[float])
    is_done: bool = False
    stopped: bool = False
    was_stopped: bool = False
    _is_thinking: bool = False
    _n_thinking: int = 0

    def needs_steps(self) -> bool:
        """Tell whether this row must be looked at after every token."""
        return (
            self.budget is not None
            or self.rng is not None
            or self.wants_logprobs
            or self.bias is not None
            or self.stops is not None
            or self.switch is not None
            or self.streams
        )

    def needs_logits_now(self) -> bool:
        """Tell whether the logits of the next token matter."""
        return self.is_chosen_here() or self.must_close_thought() or self.notes_evidence()

    def is_chosen_here(self) -> bool:
        """Tell whether the next token is not simply the most likely one."""
        return self.rng is not None or self.bias is not None or self.is_penalised()

    def is_penalised(self) -> bool:
        """Tell whether switching the thought is penalised at the next token."""
        return self.switch is not None and self.switch.is_due(is_inside=self._is_thinking)

    def notes_evidence(self) -> bool:
        """Tell whether the next token's log-probability is wanted."""
        return self.wants_logprobs and not self._is_thinking

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
        if len(self.logprobs) < len(self.generated):
            self.logprobs.append(math.nan)
            self.margins.append(math.nan)
        self.was_stopped = self.stops is not None and self.stops.is_hit(self.generated)
        self.is_done = self.was_stopped or len(self.generated) >= self.max_tokens

    def follow(self, token: int, special: SpecialTokens, *, is_first: bool) -> None:
        """Keep count of the thought."""
        if token == special.think and is_first:
            self._is_thinking = True
        elif token == special.end_think:
            self._is_thinking = False
        else:
            self._n_thinking += self._is_thinking
            if self.switch is not None:
                self.switch.follow(token, is_inside=self._is_thinking)


def decode_batch(
    og: Any,
    model: Any,
    rows: Sequence[Row],
    special: SpecialTokens,
    after_step: Callable[[], None] | None = None,
) -> None:
    """Generate every row to its end, in place.

    Args:
        og: The module `onnxruntime_genai`.
        model: Its loaded `Model`.
        rows: Requests of any mix of modes and parameters.
        special: Special token ids of the model.
        after_step: Called after each token, if any row must be looked at then; it may end rows
            by setting `is_done`.
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
    if any(row.needs_steps() for row in rows):
        _decode_steered(generator, rows, special, after_step)
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


def _decode_steered(
    generator: Any,
    rows: Sequence[Row],
    special: SpecialTokens,
    after_step: Callable[[], None] | None,
) -> None:
    """Choose tokens ourselves where a row asks for more than the most likely one."""
    open_rows = list(enumerate(rows))
    while open_rows and not generator.is_done():
        _steer(generator, open_rows, special)
        generator.generate_next_token()
        tokens = generator.get_next_tokens().tolist()
        for index, row in open_rows:
            row.take(tokens[index], special)
        if after_step is not None:
            after_step()
        open_rows = [(index, row) for index, row in open_rows if not row.is_done]


def _steer(generator: Any, open_rows: list[tuple[int, Row]], special: SpecialTokens) -> None:
    """Replace the logits of rows whose next token is not simply the most likely one."""
    import numpy as np

    if not any(row.needs_logits_now() for _, row in open_rows):
        return
    logits = generator.get_logits()
    table = logits.reshape(-1, logits.shape[-1])
    forced: dict[int, int] = {}
    for index, row in open_rows:
        if row.must_close_thought():
            forced[index] = special.end_think
        elif row.is_chosen_here():
            forced[index] = _choose(row, table[index])
    _note_evidence(table, [pair for pair in open_rows if pair[1].notes_evidence()], forced)
    for index, choice in forced.items():
        table[index] = _FORBIDDEN
        table[index, choice] = 0.0
    if forced:
        generator.set_logits(np.ascontiguousarray(table.reshape(logits.shape)))


def _note_evidence(
    table: "NDArray[np.float32]", rows: Sequence[tuple[int, Row]], forced: dict[int, int]
) -> None:
    """Write down log-probability and margin of the next token of rows that want them.

    Args:
        table: Logits as the model gives them, shape (rows of the batch, vocabulary).
        rows: The rows that want them, with their place in the batch.
        forced: Token ids of the rows that do not take the most likely one.
    """
    import numpy as np

    if not rows:
        return
    own = table[[index for index, _ in rows]]
    top_two = np.partition(own, -2, axis=1)[:, -2:]  # (n_rows, 2), the largest last
    top = top_two[:, 1]
    log_totals = np.log(np.exp(own - top[:, np.newaxis]).sum(axis=1))
    chosen = [
        own[place, forced[index]] if index in forced else top[place]
        for place, (index, _) in enumerate(rows)
    ]
    logprobs = np.array(chosen) - top - log_totals
    for (_, row), logprob, margin in zip(
        rows, logprobs.tolist(), (top - top_two[:, 0]).tolist(), strict=True
    ):
        row.logprobs.append(logprob)
        row.margins.append(margin)


def _choose(row: Row, logits: "NDArray[np.float32]") -> int:
    """Sample (or take the best) after bias, penalty, temperature and nucleus."""
    import numpy as np

    scores = logits.astype(np.float64)
    if row.bias is not None:
        scores[row.bias[0]] += row.bias[1]
    if row.switch is not None and row.is_penalised():
        scores[list(row.switch.first_ids)] -= row.switch.amount
    if row.rng is None or row.temperature < _LEAST_TEMPERATURE:
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
