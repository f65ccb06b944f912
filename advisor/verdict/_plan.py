"""What to run, in order."""

from policies import Mode

from .._recipe import Method
from .._recommendation import Stage
from ._choice import Draft
from ._comparison import Facts
from ._next import calibrate_command

__all__ = ["plan"]


def plan(draft: Draft, facts: Facts) -> list[Stage]:
    """Return what to run, in order."""
    chosen, question = draft.chosen, facts.question
    if chosen is None:
        return []
    size, task, recipe = str(chosen.size), question.task_type, chosen.recipe
    corpus = {"math-centric": "math"}.get(recipe.corpus, recipe.corpus)
    folder = f"train/{task}-{size}"
    export = (
        f"advisor export --to trl --size {size} --task {task} --data PAIRS.jsonl --out {folder}"
    )
    stages: list[Stage] = []
    if draft.action == "tops":
        stages.append(
            Stage(
                title="sample every effort and keep the shortest correct answers",
                command="advisor data tops --backend openai --base-url URL --model YOUR-MODEL "
                "--tasks TRAINING-QUESTIONS.jsonl --efforts reasoning@1024,reasoning@4096,"
                f"reasoning@max --out data/{task}-tops",
            )
        )
        title = "write the configuration; the paper starts again from the base model"
        arguments = " --method tops --base-model YOUR-BASE-MODEL"
        data = f"--data data/{task}-tops/tops_sft.jsonl"
        stages.append(
            Stage(title=title, command=export.replace("--data PAIRS.jsonl", data) + arguments)
        )
    elif recipe.method is Method.GRPO:
        stages.append(
            Stage(
                title="pre-check: 8 samples of 100 training prompts; go on if 5% to 95% are right",
                command="advisor calibrate --backend openai --base-url URL --model YOUR-MODEL "
                f"--tasks TRAINING-QUESTIONS.jsonl --task-type {task} --policies reasoning@max "
                f"--limit 100 --repeats 8 --out runs/{task}-{size}-signal",
            )
        )
        stages.append(
            Stage(title="write the data and the configuration", command=f"{export} --method grpo")
        )
    else:
        if recipe.reasoning_ratio > 0 and question.teacher is not None:
            title = (
                f"let {question.teacher} answer each training prompt with and without thinking; "
                "keep the correct ones as PAIRS.jsonl (prompt, ift, reasoning)"
            )
            stages.append(Stage(title=title, command=None))
        arguments = f" --ratio {recipe.reasoning_ratio:g}"
        if draft.action == "distil":
            n_rows = round(recipe.reasoning_ratio * question.workload.n_rows)
            arguments = f" --ratio 1 --n-rows {n_rows} --base-model YOUR-IFT-MODEL"
        elif 0 < recipe.reasoning_ratio < 1:
            arguments += f" --order {recipe.order.value}"
        if recipe.corpus != "own":
            arguments += f" --corpus {corpus}"
        title = "write the mixture in order and the configuration"
        stages.append(Stage(title=title, command=export + arguments))
    stages.append(Stage(title="train", command=f"bash {folder}/launch.sh"))
    stages.append(
        Stage(
            title="measure what was trained, then ask again with --table",
            command=_measure(task, size, recipe.label, recipe.reasoning_ratio),
        )
    )
    return stages


def _measure(task: str, size: str, label: str, ratio: float) -> str:
    mode = Mode.IFT if ratio == 0 else Mode.REASONING
    return calibrate_command(task, size, label, mode, 737)
