"""The advisor asked about a study's problems, with sizes, corpora or ratios left out."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from policies import ModelSize

from ...evidence import PublishedEvidence
from ...inference import Z
from .._evidence import StudyEvidence
from ._asking import Reply, ask, named_corpus, shown_cells
from ._held import Fold, HeldStudy, Problem
from ._judging import Judged, judge

__all__ = [
    "Condition",
    "StudyAsker",
    "cheapest",
    "conditions",
    "judge_as_table",
    "judge_condition",
    "without_family",
]

Shown: TypeAlias = Mapping[Problem, Sequence[str]]
"""Recipe labels that are shown, by the problem they are cells of."""

_KS = (1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Condition:
    """One way to show the advisor a part of a study.

    Attributes:
        leave_out: What it does not see.
        given: What it sees.
        evidence: `prior`, `cells` or `both`, as in `Row`.
        is_honest: The cells are what they are said to be; not where those of another corpus stand
            for the user's own.
        shown: The cells that it sees for a problem; `None` where the condition makes no sense.
        with_seeds: The intervals of the cells are widened by what another seed would add.
    """

    leave_out: str
    given: str
    evidence: str
    is_honest: bool
    shown: Callable[[HeldStudy, Problem], Shown | None]
    with_seeds: bool = False


class StudyAsker:
    """Asks the advisor about a study, each question once.

    Attributes:
        study: The study.
        tolerance: Accuracy that may be lost.
        n_asked: Questions that were asked.
    """

    def __init__(self, study: HeldStudy, published: PublishedEvidence, tolerance: float) -> None:
        self.study = study
        self.tolerance = tolerance
        self.n_asked = 0
        self._published = published
        self._known: dict[object, Reply] = {}
        self._tables: dict[Fold, StudyEvidence] = {}

    def reply(
        self,
        problem: Problem,
        fold: Fold,
        shown: Shown,
        *,
        with_prior: bool,
        with_seeds: bool = False,
    ) -> Reply:
        """Return the answer about a problem, given some cells.

        Args:
            problem: The problem.
            fold: Which part of the study its cells come from.
            shown: The cells.
            with_prior: Published figures of the task type may be used.
            with_seeds: Widen the intervals of the cells by what another seed would add.
        """
        labels = tuple((where, tuple(sorted(names))) for where, names in shown.items() if names)
        key = (problem, fold if labels else None, labels, with_prior, with_seeds)
        if key not in self._known:
            self.n_asked += 1
            cells = [
                cell
                for where, names in labels
                for cell in shown_cells(self.study, where, fold, names, with_seeds=with_seeds)
            ]
            evidence = self._published
            if not with_prior:
                evidence = without_family(evidence, problem.task_type)
            self._known[key] = ask(
                ModelSize(self.study.n_params(problem)),
                problem.task_type,
                cells,
                corpus=named_corpus(problem.corpus),
                evidence=evidence,
                tolerance=self.tolerance,
            )
        return self._known[key]

    def reply_to_table(self, problem: Problem, fold: Fold) -> Reply:
        """Return the answer about a problem, given the study without a fold's seed as a table."""
        self.n_asked += 1
        if fold not in self._tables:
            self._tables[fold] = StudyEvidence(self.study.without(fold))
        return ask(
            ModelSize(self.study.n_params(problem)),
            problem.task_type,
            (),
            corpus=named_corpus(problem.corpus),
            evidence=self._published,
            study=self._tables[fold],
            tolerance=self.tolerance,
        )


def conditions(study: HeldStudy) -> Iterator[Condition]:
    """Yield every condition of the trial on a study."""
    yield Condition("everything", "nothing", "prior", True, lambda _study, _problem: {})
    for k in (*_KS, None):
        for evidence in ("cells", "both") if k in {2, None} else ("both",):
            name = "every cell of its size" if k is None else f"its {_cheapest(k)}"
            yield Condition("other sizes", name, evidence, True, _of_size(k))
    yield Condition("its size", "other sizes", "cells", True, _of_sizes(0))
    yield Condition("its size", "other sizes", "both", True, _of_sizes(0))
    yield Condition(
        "its other recipes", f"other sizes, its {_cheapest(2)}", "both", True, _of_sizes(2)
    )
    yield Condition("nothing", "every cell of every size", "both", True, _of_sizes(None))
    yield Condition("its corpus", "the other corpus, as its own", "both", False, _other_corpus)
    for ratio in sorted({arm.ratio for arms in study.arms.values() for arm in arms.values()}):
        given = "every other recipe of its size"
        yield Condition(f"ratio {ratio:g}", given, "both", True, _without_ratio(ratio))
    yield Condition("every mixture", "the pure pair of its size", "both", True, _pure_pair)
    wide = "seeds in their intervals"
    name = f"its {_cheapest(2)}, {wide}"
    yield Condition("other sizes", name, "both", True, _of_size(2), with_seeds=True)
    name = f"every cell of its size, {wide}"
    yield Condition("other sizes", name, "both", True, _of_size(None), with_seeds=True)
    name = f"the pure pair of its size, {wide}"
    yield Condition("every mixture", name, "both", True, _pure_pair, with_seeds=True)


