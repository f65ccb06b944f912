"""The advisor asked about printed figures that are hidden from it: sizes, and a corpus.

The truth is arXiv 2509.22193v2, Table 1: 80 accuracies, direct answers and reasoning for two
corpora, four task types and five sizes, 0.5B to 14B. It has no mixtures: a verdict for a mixture
with reasoning counts as the side of reasoning. A user of the hidden corpus who measured pairs
there is simulated: `N_QUESTIONS` answers an arm, right with the printed accuracy. What the table
cannot show: a third corpus, another teacher, seeds.
"""

import dataclasses
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from calibration import Cell
from calibration.published import PublishedCorpus, PublishedTable
from calibration.statistics import wilson_interval
from policies import ModelSize

from ..._recipe import Corpus
from ...evidence import PublishedEvidence
from ...inference import Z
from ._asking import Reply, ask
from ._judging import Judged, covers, is_right_to_abstain
from ._study_trial import without_family

__all__ = [
    "N_QUESTIONS",
    "PublishedCondition",
    "PublishedProblem",
    "judge_printed",
    "other_corpus",
    "printed_gain",
    "printed_pair",
    "published_conditions",
    "side_of",
]

N_QUESTIONS = 740
"""What a gain of 5 points needs; see `advisor.inference.questions_needed`."""

_N_DRAWS = 3


class PublishedProblem(NamedTuple):
    """A hidden comparison of the printed table."""

    corpus: PublishedCorpus
    task_type: str
    size: ModelSize

    @property
    def name(self) -> str:
        """Return it as one string."""
        return f"{self.corpus}/{self.task_type}/{self.size}"


class _Given(NamedTuple):
    """What is shown for a problem.

    Attributes:
        corpus: What the user says the training corpus is like.
        evidence: Published figures that are left.
        pairs: Sizes at which the user measured the pair.
    """

    corpus: Corpus
    evidence: PublishedEvidence
    pairs: tuple[ModelSize, ...] = ()


Show: TypeAlias = Callable[[PublishedEvidence, PublishedProblem], "_Given | None"]


@dataclass(frozen=True, slots=True)
class PublishedCondition:
    """One way to hide a part of the printed table.

    Attributes:
        leave_out: What is hidden.
        given: What is shown.
        evidence: `prior`, `cells` or `both`, as in `Row`.
        is_honest: The user's corpus is what it is said to be like.
        show: What is shown for a problem; `None` where the condition makes no sense.
    """

    leave_out: str
    given: str
    evidence: str
    is_honest: bool
    show: Show

    def judged(self, published: PublishedEvidence, tolerance: float) -> Iterator[Judged]:
        """Yield the answers about every problem of the table, judged."""
        for problem in _problems(published.table):
            given = self.show(published, problem)
            if given is None:
                continue
            for draw in range(_N_DRAWS if given.pairs else 1):
                cells = [
                    cell
                    for size in given.pairs
                    for cell in printed_pair(published.table, problem, size, draw=draw)
                ]
                reply = ask(
                    problem.size,
                    problem.task_type,
                    cells,
                    corpus=given.corpus,
                    evidence=given.evidence,
                    objective="accuracy",
                    tolerance=tolerance,
                )
                sign = _shown_sign(cells)
                yield judge_printed(problem, reply, published.table, tolerance, sign)


def published_conditions() -> tuple[PublishedCondition, ...]:
    """Return every condition of the trial on the printed table."""
    return (
        PublishedCondition(
            "an inner size", "its corpus at the other sizes", "prior", True, _inner_size
        ),
        PublishedCondition(
            "the smallest or largest size",
            "its corpus at the other sizes",
            "prior",
            True,
            _end_size,
        ),
        PublishedCondition("its corpus", "the other corpus", "prior", True, _own_corpus),
        PublishedCondition(
            "its corpus", "the other corpus, said to be alike", "prior", False, _alike
        ),
        PublishedCondition("its corpus", "an own pair at 0.5B", "both", True, _pairs_below(1)),
        PublishedCondition(
            "its corpus", "own pairs at 0.5B and 1.5B", "both", True, _pairs_below(2)
        ),
        PublishedCondition(
            "its corpus", "own pairs at both next sizes", "cells", True, _neighbours(False)
        ),
        PublishedCondition(
            "its corpus", "own pairs at both next sizes", "both", True, _neighbours(True)
        ),
        PublishedCondition("its corpus", "an own pair at its size", "cells", True, _at_size),
    )


def judge_printed(
    problem: PublishedProblem,
    reply: Reply,
    table: PublishedTable,
    tolerance: float,
    shown_sign: int,
) -> Judged:
    """Judge an answer about a printed comparison; the truth is taken as exact."""
    gain = printed_gain(table, problem)
    side = side_of(reply)
    regret = max(0.0, gain if side == "ift" else -gain)
    best = "reasoning" if gain > tolerance else "ift"
    truths = {
        recipe: table.find(problem.corpus, problem.task_type, problem.size, recipe).accuracy
        for recipe in ("ift", "reasoning")
    }
    return Judged(
        problem=problem.name,
        reply=reply,
        regret=regret,
        claim_regret=regret,
        outcome=("right" if regret <= tolerance else "wrong") if reply.is_decided else None,
        is_right_to_abstain=None
        if reply.is_decided
        else is_right_to_abstain(gain, 0.0, shown_sign, tolerance),
        train_ratio=_log_ratio(reply.train_flops.get(side), reply.train_flops.get(best)),
        inference_ratio=_log_ratio(
            reply.inference_flops.get(side), reply.inference_flops.get(best)
        ),
        gain_covered=None if reply.gain is None else covers(reply.gain, gain),
        accuracies_covered=tuple(
            covers(reply.accuracies[name], truth)
            for name, truth in truths.items()
            if name in reply.accuracies
        ),
        rules={"always IFT": max(0.0, gain), "always reasoning": max(0.0, -gain)},
    )


