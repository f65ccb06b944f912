"""`advisor recommend`: which recipe to train for a size and a task type."""

from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from . import _recommend_options as o
from ._exit import ExitCode
from ._output import note, print_json, print_text
from ._recommend_views import show_recommendation
from ._recommend_words import export_command

if TYPE_CHECKING:
    from advisor import RecipeOption, Recommendation

    from ..study._evidence import StudyEvidence

__all__ = ["recommend", "show_recommendation"]


def recommend(
    size: o.Size,
    task: o.Task,
    answer_format: o.Format = None,
    corpus: o.Corpus = None,
    have: o.Have = None,
    teacher: o.Teacher = None,
    objective: o.Objective = None,
    tolerance: o.Tolerance = None,
    max_size: o.MaxSize = None,
    train_budget: o.TrainBudget = None,
    infer_budget: o.InferBudget = None,
    traffic: o.Traffic = None,
    horizon_days: o.HorizonDays = None,
    gpu: o.Gpu = None,
    gpu_price: o.GpuPrice = None,
    table: o.Tables = None,
    trace_length: o.TraceLength = None,
    tokenizer: o.Tokenizer = None,
    n_examples: o.NExamples = None,
    pass_rate: o.PassRate = None,
    row: o.Row = None,
    short: o.Short = False,
    full: o.Full = False,
    report: o.Report = None,
    as_json: o.Json = False,
) -> None:
    """Recommend how to train: direct answers, reasoning or both, at what price, and why.

    Example: advisor recommend --size 3B --task math-oe

    Every figure names the cell it comes from; what was not said is assumed, and listed. Where
    nothing measured or published supports a choice it abstains with exit code 6, naming what
    loses least and what to measure first. On a terminal the options' intervals are drawn as well.
    """
    from advisor import recommend as advise
    from policies import InvalidSizeError

    from ._own_cells import load_own_cells, sort_tables
    from ._recommend_request import Flags, read_request, read_traces

    given = sort_tables(table or ())
    study = given.study
    flags = Flags(
        size=size,
        task=task,
        answer_format=answer_format,
        corpus=corpus,
        have=have,
        teacher=teacher,
        objective=objective,
        tolerance=tolerance,
        max_size=max_size,
        train_budget=train_budget,
        infer_budget=infer_budget,
        traffic=traffic,
        horizon_days=horizon_days,
        gpu=gpu,
        gpu_price=gpu_price,
        trace_length=trace_length,
        tokenizer=tokenizer,
        n_examples=n_examples,
        pass_rate=pass_rate,
        row=row,
        is_short=short,
        is_full=full,
        as_json=as_json,
    )
    try:
        request = read_request(flags, {} if study is None else study.sizes)
    except InvalidSizeError:
        # A study that is not there is told before the size that it would have had.
        for path in given.others:
            load_own_cells(path, task_type=task)
        raise
    tables = [load_own_cells(path, task_type=task) for path in given.others]
    cells = [cell for one in tables for cell in one.cells]
    records = [record for one in tables for record in one.records]
    notes = [text for one in tables for text in one.notes]
    if trace_length is not None:
        traces = read_traces(trace_length, tokenizer=tokenizer)
        request = replace(request, **traces.fields)
        notes += traces.notes
    answer = advise(request, cells=cells, records=records, study=study)
    if study is not None:
        unused = [one.text for one in answer.warnings if one.code == "study-not-used"]
        notes.append(unused[0] if unused else _reading(study, request.corpus))
    for text in notes:
        note(f"note: {text}")
    if report is not None:
        from ..report import recommendation_page, write_page

        write_page(recommendation_page(answer), report)
        note(f"wrote {report}")
    if as_json:
        print_json(answer.to_json())
    elif row is not None:
        print_text(export_command(answer, _option(answer, row)))
    else:
        show_recommendation(answer, detail="short" if short else "full" if full else "usual")
    if answer.verdict.action == "abstain":
        where = "without --short the page says" if short else "see"
        note(f"nothing is recommended; {where} what to measure next")
        raise typer.Exit(ExitCode.UNSATISFIED)


def _reading(study: "StudyEvidence", corpus: str | None) -> str:
    """Return how a study is read, and which of its corpora where none was said."""
    view = study.on(corpus or study.corpora[0])
    said = "" if corpus is not None else ", which was not said (--corpus)"
    seeds = "one seed" if view.n_seeds == 1 else f"{view.n_seeds} seeds pooled"
    return (
        f"{study.source}: its {view.corpus} corpus{said}; recipes as trained (reasoning@max), ift"
        f" by direct; {seeds}; advisor tables show {study.source} has all cells"
    )


def _option(answer: "Recommendation", letter: str) -> "RecipeOption":
    from policies import UnknownNameError

    option = answer.option(letter.strip().upper())
    if option is None:
        raise UnknownNameError("row", letter, [one.id for one in answer.options])
    return option
