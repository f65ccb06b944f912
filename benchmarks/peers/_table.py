"""The tables that the harness prints, as Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ._data import PairSet
from ._metrics import Interval, Metrics
from ._peers import Footprint, Peer
from ._protocol import Answer

__all__ = ["Row", "SetResult", "footprint_table", "render_set", "speed_table", "summary_table"]

OURS = ("thinkroute", "from text")
ORACLE = ("references", "oracle")


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration of one participant on one set.

    Attributes:
        peer: Its name.
        variant: The configuration.
        metrics: What it is worth; None where it failed.
        latency_ms: See `Answer`.
        problem: Why there are no figures.
    """

    peer: str
    variant: str
    metrics: Metrics | None
    latency_ms: dict[str, float] | None
    problem: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What identifies it across sets."""
        return (self.peer, self.variant)


@dataclass(frozen=True, slots=True)
class SetResult:
    """All rows on one set.

    Attributes:
        pairs: The set.
        rows: Everybody.
        gap: Accuracy of the dear arm minus that of the cheap one.
    """

    pairs: PairSet
    rows: tuple[Row, ...]
    gap: Interval

    @property
    def has_gap(self) -> bool:
        """Whether the dear arm is better beyond chance; shares of the gap mean nothing else."""
        return self.gap.low > 0

    def row(self, key: tuple[str, str]) -> Row | None:
        """Return a row by its key."""
        return next((row for row in self.rows if row.key == key), None)


def render_set(result: SetResult) -> str:
    """Return heading and table of one set."""
    labels = result.pairs.labels
    heading = (
        f"### {result.pairs.name}: {result.pairs.title}\n\n"
        f"{len(labels.weak)} test questions, {int(labels.groups.max()) + 1} groups; accuracy "
        f"{labels.weak.mean():.3f} or {labels.strong.mean():.3f}, difference "
        f"{_signed(result.gap)}"
    )
    if labels.weak_tokens is not None and labels.strong_tokens is not None:
        heading += f"; tokens {labels.weak_tokens.mean():.0f} or {labels.strong_tokens.mean():.0f}"
    heading += f"; an oracle reaches {np.maximum(labels.weak, labels.strong).mean():.3f}."
    ours = result.row(OURS)
    header = (
        "router",
        "APGR",
        f"{'APGR' if labels.weak_tokens is None else 'headroom'} against thinkroute",
        "CPT50 / CPT80",
        "headroom",
        "tokens saved",
        "default: dear share, accuracy, lift",
        "p50 / p99 ms",
    )
    lines = [_cells(row, ours, is_apgr=result.has_gap) for row in result.rows]
    return f"{heading}\n\n{_markdown(header, lines)}"


def summary_table(results: Sequence[SetResult], name: str) -> str:
    """Return one figure of everybody on all sets, the best of each but the oracle in bold."""
    keys = list(dict.fromkeys(row.key for result in results for row in result.rows))
    attainable = [key != ORACLE for key in keys]
    kept = [r for r in results if name != "apgr" or r.has_gap]
    columns = [[_value(result.row(key), name) for key in keys] for result in kept]
    has_any = [any(np.isfinite(values)) for values in columns]
    best = [
        np.nanmax(np.array(values)[attainable]) if some else np.nan
        for values, some in zip(columns, has_any, strict=True)
    ]
    lines: list[list[str]] = []
    for index, key in enumerate(keys):
        cells: list[str] = []
        for values, top, some in zip(columns, best, has_any, strict=True):
            value = values[index]
            if some:
                text = f"{value:.3f}" if np.isfinite(value) else "-"
                is_best = attainable[index] and value >= top - 5e-4
                cells.append(f"**{text}**" if is_best else text)
        if any(cell != "-" for cell in cells):
            lines.append([_label(*key), *cells])
    names = [r.pairs.name for r, some in zip(kept, has_any, strict=True) if some]
    return _markdown(["router", *names], lines)


def speed_table(answers: Iterable[tuple[Peer, dict[str, Answer]]]) -> str:
    """Return decision times of one run."""
    lines = [
        [
            _label(peer.name, name),
            _milliseconds(answer.latency_ms),
            f"{answer.latency_ms['cpu']:.3f}",
            answer.note,
        ]
        for peer, variants in answers
        for name, answer in variants.items()
        if answer.latency_ms is not None
    ]
    return _markdown(["router", "p50 / p99 ms", "processor ms, mean", "note"], lines)


def footprint_table(footprints: Iterable[tuple[Peer, Footprint | str]]) -> str:
    """Return what it takes to have each participant; a text says why it is not known."""
    lines: list[list[str]] = []
    for peer, found in footprints:
        if isinstance(found, str):
            lines.append([peer.name, peer.version, found, "", ""])
        else:
            size = f"{found.megabytes:.0f}"
            cells = [size, str(found.n_packages), f"{found.import_s:.2f}"]
            lines.append([peer.name, peer.version, *cells])
    return _markdown(["", "version", "MB", "packages", "import, processor s"], lines)


def _cells(row: Row, ours: Row | None, *, is_apgr: bool) -> list[str]:
    metrics = row.metrics
    if metrics is None:
        return [_label(*row.key), f"not measured: {row.problem}", *[""] * 6]
    point = metrics.point
    against = "-"
    if ours and ours.metrics and row.key != ours.key:
        # Tokens where there are any, else calls.
        name = "headroom" if np.isfinite(ours.metrics.point.headroom) else "apgr"
        against = _signed(metrics.difference(ours.metrics, name))
    default = "-"
    if np.isfinite(point.strong_share):
        lift = _signed(metrics.interval("lift"))
        default = f"{point.strong_share:.0%}, {point.accuracy:.3f}, {lift}"
    return [
        _label(*row.key),
        _plain(metrics.interval("apgr")) if is_apgr else "-",
        against,
        f"{_share(point.cpt50)} / {_share(point.cpt80)}" if is_apgr else "-",
        _plain(metrics.interval("headroom")),
        _plain(metrics.interval("saved")),
        default,
        _milliseconds(row.latency_ms),
    ]


def _value(row: Row | None, name: str) -> float:
    if row is None or row.metrics is None:
        return float("nan")
    return float(getattr(row.metrics.point, name))


def _label(peer: str, variant: str) -> str:
    if peer == "references":
        return f"*{variant}*"
    return f"**{peer}**, {variant}" if peer == OURS[0] else f"{peer}, {variant}"


def _plain(interval: Interval) -> str:
    if not np.isfinite(interval.value):
        return "-"
    if not np.isfinite(interval.low):
        return f"{interval.value:.3f}"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _signed(interval: Interval) -> str:
    if not np.isfinite(interval.value):
        return "-"
    if not np.isfinite(interval.low):
        return f"{interval.value:+.3f}"
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _share(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "never"


def _milliseconds(latency: dict[str, float] | None) -> str:
    return "-" if latency is None else f"{latency['p50']:.3f} / {latency['p99']:.3f}"


def _markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
