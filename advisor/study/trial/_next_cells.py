"""What the advisor's ranking of the next cells saves against measuring in a random order.

One cell after the other is measured, and the advisor asked after each. Counted is what is
measured until it recommends something that loses no more than the tolerance against the best
recipe, now and after every later cell; all cells where that never happens. On the study the truth is all seeds and
questions together, those shown included, which is the same for every order.
"""

import dataclasses
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from policies import ModelSize

from ...cost import Workload, training_cost
from ...evidence import PublishedEvidence
from ._asking import Reply, ask
from ._figures import Figure, mean_figure, ratio_figure, share_figure
from ._held import Fold, Problem
from ._published_trial import PublishedProblem, printed_gain, printed_pair, side_of
from ._study_trial import StudyAsker, cheapest

__all__ = ["Race", "race_on_published", "race_on_study"]

_N_ORDERS = 8
_SAME_SIZE = 0.10


@dataclass(frozen=True, slots=True)
class Race:
    """What one way to choose the next cell needs.

    Attributes:
        order: `advisor`, `cheapest first` or `random`.
        unit: What is measured at a time: `cells` or `pairs`.
        n_to_measure: Mean number of them that there are.
        cells: How many were measured until the advice is good and stays so.
        reached: Share of cases in which that happens at all.
        saved_cells: How many fewer than in a random order; `None` for that itself.
        flops_ratio: Training FLOPs until then / those in a random order, geometric mean.
        own_choice: Share of choices that its proposals made; else the cheapest cell was taken.
            `None` for other orders.
    """

    order: str
    unit: str
    n_to_measure: float
    cells: Figure
    reached: Figure
    saved_cells: Figure | None
    flops_ratio: Figure | None
    own_choice: float | None


class _Path(NamedTuple):
    """How one order went.

    Attributes:
        n: Measured until the advice is good and stays so.
        flops: Training FLOPs of those.
        is_reached: It ever is.
    """

    n: int
    flops: float
    is_reached: bool


def race_on_study(asker: StudyAsker) -> tuple[Race, ...]:
    """Return what each order needs on the problems of a study, cells of their own size."""
    study = asker.study
    paths: dict[str, list[tuple[str, _Path]]] = {"advisor": [], "cheapest first": [], "random": []}
    chosen: list[bool] = []
    totals: list[int] = []
    for number, problem in enumerate(study.problems):
        fold = study.folds(problem)[number % len(study.folds(problem))]
        arms = study.arms[problem]
        name, labels = "/".join(problem), cheapest(study, problem)
        totals.append(len(labels))

        def path(order: Sequence[str], problem: Problem = problem, fold: Fold = fold) -> _Path:
            good = [
                _is_good(asker, problem, _reply(asker, problem, fold, order[:k]))
                for k in range(len(order) + 1)
            ]
            return _until([study.arms[problem][one].train_flops for one in order], good)

        order, own = _advised(asker, problem, fold)
        chosen += own
        paths["advisor"].append((name, path(order)))
        paths["cheapest first"].append((name, path(labels)))
        rng = random.Random(name)
        for _ in range(_N_ORDERS):
            paths["random"].append((name, path(rng.sample(sorted(arms), len(arms)))))
    return _races(paths, "cells", sum(totals) / len(totals), chosen)


def race_on_published(published: PublishedEvidence, tolerance: float) -> tuple[Race, ...]:
    """Return what each order needs on the printed table: pairs at sizes up to the asked one.

    The user's corpus is hidden as such, `own`, and every order of sizes is gone through. The
    table keeps both corpora, because from one nothing is known about carrying: half of the prior
    curve is the hidden corpus itself, which flatters every order alike.
    """
    table = published.table
    paths: dict[str, list[tuple[str, _Path]]] = {"advisor": [], "cheapest first": [], "random": []}
    chosen: list[bool] = []
    totals: list[int] = []
    problems = [
        PublishedProblem(corpus, task_type, size)
        for corpus in table.corpora
        for task_type in table.task_types
        for size in table.sizes[1:]
    ]
    for problem in problems:
        sizes = [size for size in table.sizes if size <= problem.size]
        totals.append(len(sizes))
        known: dict[frozenset[ModelSize], Reply] = {}

        def reply(
            measured: Sequence[ModelSize],
            problem: PublishedProblem = problem,
            known: dict[frozenset[ModelSize], Reply] = known,
        ) -> Reply:
            key = frozenset(measured)
            if key not in known:
                pairs = [printed_pair(table, problem, size, draw=0) for size in sorted(key)]
                known[key] = ask(
                    problem.size,
                    problem.task_type,
                    [cell for pair in pairs for cell in pair],
                    corpus="own",
                    evidence=published,
                    objective="accuracy",
                    tolerance=tolerance,
                )
            return known[key]

        def path(
            order: Sequence[ModelSize],
            problem: PublishedProblem = problem,
            reply: Callable[[Sequence[ModelSize]], Reply] = reply,
        ) -> _Path:
            gain = printed_gain(table, problem)
            replies = [reply(order[:k]) for k in range(len(order) + 1)]
            good = [
                one.is_decided and (gain if side_of(one) == "ift" else -gain) <= tolerance
                for one in replies
            ]
            return _until([_pair_flops(size) for size in order], good)

        order: list[ModelSize] = []
        while len(order) < len(sizes):
            left = [size for size in sizes if size not in order]
            wanted = [
                size
                for size in left
                for one, _ in reply(order).wanted[:1]
                if _is_same(one.n_params, size.n_params)
            ]
            chosen.append(bool(wanted))
            order.append((wanted or left)[0])
        paths["advisor"].append((problem.name, path(order)))
        paths["cheapest first"].append((problem.name, path(sizes)))
        paths["random"] += [(problem.name, path(one)) for one in itertools.permutations(sizes)]
    return _races(paths, "pairs", sum(totals) / len(totals), chosen)


