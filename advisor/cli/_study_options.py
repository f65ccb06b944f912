"""The options of `advisor study`, by the panels in which the help shows them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["NO_LIMITS", "POCKET_LAB", "WHOLE_GRID", "Grid", "LabChoice", "Limits"]

_GRID, _BASE, _LIMITS = "Grid", "Your own base model", "Limits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Which students a study compares; `None` is the file's value, or the usual one."""

    design: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Grid from a file: plan.json of a study, or what --plan --json prints; options"
            " of this panel replace its values.",
            rich_help_panel=_GRID,
        ),
    ] = None
    sizes: Annotated[
        str | None,
        typer.Option(
            help="Base sizes, smallest first; by default pocket-xs,pocket-s,pocket-m.",
            rich_help_panel=_GRID,
        ),
    ] = None
    ratios: Annotated[
        str | None,
        typer.Option(
            help="Shares of reasoning rows; by default 0,0.25,0.5,0.75,1.", rich_help_panel=_GRID
        ),
    ] = None
    orders: Annotated[
        str | None,
        typer.Option(
            help="Orders of the rows: mixed, ift_then_reasoning, reasoning_then_ift,"
            " reasoning_then_hybrid; two-stage for the four of one corpus after the other; all."
            " By default mixed,ift_then_reasoning.",
            rich_help_panel=_GRID,
        ),
    ] = None
    corpora: Annotated[
        str | None,
        typer.Option(
            help="Training corpora; by default general,math, or own with --base.",
            rich_help_panel=_GRID,
        ),
    ] = None
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Seeds, each a training set of its own; by default 1,2,3.", rich_help_panel=_GRID
        ),
    ] = None
    rows: Annotated[
        int | None,
        typer.Option(
            help="Training rows of each stage; by default 4096.",
            show_default=False,
            rich_help_panel=_GRID,
        ),
    ] = None
    questions: Annotated[
        int | None,
        typer.Option(
            help="Held-out questions per task type; by default 1000.",
            show_default=False,
            rich_help_panel=_GRID,
        ),
    ] = None
    policies: Annotated[
        str | None,
        typer.Option(
            help="How each student is asked; by default direct,reasoning@max: forced to answer at"
            " once, and free to think. reasoning@8 adds a budget.",
            rich_help_panel=_GRID,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the study must not take more of."""

    max_hours: Annotated[
        float | None,
        typer.Option(
            help="Hours until all students are trained and measured.", rich_help_panel=_LIMITS
        ),
    ] = None
    max_flops: Annotated[
        float | None,
        typer.Option(help="Training FLOPs to spend, such as 1e15.", rich_help_panel=_LIMITS),
    ] = None
    max_runs: Annotated[
        int | None, typer.Option(help="Students to train.", rich_help_panel=_LIMITS)
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabChoice:
    """Which base models students start from, and where they are trained and asked."""

    backend: Annotated[
        str | None,
        typer.Option(
            help="pocket: students of the pocket family, the default. With --base: vllm or"
            " transformers, which ask the students; vllm by default.",
            show_default=False,
        ),
    ] = None
    device: Annotated[
        str | None,
        typer.Option(
            help="Where students are trained: cpu, cuda or cuda:1; with --base cpu or gpu. By"
            " default the CPU for pocket and the GPU with --base.",
            show_default=False,
        ),
    ] = None
    bases: Annotated[
        Path | None,
        typer.Option(
            help="Folder of pre-trained pocket bases; missing ones are trained there once. By"
            " default the folder bases in --out.",
            show_default=False,
        ),
    ] = None
    base: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Your own base model, a folder or owner/name of the hub; repeat it for more"
            " sizes, smallest first.",
            rich_help_panel=_BASE,
        ),
    ] = None
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[CORPUS=]FILE",
            help="Pairs that students of --base are trained on, as advisor data pairs writes them;"
            " general=FILE and math=FILE for two stages.",
            rich_help_panel=_BASE,
        ),
    ] = None
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="BACKEND/MODEL",
            help="Teacher with a thinking switch, which writes --pairs first, such as"
            " openai/Qwen/Qwen3-8B with --base-url.",
            rich_help_panel=_BASE,
        ),
    ] = None
    teacher_questions: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Training questions with right answers that --teacher answers; or a task.",
            rich_help_panel=_BASE,
        ),
    ] = None
    base_url: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Server of --teacher, such as http://127.0.0.1:8000/v1; may be repeated.",
            rich_help_panel=_BASE,
        ),
    ] = None
    api_key_env: Annotated[
        str,
        typer.Option(help="Variable that holds that server's key.", rich_help_panel=_BASE),
    ] = "OPENAI_API_KEY"
    dialect: Annotated[
        str,
        typer.Option(help="How that server takes thinking parameters.", rich_help_panel=_BASE),
    ] = "vllm"
    teacher_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Option of the teacher's backend, the value as JSON or text; may be repeated.",
            rich_help_panel=_BASE,
        ),
    ] = None
    backend_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Option of the backend that asks students, such as max_model_len=4096; may be"
            " repeated.",
            rich_help_panel=_BASE,
        ),
    ] = None
    heldout: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Held-out questions, JSONL; by default some are held out of the pairs. May be"
            " repeated.",
            rich_help_panel=_BASE,
        ),
    ] = None
    lora: Annotated[
        bool,
        typer.Option("--lora", help="Train adapters, merged afterwards.", rich_help_panel=_BASE),
    ] = False
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Peak learning rate; by default the published one of the nearest size.",
            show_default=False,
            rich_help_panel=_BASE,
        ),
    ] = None
    epochs: Annotated[int, typer.Option(help="Passes over the rows.", rich_help_panel=_BASE)] = 1
    num_processes: Annotated[
        int,
        typer.Option(help="Processes that train one student, one per GPU.", rich_help_panel=_BASE),
    ] = 1
    accelerate_config: Annotated[
        Path | None,
        typer.Option(
            help="Configuration for accelerate; by default an exported one.", rich_help_panel=_BASE
        ),
    ] = None
    chat_template: Annotated[
        str | None,
        typer.Option(
            help="Jinja file to train with, or chatml; by default the base's own.",
            rich_help_panel=_BASE,
        ),
    ] = None
    max_length: Annotated[
        int | None,
        typer.Option(
            help="Longest row in tokens; pairs with a longer one are left out.",
            rich_help_panel=_BASE,
        ),
    ] = None
    gpu: Annotated[
        str | None,
        typer.Option(
            help="Kind of GPU, such as h100, to tell hours in advance.", rich_help_panel=_BASE
        ),
    ] = None
    train_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Option of TRL, such as optim=adamw_torch; may be repeated.",
            rich_help_panel=_BASE,
        ),
    ] = None
    train_python: Annotated[
        Path | None,
        typer.Option(
            help="Python of the environment with TRL; by default this one.",
            show_default=False,
            rich_help_panel=_BASE,
        ),
    ] = None


WHOLE_GRID, NO_LIMITS, POCKET_LAB = Grid(), Limits(), LabChoice()
