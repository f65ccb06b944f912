"""What each thing that a caller may say about a question is worth."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._crossfit import HINT_LAYERS, Foresight
from ._curves import headroom_share
from ._metrics import Pair
from ._resampling import GroupBootstrap, group_sums

__all__ = ["HintLayer", "hint_layers"]

_MIN_P = 1e-6
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HintLayer:
    """Predictions that know more than those of the layer before.

    Attributes:
        name: `global rate` (nothing of the question), `text`, `task type given` or `task given`.
        log_loss: Mean negative log likelihood of an outcome, in nats.
        log_loss_gain: How much lower it is than in the layer before; `None` for the first.
        gain_low: Lower end of the gain's 95% bootstrap interval over groups.
        gain_high: Upper end.
        headroom: Two-arm headroom, as in the metrics; 0 for the global rate, which cannot tell
            questions apart.
        tokens_saved: Most tokens saved at no more than the margin lost, as read off; `None`
            where it was not computed.
        n: Outcomes.
    """

    name: str
    log_loss: float
    log_loss_gain: float | None
    gain_low: float | None
    gain_high: float | None
    headroom: float | None
    tokens_saved: float | None
    n: int


def hint_layers(
    layers: Mapping[str, Foresight],
    correct: Floats,
    pairs: Mapping[str, Pair],
    saved: Mapping[str, float],
    bootstrap: GroupBootstrap,
) -> tuple[HintLayer, ...]:
    """Compare the layers on all outcomes.

    Args:
        layers: Expectations by layer.
        correct: Share correct, NaN for gaps, shape `(n_questions, n_arms)`.
        pairs: Cheapest and reference arm as each layer expects them.
        saved: Tokens saved by layer, as read off.
        bootstrap: Groups of all questions.
    """
    known = ~np.isnan(correct)
    made: list[HintLayer] = []
    before: Floats | None = None
    for name in HINT_LAYERS:
        p = np.clip(layers[name].p, _MIN_P, 1.0 - _MIN_P)
        losses = np.where(known, correct * np.log(p) + (1.0 - correct) * np.log1p(-p), 0.0)
        loss = -losses.sum(axis=1)  # (n_questions,), over the arms that were measured
        gain = gain_low = gain_high = None
        if before is not None:
            counts = known.sum(axis=1).astype(np.float64)
            gain = float((before - loss).sum() / counts.sum())
            gain_low, gain_high = _ends(before - loss, counts, bootstrap)
        made.append(
            HintLayer(
                name=name,
                log_loss=float(loss.sum() / known.sum()),
                log_loss_gain=gain,
                gain_low=gain_low,
                gain_high=gain_high,
                headroom=_headroom(pairs[name], is_blind=name == HINT_LAYERS[0]),
                tokens_saved=saved.get(name),
                n=int(known.sum()),
            )
        )
        before = loss
    return tuple(made)


def _headroom(pair: Pair, *, is_blind: bool) -> float | None:
    if pair.names[0] == pair.names[1]:
        return None
    share = headroom_share(pair.gain / pair.extra, pair.correct, pair.tokens)
    if np.isnan(share):
        return None
    return 0.0 if is_blind else share


def _ends(gains: Floats, counts: Floats, bootstrap: GroupBootstrap) -> tuple[float, float]:
    sums = group_sums(np.stack([gains, counts], axis=1), bootstrap.index, bootstrap.n_groups)
    drawn = np.concatenate([weights @ sums for weights in bootstrap.batches()])
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975]).tolist()
    return low, high
