"""`advisor export`: a recipe as data and configurations that run."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._exit import ExitCode
from ._output import note, print_json, print_table, print_text, table

if TYPE_CHECKING:
    from advisor import Recipe
    from advisor.cost import Gpus
    from advisor.export import Export, ExportRequest

__all__ = ["export"]

_COUNT = re.compile(r"^\d+\s*[xX*\u00d7]|[xX*\u00d7]\s*\d+$")
_QUESTION = "Which recipe"
_BY_HAND = "A recipe of your own instead"
_DATA = "Data"
_TRAINING = "Training"


def export(
    to: Annotated[str, typer.Option(help="Library: trl, axolotl or llamafactory.")],
    size: Annotated[str, typer.Option(help="Size to train, such as 3B.")],
    task: Annotated[str, typer.Option(help="Task type, such as math-oe.")],
    data: Annotated[
        list[Path],
        typer.Option(
            help="JSONL: prompt, ift, reasoning. Twice, general first, for two domains.",
            rich_help_panel=_DATA,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    corpus: Annotated[
        str | None,
        typer.Option(
            help="Corpus like yours: general, math, code or own.", rich_help_panel=_QUESTION
        ),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="balanced, accuracy, training, inference or total.", rich_help_panel=_QUESTION
        ),
    ] = None,
    answer_format: Annotated[
        str | None,
        typer.Option(
            "--format", help="mc or oe, for task types of your own.", rich_help_panel=_QUESTION
        ),
    ] = None,
    measured: Annotated[
        list[Path] | None,
        typer.Option("--table", help="Your own measured tables.", rich_help_panel=_QUESTION),
    ] = None,
    ratio: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of rows that are reasoning.", rich_help_panel=_BY_HAND
        ),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(
            help="mixed, ift_then_reasoning or domain_general_then_math.",
            rich_help_panel=_BY_HAND,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="sft, grpo, tops, iter-sft or dpo.", rich_help_panel=_BY_HAND),
    ] = None,
    then: Annotated[
        str | None,
        typer.Option(help="A stage after it: grpo.", rich_help_panel=_TRAINING),
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(help="Hub id or folder; else Qwen2.5.", rich_help_panel=_TRAINING),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="Hub id, folder or tokenizer.json to count with; else approximately.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    chat_template: Annotated[
        Path | None,
        typer.Option(help="Jinja file; else ChatML.", rich_help_panel=_TRAINING),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens of the longest row.", rich_help_panel=_DATA),
    ] = None,
    n_rows: Annotated[
        int | None, typer.Option(min=1, help="Rows to train on.", rich_help_panel=_DATA)
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(
            help="JSONL of evaluation questions to keep out of training.", rich_help_panel=_DATA
        ),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(min=1, help="GPUs; else those of --gpu, or 8.", rich_help_panel=_TRAINING),
    ] = None,
    gpu: Annotated[
        str, typer.Option(help="Kind of GPU, such as h100 or 4xa100.", rich_help_panel=_TRAINING)
    ] = "h100",
    gpu_price: Annotated[
        float | None,
        typer.Option(min=0, help="USD per GPU-hour, for costs.", rich_help_panel=_TRAINING),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Peak; else the published one.", rich_help_panel=_TRAINING),
    ] = None,
    generations: Annotated[
        int, typer.Option(min=2, help="GRPO: answers per prompt.", rich_help_panel=_TRAINING)
    ] = 8,
    lora: Annotated[
        bool, typer.Option("--lora", help="Train adapters only.", rich_help_panel=_TRAINING)
    ] = False,
    packing: Annotated[
        bool,
        typer.Option(
            "--packing", help="Several rows per sequence; larger steps.", rich_help_panel=_TRAINING
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the mixture and of training.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Leave nothing on the disk.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write training data and configurations for a recipe, ready to start.

    Example: advisor export --to trl --size 3B --task math-oe --data PAIRS.jsonl --out export

    Takes the recipe that `advisor recommend` gives, unless --ratio, --order or --method name one.
    """
    from advisor.export import LIBRARIES, ExportRequest, export_recipe
    from policies import ModelSize, UnknownNameError

    if to not in LIBRARIES:
        raise UnknownNameError("library", to, LIBRARIES)
    machine = _machine(gpu, gpus)
    if then not in {None, "grpo"}:
        raise UnknownNameError("stage", then or "", ("grpo",))
    if ratio is None and order is None and method is None:
        recipe, why = _recommended(
            measured or [],
            size=None if size == "any" else ModelSize.parse(size),
            task_type=task,
            answer_format=answer_format,
            corpus=corpus,
            objective=objective,
        )
    else:
        recipe, why = _by_hand(size, corpus, ratio, order, method), "chosen by hand"
    request = ExportRequest(
        library=to,
        recipe=recipe,
        task_type=task,
        data=tuple(data),
        out=out,
        why=why,
        base_model=base_model,
        tokenizer=tokenizer,
        chat_template=chat_template,
        max_length=max_length,
        n_gpus=machine.n,
        gpu=machine.name,
        usd_per_gpu_hour=gpu_price,
        is_lora=lora,
        packing=packing,
        seed=seed,
        n_rows=n_rows,
        exclude=tuple(exclude or ()),
        then="grpo" if then else None,
        n_generations=generations,
        learning_rate=learning_rate,
        force=force,
    )
    exported = export_recipe(request, note=note, is_dry_run=dry_run)
    if as_json:
        print_json(_json(exported))
    else:
        _show(request, exported)


