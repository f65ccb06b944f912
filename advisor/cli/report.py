"""`advisor report`: a page of what was measured, and what a server's log says that routing saved."""

import math
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ._exit import ExitCode
from ._output import format_flops, format_interval, note, print_json, print_table, print_text, table
from ._report_page import PathOrCommand, page

if TYPE_CHECKING:
    from router.server.decision_log import ArmSavings, Compared, Estimate, Savings

__all__ = ["report"]

report = typer.Typer(
    cls=PathOrCommand,
    no_args_is_help=True,
    help="Write a page of what was measured, or tell what a server's log says.",
)

_UNITS_S = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


@report.callback()
def _root() -> None:
    """Write a page of what was measured, fitted or studied, or tell what a server's log says.

    Example: advisor report runs/first --out first.html
    """


report.command("page")(page)


@report.command("savings")
def savings(
    log: Annotated[
        str,
        typer.Argument(help="Decision log: a file, or postgresql://USER@HOST/DATABASE."),
    ],
    since: Annotated[
        str | None,
        typer.Option(help="Only requests since then: 30m, 12h, 7d, 2w, or a date (UTC)."),
    ] = None,
    caller: Annotated[
        str | None, typer.Option(help="Only requests of the key with this name.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Tell what routing saved against always reasoning, and whether that can be believed.

    Example: advisor report savings decisions.sqlite --since 7d

    Exits with 6 if there is no request. Intervals are of 95%, over conversations. What always
    reasoning would have used is what the router expected; it is checked on the requests that the
    reasoning arm answered.
    """
    from router.server.decision_log import read_log
    from router.server.decision_log import savings as savings_of

    since_s = 0.0 if since is None else _since(since, time.time())
    opened = read_log(log)
    try:
        found = savings_of(opened.served(since_s, caller=caller))
    finally:
        opened.close()
    if as_json:
        head = {"log": opened.place, "since_s": since_s, "caller": caller}
        print_json({**head, **found.to_json()})
    elif found.n:
        _show(found)
    if not found.n:
        note(f"{opened.place} has no request to tell of")
        raise typer.Exit(ExitCode.UNSATISFIED)


def _since(text: str, now_s: float) -> float:
    """Return seconds since 1970 of a date, or of a time span before now.

    Raises:
        BadParameter: It is neither.
    """
    if span := re.fullmatch(r"(\d{1,6})([mhdw])", text):
        return now_s - int(span[1]) * _UNITS_S[span[2]]
    try:
        date = datetime.fromisoformat(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no time: write 30m, 12h, 7d, 2w or a date such as 2026-03-31",
            param_hint="--since",
        ) from None


def _show(found: "Savings") -> None:
    parts = [found.total, *found.arms]
    print_table(
        table(
            "against always reasoning",
            ("arm", "n", "compared", "tokens", "expected", "saved [95%]", "share [95%]", "failed"),
            [_cost_row(part) for part in parts],
        )
    )
    print_table(
        table(
            "answers",
            ("arm", "score [95%]", "n", "escalated [95%]", "n", "added p50/p95", "decided p50/p95"),
            [_answer_row(part) for part in parts],
        )
    )
    total = found.total
    print_text(
        f"{found.n:,} requests in {total.n_clusters:,} conversations, "
        f"{_when(found.first_s)} to {_when(found.last_s)} UTC"
    )
    for reason, count in found.not_compared.items():
        print_text(f"not compared, {reason}: {count:,}")
    for code, rate in total.errors.items():
        print_text(f"errors, {code}: {_interval(rate)} of {rate.n:,}")
    for name, compared in (("FLOPs, expected", total.flops), ("USD", total.usd)):
        if compared.n:
            print_text(_other_cost(name, compared))
    _show_check(found)


def _show_check(found: "Savings") -> None:
    check = found.check
    if check.ratio is None:
        print_text("unchecked: the reasoning arm answered no request whose tokens were expected")
        return
    ratio = f"{_interval(check.ratio)} of the expected tokens (n = {check.n:,})"
    said = {
        "too-high": "so the expectation was too high and the savings above are overstated",
        "too-low": "so the expectation was too low and the savings above are understated",
        "consistent": "so the expectation held",
        "too-few": "too few requests to judge the expectation by",
    }
    print_text(f"where the reasoning arm answered it used {ratio}: {said[check.verdict]}")
    if check.saved_share is not None:
        print_text(
            f"share saved with the expectation corrected by that: {_interval(check.saved_share)} "
            f"(n = {check.saved_share.n:,})"
        )
    print_text("that holds for what the router sent to the reasoning arm; accuracy is not in a log")


def _cost_row(part: "ArmSavings") -> tuple[str, ...]:
    tokens = part.tokens
    return (
        _name(part),
        f"{part.n:,}",
        f"{tokens.n:,}",
        f"{tokens.used:,.0f}" if tokens.n else "-",
        f"{tokens.reference:,.0f}" if tokens.n else "-",
        _counts(tokens.saved),
        "-" if tokens.share is None else _interval(tokens.share),
        f"{sum(round(rate.value * rate.n) for rate in part.errors.values()):,}",
    )


def _answer_row(part: "ArmSavings") -> tuple[str, ...]:
    added, decided = part.added_s, part.decision_s
    return (
        _name(part),
        *(("-", "0") if part.score is None else (_interval(part.score), f"{part.score.n:,}")),
        *(
            ("-", "0")
            if part.escalated is None
            else (_interval(part.escalated), f"{part.escalated.n:,}")
        ),
        "-" if added is None else f"{1e3 * added.p50:.2f}/{1e3 * added.p95:.2f} ms",
        "-" if decided is None else f"{1e3 * decided.p50:.2f}/{1e3 * decided.p95:.2f} ms",
    )


def _other_cost(name: str, compared: "Compared") -> str:
    shown = format_flops if name.startswith("FLOPs") else "{:,.4f}".format
    share = "-" if compared.share is None else _interval(compared.share)
    return (
        f"{name}: {shown(compared.used)} against {shown(compared.reference)}, "
        f"share saved {share} (n = {compared.n:,})"
    )


def _name(part: "ArmSavings") -> str:
    return {"*": "all", "": "(none)"}.get(part.arm, part.arm)


def _interval(estimate: "Estimate") -> str:
    return format_interval(estimate.value, estimate.low, estimate.high)


def _counts(estimate: "Estimate | None") -> str:
    if estimate is None:
        return "-"
    low, high = (
        "-" if not math.isfinite(x) else f"{x:,.0f}" for x in (estimate.low, estimate.high)
    )
    return f"{estimate.value:,.0f} [{low}, {high}]"


def _when(time_s: float | None) -> str:
    return "-" if time_s is None else f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M}"
