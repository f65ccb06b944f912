"""The user's own measured cells, arranged to be compared at a size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from policies import InvalidInputError, ModelSize, PolicySpec, ThinkrouteError

from .._recipe import Order, read_label
from ..inference import (
    NO_ESTIMATE,
    Estimate,
    EvidenceRef,
    Measured,
    difference,
    mean_estimate,
)
from ._paired import RecordedArm, paired_gain
from ._study import StudyArm, StudyCellRef, StudyView

if TYPE_CHECKING:
    from calibration import Cell, OutcomeRecord

__all__ = ["OwnArm", "OwnEvidence", "arm_gap", "check_cells", "own_evidence", "own_pairs"]

_SAME_SIZE = 0.10
"""Sizes within this difference of logarithms are one size: covers 7B printed, 7.6B true."""

_TO_90 = 1.6448536269514722 / 1.959963984540054
"""Width of a 90% interval / of the 95% interval that cells have."""


@dataclass(frozen=True, slots=True)
class OwnArm:
    """One recipe, or one decoding mode, as the user measured it.

    Attributes:
        reasoning_ratio: Share of reasoning in training; 0 for direct answers, 1 for reasoning.
        order: Order of training examples.
        model: Model that answered.
        policy: Policy it answered with.
        accuracy: Unweighted mean over the tasks, with its interval.
        n: Graded answers over the tasks.
        n_policies: How many policies the policy was the most accurate of.
        mean_tokens: Mean generated tokens, `None` if unknown.
        mean_flops: Mean inference FLOPs per query, `None` if unknown.
        by_task: Accuracy by task, of the cells that make the mean.
        study: Where in a study it was measured, `None` for the user's own cells.
    """

    reasoning_ratio: float
    order: Order
    model: str
    policy: str
    accuracy: Estimate
    n: int
    n_policies: int
    mean_tokens: float | None
    mean_flops: float | None
    by_task: tuple[tuple[str, float], ...] = ()
    study: StudyCellRef | None = None


@dataclass(frozen=True, slots=True)
class OwnEvidence:
    """The user's cells of one task type, read at one size.

    Attributes:
        arms: What was measured at the size, by reasoning ratio; comparable over `tasks`.
        tasks: Tasks that every arm answered.
        by_decoding: The cells name no training recipe, so arms are decoding modes of one model.
        gain: Accuracy of pure reasoning minus that of direct answers, else of the most accurate
            mixture; from paired questions where records were given. `NO_ESTIMATE` without both.
        is_paired: The gain was computed question by question.
        n_unused: Cells of the task type at this size that no arm uses.
        other_sizes: Sizes at which there are cells of the task type besides this one.
        n_unsized: Cells of the task type whose size is unknown.
    """

    arms: tuple[OwnArm, ...] = ()
    tasks: tuple[str, ...] = ()
    by_decoding: bool = False
    gain: Estimate = NO_ESTIMATE
    is_paired: bool = False
    n_unused: int = 0
    other_sizes: tuple[ModelSize, ...] = ()
    n_unsized: int = 0

    def find(self, ratio: float) -> OwnArm | None:
        """Return the arm of a pure recipe: 0 for direct answers, 1 for reasoning."""
        return next((arm for arm in self.arms if arm.reasoning_ratio == ratio), None)

    @property
    def is_comparable(self) -> bool:
        """Return whether direct answers and some reasoning were measured on the same tasks."""
        return self.find(0.0) is not None and any(arm.reasoning_ratio > 0 for arm in self.arms)

    @property
    def is_study(self) -> bool:
        """Return whether the arms are recipes of a study, all of them measured in one design."""
        return any(arm.study is not None for arm in self.arms)


_Label = tuple[float, Order]


@dataclass(slots=True)
class _Group:
    """Cells of one label, model and policy."""

    label: _Label
    model: str
    policy: str
    cells: dict[str, "Cell"] = field(default_factory=dict[str, "Cell"])

    def accuracy(self, tasks: Sequence[str]) -> float:
        return sum(self.cells[task].accuracy for task in tasks) / len(tasks)


def own_evidence(
    cells: Sequence["Cell"],
    task_type: str,
    size: ModelSize,
    records: Sequence["OutcomeRecord"] = (),
    view: StudyView | None = None,
) -> OwnEvidence:
    """Return the user's cells of a task type, arranged to be compared at a size.

    A cell whose `recipe` is a label (`ift`, `reasoning`, `mixed@0.25`, ...) is a trained
    student's: its direct-answer policies count for `ift`, its reasoning policies for the rest.
    Other cells count by policy alone, `direct` against `reasoning`, and only within one model;
    they are used where no labelled pair is there. Of several policies the most accurate is taken.

    Args:
        cells: Measured cells, of any tasks and sizes.
        task_type: Task type that is asked for.
        size: Size that is asked for; cells within 10% of it belong to it.
        records: Answers behind the cells; where both arms of the gain are among them, it is
            computed over the questions that both answered, which narrows its interval.
        view: The study that some of the cells are of; arms of it are compared by its own pairs.
    """
    mine = [
        cell
        for cell in cells
        if cell.task_type == task_type and cell.n > 0 and math.isfinite(cell.accuracy)
    ]
    sized = [(cell, cell.size) for cell in mine if cell.size]
    here = [cell for cell, n_params in sized if _same_size(n_params, size)]
    others = {ModelSize(n_params) for _, n_params in sized if not _same_size(n_params, size)}
    labelled = _groups(here, by_decoding=False)
    decoding = _groups(here, by_decoding=True)
    by_decoding = not _has_pair(labelled) and _has_pair(decoding)
    chosen, tasks = _comparable(_one_model(decoding) if by_decoding else labelled or decoding)
    studied = () if view is None else view.cells(task_type)
    arms = tuple(
        _arm(group, tasks, n_policies, _ref(group, tasks, view, studied))
        for group, n_policies in chosen
    )
    gain, is_paired = _gain(arms, tasks, records)
    return OwnEvidence(
        arms=tuple(sorted(arms, key=lambda arm: (arm.reasoning_ratio, arm.order))),
        tasks=tuple(tasks),
        gain=gain,
        is_paired=is_paired,
        by_decoding=by_decoding or (not labelled and bool(decoding)),
        n_unused=len(here) - sum(len(group.cells) for group, _ in chosen),
        other_sizes=tuple(sorted(others)),
        n_unsized=len(mine) - len(sized),
    )


def own_pairs(
    cells: Sequence["Cell"], task_type: str, view: StudyView | None = None
) -> list[Measured]:
    """Return the pairs of pure recipes that the user measured, one per size, smallest first."""
    sizes = sorted({cell.size for cell in cells if cell.task_type == task_type and cell.size})
    pairs: list[Measured] = []
    for n_params in sizes:
        if pairs and _same_size(n_params, pairs[-1].size):
            continue
        found = own_evidence(cells, task_type, ModelSize(n_params), view=view)
        ift, reasoning = found.find(0.0), found.find(1.0)
        # Two ways of asking one model say nothing about how to train another size.
        if ift is not None and reasoning is not None and not found.by_decoding:
            pairs.append(Measured(ModelSize(n_params), ift.accuracy, reasoning.accuracy))
    return pairs


def check_cells(cells: Sequence["Cell"]) -> None:
    """Refuse cells that cannot be accuracies.

    Raises:
        InvalidInputError: An accuracy is outside [0, 1], does not agree with its counts, or its
            interval does not hold it.
    """
    for cell in cells:
        where = f"{cell.task}, {cell.model}, {cell.policy}"
        if cell.n == 0 or math.isnan(cell.accuracy):
            continue
        if not 0.0 <= cell.accuracy <= 1.0:
            raise InvalidInputError(
                f"the cell {where!r} has accuracy {cell.accuracy:g}, which is not in [0, 1]",
                hint="accuracies are shares: divide percentages by 100",
                code="impossible-accuracy",
            )
        # Cells of clustered answers may weigh questions, but not by more than rounding here.
        if cell.n_correct > cell.n or abs(cell.accuracy - cell.n_correct / cell.n) > 0.005:
            raise InvalidInputError(
                f"the cell {where!r} has {cell.n_correct} correct of {cell.n}, but accuracy "
                f"{cell.accuracy:g}",
                hint="n counts every graded answer: correct, wrong and cut",
                code="impossible-accuracy",
            )
        if not cell.ci_low - 1e-9 <= cell.accuracy <= cell.ci_high + 1e-9:
            raise InvalidInputError(
                f"the cell {where!r} has accuracy {cell.accuracy:g} outside its interval "
                f"{cell.ci_low:g} to {cell.ci_high:g}",
                hint="the interval must hold the accuracy",
                code="impossible-accuracy",
            )


def _gain(
    arms: Sequence[OwnArm], tasks: Sequence[str], records: Sequence["OutcomeRecord"]
) -> tuple[Estimate, bool]:
    ift = next((arm for arm in arms if arm.reasoning_ratio == 0.0), None)
    others = [
        arm
        for arm in arms
        if arm.reasoning_ratio > 0.0 and arm.order is not Order.REASONING_THEN_IFT
    ]
    if ift is None or not others:
        return NO_ESTIMATE, False
    best = max(others, key=lambda arm: (arm.reasoning_ratio == 1.0, arm.accuracy.value or 0.0))
    return arm_gap(best, ift, tasks, records)


def arm_gap(
    first: OwnArm, second: OwnArm, tasks: Sequence[str], records: Sequence["OutcomeRecord"]
) -> tuple[Estimate, bool]:
    """Return the accuracy of one arm minus another's, and whether it is question by question.

    Arms of one study are also paired by seed, over whatever seeds and questions would be drawn.
    """
    unpaired = difference(first.accuracy, second.accuracy)
    if first.study is not None and second.study is not None:
        gap = first.study.gap(second.study)
        if gap is not None:
            return Estimate(*gap, "measured", unpaired.refs), True
    arms = [RecordedArm(one.model, one.policy, dict(one.by_task)) for one in (first, second)]
    paired = paired_gain(records, arms[0], arms[1], tasks)
    if paired is None:
        return unpaired, False
    value, low, high = paired
    return Estimate(value, low, high, "measured", unpaired.refs), True


def _same_size(n_params: int, size: ModelSize) -> bool:
    return abs(math.log(n_params / size.n_params)) <= _SAME_SIZE


def _mode(policy: str) -> str:
    """Return the name of a plain policy, "" for one that combines others or does not parse."""
    try:
        spec = PolicySpec.parse(policy)
    except ThinkrouteError:
        return ""
    return "" if spec.members or spec.inner is not None else spec.name


def _groups(cells: Sequence["Cell"], *, by_decoding: bool) -> list[_Group]:
    """Return cells by (label, model, policy); of two cells of one task the larger counts."""
    groups: dict[tuple[_Label, str, str], _Group] = {}
    for cell in sorted(cells, key=_by_content):
        mode = _mode(cell.policy)
        label = read_label(cell.recipe)
        if by_decoding == (label is not None) or mode not in {"direct", "reasoning"}:
            continue
        if label is None:
            label = (0.0 if mode == "direct" else 1.0, Order.MIXED)
        elif label[0] > 0.0 and mode == "direct" and _is_switched(cell, cells):
            continue
        # Without a thinking switch `direct` is the only way to ask a student that was trained to
        # think; a model of direct answers that was told to think is no student of either kind.
        if label[0] == 0.0 and mode != "direct":
            continue
        key = (label, cell.model, cell.policy)
        group = groups.setdefault(key, _Group(*key))
        known = group.cells.get(cell.task)
        if known is None or known.n < cell.n:
            group.cells[cell.task] = cell
    return list(groups.values())


def _is_switched(cell: "Cell", cells: Sequence["Cell"]) -> bool:
    """Return whether a model was also asked to think, so that `direct` turned its thoughts off."""
    return any(other.model == cell.model and _mode(other.policy) == "reasoning" for other in cells)


def _by_content(cell: "Cell") -> tuple[str, int, int]:
    """Return a key that orders cells of one label alike, however they were read."""
    return (cell.task, cell.n, cell.n_correct)


def _has_pair(groups: Sequence[_Group]) -> bool:
    ratios = {group.label[0] for group in groups}
    return 0.0 in ratios and len(ratios) > 1


def _one_model(groups: Sequence[_Group]) -> list[_Group]:
    """Return the groups of the model with both modes and most answers."""
    best: list[_Group] = []
    for model in sorted({group.model for group in groups}):
        mine = [group for group in groups if group.model == model]
        if (_has_pair(mine), _n_answers(mine)) > (_has_pair(best), _n_answers(best)):
            best = mine
    return best


def _n_answers(groups: Sequence[_Group]) -> int:
    return sum(cell.n for group in groups for cell in group.cells.values())


def _comparable(groups: Sequence[_Group]) -> tuple[list[tuple[_Group, int]], list[str]]:
    """Return the best group of each label with the number it was chosen from, and shared tasks."""
    by_label: dict[_Label, list[_Group]] = {}
    for group in sorted(groups, key=_by_label):
        by_label.setdefault(group.label, []).append(group)
    tasks: set[str] | None = None
    for label, rivals in list(by_label.items()):
        covered = {task for group in rivals for task in group.cells}
        shared = covered if tasks is None else tasks & covered
        if shared:
            tasks = shared
        else:  # nothing in common with direct answers: this label cannot be compared
            del by_label[label]
    chosen: list[tuple[_Group, int]] = []
    for rivals in by_label.values():
        full = [group for group in rivals if tasks and tasks <= set(group.cells)]
        if full:
            common = sorted(tasks or ())
            best = max(full, key=lambda group: (group.accuracy(common), group.policy, group.model))
            chosen.append((best, len(full)))
    return chosen, sorted(tasks or ())


def _by_label(group: _Group) -> tuple[bool, float, str]:
    """Return a key that puts direct answers first, then the most reasoning."""
    ratio, order = group.label
    return (ratio > 0.0, -ratio, order.value)


def _label_text(label: _Label) -> str:
    ratio, order = label
    return {0.0: "ift", 1.0: "reasoning"}.get(ratio, f"{order.value}@{ratio:g}")


def _ref(
    group: _Group, tasks: Sequence[str], view: StudyView | None, studied: Sequence["Cell"]
) -> StudyCellRef | None:
    """Return where in the study a group was measured, `None` if it was not."""
    cells = [group.cells[task] for task in tasks]
    if view is None or len(cells) != 1 or not any(cell is cells[0] for cell in studied):
        return None
    arm = StudyArm(group.model, _label_text(group.label), group.policy)
    return StudyCellRef(view, arm, cells[0].task_type)


def _arm(group: _Group, tasks: Sequence[str], n_policies: int, ref: StudyCellRef | None) -> OwnArm:
    cells = [group.cells[task] for task in tasks]
    ratio, order = group.label
    label = _label_text(group.label)
    estimates = [
        Estimate(
            round(cell.accuracy, 6),
            round(cell.accuracy - _TO_90 * max(0.0, cell.accuracy - cell.ci_low), 6),
            round(cell.accuracy + _TO_90 * max(0.0, cell.ci_high - cell.accuracy), 6),
            "measured",
            (
                EvidenceRef(
                    f"own/{cell.task}/{cell.model}/{cell.policy}/{label}"
                    if ref is None
                    else ref.id,
                    "measured",
                    f"{cell.task}, {cell.model}, {cell.policy}",
                    label,
                    round(cell.accuracy, 6),
                    cell.n,
                ),
            ),
        )
        for cell in cells
    ]
    tokens = [cell.mean_tokens for cell in cells if math.isfinite(cell.mean_tokens)]
    flops = [cell.mean_flops for cell in cells if cell.mean_flops is not None]
    return OwnArm(
        reasoning_ratio=ratio,
        order=order,
        model=group.model,
        policy=group.policy,
        accuracy=mean_estimate(estimates),
        n=sum(cell.n for cell in cells),
        n_policies=n_policies,
        mean_tokens=sum(tokens) / len(tokens) if len(tokens) == len(cells) else None,
        mean_flops=sum(flops) / len(flops) if len(flops) == len(cells) else None,
        by_task=tuple((cell.task, cell.accuracy) for cell in cells),
        study=ref,
    )