def judge_condition(asker: StudyAsker, condition: Condition) -> list[Judged]:
    """Ask about every problem and fold under a condition, and judge the answers."""
    study = asker.study
    judged: list[Judged] = []
    for problem in study.problems:
        shown = condition.shown(study, problem)
        if shown is None:
            continue
        for fold in study.folds(problem):
            reply = asker.reply(
                problem,
                fold,
                shown,
                with_prior=condition.evidence != "cells",
                with_seeds=condition.with_seeds,
            )
            judged.append(
                judge(
                    "/".join(problem),
                    reply,
                    study.held(problem, fold),
                    study.arms[problem],
                    tolerance=asker.tolerance,
                    shown_sign=_shown_sign(study, problem, fold, shown),
                )
            )
    return judged


def judge_as_table(asker: StudyAsker) -> list[Judged]:
    """Give the advisor the study itself but for one seed and half of the questions, in turn.

    What `recommend --table` reads: all recipes and seeds, paired. The truth is the seed that was
    left out, on the other questions. Empty for a study of one seed.
    """
    study = asker.study
    judged: list[Judged] = []
    for problem in study.problems:
        for fold in study.folds(problem):
            if len(study.arms[problem]["ift"].cells) < 2:
                continue
            # What this fold would hold back of the other half is what is shown here.
            shown = study.held(problem, Fold(fold.seed, 1 - fold.half))
            gain, error = shown.gap("reasoning", "ift")
            judged.append(
                judge(
                    "/".join(problem),
                    asker.reply_to_table(problem, fold),
                    study.held_seed(problem, fold),
                    study.arms[problem],
                    tolerance=asker.tolerance,
                    shown_sign=0 if abs(gain) <= Z * error else int(math.copysign(1, gain)),
                )
            )
    return judged


def cheapest(study: HeldStudy, problem: Problem) -> list[str]:
    """Return the recipes of a problem, those that are cheapest to train first."""
    arms = study.arms[problem]
    return sorted(arms, key=lambda label: (arms[label].train_flops, label))


def without_family(evidence: PublishedEvidence, task_type: str) -> PublishedEvidence:
    """Return published figures without those of a task type; how curves behave is still known."""
    table = evidence.table
    rows = tuple(row for row in table.rows if row.task_type != task_type)
    fits = tuple(fit for fit in evidence.fits if fit.task_type != task_type)
    return PublishedEvidence(dataclasses.replace(table, rows=rows), fits)


def _cheapest(k: int) -> str:
    return f"{k} cheapest cell{'' if k == 1 else 's'}"


def _of_size(k: int | None) -> Callable[[HeldStudy, Problem], Shown]:
    return lambda study, problem: {problem: cheapest(study, problem)[:k]}


def _of_sizes(k: int | None) -> Callable[[HeldStudy, Problem], Shown | None]:
    def shown(study: HeldStudy, problem: Problem) -> Shown | None:
        others = {one: cheapest(study, one) for one in _alike(study, problem)}
        return {**others, problem: cheapest(study, problem)[:k]} if others else None

    return shown


def _other_corpus(study: HeldStudy, problem: Problem) -> Shown | None:
    for one in study.problems:
        same = (one.size, one.task_type) == (problem.size, problem.task_type)
        if same and one.corpus != problem.corpus:
            return {one: cheapest(study, one)}
    return None


def _without_ratio(ratio: float) -> Callable[[HeldStudy, Problem], Shown]:
    def shown(study: HeldStudy, problem: Problem) -> Shown:
        arms = study.arms[problem]
        return {problem: [label for label in arms if arms[label].ratio != ratio]}

    return shown


def _pure_pair(study: HeldStudy, problem: Problem) -> Shown:
    return {problem: ["ift", "reasoning"]}


def _alike(study: HeldStudy, problem: Problem) -> list[Problem]:
    """Return the problem at the other sizes."""
    return [one for one in study.problems if one.size != problem.size and one[1:] == problem[1:]]


def _shown_sign(study: HeldStudy, problem: Problem, fold: Fold, shown: Shown) -> int:
    """Return the sign of the gain that the shown cells tell, 0 where they tell none.

    That of direct answers against pure reasoning, else the most accurate mixture, at the size;
    without such a pair there, that of the other sizes' pairs, if all of them tell the same.
    """
    signs = {where: _pair_sign(study, where, fold, names) for where, names in shown.items()}
    here = signs.pop(problem, None)
    if here is not None:
        return here
    found = {sign for sign in signs.values() if sign is not None}
    return found.pop() if len(found) == 1 else 0


def _pair_sign(study: HeldStudy, problem: Problem, fold: Fold, labels: Sequence[str]) -> int | None:
    """Return the sign that is shown by two independent accuracies; `None` without a pair."""
    cells = {
        cell.recipe: cell
        for cell in shown_cells(study, problem, fold, labels)
        if (cell.policy == "direct") == (cell.recipe == "ift")
    }
    ift = cells.pop("ift", None)
    if ift is None or not cells:
        return None
    best = max(cells.values(), key=lambda cell: cell.accuracy)
    other = cells.get("reasoning", best)
    gap = other.accuracy - ift.accuracy
    variance = sum(cell.accuracy * (1 - cell.accuracy) / cell.n for cell in (ift, other))
    return 0 if abs(gap) <= Z * math.sqrt(variance) else int(math.copysign(1, gap))
