"""The commands, put together."""

import os
from typing import Annotated

import typer

from ._difficulty_command import by_difficulty
from ._exit_command import fit_exit
from .ask import ask
from .calibrate import calibrate
from .compare import compare
from .data import data
from .demo import demo
from .doctor import doctor
from .drift import drift
from .evaluate import evaluate
from .export import export
from .fit import fit
from .judge import judge
from .load import load
from .offpolicy import offpolicy
from .policies import policies
from .recommend import recommend
from .report import report
from .serve import serve
from .study import study
from .tables import tables

__all__ = ["app"]

app = typer.Typer(
    name="advisor",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks of expected errors too.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    """Measure when a model should reason, route queries by it, and advise on training.

    Example: advisor calibrate --backend pocket --model pocket-m --tasks pocket
    --policies direct,reasoning@max --limit 500 --out runs/first
    """
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"thinkroute {installed('thinkroute')}")
        raise typer.Exit
    if debug:
        os.environ["THINKROUTE_DEBUG"] = "1"


app.command()(calibrate)
app.command()(fit)
app.command()(evaluate)
app.command()(compare)
app.command()(judge)
app.command()(load)
app.command()(ask)
app.command()(serve)
app.command()(drift)
app.command()(offpolicy)
app.command()(recommend)
app.command()(export)
app.command()(study)
policies.command("fit-exit")(fit_exit)
policies.command("by-difficulty")(by_difficulty)
app.add_typer(policies, name="policies")
app.add_typer(data, name="data")
app.add_typer(tables, name="tables")
app.add_typer(report, name="report")
app.command()(doctor)
app.command()(demo)
