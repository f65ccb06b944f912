"""The measured table of a study: every student's cells, with the design that made them."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policies import InvalidInputError, PolicySpec, check_task_type

from ._design import StudyDesign
from ._results import StudentResult, StudyCell
from ._student import StudyOrder

if TYPE_CHECKING:
    from calibration import Cell

    from ._evidence import StudyEvidence

__all__ = ["StudyTable"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ROUNDING = 1e-9
_MODES = frozenset({"ift", "reasoning"})


@dataclass(frozen=True, slots=True)
class StudyTable:
    """What a study measured.

    Attributes:
        name: Name of the study, a plain word such as `pocket-study`.
        design: The grid that it was to train.
        results: One entry per student that was trained and measured; a study that was cut short,
            or that a budget cut, has fewer than its design.
        provenance: Where it comes from: lab, versions, hyper-parameters, hashes.

    Raises:
        InvalidInputError: The name or a size's is no plain word, a student is there twice or has
            no cells, or a cell contradicts itself or the other students' questions.
    """

    name: str
    design: StudyDesign
    results: tuple[StudentResult, ...]
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Refuse results that no study can have."""
        for name in (self.name, *dict.fromkeys(one.student.size for one in self.results)):
            if not _NAME.fullmatch(name):
                raise InvalidInputError(
                    f"{name!r} names neither a study nor a size",
                    hint="use letters, digits, dots, hyphens and underscores",
                    code="invalid-study",
                )
        _check_results(self.results)

    def save(self, folder: Path) -> Path:
        """Write the table to a folder, each file atomically and the manifest last.

        `study.csv` has one row per cell, `answers.csv` the bit of every answer, `plan.json` the
        design; `study.json` holds their hashes. Equal tables are equal byte for byte.

        Returns:
            The folder.

        Raises:
            StoreError: The folder cannot be written; what was there before is still whole.
        """
        from ._table_files import write_study

        return write_study(self, folder)

    @classmethod
    def load(cls, folder: Path) -> "StudyTable":
        """Read a saved table; it is checked against the hashes of its manifest.

        Args:
            folder: The folder, or one of the files in it.

        Raises:
            ArtifactTooNewError: A newer version wrote it.
            ArtifactCorruptError: A file is missing, changed or malformed.
        """
        from ._table_files import read_study

        return read_study(folder)

    def select(
        self,
        *,
        size: str | None = None,
        corpus: str | None = None,
        ratio: float | None = None,
        order: StudyOrder | str | None = None,
        seed: int | None = None,
    ) -> tuple[StudentResult, ...]:
        """Return the students that have all of the given values, in the table's order."""
        wanted = {"size": size, "corpus": corpus, "ratio": ratio, "order": order, "seed": seed}
        given = [(name, value) for name, value in wanted.items() if value is not None]
        return tuple(
            one
            for one in self.results
            if all(getattr(one.student, name) == value for name, value in given)
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Return the parameters of each size that was measured, by name, smallest first."""
        found = {one.student.size: one.n_params for one in self.results}
        return dict(sorted(found.items(), key=lambda item: item[1]))

    @property
    def corpora(self) -> tuple[str, ...]:
        """Return the corpora of the students, in the design's order, two-stage ones last."""
        found = {one.student.corpus for one in self.results}
        known = [corpus for corpus in self.design.corpora if corpus in found]
        return (*known, *sorted(found - set(known)))

    def pooled_cells(self, *, corpus: str) -> "tuple[Cell, ...]":
        """Return the cells of one corpus for the advisor, the seeds of a recipe pooled."""
        from ._pooled import pooled_cells

        return pooled_cells(self, corpus=corpus)

    def evidence(self, *, source: str | None = None) -> "StudyEvidence":
        """Return the study as `advisor.recommend(study=...)` reads it.

        Args:
            source: What ids of its cells begin with; its name by default, which finds a shipped
                study, else the folder that it lies in.
        """
        from ._evidence import StudyEvidence

        return StudyEvidence(self, source=source)

    def _repr_html_(self) -> str:
        """Return the study as a notebook shows it, the seeds of a recipe pooled."""
        from ._notebook import study_html

        return study_html(self)


def _check_results(results: tuple[StudentResult, ...]) -> None:
    """Refuse students that are there twice, and cells that contradict themselves or each other.

    Raises:
        InvalidInputError: The first contradiction.
    """
    students: set[str] = set()
    sizes: dict[str, int] = {}
    questions: dict[tuple[str, str], int] = {}
    for one in results:
        name = one.student.id
        if name in students:
            raise _contradiction(f"student {name!r} is there twice")
        students.add(name)
        if one.n_params < 1 or sizes.setdefault(one.student.size, one.n_params) != one.n_params:
            raise _contradiction(f"size {one.student.size!r} has no one number of parameters")
        if one.train_tokens < 0 or not 0 <= one.train_flops < math.inf:
            raise _contradiction(f"{name} was trained with {one.train_flops!r} FLOPs")
        keys = [(cell.task_type, cell.policy) for cell in one.cells]
        if not keys or len(set(keys)) < len(keys):
            raise _contradiction(f"student {name!r} has no cells, or one of them twice")
        for cell in one.cells:
            _check_cell(cell, name)
            n = questions.setdefault((cell.task_type, cell.policy), cell.n)
            if cell.n != n:
                raise _contradiction(
                    f"{name} was asked {cell.n} {cell.task_type} questions by {cell.policy}, others"
                    f" {n}"
                )


def _check_cell(cell: StudyCell, student: str) -> None:
    where = f"{student}, {cell.task_type} by {cell.policy}"
    check_task_type(cell.task_type)
    PolicySpec.parse(cell.policy)
    n_correct = cell.correct.count("1")
    is_whole = len(cell.correct) == cell.n and not set(cell.correct) - {"0", "1"}
    counts = cell.n > 0 and n_correct == cell.n_correct and 0 <= cell.n_cut <= cell.n - n_correct
    if not (is_whole and counts and abs(cell.accuracy - cell.n_correct / cell.n) < _ROUNDING):
        raise _contradiction(
            f"{where}: {len(cell.correct)} answers with {n_correct} right do not make n {cell.n},"
            f" {cell.n_correct} right, {cell.n_cut} cut, accuracy {cell.accuracy:g}"
        )
    ends = (0.0, cell.ci_low, cell.accuracy, cell.ci_high, 1.0)
    if not all(low <= high + _ROUNDING for low, high in pairwise(ends)):
        raise _contradiction(
            f"{where}: the interval {cell.ci_low:g} to {cell.ci_high:g} does not hold"
            f" {cell.accuracy:g}"
        )
    means = (cell.mean_tokens, cell.mean_tokens_correct, cell.mean_tokens_wrong, cell.mean_flops)
    known = [one for one in means if one is not None]
    if cell.mode not in _MODES or not 0 <= cell.think_share <= 1:
        raise _contradiction(f"{where}: mode {cell.mode!r}, share of thoughts {cell.think_share!r}")
    if not all(0 <= one < math.inf for one in known):
        raise _contradiction(f"{where}: means {known} are no tokens and FLOPs")


def _contradiction(text: str) -> InvalidInputError:
    return InvalidInputError(text, hint="measure the student again", code="invalid-study")
