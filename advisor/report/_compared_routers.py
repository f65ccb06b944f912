"""Two routers side by side, on the questions that both remember of their fits."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from calibration.statistics import clustered_mean_interval, wilson_interval

from ._blocks import Block, Column, Page, Prose, Section, Table
from ._charts import dot_chart
from ._figures import objective_words, ranged
from ._points import Axis, Point

if TYPE_CHECKING:
    from router import Decision, Replay, Router

__all__ = ["compared_routers"]

_ALL = "all task types"


class _Pair(NamedTuple):
    """One question with what both routers decide about it, and what was measured of that."""

    task_type: str
    arms: tuple[str, str]
    correct: tuple[float, float]
    tokens: tuple[float, float]


def compared_routers(names: tuple[str, str], paths: tuple[Path, Path]) -> Page:
    """Return the page of two routers, the first minus the second.

    They are compared on the questions, told by task and id, that both were fitted on, by the
    outcomes that each stores of the arm it chooses. These need the same questions, not the same
    arms.

    Args:
        names: What the routers are called.
        paths: Their folders.

    Raises:
        ArtifactError: One of them is none, damaged, or of a newer version.
    """
    from router import Router

    routers = Router.load(paths[0]), Router.load(paths[1])
    first, second = routers[0].replay(), routers[1].replay()
    pairs, n_looked = _paired(first, second, routers)
    notes: list[str] = []
    if n_looked:
        notes.append(
            f"On {n_looked:,} questions one of the routers looks at a first answer before it settles:"
            " what comes of that is not in an artifact, so they are left out."
        )
    if not pairs:
        notes.append("No question with a measured outcome is in both fits: nothing can be paired.")
    head = Section("What they are", (_about(names, routers),))
    sections = (head, _differences(names, pairs)) if pairs else (head,)
    return Page(
        f"{names[0]} against {names[1]}",
        _lead(routers, pairs),
        sections,
        tuple(notes),
        tuple(
            (which, f"{path} ({router.artifact_id})")
            for which, path, router in zip(("first", "second"), paths, routers, strict=True)
        ),
    )


def _paired(
    first: "Replay", second: "Replay", routers: "tuple[Router, Router]"
) -> tuple[list[_Pair], int]:
    """Return the questions that both decide and know the outcome of, and how many look first."""
    columns = [{arm.name: at for at, arm in enumerate(router.arms)} for router in routers]
    place_of = {
        key: at for at, key in enumerate(zip(second.tasks, second.question_ids, strict=True))
    }
    pairs: list[_Pair] = []
    n_looked = 0
    for row, key in enumerate(zip(first.tasks, first.question_ids, strict=True)):
        other = place_of.get(key)
        if other is None:
            continue
        one, two = first.decisions[row], second.decisions[other]
        if one is None or two is None:
            continue
        if one.escalation is not None or two.escalation is not None:
            n_looked += 1
            continue
        at = (row, columns[0][one.arm.name]), (other, columns[1][two.arm.name])
        correct = float(first.correct[at[0]]), float(second.correct[at[1]])
        tokens = float(first.tokens[at[0]]), float(second.tokens[at[1]])
        if all(value == value for value in (*correct, *tokens)):  # noqa: PLR0124 - no NaN
            pairs.append(_Pair(first.task_types[row], _arms(one, two), correct, tokens))
    return pairs, n_looked


def _arms(first: "Decision", second: "Decision") -> tuple[str, str]:
    return first.arm.name, second.arm.name


def _lead(routers: "tuple[Router, Router]", pairs: Sequence[_Pair]) -> tuple[str, ...]:
    if routers[0].artifact_id == routers[1].artifact_id:
        return ("They are the same router: no difference is possible, and all below are zero.",)
    if not pairs:
        return ()
    accuracy, tokens = _accuracy(pairs), _tokens(pairs)
    return (
        f"On n = {len(pairs):,} questions that both remember, accuracy differs by {accuracy} and"
        f" generated tokens by {tokens} a question, first minus second.",
        f"They choose the same arm on {_agreement(pairs)} of them.",
    )


def _about(names: tuple[str, str], routers: "tuple[Router, Router]") -> Table:
    told = [router.describe() for router in routers]
    rows = [
        ("objective", *(objective_words(router.objective) for router in routers)),
        ("arms", *(", ".join(arm.name for arm in router.arms) for router in routers)),
        ("task types", *(", ".join(router.task_types) for router in routers)),
        ("questions of the fit", *(f"{one['n_questions']:,}" for one in told)),
        (
            "learners",
            *(
                ", ".join(f"{name} {weight:.2f}" for name, weight in one["learners"].items())
                for one in told
            ),
        ),
        ("looks at first answers", *("yes" if one["cascade"] else "no" for one in told)),
        ("guarantee", *("yes" if router.guarantee else "no" for router in routers)),
        ("fitted", *(str(one["created"]) for one in told)),
    ]
    columns = (Column(""), *map(Column, names))
    return Table("The routers", columns, tuple(rows))


def _differences(names: tuple[str, str], pairs: Sequence[_Pair]) -> Section:
    ordered = sorted(pairs, key=lambda pair: pair.task_type)
    kinds = {
        _ALL: list(pairs),
        **{kind: list(part) for kind, part in groupby(ordered, key=lambda pair: pair.task_type)},
    }
    points = [_point(kind, part) for kind, part in kinds.items()]
    chart = dot_chart(
        f"Measured accuracy, {names[0]} minus {names[1]}",
        "Each on the questions that both remember, with 95% t intervals over questions.",
        points,
        x=Axis("questions of", "name"),
        y=Axis("difference of accuracy", "number"),
    )
    columns = (
        Column("questions of"),
        Column("n", is_number=True),
        Column("same arm [95%]", is_number=True),
        Column("first", is_number=True, hint="measured accuracy of the arms it chooses"),
        Column("second", is_number=True, hint="measured accuracy of the arms it chooses"),
        Column("difference [95%]", is_number=True, hint="first minus second, paired"),
        Column("tokens [95%]", is_number=True, hint="generated, first minus second, paired"),
    )
    rows = tuple(
        (
            kind,
            f"{len(part):,}",
            _agreement(part),
            f"{_mean([pair.correct[0] for pair in part]):.3f}",
            f"{_mean([pair.correct[1] for pair in part]):.3f}",
            _accuracy(part),
            _tokens(part),
        )
        for kind, part in kinds.items()
    )
    blocks: list[Block] = [
        Prose(
            (
                "Both were fitted on these questions: each chooses by what it expects of them out"
                " of fold, but its objective may have been chosen on them.",
            )
        ),
        chart,
        Table("Decisions of both on the same questions", columns, rows),
    ]
    return Section("Differences", tuple(blocks))


def _point(kind: str, pairs: Sequence[_Pair]) -> Point:
    found = _interval([pair.correct[0] - pair.correct[1] for pair in pairs])
    return Point(kind, "difference", kind, *found, len(pairs))


def _accuracy(pairs: Sequence[_Pair]) -> str:
    value, low, high = _interval([pair.correct[0] - pair.correct[1] for pair in pairs])
    return ranged(value, low, high, "+.3f")


def _tokens(pairs: Sequence[_Pair]) -> str:
    value, low, high = _interval([pair.tokens[0] - pair.tokens[1] for pair in pairs])
    return ranged(value, low, high, "+.1f")


def _agreement(pairs: Sequence[_Pair]) -> str:
    n_same = sum(pair.arms[0] == pair.arms[1] for pair in pairs)
    low, high = wilson_interval(n_same, len(pairs))
    return ranged(n_same / len(pairs), low, high)


def _interval(values: Sequence[float]) -> tuple[float, float, float]:
    found = clustered_mean_interval(values, range(len(values)))
    return found.estimate, found.low, found.high


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