def _advised(asker: StudyAsker, problem: Problem, fold: Fold) -> tuple[list[str], list[bool]]:
    """Return the recipes in the order of the advisor's proposals, and which it chose itself.

    Where it proposes nothing that is not measured, the cheapest cell is next.
    """
    labels = cheapest(asker.study, problem)
    n_params = asker.study.n_params(problem)
    order: list[str] = []
    own: list[bool] = []
    while len(order) < len(labels):
        left = [label for label in labels if label not in order]
        wanted = [
            label
            for size, label in _reply(asker, problem, fold, order).wanted
            if label in left and _is_same(size.n_params, n_params)
        ]
        own.append(bool(wanted))
        order.append((wanted or left)[0])
    return order, own


def _reply(asker: StudyAsker, problem: Problem, fold: Fold, labels: Sequence[str]) -> Reply:
    return asker.reply(problem, fold, {problem: labels}, with_prior=True)


def _is_good(asker: StudyAsker, problem: Problem, reply: Reply) -> bool:
    held = asker.study.held(problem)
    label = reply.label
    if not reply.is_decided or label is None or label not in held.scores:
        return False
    return held.gap(held.best(), label)[0] <= asker.tolerance


def _until(flops: Sequence[float], good: Sequence[bool]) -> _Path:
    """Return what is needed until the advice is good for good.

    Args:
        flops: Training FLOPs of each cell, in order.
        good: Whether the advice is good after 0, 1, 2, ... cells.
    """
    bad = [k for k, is_good in enumerate(good) if not is_good]
    n = bad[-1] + 1 if bad else 0
    is_reached = n < len(good)
    n = min(n, len(flops))
    return _Path(n, sum(flops[:n]), is_reached)


def _races(
    paths: dict[str, list[tuple[str, _Path]]], unit: str, total: float, chosen: Sequence[bool]
) -> tuple[Race, ...]:
    by_chance: dict[str, list[_Path]] = {}
    for name, path in paths["random"]:
        by_chance.setdefault(name, []).append(path)
    races: list[Race] = []
    for order, found in paths.items():
        names = [name for name, _ in found]
        race = Race(
            order=order,
            unit=unit,
            n_to_measure=total,
            cells=mean_figure([float(path.n) for _, path in found], names),
            reached=share_figure([path.is_reached for _, path in found], names),
            saved_cells=None,
            flops_ratio=None,
            own_choice=None,
        )
        if order != "random":
            saved = [
                sum(one.n for one in by_chance[name]) / len(by_chance[name]) - path.n
                for name, path in found
            ]
            ratios = [
                (name, math.log(path.flops / mean))
                for name, path in found
                if path.flops > 0 and (mean := _mean_flops(by_chance[name])) > 0
            ]
            race = dataclasses.replace(
                race,
                saved_cells=mean_figure(saved, names),
                flops_ratio=ratio_figure(
                    [ratio for _, ratio in ratios], [name for name, _ in ratios]
                ),
                own_choice=sum(chosen) / len(chosen) if order == "advisor" and chosen else None,
            )
        races.append(race)
    return tuple(races)


def _mean_flops(paths: Sequence[_Path]) -> float:
    return sum(path.flops for path in paths) / len(paths)


def _pair_flops(size: ModelSize) -> float:
    return sum(training_cost(size, ratio, Workload()).flops for ratio in (0.0, 1.0))


def _is_same(a: int, b: int) -> bool:
    return abs(math.log(a / b)) <= _SAME_SIZE
