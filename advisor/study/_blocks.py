"""Comparisons that a study is cut into: they are trained whole or not at all.

A mixture says something only beside direct answers and reasoning of the same size, corpus and
seed. So a block is either the students with one kind of rows of a size, corpus and seed (the
pair), or all of the mixtures beside them, or all two-stage students of a size and seed. A block
of mixtures needs its pair; a block of two-stage students needs the pair they start from.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from ._design import StudyDesign
from ._doubt import Doubt
from ._plan_costs import parent_of
from ._student import Student, StudyOrder

__all__ = ["Block", "Kind", "blocks_of", "chosen_blocks"]


class Kind(IntEnum):
    """What a block compares, in the order in which equally unknown ones are trained."""

    PAIR = 0
    MIXTURES = 1
    TWO_STAGE = 2


class Block(NamedTuple):
    """Students that are compared with each other.

    Attributes:
        kind: What is compared.
        size: Base size.
        corpus: Corpus.
        seed: Seed.
        students: The students, in the design's order.
    """

    kind: Kind
    size: str
    corpus: str
    seed: int
    students: tuple[Student, ...]


def blocks_of(design: StudyDesign) -> list[Block]:
    """Return the blocks of a design: pairs, mixtures, two stages, each the smallest size first."""
    found: dict[tuple[Kind, str, str, int], list[Student]] = {}
    for student in design.students():
        key = (_kind(student), student.size, student.corpus, student.seed)
        found.setdefault(key, []).append(student)
    return [
        Block(*key, tuple(students))
        for key, students in sorted(found.items(), key=lambda item: item[0][0])
    ]


def chosen_blocks(
    blocks: Sequence[Block], doubt: Doubt, fits: Callable[[Sequence[Student]], bool]
) -> list[Block]:
    """Return the blocks that a budget allows for, in the order in which they are to be trained.

    The block that the advisor is least sure of comes first: the mean of its students' `doubt`,
    over the square root of the blocks like it, but for the seed, that are chosen already, and of
    itself. Among equals, pairs come before mixtures and these before two stages, then the
    smallest size; with nothing known of any recipe that is every pair, smallest first, then the
    mixtures, with one seed before the next. A block brings those that it needs along. One that
    does not fit is left out, and the next one tried.

    Args:
        blocks: What there is, as `blocks_of` returns it.
        doubt: How unsure the advisor is of a student.
        fits: Whether the budget allows for students.
    """
    owner = {student: block for block in blocks for student in block.students}
    width = {block: _mean_doubt(block, doubt) for block in blocks}
    waiting: list[Block] = list(blocks)
    chosen: list[Block] = []

    def rank(block: Block) -> float:
        alike = sum(block[:3] == one[:3] for one in chosen)
        return width[block] / math.sqrt(alike + 1)

    while waiting:
        # The first one of the largest, so that the order of `blocks` breaks ties.
        block = max(waiting, key=rank)
        waiting.remove(block)
        new = [one for one in _with_needed(block, owner) if one not in chosen]
        if fits([student for one in (*chosen, *new) for student in one.students]):
            chosen += new
            waiting = [one for one in waiting if one not in new]
    return chosen


def _kind(student: Student) -> Kind:
    if student.order.is_two_stage:
        return Kind.TWO_STAGE
    is_pure = student.order is StudyOrder.MIXED and student.ratio in {0.0, 1.0}
    return Kind.PAIR if is_pure else Kind.MIXTURES


def _mean_doubt(block: Block, doubt: Doubt) -> float:
    return sum(map(doubt, block.students)) / len(block.students)


def _with_needed(block: Block, owner: dict[Student, Block]) -> Iterator[Block]:
    """Yield the blocks that a block needs, then itself; blocks outside the design are none."""
    seen: set[Block] = set()
    for student in block.students:
        found = [parent_of(student)]
        if block.kind is Kind.MIXTURES:
            # Both ends of the curve, also where no work is shared with them.
            found += [
                Student(student.size, student.corpus, ratio, StudyOrder.MIXED, student.seed)
                for ratio in (0.0, 1.0)
            ]
        needed = {owner[one] for one in found if one in owner} - {block} - seen
        yield from sorted(needed, key=lambda one: (one.kind, one.seed))
        seen |= needed
    yield block
