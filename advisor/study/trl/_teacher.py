"""Pairs for a study from a teacher with a thinking switch, resumable, with its acceptance."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calibration import Arm, ColumnMapping, Plan, Progress, describe_model, load_tasks
from policies import DecodingOptions, InvalidInputError, build_backend, build_policy

from ...pairs import Keep, PairArms, PairRules, RunArm, check_policies, manifest_path, write_pairs
from ...tops import Excluded, facts_of, prompts_to_exclude
from ._asking import ask

__all__ = ["Teacher", "TeacherPairs", "write_teacher_pairs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A model whose answers students are trained on.

    Attributes:
        backend: How it is reached, such as `openai`.
        model: Its name there.
        options: Options of the backend; no secrets.
        ift: Policy of the direct answers.
        reasoning: Policy of the reasoning answers.
        decoding: How it answers; `None` takes the usual caps of the backend.
        keep: Which questions become pairs; by default those with two right answers.
    """

    backend: str
    model: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    ift: str = "direct"
    reasoning: str = "reasoning@max"
    decoding: DecodingOptions | None = None
    keep: Keep = Keep.BOTH_CORRECT

    @classmethod
    def parse(cls, text: str, **more: Any) -> "Teacher":
        """Return the teacher that `BACKEND/MODEL` names.

        Args:
            text: The backend's name, a slash, and the model's name, which may hold slashes.
            **more: Other attributes.

        Raises:
            InvalidInputError: A part is missing.

        Example:
            >>> Teacher.parse("openai/Qwen/Qwen3-8B").model
            'Qwen/Qwen3-8B'
        """
        backend, _, model = text.strip().partition("/")
        if not backend or not model:
            raise InvalidInputError(
                f"teacher {text!r} is not BACKEND/MODEL", hint="for example openai/Qwen/Qwen3-8B"
            )
        return cls(backend=backend, model=model, **more)


@dataclass(frozen=True, slots=True)
class TeacherPairs:
    """What a teacher gave.

    Attributes:
        path: The file of pairs.
        figures: Teacher, acceptance, accuracy of both modes and what became of the questions, as
            plain JSON values, for the provenance of a study.
    """

    path: Path
    figures: Mapping[str, Any]


def write_teacher_pairs(
    teacher: Teacher,
    questions: Path | str,
    out: Path,
    *,
    n_questions: int | None = None,
    exclude: tuple[Path, ...] = (),
    columns: ColumnMapping | None = None,
    concurrency: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> TeacherPairs:
    """Ask a teacher for a direct and a reasoning answer to each question, and keep good pairs.

    Called again with the same arguments it asks only what has no answer yet, and writes the same
    file. The run lies beside it, as `PAIRS.run`.

    Args:
        teacher: Who answers.
        questions: File of questions with right answers, or the name of a task.
        out: File of pairs to write.
        n_questions: Most questions, `None` for all.
        exclude: Files of held-out questions that must not become pairs.
        columns: How the file is read; by default nothing is appended to a prompt.
        concurrency: Most requests under way at once.
        on_progress: Called after every answer.

    Raises:
        CapabilityError: The teacher has no thinking switch.
        BackendError: It cannot be asked, or answers failed; what was answered is kept.
        DataFileError: The questions cannot be read.
        InvalidInputError: A name or a policy cannot be used, or no question became a pair.
        StoreError: A folder cannot be written.
    """
    manifest_path(out)
    modes = [str(build_policy(text).spec) for text in (teacher.ift, teacher.reasoning)]
    check_policies(*modes)
    tasks = load_tasks(
        [str(questions)],
        limit=n_questions,
        seed=0,
        columns=columns or ColumnMapping(instruction=""),
    )
    held = [prompt for path in exclude for prompt in prompts_to_exclude(str(path))]
    excluded = Excluded(held) if held else None
    backend = build_backend(teacher.backend, teacher.model, **teacher.options)
    facts = describe_model(backend)
    arms = tuple(Arm(backend, build_policy(mode), facts) for mode in modes)
    run = out.with_suffix(".run")
    reached = {teacher.model: {"backend": teacher.backend, "options": dict(teacher.options)}}
    ask(
        Plan(tuple(tasks), arms, _decoding(teacher)),
        run,
        reached=reached,
        concurrency=concurrency,
        on_progress=on_progress,
    )
    written = write_pairs(
        run,
        out,
        facts_of(run),
        PairArms(*(RunArm(facts.model, mode) for mode in modes)),
        PairRules(keep=teacher.keep),
        excluded=excluded,
    )
    counts = written.counts
    if not counts.n_kept:
        raise InvalidInputError(
            f"none of {counts.n_questions:,} questions of {questions} became a pair: teacher"
            f" {teacher.model!r} was right in"
            f" {written.ift.n_correct:,} direct and {written.reasoning.n_correct:,} reasoning"
            " answers",
            hint="choose a better teacher or easier questions",
            code="no-pairs",
        )
    figures = {
        "backend": teacher.backend,
        "model": teacher.model,
        "questions": str(questions),
        "acceptance": counts.n_kept / counts.n_questions,
        "sha256": written.sha256,
        **written.to_json(),
    }
    return TeacherPairs(out, figures)


def _decoding(teacher: Teacher) -> DecodingOptions:
    if teacher.decoding is not None:
        return teacher.decoding
    if teacher.backend != "pocket":
        return DecodingOptions()
    # Needs the pocket family's own library.
    from policies.backends.pocket import pocket_options

    return pocket_options([teacher.model])