def _recommended(tables: list[Path], **question: Any) -> tuple["Recipe", str]:
    """Return the recipe that is recommended for the question, and the verdict.

    Raises:
        typer.Exit: The advice is to abstain.
    """
    from advisor import Method, RecommendationRequest, recommend

    from ._own_cells import load_own_cells

    asked = RecommendationRequest(**question)
    found = [load_own_cells(path, task_type=asked.task_type) for path in tables]
    for text in (text for one in found for text in one.notes):
        note(f"note: {text}")
    cells = [cell for one in found for cell in one.cells]
    records = [record for one in found for record in one.records]
    answer = recommend(asked, cells=cells, records=records)
    chosen = next((one for one in answer.options if one.id == answer.verdict.option), None)
    if chosen is None:
        note(f"nothing is exported: {answer.verdict.text}")
        note("  hint: name a recipe by hand, such as --ratio 0.25 --order ift_then_reasoning")
        raise typer.Exit(ExitCode.UNSATISFIED)
    note(f"recipe: {chosen.size} {chosen.recipe.label}: {answer.verdict.text}")
    recipe = chosen.recipe
    if recipe.method is Method.BACKTRACKING:  # supervised training, on other traces
        recipe = recipe.model_copy(update={"method": Method.SFT})
    return recipe, answer.verdict.text


def _machine(text: str, count: int | None) -> "Gpus":
    """Return the GPUs: a count that was given, else the one in the text, else 8.

    Raises:
        InvalidInputError: Two counts contradict each other.
    """
    from advisor.cost import Gpus
    from policies import InvalidInputError

    found = Gpus.parse(text)
    is_counted = _COUNT.search(text.strip()) is not None
    if count is not None and is_counted and count != found.n:
        raise InvalidInputError(
            f"--gpus {count} contradicts --gpu {text!r}",
            hint="give the count in one of them",
            code="contradiction",
        )
    return Gpus(device=found.device, n=count or (found.n if is_counted else 8))


def _by_hand(
    size: str, corpus: str | None, ratio: float | None, order: str | None, method: str | None
) -> "Recipe":
    """Return the recipe that the options name.

    A method other than supervised training takes no ratio; a ratio strictly between 0 and 1
    without an order is trained IFT first.
    """
    from advisor import Method, Order, Recipe, RecommendationRequest
    from policies import InvalidInputError, ModelSize, UnknownNameError

    methods = [one.value for one in Method if one is not Method.BACKTRACKING]
    orders = [one.value for one in Order]
    if method is not None and method not in methods:
        raise UnknownNameError("method", method, methods)
    if order is not None and order not in orders:
        raise UnknownNameError("order", order, orders)
    how = Method(method or "sft")
    if ratio is None and how is Method.SFT:
        raise InvalidInputError("supervised training needs --ratio", hint="give 0 to 1")
    if ratio is not None and how is not Method.SFT:
        raise InvalidInputError(f"method {how.value!r} takes no --ratio", hint="leave it out")
    share = 1.0 if ratio is None else ratio
    usual = Order.MIXED if share in {0.0, 1.0} else Order.IFT_THEN_REASONING
    sized = ModelSize.parse(size)
    # The question checks sizes and corpora, and knows their aliases.
    asked = RecommendationRequest(
        size=sized,
        task_type="general-oe",
        corpus=corpus,  # pyright: ignore[reportArgumentType] - checked by the request itself
    )
    return Recipe(
        size=sized,
        corpus=asked.corpus or "own",
        reasoning_ratio=share,
        order=usual if order is None else Order(order),
        method=how,
    )


def _json(exported: "Export") -> dict[str, Any]:
    return {
        "folder": str(exported.folder),
        "is_dry_run": exported.is_dry_run,
        "commands": list(exported.commands),
        "manifest": exported.manifest,
    }


def _show(request: "ExportRequest", exported: "Export") -> None:
    for text in exported.notes:
        note(f"note: {text}")
    print_table(
        table(
            "rows" if exported.is_exact else "rows (tokens counted approximately)",
            ("file", "kind", "rows", "answer tokens", "p99 of rows"),
            [
                (f.name, f.kind, *(f"{n:,}" for n in (f.n_rows, f.n_answer_tokens, f.p99_tokens)))
                for f in exported.files
            ],
        )
    )
    if exported.reasoning_token_share is not None:
        print_text(
            f"reasoning: {exported.reasoning_ratio:.1%} of the rows,"
            f" {exported.reasoning_token_share:.1%} of the tokens trained on"
        )
    for run in exported.runs:
        print_text(
            f"{run.name}: {run.n_steps:,} {'step' if run.n_steps == 1 else 'steps'}, learning rate"
            f" {run.learning_rate:g}, rows of up to {run.max_length:,} tokens"
        )
    if exported.is_dry_run:
        print_text(f"dry run: {request.out} was not written")
        return
    print_text(f"written: {request.out}")
    print_text(f"  $ bash {request.out}/launch.sh")
