"""What it costs to put the server between clients and a model: `python -m benchmarks.serving`.

Clients, server and a made-up upstream are processes of their own on this machine. The upstream
alone, a bare reverse proxy, `advisor serve` and the litellm proxy take turns, so that whatever else
the machine does hits all of them alike. `python -m benchmarks.serving.soak` is the long run.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from .._report import Report
from ._measure import CONCURRENCY, Figures, Middle, Plan, Rounds, Turn, measure, middle
from ._targets import LITELLM_VENV, running

__all__ = ["Plan", "run"]

_OURS, _PEER = "thinkroute", "litellm proxy"
_WAITING = f"{CONCURRENCY} connections, upstream of 100 ms"
_AT_ONCE = "upstream that answers at once"


def run(report: Report, plan: Plan | None = None, litellm: Path | None = LITELLM_VENV) -> None:
    """Measure all targets, and add our figures beside the targets that we hold ourselves to.

    Args:
        report: The table.
        plan: How much is measured; about eighteen minutes by default.
        litellm: Environment of the litellm proxy, `None` to leave it out.
    """
    if litellm is not None and not (litellm / "bin" / "litellm").is_file():
        report.skip(_PEER, "scripts/make_venv_litellm_proxy.sh installs it")
        litellm = None
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), litellm) as world:
        figures = measure(
            world, plan or Plan(), lambda name: print(f"  {name} ...", file=sys.stderr)
        )
    _add_latency(report, figures)
    _add_per_core(report, f"{CONCURRENCY} connections", figures.fast)
    _add_per_core(report, "64 connections", figures.crowded)
    _add_first_token(report, figures.streams)
    _add_tokens(report, figures)
    direct = [turn.latency_ms(0.5) for turn in figures.waiting["direct"]]
    report.add(
        "processors used by other programs meanwhile",
        figures.others_share,
        "of all",
        note=f"p50 of the upstream alone varied from {min(direct):.1f} to {max(direct):.1f} ms",
    )


def _add_latency(report: Report, figures: Figures) -> None:
    cases: list[tuple[str, Rounds, float, float | None]] = [
        ("1 connection, upstream of 10 ms", figures.alone, 0.5, None),
        (_WAITING, figures.waiting, 0.5, 2.0),
        (_WAITING, figures.waiting, 0.99, 10.0),
    ]
    for case, rounds, quantile, at_most in cases:
        direct = middle([turn.latency_ms(quantile) for turn in rounds["direct"]])
        added = _over_direct(rounds, lambda turn: turn.latency_ms(quantile))  # noqa: B023 - used at once
        for name, found in added.items():
            report.add(
                f"{name}: latency added, p{100 * quantile:g}; {case}",
                found.value,
                "ms",
                baseline=_baseline(name, added),
                at_most=at_most if name == _OURS else None,
                note=f"{_interval(found)}; direct {direct.value:.1f}",
            )


def _add_per_core(report: Report, case: str, rounds: Rounds) -> None:
    found = {
        name: middle([turn.per_core for turn in turns])
        for name, turns in rounds.items()
        if name != "direct"
    }
    for name, one in found.items():
        note = _interval(one)
        if name == _OURS and _PEER in rounds:
            ratios = [
                ours.per_core / peers.per_core
                for ours, peers in zip(rounds[_OURS], rounds[_PEER], strict=True)
            ]
            ratio = middle(ratios)
            note += f"; paired ratio {ratio.value:.2f} {_interval(ratio)}"
        report.add(
            f"{name}: requests per second of one core; {case}, {_AT_ONCE}",
            one.value,
            "1/s",
            baseline=_baseline(name, found),
            at_least=3.0 if name == _OURS and _PEER in found else None,
            of_ratio=True,
            note=note,
        )


def _add_first_token(report: Report, rounds: Rounds) -> None:
    for quantile in (0.5, 0.99):
        added = _over_direct(rounds, lambda turn: turn.first_ms(quantile))  # noqa: B023 - used at once
        for name, found in added.items():
            report.add(
                f"{name}: time to the first token added, p{100 * quantile:g}; {_WAITING}",
                found.value,
                "ms",
                baseline=_baseline(name, added),
                note=_interval(found),
            )
    decision = middle([1000 * turn.decision_s for turn in rounds[_OURS]])
    beyond = _over_direct(rounds, lambda turn: turn.first_ms(0.5) - 1000 * turn.decision_s)
    report.add(
        f"{_OURS}: the same beyond the decision, p50; {_WAITING}",
        beyond[_OURS].value,
        "ms",
        at_most=1.0,
        note=f"{_interval(beyond[_OURS])}; decision {decision.value:.2f} ms {_interval(decision)}",
    )


def _add_tokens(report: Report, figures: Figures) -> None:
    cases: list[tuple[str, Rounds, Callable[[Turn], float]]] = [
        ("tokens per second of one long stream", figures.long, lambda turn: turn.tokens_per_s),
        (
            f"tokens per second of one core; {CONCURRENCY} long streams",
            figures.busy,
            lambda turn: turn.tokens_per_core,
        ),
    ]
    for case, rounds, figure in cases:
        found = {name: middle([figure(turn) for turn in turns]) for name, turns in rounds.items()}
        for name, one in found.items():
            report.add(
                f"{name}: {case}",
                one.value,
                "1/s",
                baseline=_baseline(name, found),
                note=_interval(one),
            )


def _over_direct(rounds: Rounds, figure: Callable[[Turn], float]) -> dict[str, Middle]:
    """Return by how much each target is over the upstream itself, round by round."""
    return {
        name: middle([figure(a) - figure(b) for a, b in zip(turns, rounds["direct"], strict=True)])
        for name, turns in rounds.items()
        if name != "direct"
    }


def _baseline(name: str, found: dict[str, Middle]) -> tuple[str, float] | None:
    """Return what ours is printed beside: the peer, or the bare proxy where there is none."""
    other = _PEER if _PEER in found else "bare proxy"
    return (other, found[other].value) if name == _OURS else None


def _interval(found: Middle) -> str:
    return f"({found.low:.4g} to {found.high:.4g})"
