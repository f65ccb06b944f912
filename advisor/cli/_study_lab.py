"""The lab of a study: what students start from, and where they are trained and asked."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from ._arms import backend_options
from ._study_options import POCKET_LAB, LabChoice

if TYPE_CHECKING:
    from ..study._design import StudyDesign
    from ..study._lab import Lab
    from ..study._run import LabSpec

__all__ = ["LabPlace", "OwnBases", "Pocket", "chosen_lab"]

_POCKET = "pocket"


@dataclass(frozen=True, slots=True)
class Pocket:
    """Students of the pocket family.

    Attributes:
        bases: Folder of their bases.
        device: Where they are trained.
        sizes: Base sizes that there are, smallest first.
        corpora: Training corpora that there are.
        shares_prefixes: Whether runs that begin with the same rows share them.
    """

    bases: Path
    device: str
    sizes: tuple[str, ...]
    corpora: tuple[str, ...] = ("general", "math")
    shares_prefixes: bool = True

    def check(self, lab: "Lab", design: "StudyDesign") -> tuple[str, ...]:
        """Find what would stop the study later; return what a reader should know."""
        from calibration.pocket.base import BASE_STEPS

        missing = [
            f"{size} ({BASE_STEPS[size]:,} steps)"
            for size in design.sizes
            if size in BASE_STEPS
            and not (self.bases / size / "model" / "model.safetensors").exists()
        ]
        if not missing:
            return ()
        return (
            f"no base of {', '.join(missing)} in {self.bases}: pre-trained there first, which takes"
            " minutes to hours on top; --bases FOLDER names one that has them",
        )

    def check_training(self) -> None:
        """Find out before anything starts whether students can be trained here.

        Raises:
            MissingPrerequisiteError: The extra `train` is not installed.
        """
        from importlib.util import find_spec

        from policies import MissingPrerequisiteError

        for module in ("torch", "transformers", "onnx"):
            if find_spec(module) is None:
                raise MissingPrerequisiteError.extra("train", module)

    def task_types(self) -> tuple[str, ...]:
        """Return the task types that each student is asked."""
        from calibration.pocket.questions import POCKET_TASK_TYPES

        return tuple(POCKET_TASK_TYPES)

    def spec(self, design: "StudyDesign") -> "LabSpec":
        """Return what builds the lab for a grid, also in another process."""
        from ..study._pocket_lab import PocketLab

        return partial(
            PocketLab,
            ratios=design.ratios,
            orders=design.orders,
            n_rows=design.n_rows,
            bases=self.bases,
            device=self.device,
        )


@dataclass(frozen=True, slots=True)
class OwnBases:
    """Students of the user's base models.

    Attributes:
        models: Folder or hub name by the name of the size.
        pairs: File of pairs by corpus.
        chosen: How they are trained and asked.
        teacher: Figures of the teacher that wrote the pairs, if it was asked now.
        sizes: Base sizes that there are, in the order given.
        corpora: Training corpora that there are.
        shares_prefixes: Whether runs that begin with the same rows share them.
    """

    models: Mapping[str, str]
    pairs: Mapping[str, Path]
    chosen: LabChoice
    teacher: Mapping[str, Any] | None
    sizes: tuple[str, ...]
    corpora: tuple[str, ...]
    shares_prefixes: bool = False

    def check(self, lab: "Lab", design: "StudyDesign") -> tuple[str, ...]:
        """Find what would stop the study later; return what a reader should know.

        Raises:
            ThinkrouteError: A base, the data or the design cannot be used, or a library or a
                device is missing.
        """
        from ..study.trl import TrlLab

        return lab.check(design) if isinstance(lab, TrlLab) else ()

    def check_training(self) -> None:
        """Do nothing: `check` has found out, and training may happen in another environment."""

    def task_types(self) -> tuple[str, ...]:
        """Return the task types that each student is asked."""
        from ..study.trl import StudyData, TrlData

        data = StudyData(TrlData(pairs=self.pairs, questions=tuple(self.chosen.heldout or ())))
        return tuple(dict.fromkeys(task.task_type for task in data.tasks()))

    def spec(self, design: "StudyDesign") -> "LabSpec":
        """Return what builds the lab for a grid, also in another process."""
        from ..study.trl import TrlData, TrlLab, TrlMeasuring, TrlTraining

        chosen = self.chosen
        template = chosen.chat_template
        training: dict[str, Any] = {
            "is_lora": chosen.lora,
            "n_epochs": chosen.epochs,
            "learning_rate": chosen.learning_rate,
            "n_processes": chosen.num_processes,
            "accelerate_config": chosen.accelerate_config,
            "device": cast("Literal['cpu', 'gpu']", chosen.device or "gpu"),
            "chat_template": template if template in {None, "chatml"} else Path(str(template)),
            "max_length": chosen.max_length,
            "gpu": chosen.gpu,
            "overrides": {k: str(v) for k, v in _named(chosen.train_option).items()},
        }
        if chosen.train_python is not None:
            training["python"] = chosen.train_python
        return partial(
            TrlLab,
            dict(self.models),
            TrlData(
                pairs=self.pairs,
                questions=tuple(chosen.heldout or ()),
                n_rows=design.n_rows,
                n_questions=design.n_questions,
            ),
            training=TrlTraining(**training),
            measuring=TrlMeasuring(
                backend=cast("Literal['vllm', 'transformers']", chosen.backend or "vllm"),
                options=_named(chosen.backend_option),
            ),
            teacher=self.teacher,
        )


LabPlace: TypeAlias = Pocket | OwnBases
"""Where students are trained and asked, before the grid is known."""


def chosen_lab(chosen: LabChoice, out: Path | None, *, writes_pairs: bool) -> LabPlace:
    """Return where the students of the chosen bases are trained and asked.

    Args:
        chosen: The options.
        out: Folder of the study, `None` where there is none yet.
        writes_pairs: Whether a teacher may be asked now.

    Raises:
        InvalidInputError: Options contradict each other, or one is missing.
        UnknownNameError: There is no such backend, device or corpus.
        BackendError: The teacher cannot be asked; what it answered is kept.
    """
    if not chosen.base:
        return _pocket(chosen, out)
    from policies import InvalidInputError

    from ..study.trl import base_names

    if chosen.backend == _POCKET:
        raise InvalidInputError(
            "--backend pocket is for students of the pocket family, but --base is given",
            hint="leave --base out, or ask its students through vllm or transformers",
            code="contradiction",
        )
    if not chosen.pairs:
        raise InvalidInputError(
            f"--base {chosen.base[0]} has nothing to learn: --pairs is missing",
            hint="give --pairs PAIRS.jsonl (advisor data pairs writes it), or --teacher too, and it"
            " is written first",
            code="missing-pairs",
        )
    pairs = _pairs(chosen.pairs)
    teacher = _teacher(chosen, pairs, writes_pairs=writes_pairs)
    models = base_names(chosen.base)
    return OwnBases(models, pairs, chosen, teacher, tuple(models), tuple(pairs))


def _pocket(chosen: LabChoice, out: Path | None) -> LabPlace:
    from calibration.pocket.sizes import POCKET_SIZES
    from policies import InvalidInputError, UnknownNameError

    if chosen.backend not in {None, _POCKET}:
        if chosen.backend in {"vllm", "transformers"}:
            raise InvalidInputError(
                f"--backend {chosen.backend} asks students of your own base model, but there is no"
                " --base",
                hint="give --base MODEL --pairs FILE, or leave --backend out",
                code="contradiction",
            )
        raise UnknownNameError("backend", str(chosen.backend), [_POCKET, "vllm", "transformers"])
    meant = {"backend", "device", "bases"}
    for field in fields(chosen):
        name = field.name
        if name not in meant and getattr(chosen, name) != getattr(POCKET_LAB, name):
            raise InvalidInputError(
                f"--{name.replace('_', '-')} is for your own base model, but there is no --base",
                hint="give --base MODEL --pairs FILE, or leave it out",
                code="contradiction",
            )
    device = chosen.device or "cpu"
    if device != "cpu" and device.split(":")[0] != "cuda":
        raise UnknownNameError("device", device, ["cpu", "cuda", "cuda:1"])
    bases = chosen.bases or (out or Path("runs/study")) / "bases"
    return Pocket(bases, device, tuple(POCKET_SIZES))


def _pairs(given: list[str]) -> dict[str, Path]:
    """Return files of pairs by corpus; one without a name is the corpus `own`.

    Raises:
        InvalidInputError: A corpus has two files.
    """
    from policies import InvalidInputError

    found: dict[str, Path] = {}
    for text in given:
        corpus, equals, path = text.partition("=")
        if not equals or corpus not in {"own", "general", "math"}:
            corpus, path = "own", text
        if corpus in found:
            raise InvalidInputError(
                f"the corpus {corpus!r} has two files: {found[corpus]} and {path}",
                hint="put them into one file, or name them general=FILE and math=FILE",
                code="contradiction",
            )
        found[corpus] = Path(path)
    return found


def _teacher(
    chosen: LabChoice, pairs: Mapping[str, Path], *, writes_pairs: bool
) -> Mapping[str, Any] | None:
    """Let a teacher write the pairs, if there is one and it may; return its figures."""
    from policies import InvalidInputError

    if chosen.teacher is None:
        return None
    if chosen.teacher_questions is None or len(pairs) > 1:
        raise InvalidInputError(
            "--teacher writes one file of pairs from one set of training questions",
            hint="give one --pairs FILE and --teacher-questions FILE",
            code="contradiction",
        )
    (file,) = pairs.values()
    if not writes_pairs:
        if not file.exists():
            raise InvalidInputError(
                f"{file} is not there yet: a plan needs the rows that students are trained on",
                hint="--run lets the teacher write them and goes on; so does advisor data pairs",
                code="missing-pairs",
            )
        return None
    from ..study.trl import Teacher, write_teacher_pairs
    from ._output import note

    asked = Teacher.parse(chosen.teacher)
    options = backend_options(
        asked.backend,
        base_urls=chosen.base_url or (),
        api_key_env=chosen.api_key_env,
        dialect=chosen.dialect,
        extra=chosen.teacher_option or (),
    )
    note(f"{asked.model} writes {file}: a direct and a reasoning answer to each question")
    written = write_teacher_pairs(
        Teacher.parse(chosen.teacher, options=options),
        chosen.teacher_questions,
        file,
        exclude=tuple(chosen.heldout or ()),
    )
    note(f"kept {written.figures['acceptance']:.0%} of the questions, right in both formats")
    return written.figures


def _named(given: list[str] | None) -> dict[str, Any]:
    """Return NAME=VALUE options, values as JSON or text."""
    return backend_options("", base_urls=(), api_key_env="", dialect="", extra=given or ())
