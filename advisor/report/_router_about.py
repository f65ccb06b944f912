"""What a router is: arms, learners, calibration, prices, and what is guaranteed of it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._blocks import Block, Column, Facts, Prose, Table
from ._figures import amount, figure, objective_words, unit_words

if TYPE_CHECKING:
    from router import Guarantee, Router

__all__ = ["about_blocks"]


def about_blocks(router: "Router", about: Mapping[str, Any]) -> list[Block]:
    """Return what a router says of itself.

    Args:
        router: The router.
        about: What its `describe` returns.
    """
    learners = ", ".join(f"{name} {weight:.2f}" for name, weight in about["learners"].items())
    reached = [f"{model} by {spec.backend}" for model, spec in router.reached.items()]
    prices = [
        f"{model}: {1e6 * price.prompt_usd:.4g} read, {1e6 * price.completion_usd:.4g} generated"
        for model, price in router.prices.items()
    ]
    facts = (
        ("arms", ", ".join(arm.name for arm in router.arms)),
        ("task types", ", ".join(router.task_types)),
        ("objective", objective_words(router.objective)),
        ("learners and their weights", learners),
        ("calibration of p", str(about["calibration"])),
        (
            "questions",
            f"{about['n_questions']:,} in {about['n_groups']:,} groups: {about['n_fitted']:,} "
            f"fitted on, {about['n_calibration']:,} held back for the guarantee",
        ),
        ("models are reached", "; ".join(reached) or "as the caller says"),
        ("US dollars per million tokens", "; ".join(prices) or "no prices were given"),
    )
    blocks: list[Block] = [Facts(facts), _guarantee(router.guarantee)]
    if about["cascade"]:
        blocks.append(_cascade_table(about["cascade"]))
    else:
        blocks.append(
            Prose(
                (
                    "It does not look at first answers: no evidence of answers was recorded, or "
                    "none tells enough.",
                )
            )
        )
    if about["contenders"]:
        blocks.append(_contender_table(about["contenders"]))
    return blocks


def _guarantee(promise: "Guarantee | None") -> Prose:
    if promise is None:
        return Prose(
            ("Nothing is guaranteed about what the default objective may lose.",), is_warning=True
        )
    on = f"n = {promise.n_calibration:,} questions in {promise.n_groups:,} groups held back"
    measured = (
        f"Estimated loss {_points(promise.estimated_loss)} points, upper bound for a rule fixed "
        f"beforehand {_points(promise.loss_upper_bound)} points, p = {promise.p_value:.3g}, {on}."
    )
    if not promise.holds:
        needed = f" About {promise.n_needed:,} would do." if promise.n_needed else ""
        lost = f"a loss of at most {_points(promise.epsilon)} points against {promise.reference}"
        text = f"Nothing is guaranteed: {lost} was asked for, but {promise.reason}.{needed}"
        return Prose((text, measured), is_warning=True)
    lines = [
        f"Guarantee: at a confidence of {promise.confidence:.4g} the default objective loses at "
        f"most {_points(promise.epsilon)} points of accuracy against {promise.reference}, on "
        "questions like these.",
        measured,
    ]
    cost = promise.cost
    if cost is not None:
        low = "not known" if cost.saved_low is None else f"{cost.saved_low:.1%}"
        lines.append(
            f"Mean cost there: {amount(cost.mean)} {unit_words(cost.unit)} against "
            f"{amount(cost.reference_mean)}, {cost.saved:.1%} saved (lower bound {low})."
        )
    return Prose(tuple(lines))


def _cascade_table(cascade: Mapping[str, Mapping[str, float]]) -> Table:
    columns = (
        Column("first arm"),
        Column("gain, nats", is_number=True, hint="log loss that its answer's evidence saves"),
        Column("n", is_number=True, hint="questions"),
    )
    rows = tuple(
        (name, f"{each['gain_nats']:.4f}", f"{each['n_questions']:,.0f}")
        for name, each in cascade.items()
    )
    caption = "First answers whose evidence may call for a second arm, without intervals"
    return Table(caption, columns, rows)


def _contender_table(contenders: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        Column("learners"),
        Column("routing error", is_number=True, hint="mean, out of fold; lower is better"),
        Column(
            "± of the difference", is_number=True, hint="standard error over groups; to the chosen"
        ),
        Column("weights"),
    )
    rows = tuple(
        (
            " + ".join(each["learners"]),
            figure(each["loss"], ".4f"),
            "" if each["is_chosen"] else figure(each["se"], ".4f"),
            ", ".join(f"{name} {weight:.2f}" for name, weight in each["weights"].items() if weight),
        )
        for each in contenders
    )
    chosen = frozenset(i for i, each in enumerate(contenders) if each["is_chosen"])
    return Table("Blends of learners that were compared", columns, rows, chosen, "the one it uses")


def _points(share: float) -> str:
    return f"{100.0 * share:.3g}"
