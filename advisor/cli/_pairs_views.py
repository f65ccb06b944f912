"""What `advisor data pairs` prints."""

import math
from typing import TYPE_CHECKING

from ._output import format_interval, note, print_table, print_text, table

if TYPE_CHECKING:
    from advisor.pairs import ModeFigures, RunPairs

__all__ = ["note_pairs", "show_pairs"]


def note_pairs(data: "RunPairs") -> None:
    """Tell on stderr what was read and not used, and what the file lacks."""
    counts = data.counts
    if data.rules.keep.value == "any":
        note(
            "warning: --keep any does not ask whether answers are right: wrong ones are trained"
            " on, and no 'solution' is written, so that there is nothing for GRPO"
        )
    told = (
        (counts.n_excluded, "questions are excluded"),
        (counts.n_duplicates, "questions have the prompt of an earlier one: left out"),
        (counts.n_without_prompt, "questions have no prompt in the run: left out"),
    )
    for n, text in told:
        if n:
            note(f"{n:,} {text}")
    if not counts.n_kept:
        note("no pair: no question has two answers of the kind that is kept; nothing is written")
        return
    n_bare = counts.n_kept - counts.n_solutions
    if n_bare and data.rules.keep.value != "any":
        note(
            f"{n_bare:,} pairs have no 'solution', because the right answer is unknown, a list or"
            " a test: GRPO cannot use them"
        )
    n_guessed = counts.n_kept - data.n_counted
    if n_guessed:
        why = "" if data.arms.is_one_model else ", because two models count by different tokenizers"
        note(f"{n_guessed:,} pairs carry no token counts{why}: their lengths are approximate")


def show_pairs(data: "RunPairs") -> None:
    """Print what became of the questions, how both modes did, and how long the pairs are."""
    counts = data.counts
    print_table(
        table(
            f"{counts.n_questions:,} questions: {counts.n_kept:,} pairs",
            ("direct answer", "reasoning answer", "questions", "kept"),
            [
                (one.ift.value, one.reasoning.value, str(one.n), str(one.n_kept))
                for one in data.fates
            ],
        )
    )
    print_table(
        table(
            "accuracy in the run",
            ("mode", "model", "policy", "answers", "accuracy [95%]", "cut", "err", "tokens"),
            [_mode("direct", data.ift), _mode("reasoning", data.reasoning)],
        )
    )
    lengths = data.lengths
    if lengths is None:
        return
    how = "teacher's tokens" if data.n_counted == lengths.n else "tokens, in part approximate"
    means = (lengths.mean_prompt_tokens, lengths.mean_ift_tokens, lengths.mean_reasoning_tokens)
    prompt, direct, reasoning = ("-" if mean is None else f"{mean:,.1f}" for mean in means)
    print_text(
        f"mean {how} of the pairs: prompt {prompt}, direct answer {direct}, reasoning answer {reasoning};"
        f" rows p99 {lengths.p99_tokens:,}, longest {lengths.max_tokens:,}"
    )
    ratio = lengths.trace_ratio
    if ratio is not None:
        span = f"[{ratio.low:.2f}, {ratio.high:.2f}]" if math.isfinite(ratio.high) else "[unknown]"
        print_text(
            f"trace ratio: a reasoning answer is {ratio.estimate:.2f} {span} times a direct one"
            f" ({ratio.confidence:.0%} interval)"
        )
    print_text(f"wrote {data.path}: {counts.n_kept:,} rows, {counts.n_solutions:,} with a solution")
    print_text(f"wrote {data.manifest}")


def _mode(name: str, one: "ModeFigures") -> tuple[str, ...]:
    share = format_interval(one.accuracy.estimate, one.accuracy.low, one.accuracy.high)
    tokens = "-" if math.isnan(one.mean_tokens) else f"{one.mean_tokens:.1f}"
    counts = (one.n, share, one.n_cut, one.n_error)
    return (name, one.model, one.policy, *map(str, counts), tokens)
