"""What to run, in order."""

from policies import Mode

from .._recipe import Method, Recipe
from .._recommendation import Stage
from ..inference import nominal_size
from ._comparison import Facts
from ._draft import Draft
from ._next import calibrate_command

__all__ = ["plan"]


def plan(draft: Draft, facts: Facts) -> list[Stage]:
    """Return the stages of a verdict; none for an abstention."""
    chosen, question = draft.chosen, facts.question
    if chosen is None:
        return []
    size, task, recipe = str(chosen.size), question.task_type, chosen.recipe
    if chosen.cost.basis == "study":
        return _studied(draft)
    tokens = facts.sequence_tokens(recipe.reasoning_ratio)
    measure = _measure(task, size, recipe.label, recipe.reasoning_ratio, tokens)
    is_there = draft.action == "ift" and question.have == "ift"
    if is_there or (recipe.corpus == "own" and chosen.accuracy.basis == "measured"):
        kept = "the model that you measured is the recommended one: keep it"
        if is_there:
            kept = "keep the model trained on direct answers"
        return [Stage(title=kept, command=None)]
    folder = f"train/{task}-{size}"
    stages = _data_stages(
        draft,
        facts,
        f"advisor export --to trl --size {size} --task {task}{_machine(facts)}",
        folder,
    )
    stages.append(Stage(title="train", command=f"bash {folder}/launch.sh"))
    title = "measure what was trained, then ask again with --table"
    if recipe.method is not Method.SFT:
        title = "measure what was trained, and compare it with what you had"
    stages.append(Stage(title=title, command=measure))
    return stages


def _studied(draft: Draft) -> list[Stage]:
    """Return where the cell of a study's recipe is, which has been trained there."""
    chosen = draft.chosen
    refs = () if chosen is None else chosen.accuracy.refs
    title = "the study trained this recipe: its seeds, and what they were measured to do"
    return [Stage(title=title, command=f"advisor tables show {ref.id}") for ref in refs]


def _data_stages(draft: Draft, facts: Facts, export: str, folder: str) -> list[Stage]:
    """Return how the data and the configuration are made."""
    question, chosen = facts.question, draft.chosen
    recipe = Recipe(size=facts.evidence.table.sizes[0], corpus="own", reasoning_ratio=0.0)
    if chosen is not None:
        recipe = chosen.recipe
    task = question.task_type
    base = _base_model(draft, facts, recipe)
    if recipe.method is Method.GRPO:
        check = (
            "pre-check: 8 samples of 100 training prompts; go on if at least a third of the "
            "prompts have both right and wrong answers"
        )
        sample = (
            "advisor calibrate --backend openai --base-url URL --model YOUR-MODEL --tasks "
            f"TRAINING-QUESTIONS.jsonl --task-type {task} --policies reasoning@max --limit 100 "
            f"--repeats 8 --out runs/{task}-{recipe.size}-signal"
        )
        length = facts.sequence_tokens(1.0)
        write = (
            f"{export} --method grpo --data PROMPTS.jsonl --max-length {length} "
            f"--out {folder}{base}"
        )
        title = "write the configuration; PROMPTS.jsonl has one prompt and its solution per line"
        return [Stage(title=check, command=sample), Stage(title=title, command=write)]
    if recipe.method is Method.TOPS:
        sample = (
            "advisor data tops --backend openai --base-url URL --model YOUR-MODEL --tasks "
            "TRAINING-QUESTIONS.jsonl --efforts reasoning@1024,reasoning@4096,reasoning@max "
            f"--out data/{task}-tops"
        )
        write = f"{export} --method tops --data data/{task}-tops/tops_sft.jsonl --out {folder}"
        return [
            Stage(
                title="sample every effort and keep the shortest correct answers", command=sample
            ),
            Stage(
                title="write the configuration; the paper starts again from the base model",
                command=f"{write} --base-model YOUR-BASE-MODEL",
            ),
        ]
    stages: list[Stage] = []
    if draft.action == "backtracking":
        title = "write PAIRS.jsonl (prompt, ift, reasoning) with a search program"
        stages.append(Stage(title=title, command=None))
    elif recipe.reasoning_ratio > 0 and question.teacher is not None:
        title = (
            f"let {question.teacher} answer each training question with and without thinking; "
            "keep those that are right both ways"
        )
        pairs = (
            "advisor data pairs --backend openai --base-url URL --model YOUR-TEACHER --tasks "
            f"TRAINING-QUESTIONS.jsonl --task-type {task} --out PAIRS.jsonl"
        )
        stages.append(Stage(title=title, command=pairs))
    elif recipe.reasoning_ratio == 0 or recipe.reasoning_ratio == 0:
        title = "write direct answers as PAIRS.jsonl: one prompt and its ift per line"
        stages.append(Stage(title=title, command=None))
    arguments = f"{export} --data PAIRS.jsonl --out {folder} --ratio {recipe.reasoning_ratio:g}"
    if draft.action == "distil":
        arguments = f"{export} --data PAIRS.jsonl --out {folder} --ratio 1"
        if question.request.n_examples is not None:
            n_rows = max(1, round(recipe.reasoning_ratio * question.workload.n_rows))
            arguments += f" --n-rows {n_rows}"
    elif 0 < recipe.reasoning_ratio < 1:
        arguments += f" --order {recipe.order.value}"
    if recipe.corpus != "own":
        arguments += f" --corpus {'math' if recipe.corpus == 'math-centric' else recipe.corpus}"
    title = "write the mixture in order and the configuration"
    return [*stages, Stage(title=title, command=arguments + base)]


def _machine(facts: Facts) -> str:
    """Return what the export must know of the GPUs, where they were said."""
    request = facts.question.request
    said = ""
    if request.gpus is not None:
        said += f" --gpus {request.gpus.n} --gpu {request.gpus.name}"
    if request.gpu_price is not None:
        said += f" --gpu-price {request.gpu_price:g}"
    return said


def _base_model(draft: Draft, facts: Facts, recipe: Recipe) -> str:
    """Return the argument that names what training starts from, where the size does not say it.

    Only what builds on the model at hand starts from it; never direct answers from one that
    reasons.
    """
    if draft.action == "rl_after_distillation":
        return " --base-model YOUR-REASONING-MODEL"
    if draft.action in {"distil", "grpo"} and facts.question.have == "ift":
        return " --base-model YOUR-IFT-MODEL"
    nominal = nominal_size(facts.evidence.table, recipe.size)
    return "" if nominal in facts.evidence.table.sizes else " --base-model YOUR-BASE-MODEL"


def _measure(task: str, size: str, label: str, ratio: float, max_tokens: int) -> str:
    mode = Mode.IFT if ratio == 0 else Mode.REASONING
    return calibrate_command(task, size, label, mode, 737, max_tokens)
