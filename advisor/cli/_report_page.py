"""`advisor report PATH`: one HTML page of what was measured, fitted or studied."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ._live import folds_bar
from ._output import print_json, print_text

__all__ = ["PathOrCommand", "page"]


class PathOrCommand(TyperGroup):
    """Takes a path where a command is expected: `advisor report RUN` is `advisor report page RUN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the command before arguments that begin with none."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["page", *args]
        return super().parse_args(ctx, args)


def page(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH [PATH]",
            help="Run, table, router or study, or a file of outcomes; two runs are compared.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The page, FILE.html.")] = Path("report.html"),
    evaluate: Annotated[
        bool,
        typer.Option(help="Judge a router on a run's questions, out of fold; takes up to minutes."),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write one HTML page of what was measured, fitted or studied; two paths are compared.

    Example: advisor report runs/first --out first.html

    The page needs no network, no other file and no server: it can be sent by mail and opened
    anywhere. `advisor report PATH` is short for `advisor report page PATH`.
    """
    from ..report import compared_page, page_of, source_of, write_page

    if len(paths) > 2:
        raise typer.BadParameter(f"{len(paths)} paths are given, expected one or two")
    sources = [source_of(path) for path in paths]
    if len(sources) == 2:
        made = compared_page(*sources)
    else:
        with folds_bar() as show:
            made = page_of(sources[0], evaluates=evaluate, progress=show)
    write_page(made, out)
    if as_json:
        print_json(
            {
                "out": str(out),
                "kinds": [source.kind for source in sources],
                "title": made.title,
                "lead": list(made.lead),
                "notes": list(made.notes),
                "sections": [section.title for section in made.sections],
            }
        )
        return
    for line in (*made.lead, *made.notes):
        print_text(line)
    print_text(f"page: {out} ({out.stat().st_size / 2**20:.1f} MiB)")
