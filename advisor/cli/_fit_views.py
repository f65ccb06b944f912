"""How a fitted router is shown: what was learned, what it optimises, what is promised."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._decision_views import describe_objective
from ._output import print_table, print_text, table

if TYPE_CHECKING:
    from calibration import OutcomeRecord
    from router import Guarantee, Router

__all__ = ["guarantee_sentence", "n_more_questions", "show_fitted"]


def show_fitted(router: "Router") -> None:
    """Print what was learned, from what, and what follows from it."""
    about = router.describe()
    n, n_held = about["n_questions"], about["n_calibration"]
    groups = f" in {about['n_groups']:,} groups" * (about["n_groups"] < n)
    if n_held:
        print_text(
            f"{n:,} questions{groups}: {n - n_held:,} to learn from, {n_held:,} held back to"
            " certify"
        )
    else:
        print_text(f"fitted on {n:,} questions{groups}")
    print_text(f"arms: {', '.join(about['arms'])}")
    _show_contenders(about["contenders"])
    weights = sorted(about["learners"].items(), key=lambda item: -item[1])
    print_text(f"p is a blend: {', '.join(f'{share:.2f} {name}' for name, share in weights)}")
    print_text(f"calibration out of fold: {about['calibration']}")
    _show_cascade(about["cascade"])
    print_text(f"objective: {describe_objective(router.objective)}")
    if router.guarantee is not None:
        print_text(guarantee_sentence(router.guarantee))


def _show_contenders(contenders: Sequence[Mapping[str, Any]]) -> None:
    """Print the blends that were compared, the best first."""
    known = [each for each in contenders if each["loss"] is not None]
    if not known:
        print_text("too few questions to compare learners")
        return
    rows = [
        (
            " + ".join(each["learners"]),
            f"{each['loss']:.5f}",
            "" if each["is_chosen"] else f"{each['se']:.5f}",
            "chosen" if each["is_chosen"] else "",
        )
        for each in sorted(known, key=lambda each: each["loss"])
    ]
    columns = ("learners", "routing error", "+- from the chosen", "")
    print_table(table("compared by nested cross-validation", columns, rows))


def _show_cascade(cascade: Mapping[str, Mapping[str, Any]] | None) -> None:
    if cascade is None:
        print_text("cascade: none; no recorded evidence of an answer told more than the prompt")
        return
    for first, what in cascade.items():
        print_text(
            f"cascade: the answer of {first} may decide whether another arm is asked; its evidence"
            f" brings {what['gain_nats']:.4f} nats, from {what['n_questions']:,} questions"
        )


def guarantee_sentence(guarantee: "Guarantee") -> str:
    """Return what was certified, in one sentence."""
    groups = f" in {guarantee.n_groups:,} groups" * (guarantee.n_groups < guarantee.n_calibration)
    text = (
        f"guarantee: with {guarantee.confidence:.4g} confidence it is at most"
        f" {_points(guarantee.epsilon)} less accurate than {guarantee.reference}, on questions"
        f" like the {guarantee.n_calibration:,}{groups} that were held back to test this"
        f" (there: {_difference(guarantee.estimated_loss)})"
    )
    cost = guarantee.cost
    if cost is None:
        return text
    text += f"; {cost.saved:.0%} of the {cost.unit} saved"
    if cost.saved_low is not None:
        text += f", at least {cost.saved_low:.0%} by its own bound"
    if cost.max_share is not None:
        text += f"; at most {cost.max_share:.0%} of the reference's are certified too"
    return text


def _points(share: float) -> str:
    points = f"{100 * share:.3g}"
    return f"{points} point{'s' * (points != '1')}"


def _difference(loss: float) -> str:
    if abs(loss) < 5e-5:
        return "no difference"
    return f"{_points(abs(loss))} {'less' if loss > 0 else 'more'} accurate"


def n_more_questions(
    guarantee: Mapping[str, Any], records: "Sequence[OutcomeRecord]"
) -> int | None:
    """Return about how many more questions must be measured for a guarantee.

    Only a part of them is held back to certify; the same part is counted on for new ones.

    Args:
        guarantee: What was found, as `NoGuaranteeError` has it.
        records: The outcomes that did not do.

    Returns:
        The number, `None` if no number would do.
    """
    if guarantee["n_needed"] is None:
        return None
    n = len({(record.task, record.question_id) for record in records})
    n_certifying = guarantee["n_calibration"] + guarantee.get("n_dropped", 0)
    return max(math.ceil(guarantee["n_needed"] * n / max(n_certifying, 1)) - n, 1)