def printed_gain(table: PublishedTable, problem: PublishedProblem) -> float:
    """Return the printed accuracy of reasoning minus that of direct answers."""
    found = [
        table.find(problem.corpus, problem.task_type, problem.size, recipe).accuracy
        for recipe in ("reasoning", "ift")
    ]
    return found[0] - found[1]


def side_of(reply: Reply) -> str:
    """Return what is trained by whoever follows an answer: any reasoning, or `ift`.

    Without anything to follow it is direct answers, which cost least.
    """
    return "ift" if reply.label in {None, "ift"} else "reasoning"


def other_corpus(table: PublishedTable, corpus: PublishedCorpus) -> PublishedCorpus:
    """Return a published corpus that is not the given one."""
    return next(one for one in table.corpora if one != corpus)


def printed_pair(
    table: PublishedTable, problem: PublishedProblem, size: ModelSize, *, draw: int
) -> Iterator[Cell]:
    """Yield the pair that a user of a problem's corpus measured at a size; drawn, reproducibly."""
    for recipe in ("ift", "reasoning"):
        truth = table.find(problem.corpus, problem.task_type, size, recipe).accuracy
        rng = random.Random(f"{problem.corpus}/{problem.task_type}/{size}/{recipe}/{draw}")
        n_correct = sum(rng.random() < truth for _ in range(N_QUESTIONS))
        interval = wilson_interval(n_correct, N_QUESTIONS)
        yield Cell(
            task="mine",
            task_type=problem.task_type,
            model=f"mine-{size}-{recipe}",
            size=size.n_params,
            policy="direct" if recipe == "ift" else "reasoning@max",
            recipe=recipe,
            n=N_QUESTIONS,
            n_correct=n_correct,
            n_cut=0,
            n_error=0,
            accuracy=n_correct / N_QUESTIONS,
            ci_low=interval.low,
            ci_high=interval.high,
            mean_prompt_tokens=math.nan,
            mean_tokens=math.nan,
            mean_flops=None,
            mean_seconds=math.nan,
        )


def _problems(table: PublishedTable) -> list[PublishedProblem]:
    return [
        PublishedProblem(corpus, task_type, size)
        for corpus in table.corpora
        for task_type in table.task_types
        for size in table.sizes
    ]


def _without_size(published: PublishedEvidence, size: ModelSize) -> PublishedEvidence:
    rows = tuple(row for row in published.table.rows if row.size != size)
    return PublishedEvidence(dataclasses.replace(published.table, rows=rows), published.fits)


def _inner_size(published: PublishedEvidence, problem: PublishedProblem) -> _Given | None:
    if problem.size not in published.table.sizes[1:-1]:
        return None
    return _Given(problem.corpus, _without_size(published, problem.size))


def _end_size(published: PublishedEvidence, problem: PublishedProblem) -> _Given | None:
    if problem.size in published.table.sizes[1:-1]:
        return None
    return _Given(problem.corpus, _without_size(published, problem.size))


def _own_corpus(published: PublishedEvidence, problem: PublishedProblem) -> _Given:
    rows = tuple(row for row in published.table.rows if row.corpus != problem.corpus)
    table = dataclasses.replace(published.table, rows=rows)
    return _Given("own", PublishedEvidence(table, published.fits))


def _alike(published: PublishedEvidence, problem: PublishedProblem) -> _Given:
    return _Given(other_corpus(published.table, problem.corpus), published)


def _pairs_below(n: int) -> Show:
    def show(published: PublishedEvidence, problem: PublishedProblem) -> _Given | None:
        sizes = published.table.sizes[:n]
        if problem.size <= sizes[-1]:
            return None
        # The table keeps the hidden corpus, which only widths of intervals are computed from: the
        # prior is the corpus that is named.
        return _Given(other_corpus(published.table, problem.corpus), published, sizes)

    return show


def _neighbours(with_prior: bool) -> Show:
    def show(published: PublishedEvidence, problem: PublishedProblem) -> _Given | None:
        sizes = published.table.sizes
        at = sizes.index(problem.size)
        if not 0 < at < len(sizes) - 1:
            return None
        evidence = published if with_prior else without_family(published, problem.task_type)
        corpus = other_corpus(published.table, problem.corpus)
        return _Given(corpus, evidence, (sizes[at - 1], sizes[at + 1]))

    return show


def _at_size(published: PublishedEvidence, problem: PublishedProblem) -> _Given:
    evidence = without_family(published, problem.task_type)
    return _Given(other_corpus(published.table, problem.corpus), evidence, (problem.size,))


def _shown_sign(cells: Sequence[Cell]) -> int:
    """Return the sign that all of the user's pairs show, 0 where they do not agree or show none."""
    signs: set[int] = set()
    for ift, reasoning in zip(cells[::2], cells[1::2], strict=True):
        gap = reasoning.accuracy - ift.accuracy
        variance = sum(cell.accuracy * (1 - cell.accuracy) / cell.n for cell in (ift, reasoning))
        signs.add(0 if abs(gap) <= Z * math.sqrt(variance) else int(math.copysign(1, gap)))
    return signs.pop() if len(signs) == 1 else 0


def _log_ratio(mine: float | None, best: float | None) -> float | None:
    return None if not mine or not best else math.log(mine / best)
