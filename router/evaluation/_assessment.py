"""From predictions and outcomes to an evaluation; nothing here fits anything."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibration.statistics import mcnemar_exact, paired_difference_interval

from .._outcomes import OutcomeMatrix
from ._baselines import BASELINES, best_mixture, cheapest_arm, oracle_choice
from ._cascade_sweep import sweep_cascades
from ._crossfit import Foresight, Predicted
from ._curves import upper_hull
from ._evaluation_result import Comparison, Evaluation
from ._headline import Headline, Walk, certified, point_estimate, unselected
from ._hints import HintLayer, hint_layers
from ._metrics import Curves, Pair, measure
from ._noise import corrected_oracle, noise_ceiling
from ._realised import EvaluationRow, Realised, comparable_cells, realise, realise_weights, row_of
from ._reliability import pooled_residuals, reliability_tables
from ._resampling import GroupBootstrap
from ._tradeoffs import Sweep, critical_tradeoffs, curve_rows, sweep

__all__ = ["Assessment"]

_N_ORACLE_POINTS = 40
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Assessment:
    """One evaluation in the making: all arrays over the same questions, cut in one place."""

    def __init__(
        self,
        matrix: OutcomeMatrix,
        predicted: Predicted,
        *,
        reference: int,
        margin: float,
        confidence: float,
        n_resamples: int,
        seed: int,
        n_seen: int | None,
        left_out: tuple[str, ...] = (),
    ) -> None:
        """Cut the questions on which every arm was measured; arguments as in `evaluate`."""
        self._matrix = matrix
        self._predicted = predicted
        self._reference = reference
        self._margin = margin
        self._confidence = confidence
        self._seed = seed
        self._n_seen = n_seen
        self._left_out = left_out
        self._names = [arm.name for arm in matrix.arms]
        self._judged = comparable_cells(matrix)
        self._rows: Ints = np.flatnonzero(np.logical_and.reduce(self._judged, axis=1))
        self._test = matrix.rows(self._rows)
        self._cheapest = cheapest_arm(self._test)
        self._groups = GroupBootstrap(matrix.groups, n_resamples=n_resamples, seed=seed)
        self._test_groups = GroupBootstrap(self._test.groups, n_resamples=n_resamples, seed=seed)
        always = np.full(self._test.n_questions, reference)
        self._always_reference = realise(self._test, always)

    def result(self) -> Evaluation:
        """Return the evaluation."""
        test, predicted = self._test, self._predicted
        swept = sweep(test, self._cut(predicted.text), predicted.unit)
        walk, caps = self._router_walk(swept), self._cap_walk()
        own = realise(test, predicted.own_choice[self._rows])
        headline = certified(walk)
        looked = sweep_cascades(
            test, self._rows, self._cut(predicted.text), predicted, plain=(own, swept, walk)
        )
        cap_point = point_estimate(caps)
        pair = self._pair(predicted.text)
        tables = reliability_tables(
            self._names, predicted.text.p, self._matrix.correct, self._groups
        )
        n_samples = self._matrix.n_samples[self._pair_rows()][:, self._pair_columns()]
        rows = self._all_rows(swept, own, headline)
        headline_cascade = None
        if looked is not None:
            headline_cascade = certified(looked.walk)
            rows += [
                row_of(name, way, self._always_reference, test.groups)
                for name, way in (
                    ("router (cascade)", looked.own),
                    ("router (cascade, certified)", self._of_walk(looked.walk, headline_cascade)),
                )
            ]
        return Evaluation(
            headline=headline,
            headline_point=point_estimate(walk),
            headline_fixed_cap=certified(caps),
            headline_fixed_cap_point=cap_point,
            headline_own_objective=unselected(self._single_walk(own)),
            headline_cascade=headline_cascade,
            rows=tuple(rows),
            metrics=measure(
                self._curves(swept),
                pair,
                pooled_residuals(predicted.text.p, self._matrix.correct, self._groups),
                self._groups,
                tables[0].ece_of_noise,
            ),
            reliability=tables,
            noise_ceiling=noise_ceiling(
                pair, n_samples, self._cut_pair(predicted.text), seed=self._seed
            ),
            hints=self._hints(cap_point),
            curve=curve_rows(swept, self._test_groups),
            hull=tuple(upper_hull(test.tokens.mean(axis=0), test.correct.mean(axis=0))),
            comparison=self._compare(own),
            reference=self._names[self._reference],
            objectives=predicted.objectives,
            n_arms=len(self._names),
            n=test.n_questions,
            n_incomplete=self._matrix.n_questions - test.n_questions,
            n_errors=self._matrix.n_errors,
            n_groups=self._test_groups.n_groups,
            n_folds=predicted.n_folds,
            n_seen=self._n_seen,
            left_out=self._left_out,
            is_oracle_inflated=bool((test.n_samples == 1).any()),
        )

    def _cut(self, expected: Foresight) -> Foresight:
        return Foresight(*(values[self._rows] for values in expected))

    def _router_walk(self, swept: Sweep) -> Walk:
        return Walk(
            names=tuple(f"router at {value:.3g}" for value in swept.tradeoffs.tolist()),
            tradeoffs=tuple(swept.tradeoffs.tolist()),
            correct=swept.correct,
            tokens=swept.tokens,
            expected_cost=swept.expected_cost,
            reference=self._always_reference,
            reference_name=self._names[self._reference],
            bootstrap=self._test_groups,
            margin=self._margin,
            confidence=self._confidence,
        )

    def _cap_walk(self) -> Walk:
        """Return the fixed arms that are expected to be cheaper than the reference."""
        expected = self._cut(self._predicted.text).tokens.mean(axis=0)
        by_cost: list[int] = np.argsort(-expected, kind="stable").tolist()
        order = [arm for arm in by_cost if expected[arm] < expected[self._reference]]
        return Walk(
            names=tuple(self._names[arm] for arm in order),
            tradeoffs=(None,) * len(order),
            correct=self._test.correct[:, order],
            tokens=self._test.tokens[:, order],
            expected_cost=expected[order],
            reference=self._always_reference,
            reference_name=self._names[self._reference],
            bootstrap=self._test_groups,
            margin=self._margin,
            confidence=self._confidence,
        )

    def _single_walk(self, own: Realised) -> Walk:
        return replace(
            self._cap_walk(),
            names=("router, own objective",),
            tradeoffs=(None,),
            correct=own.correct[:, np.newaxis],
            tokens=own.tokens[:, np.newaxis],
            expected_cost=np.ones(1),
        )

    def _all_rows(self, swept: Sweep, own: Realised, headline: Headline) -> list[EvaluationRow]:
        test, matrix = self._test, self._matrix
        rows: list[EvaluationRow] = []
        for arm, name in enumerate(self._names):
            # Two arms are compared wherever both were measured.
            both = matrix.rows(self._judged[:, arm] & self._judged[:, self._reference])
            ours, theirs = (
                realise(both, np.full(both.n_questions, column))
                for column in (arm, self._reference)
            )
            rows.append(row_of(name, ours, theirs, both.groups))
        mixture = best_mixture(test.correct, test.tokens, float(own.tokens.mean()))
        ways = {"random mixing": realise_weights(test, mixture)}
        for baseline in BASELINES:
            choice = self._predicted.baselines[baseline.name][self._rows]
            ways[baseline.name] = realise(test, choice)
        ways["router"] = own
        ways["router (most accurate)"] = self._at(swept, 0.0)
        ways["router (certified)"] = self._at(swept, headline.tradeoff)
        ways["oracle"] = realise(test, oracle_choice(test.correct, test.tokens))
        corrected = corrected_oracle(test, seed=self._seed)
        if corrected is not None:
            ways["oracle (noise-corrected)"] = corrected
        rows += [
            row_of(name, way, self._always_reference, test.groups) for name, way in ways.items()
        ]
        return rows

    def _at(self, swept: Sweep, tradeoff: float | None) -> Realised:
        """Return what the router did at a trade-off of the sweep, or the reference for none."""
        if tradeoff is None:
            return self._always_reference
        point = int(np.abs(swept.tradeoffs - tradeoff).argmin())
        return realise(self._test, swept.choice[:, point])

    def _of_walk(self, walk: Walk, headline: Headline) -> Realised:
        """Return what a headline's choice among a walk did; the reference if it chose none."""
        if headline.tradeoff is None:
            return self._always_reference
        at = walk.tradeoffs.index(headline.tradeoff)
        unknown = np.full(len(walk.tokens), np.nan)
        return Realised(walk.correct[:, at], walk.tokens[:, at], unknown)

    def _curves(self, swept: Sweep) -> Curves:
        """Return fixed arms, router and oracle; groups are numbered as in all questions."""
        test = self._test
        everyone = np.arange(test.n_questions)[:, np.newaxis]
        ends = critical_tradeoffs(test.correct, test.tokens, _N_ORACLE_POINTS)
        scores = (test.correct - value * test.tokens for value in [0.0, *ends.tolist()])
        picks = np.stack([np.lexsort((test.tokens, -score))[:, 0] for score in scores], axis=1)
        return Curves.of(
            self._groups.index[self._rows],
            self._groups.n_groups,
            arms=(test.correct, test.tokens),
            router=(swept.correct, swept.tokens),
            oracle=(test.correct[everyone, picks], test.tokens[everyone, picks]),
        )

    def _pair_columns(self) -> list[int]:
        return [self._cheapest, self._reference]

    def _pair_rows(self) -> Ints:
        first, second = self._pair_columns()
        return np.flatnonzero(self._judged[:, first] & self._judged[:, second])

    def _cut_pair(self, expected: Foresight) -> Foresight:
        rows, columns = self._pair_rows(), self._pair_columns()
        return Foresight(*(values[rows][:, columns] for values in expected))

    def _pair(self, expected: Foresight) -> Pair:
        rows, columns = self._pair_rows(), self._pair_columns()
        two = self._cut_pair(expected)
        return Pair(
            names=(self._names[self._cheapest], self._names[self._reference]),
            gain=two.p[:, 1] - two.p[:, 0],
            extra=np.maximum(two.tokens[:, 1] - two.tokens[:, 0], 1.0),
            correct=self._matrix.correct[rows][:, columns],
            tokens=self._matrix.tokens[rows][:, columns],
            index=self._groups.index[rows],
        )

    def _hints(self, cap_point: Headline) -> tuple[HintLayer, ...]:
        predicted = self._predicted
        saved = {"global rate": cap_point.tokens_saved}
        for name, layer in predicted.layers.items():
            if name in saved:
                continue
            walk = self._router_walk(sweep(self._test, self._cut(layer), predicted.unit))
            found = point_estimate(walk)
            saved[name] = found.tokens_saved
        pairs = {name: self._pair(layer) for name, layer in predicted.layers.items()}
        return hint_layers(predicted.layers, self._matrix.correct, pairs, saved, self._groups)

    def _compare(self, own: Realised) -> Comparison:
        theirs = self._always_reference
        interval = paired_difference_interval(
            own.correct.tolist(),
            theirs.correct.tolist(),
            clusters=self._test.groups,
            n_resamples=2000,
        )
        gained = lost = p_value = None
        both = np.stack([own.correct, theirs.correct])
        if ((both == 0.0) | (both == 1.0)).all():
            gained = int((own.correct > theirs.correct).sum())
            lost = int((own.correct < theirs.correct).sum())
            p_value = mcnemar_exact(gained, lost)
        spent = float(theirs.tokens.sum())
        return Comparison(
            reference=self._names[self._reference],
            difference=interval.estimate,
            ci_low=interval.low,
            ci_high=interval.high,
            tokens_saved=1.0 - float(own.tokens.sum()) / spent if spent > 0 else 0.0,
            n_gained=gained,
            n_lost=lost,
            p_value=p_value,
        )
