"""The options of `advisor recommend`, by the panels in which the help shows them."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Corpus",
    "Format",
    "Full",
    "Gpu",
    "GpuPrice",
    "Have",
    "HorizonDays",
    "InferBudget",
    "Json",
    "MaxSize",
    "NExamples",
    "Objective",
    "PassRate",
    "Report",
    "Row",
    "Short",
    "Size",
    "Tables",
    "Task",
    "Teacher",
    "Tokenizer",
    "Tolerance",
    "TraceLength",
    "Traffic",
    "TrainBudget",
]

_QUESTION, _BUDGETS, _DATA, _OUTPUT = "Question", "Budgets", "Data", "Output"

Size = Annotated[
    str,
    typer.Option(
        help="Size to train, such as 3B, which is also the cap; or any; or a size's name in the"
        " study of --table, such as pocket-m.",
        rich_help_panel=_QUESTION,
    ),
]
Task = Annotated[
    str,
    typer.Option(
        help="Task type, such as math-oe; a type of your own with --format or --table.",
        rich_help_panel=_QUESTION,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Form of the answers: mc (multiple choice) or oe (open-ended).",
        rich_help_panel=_QUESTION,
    ),
]
Corpus = Annotated[
    str | None,
    typer.Option(
        help="Training corpus most like yours: general, math, code or own.",
        rich_help_panel=_QUESTION,
    ),
]
Have = Annotated[
    str | None,
    typer.Option(
        help="Model you start from: base, ift (direct answers) or reasoning.",
        rich_help_panel=_QUESTION,
    ),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        help="Model that writes the reasoning traces; none: there is no teacher.",
        rich_help_panel=_QUESTION,
    ),
]
Objective = Annotated[
    str | None,
    typer.Option(
        help="What matters most: balanced, accuracy, training, inference, or total (training and"
        " serving together).",
        rich_help_panel=_QUESTION,
    ),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        help="Accuracy that may be lost in expectation by acting now; 0.01 is one point.",
        rich_help_panel=_QUESTION,
    ),
]
MaxSize = Annotated[
    str | None,
    typer.Option(
        help="Largest size you could train and serve instead of --size.", rich_help_panel=_BUDGETS
    ),
]
TrainBudget = Annotated[
    str | None,
    typer.Option(
        help="Most that training may cost: 3e19 (FLOPs), 200h (GPU-hours) or '$500'.",
        rich_help_panel=_BUDGETS,
    ),
]
InferBudget = Annotated[
    str | None,
    typer.Option(
        help="Most that one answer may cost: 1e12 (FLOPs) or '512 tokens'.",
        rich_help_panel=_BUDGETS,
    ),
]
Traffic = Annotated[
    str | None,
    typer.Option(
        help="Queries to serve: 10k (a day), '3 qps' or '10k/day for 90 days'; training and"
        " serving are then added up.",
        rich_help_panel=_BUDGETS,
    ),
]
HorizonDays = Annotated[
    float | None,
    typer.Option(
        help="Days for which --traffic is counted; a year if neither says it.",
        rich_help_panel=_BUDGETS,
    ),
]
Gpu = Annotated[
    str | None,
    typer.Option(
        help="What you train on: 8xh100, h200, a100x4 and the like.", rich_help_panel=_BUDGETS
    ),
]
GpuPrice = Annotated[
    float | None,
    typer.Option(help="US dollars for an hour of one GPU.", rich_help_panel=_BUDGETS),
]
Tables = Annotated[
    list[Path] | None,
    typer.Option(
        "--table",
        help="What you measured: a run folder of advisor calibrate, its store, a file with a row"
        " per answer, a CSV with a row per cell (task_type, size, recipe, accuracy, n), or a"
        " study of recipes by its name or folder (advisor tables ls lists them);"
        " outranks what is published; may be repeated.",
        rich_help_panel=_DATA,
    ),
]
TraceLength = Annotated[
    str | None,
    typer.Option(
        help="Mean tokens of a reasoning trace (6000), or how many times as long as a direct"
        " answer (8x), or a JSONL of traces or pairs to measure.",
        rich_help_panel=_DATA,
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        help="Folder or hub name of the tokenizer that counts the traces of --trace-length;"
        " without one, lengths are estimated.",
        rich_help_panel=_DATA,
    ),
]
NExamples = Annotated[
    int | None, typer.Option(help="Rows of the training set.", rich_help_panel=_DATA)
]
PassRate = Annotated[
    float | None,
    typer.Option(
        help="Share of sampled answers that the model gets right now, in [0, 1]; tells whether"
        " reinforcement learning has a signal.",
        rich_help_panel=_DATA,
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.html",
        help="Also write the answer, with plots, to this file; it opens in any browser.",
        rich_help_panel=_OUTPUT,
    ),
]
Row = Annotated[
    str | None,
    typer.Option(
        "--row",
        help="Print only the export command of the option with this letter.",
        rich_help_panel=_OUTPUT,
    ),
]
Short = Annotated[
    bool,
    typer.Option("--short", help="Only verdict, options and plan.", rich_help_panel=_OUTPUT),
]
Full = Annotated[
    bool,
    typer.Option(
        "--full", help="Everything, with sources and all texts whole.", rich_help_panel=_OUTPUT
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document.", rich_help_panel=_OUTPUT)
]
