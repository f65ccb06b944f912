"""An evaluation written by hand, for views of it; its numbers are made up and agree roughly."""

from dataclasses import replace

from router import (
    Comparison,
    Evaluation,
    EvaluationRow,
    Headline,
    HintLayer,
    Metrics,
    NoiseCeiling,
    Objective,
    Reliability,
)
from router.evaluation._evaluation_result import CurveRow
from router.evaluation._reliability import ReliabilityBin

__all__ = ["made_evaluation", "made_row"]

_HEADLINE = Headline(
    tokens_saved=0.62,
    tokens_saved_low=0.58,
    tokens_saved_high=0.66,
    accuracy_difference=0.004,
    ci_low=-0.008,
    margin=0.01,
    confidence=0.95,
    reference="m:reasoning@max",
    choice="router at 2e-05",
    tradeoff=2e-5,
    is_certified=True,
    n=800,
    n_groups=800,
)
_METRICS = Metrics(
    aiq=0.812,
    aiq_fixed=0.774,
    apgr=0.71,
    apgr_calls=0.66,
    cpt50=0.12,
    cpt80=0.31,
    cpt50_calls=None,
    cpt80_calls=None,
    headroom=0.44,
    headroom_hull=None,
    tokens_to_best=0.38,
    ece=0.021,
    ece_of_noise=0.018,
    headroom_arms=("m:direct", "m:reasoning@max"),
    intervals={"aiq": (0.79, 0.83), "aiq_fixed": (0.75, 0.79), "headroom": (0.3, 0.56)},
    notes={"headroom_hull": "the oracle gains nothing over the hull"},
    n=800,
    n_pair=812,
)


def made_row(name: str, tokens: float, accuracy: float) -> EvaluationRow:
    """Return a row of 800 questions."""
    ends = (max(accuracy - 0.03, 0.0), min(accuracy + 0.03, 1.0))
    return EvaluationRow(
        name=name,
        accuracy=accuracy,
        ci_low=ends[0],
        ci_high=ends[1],
        mean_tokens=tokens,
        mean_flops=2e9 * tokens,
        n=800,
        accuracy_difference=accuracy - 0.85,
        difference_low=accuracy - 0.88,
        difference_high=accuracy - 0.82,
        tokens_saved=1 - tokens / 1_400,
    )


def made_evaluation(*arms: EvaluationRow) -> Evaluation:
    """Return an evaluation of some fixed arms, of three by default."""
    fixed = arms or (
        made_row("m:direct", 6.0, 0.55),
        made_row("m:reasoning@256", 210.0, 0.78),
        made_row("m:reasoning@max", 1_400.0, 0.85),
    )
    chosen = (
        made_row("router", 400.0, 0.855),
        made_row("router (certified)", 530.0, 0.854),
        made_row("oracle", 180.0, 0.93),
    )
    tokens = [6.0 * (1_400 / 6) ** (step / 12) for step in range(13)]
    curve = [
        CurveRow(10 ** -(step / 3), 0.55 + 0.31 * (step / 12) ** 0.6, 0.5, 0.9, each)
        for step, each in enumerate(tokens)
    ]
    bins = (ReliabilityBin(0.7, 0.72, 0.68, 0.76, 2_400),)
    layer = HintLayer("global rate", 0.58, None, None, None, 0.0, None, 2_400)
    hint = HintLayer("text", 0.42, 0.16, 0.14, 0.18, 0.44, 0.6, 2_400)
    cap = replace(
        _HEADLINE,
        tokens_saved=0.0,
        tokens_saved_low=0.0,
        tokens_saved_high=0.0,
        choice="m:reasoning@max",
        is_certified=False,
    )
    return Evaluation(
        headline=_HEADLINE,
        headline_point=replace(
            _HEADLINE, tokens_saved=0.65, tokens_saved_low=0.61, is_certified=False
        ),
        headline_fixed_cap=cap,
        headline_fixed_cap_point=cap,
        headline_own_objective=_HEADLINE,
        headline_cascade=None,
        rows=(*fixed, *chosen),
        metrics=_METRICS,
        reliability=(Reliability("all arms", 0.021, 0.018, 0.03, 2_400, bins),),
        noise_ceiling=NoiseCeiling(None, None, None, None, "none", "one sample each", 800, 800),
        hints=(layer, hint),
        curve=tuple(curve),
        hull=((6.0, 0.55), (210.0, 0.78), (1_400.0, 0.85)),
        comparison=Comparison("m:reasoning@max", 0.005, -0.01, 0.02, 0.7, 20, 16, 0.6),
        reference="m:reasoning@max",
        objectives=(Objective.trade(2e-5),),
        n_arms=len(fixed),
        n=800,
        n_incomplete=12,
        n_errors=3,
        n_groups=800,
        n_folds=5,
        n_seen=None,
        left_out=(),
        is_oracle_inflated=True,
    )
