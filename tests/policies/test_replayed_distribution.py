"""Budgets from one trace have the law of native budgets: a toy model, sampled and enumerated.

The toy model's next-token probabilities depend on the last two tokens, so that what is forced
into an answer changes what follows. It runs through the pocket backend's own decoding loop.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from policies import ThoughtMarkers
from policies.backends.pocket._chat import SpecialTokens
from policies.backends.pocket._decoding import Row, decode_batch

END_OF_TURN, THINK, END_THINK, PAD, A, B, C = range(7)
N_VOCABULARY = 7
SPECIAL = SpecialTokens(end_of_turn=END_OF_TURN, think=THINK, end_think=END_THINK, pad=PAD)
MARKERS = ThoughtMarkers(start=(THINK,), end=(END_THINK,))
PROMPT = [C, END_OF_TURN]  # no answer holds an end of turn, so nothing else looks like it
MAX_TOKENS = 8
TEMPERATURE = 1.3
TOP_P = 0.9
N_DRAWS = 6000
BATCH = 500

Answer = tuple[int, ...]


@cache
def toy_logits(last: int, before: int) -> "NDArray[np.float32]":
    """Return fixed random logits; most prompts are followed by a thought."""
    logits = np.random.default_rng(before * N_VOCABULARY + last).normal(size=N_VOCABULARY)
    logits[PAD] = -1e9
    logits[THINK] = 3.0 if [before, last] == PROMPT else -1e9
    return logits.astype(np.float32)


class ToyGenerator:
    """What the decoding loop uses of `onnxruntime_genai.Generator`."""

    def __init__(self, _model: object, _parameters: object) -> None:
        self._rows: list[list[int]] = []
        self._logits = np.zeros((0, N_VOCABULARY), dtype=np.float32)
        self._next = np.zeros(0, dtype=np.int32)

    def append_tokens(self, prompts: "NDArray[np.int32]") -> None:
        self._rows = [[token for token in row if token != PAD] for row in prompts.tolist()]

    def is_done(self) -> bool:
        return False

    def get_logits(self) -> "NDArray[np.float32]":
        self._logits = np.stack([toy_logits(row[-1], row[-2]) for row in self._rows])
        return self._logits.copy()

    def set_logits(self, logits: "NDArray[np.float32]") -> None:
        self._logits = logits

    def generate_next_token(self) -> None:
        self._next = self._logits.argmax(axis=1).astype(np.int32)
        for row, token in zip(self._rows, self._next.tolist(), strict=True):
            row.append(token)

    def get_next_tokens(self) -> "NDArray[np.int32]":
        return self._next


class ToyParameters:
    def __init__(self, _model: object) -> None:
        pass

    def set_search_options(self, **_options: object) -> None:
        pass


class ToyRuntime:
    Generator = ToyGenerator
    GeneratorParams = ToyParameters


def draw(n: int, budget: int | None, heads: Sequence[Answer] | None = None) -> list[Answer]:
    """Return sampled answers, the given heads included, each row with a seed of its own."""
    seeds = random.Random(f"{n} {budget} {heads is None}")
    answers: list[Answer] = []
    for start in range(0, n, BATCH):
        count = min(BATCH, n - start)
        given = heads[start : start + count] if heads else [()] * count
        rows = [
            Row(
                prompt=[*PROMPT, *head],
                max_tokens=MAX_TOKENS - len(head),
                budget=budget,
                temperature=TEMPERATURE,
                top_p=TOP_P,
                rng=np.random.default_rng(seeds.getrandbits(64)),
                continuation=head,
            )
            for head in given
        ]
        decode_batch(ToyRuntime, None, rows, SPECIAL)
        answers += [(*row.continuation, *row.generated) for row in rows]
    return answers


@cache
def probabilities(last: int, before: int) -> "NDArray[np.float64]":
    """Return the sampling distribution, written down a second time."""
    scores = toy_logits(last, before).astype(np.float64) / TEMPERATURE
    p = np.exp(scores - scores.max())
    p /= p.sum()
    order = sorted(range(N_VOCABULARY), key=lambda token: -p[token])
    mass = 0.0
    for token in order:
        if mass >= TOP_P:
            p[token] = 0.0
        else:
            mass += p[token]
    return p / p.sum()


def enumerate_answers(budget: int) -> Mapping[Answer, float]:
    """Return the exact law of answers under a native budget."""

    def walk(answer: Answer, weight: float) -> Iterator[tuple[Answer, float]]:
        if len(answer) == MAX_TOKENS:
            yield answer, weight
            return
        is_thinking = answer[:1] == (THINK,) and END_THINK not in answer
        if is_thinking and len(answer) - 1 >= budget:
            yield from walk((*answer, END_THINK), weight)
            return
        context = [*PROMPT, *answer]
        for token, p in enumerate(probabilities(context[-1], context[-2]).tolist()):
            if p == 0.0:
                continue
            if token == END_OF_TURN:
                yield answer, weight * p
            else:
                yield from walk((*answer, token), weight * p)

    law: dict[Answer, float] = {}
    for answer, weight in walk((), 1.0):
        law[answer] = law.get(answer, 0.0) + weight
    return law


def head_of(trace: Answer, budget: int) -> Answer | None:
    """Return the beginning that a budget leaves of a trace, `None` if it leaves all of it."""
    if trace[:1] != (THINK,):
        return None
    # Who ends the turn inside the thought, before the budget, does so under the budget too.
    ended_early = not MARKERS.is_closed(trace) and MARKERS.n_thinking(trace) < budget
    return None if ended_early else MARKERS.cut(trace, budget)


def replayed(budget: int, traces: Sequence[Answer]) -> list[Answer]:
    """Return the answers that the traces tell for a smaller budget."""
    heads = [head_of(trace, budget) for trace in traces]
    cut = [head for head in heads if head is not None]
    continued = iter(draw(len(cut), None, cut))
    return [
        trace if head is None else next(continued)
        for head, trace in zip(heads, traces, strict=True)
    ]


def check_fit(answers: Sequence[Answer], law: Mapping[Answer, float]) -> None:
    """Compare counts with the exact law by chi-square, rare answers pooled."""
    assert set(answers) <= set(law)
    counts = Counter(answers)
    frequent = [answer for answer, p in law.items() if p * len(answers) >= 8]
    observed = [counts[answer] for answer in frequent]
    expected = [law[answer] * len(answers) for answer in frequent]
    observed.append(len(answers) - sum(observed))
    expected.append(len(answers) - sum(expected))
    assert len(frequent) > 20
    assert stats.chisquare(observed, expected).pvalue > 1e-3


@pytest.fixture(scope="module")
def traces() -> list[Answer]:
    return draw(N_DRAWS, None)


@pytest.mark.parametrize("budget", [0, 1, 2, 4])
def test_replayed_and_native_answers_follow_the_exact_law(
    budget: int, traces: list[Answer]
) -> None:
    law = enumerate_answers(budget)
    assert sum(law.values()) == pytest.approx(1.0)
    check_fit(draw(N_DRAWS, budget), law)
    check_fit(replayed(budget, traces), law)


def test_the_comparison_sees_a_wrong_budget(traces: list[Answer]) -> None:
    with pytest.raises(AssertionError):
        check_fit(replayed(3, traces), enumerate_answers(2))


def test_the_comparison_sees_a_wrong_end(traces: list[Answer]) -> None:
    """Forcing another token first, as some servers do, is another treatment."""
    wrong = [
        (*head[:-1], C, *head[-1:]) for trace in traces if (head := head_of(trace, 1)) is not None
    ]
    law = enumerate_answers(1)
    cut = {answer: p for answer, p in law.items() if answer[:1] == (THINK,)}
    assert len(wrong) > N_DRAWS / 4
    assert not set(draw(len(wrong), None, wrong)) <= set(cut)
