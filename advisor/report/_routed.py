"""The page of a router, from its artifact alone: what it is, what it decides, what that brings."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.statistics import wilson_interval

from ._blocks import Block, Column, Facts, Page, Prose, Section, Table
from ._charts import share_chart
from ._evaluated import evaluation_sections
from ._figures import figure, objective_words, ranged
from ._points import Axis, Point
from ._replayed import gain_blocks, lead_words
from ._router_about import about_blocks

if TYPE_CHECKING:
    from router import Decision, Replay, Router

__all__ = ["evaluation_sections", "router_page"]

_SHOWN_IN_SOURCES = ("artifact_id", "created", "producer", "sha256")
_FEW = 50


def router_page(path: Path) -> Page:
    """Return the page of a router's artifact: what it is and what it decides.

    Nothing is asked of a model: decisions are those on the questions of the fit that the
    artifact remembers, beside what was measured of them.

    Args:
        path: The artifact's folder.

    Raises:
        ArtifactError: There is no artifact, or one of another kind.
        ArtifactTooNewError: A newer version wrote it.
        ArtifactCorruptError: A byte was changed, or a member is missing or added.
    """
    from router import Router

    router = Router.load(path)
    about = router.describe()
    replay = router.replay()
    sections = (
        Section("What it is", tuple(about_blocks(router, about))),
        Section("What it decides", tuple(_decision_blocks(router, replay))),
        Section("What that brings", tuple(gain_blocks(router, replay))),
        Section("Examples", tuple(_example_blocks(router, replay))),
    )
    lead = (
        f"Chooses among {_counted(len(router.arms), 'arm')} of "
        f"{_counted(len({arm.model for arm in router.arms}), 'model')}: "
        f"{objective_words(router.objective)}.",
        *lead_words(router, replay),
    )
    sources = [("path", str(path))]
    sources += [(name, str(about[name])) for name in _SHOWN_IN_SOURCES]
    return Page(
        f"Router {path.resolve().name}", lead, sections, _notes(router, about, replay), sources
    )


def _notes(router: "Router", about: Mapping[str, Any], replay: "Replay") -> tuple[str, ...]:
    notes: list[str] = []
    n = len(replay.question_ids)
    if len(router.arms) == 1:
        notes.append("There is one arm only: nothing is decided.")
    if not replay.is_out_of_fold:
        notes.append(
            "The fit had too few questions or groups for folds: what is expected of its questions "
            "was told by a model that had seen their outcomes, and flatters it."
        )
    if about["n_fitted"] < _FEW:
        notes.append(
            f"It was fitted on fewer than {_FEW} questions: its p are means of task types."
        )
    if about["n_groups"] < about["n_questions"]:
        notes.append(
            f"The {about['n_questions']:,} questions come in {about['n_groups']:,} groups, which "
            "the artifact does not keep: intervals here take questions as independent and are too "
            "narrow where those of a group are alike."
        )
    if about["n_fitted"] > n:
        notes.append(
            f"It remembers a random sample of {n:,} of the {about['n_fitted']:,} questions of the fit."
        )
    if about["n_errors"]:
        notes.append(
            f"{about['n_errors']:,} requests ended in errors of infrastructure; they are in no rate."
        )
    n_refused = replay.decisions.count(None)
    if n_refused:
        notes.append(
            f"On {n_refused:,} of {n:,} questions no arm satisfies the objective: there it answers "
            "with an error, and they are in no share."
        )
    if router.needs_embedder:
        notes.append("It needs an embedder to decide on new prompts.")
    return tuple(notes)


def _decision_blocks(router: "Router", replay: "Replay") -> list[Block]:
    names = [arm.name for arm in router.arms]
    decided = [
        (kind, decision)
        for kind, decision in zip(replay.task_types, replay.decisions, strict=True)
        if decision is not None
    ]
    if not decided:
        return [Prose(("No arm satisfies the objective on any question.",), is_warning=True)]
    kinds = sorted({kind for kind, _ in decided})
    columns = {"all questions": Counter(one.arm.name for _, one in decided)}
    if len(kinds) > 1:
        columns |= {
            kind: Counter(one.arm.name for other, one in decided if other == kind) for kind in kinds
        }
    points = [
        _share_point(name, kind, counts[name], counts.total())
        for kind, counts in columns.items()
        for name in names
    ]
    how = "out of fold" if replay.is_out_of_fold else "of its own fit, not out of fold"
    words = (
        f"Decisions at the default objective on the {len(decided):,} questions of the fit that it "
        f"remembers, by what was expected of them {how}; nothing was asked anew."
    )
    chart = share_chart(
        "Which arm is asked, by task type",
        words,
        points,
        x=Axis("task type", "name"),
        y=Axis("share of decisions", "share"),
    )
    return [chart, _share_table(names, columns), *_second_calls([one for _, one in decided])]


def _share_point(name: str, kind: str, k: int, n: int) -> Point:
    low, high = wilson_interval(k, n)
    return Point(name, name, kind, k / n, low, high, n)


def _share(k: int, n: int) -> str:
    low, high = wilson_interval(k, n)
    return ranged(k / n, low, high)


def _share_table(names: Sequence[str], columns: Mapping[str, "Counter[str]"]) -> Table:
    heads = (
        Column("arm"),
        *(
            Column(f"{kind}, n = {part.total():,}", is_number=True)
            for kind, part in columns.items()
        ),
    )
    rows = tuple(
        (
            name,
            *(_share(part[name], part.total()) for part in columns.values()),
        )
        for name in names
    )
    return Table("Share of decisions for each arm [95%]", heads, rows)


def _second_calls(decisions: "Sequence[Decision]") -> list[Block]:
    k, n = sum(one.escalation is not None for one in decisions), len(decisions)
    if not k:
        return []
    text = (
        f"In {k:,} of n = {n:,} decisions, a share of {_share(k, n)}, the arm is a first one, after whose "
        "answer another may be asked."
    )
    return [Prose((text,))]


def _example_blocks(router: "Router", replay: "Replay") -> list[Block]:
    rows = [_example(replay, place) for place in _example_places(router, replay)]
    if not rows:
        return [Prose(("There is no decision to show.",), is_warning=True)]
    words = (
        "For each arm that is chosen the first of its questions, of different task types where "
        "there are any. p and tokens are expected: the interval of p is the share right where a "
        "similar p was expected, that of the tokens holds four answers of five. Measured is what "
        "the arm's answers were when the outcomes were recorded. The artifact holds no text of "
        "any question."
    )
    return [Prose((words,)), Facts(tuple(rows))]


def _example_places(router: "Router", replay: "Replay") -> list[int]:
    found: list[int] = []
    for arm in router.arms:
        places = [
            place
            for place, one in enumerate(replay.decisions)
            if one is not None and one.arm.name == arm.name
        ]
        if not places:
            continue
        first = replay.task_types[places[0]]
        others = [place for place in places[1:] if replay.task_types[place] != first]
        found += [places[0], *(others or places[1:])[:1]]
    return found


def _example(replay: "Replay", place: int) -> tuple[str, str]:
    found = replay.explain(place)
    if found is None:  # places are those of decisions
        raise IndexError(place)
    chosen = found.decision.chosen
    arm = [each.arm for each in found.candidates].index(chosen.arm)
    one = found.candidates[arm]
    measured = figure(float(replay.correct[place, arm]), ".2f")
    parts = [
        f"{one.arm}: p {ranged(one.p, one.p_low, one.p_high)}, n = {one.n_similar:,}",
        f"tokens {ranged(one.tokens, one.tokens_p10, one.tokens_p90, ',.1f')}",
        f"measured: {measured} right" if measured else "not measured",
    ]
    others = sorted((each for each in found.candidates if each != one), key=lambda each: -each.p)
    if others:
        parts.append(f"next by p: {others[0].arm}, p {others[0].p:.3f}")
    why = "; ".join(found.reasons)
    return (
        f"{replay.question_ids[place]} ({replay.tasks[place]})",
        f"{'; '.join(parts)}. Why: {why}.",
    )


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
