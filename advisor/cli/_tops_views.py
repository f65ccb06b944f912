"""What `advisor data tops` prints."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ._output import format_interval, note, print_table, print_text, table

if TYPE_CHECKING:
    from advisor.tops import Effort, RankTable, Saving, TopsData

__all__ = ["note_left_out", "show_tops", "tops_json"]

_PAPER_SAMPLES = 8


def tops_json(data: "TopsData", efforts: "Sequence[Effort]") -> dict[str, Any]:
    """Return what was written as a JSON object."""
    counts = data.counts
    return {
        "out": str(data.folder),
        "efforts": [one.to_json() for one in efforts],
        "files": [asdict(one) for one in data.files],
        "missing": dict(data.missing),
        "questions": counts.n_questions,
        "excluded_questions": counts.n_excluded,
        "seed_questions": data.n_seeds,
        "pairs": dict(data.pairs),
        "left_out": {
            "forced": counts.n_forced,
            "copies": counts.n_copies,
            "unreadable": counts.n_unreadable,
            "damaged": counts.n_damaged,
        },
        "samples_sha256": counts.samples_sha256,
        "report": data.report.to_json(),
    }


def show_tops(data: "TopsData") -> None:
    """Print what the samples say and what was written."""
    report = data.report
    print_table(
        table(
            f"{data.counts.n_questions:,} questions, the lowest effort first",
            ("effort", "correct", "wrong", "cut", "err", "tokens", "samples", "distinct answers"),
            [
                (
                    one.name,
                    *map(str, (one.n_correct, one.n_wrong, one.n_cut, one.n_error)),
                    *map(_number, (one.mean_tokens, one.mean_samples)),
                    _number(one.mean_distinct, 2),
                )
                for one in report.efforts
            ],
        )
    )
    if report.ranks is not None:
        _show_ranks(report.ranks, [one.name for one in report.efforts])
    solved = report.solved
    share = format_interval(solved.share, solved.low, solved.high)
    print_text(f"questions with a correct answer: {share} of {solved.n:,}")
    if report.saving_per_effort is not None:
        _show_saving("first sample of each effort", report.saving_per_effort)
    _show_saving("all samples", report.saving_all)
    for one in data.files:
        print_text(f"wrote {data.folder / one.name}: {one.n_rows:,} rows")
    if data.pairs:
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(data.pairs.items()))
        print_text(f"pairs by the rejected answer: {kinds}")


def note_left_out(data: "TopsData") -> None:
    """Tell on stderr what was read and not used."""
    counts = data.counts
    n_cut = sum(outcomes["cut"] for outcomes in counts.outcomes.values())
    n_error = sum(outcomes["error"] for outcomes in counts.outcomes.values())
    told = (
        (n_cut, "answers ran out of tokens: neither correct nor wrong, not used"),
        (n_error, "samples are infrastructure errors, not used"),
        (
            counts.n_forced,
            "answers came after a thought that was broken off at its budget, not used"
            " (--keep-forced uses them)",
        ),
        (counts.n_copies, "answers are copies of a longer budget's, counted once"),
        (counts.n_unreadable, "answers have no text, no length, or a marker in the text: not used"),
        (counts.n_damaged, "samples are damaged on the disk, not used"),
        (counts.n_excluded, "questions are excluded"),
    )
    for n, text in told:
        if n:
            note(f"{n:,} {text}")
    fewest, most = data.report.n_per_question
    if most and (fewest, most) != (_PAPER_SAMPLES, _PAPER_SAMPLES):
        span = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        note(f"the iterative sets choose among {span} samples a question; the paper has 8")


def _show_ranks(ranks: "RankTable", names: Sequence[str]) -> None:
    if not ranks.n:
        print_text(
            "how long the answer to each effort really was: no question is right under all of them"
            f" with lengths that differ ({ranks.n_tied:,} are tied)"
        )
        return
    last = len(names) - 1
    places = ["shortest", *(f"{number + 1}." for number in range(1, last)), "longest"]
    rows = [
        (name, *(f"{share:.1%}" for share in shares))
        for name, shares in zip(names, ranks.shares, strict=True)
    ]
    print_text(
        f"how long the answer to each effort really was, in {ranks.n:,} questions right under all"
        f" of them ({ranks.n_tied:,} more are tied)"
    )
    print_table(table("", ("asked for", *places), rows))


def _show_saving(what: str, saving: "Saving") -> None:
    if not saving.n:
        print_text(f"{what}: nothing correct")
        return
    print_text(
        f"{what}: shortest correct {saving.mean_shortest:.1f} tokens, random correct"
        f" {saving.mean_random:.1f}: {saving.saved_tokens:.1f}"
        f" [{saving.low:.1f}, {saving.high:.1f}] fewer ({saving.saved_share:.1%});"
        f" {saving.n:,} questions, {saving.n_several:,} with several correct"
    )


def _number(value: float, digits: int = 1) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
