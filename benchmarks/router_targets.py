"""What routing saves on recorded outcomes, beside references, fixed caps, ceilings and targets.

Five folds by group, the same for everybody; pairs of models keep their own split. `saved` is the
share of the reference arm's tokens saved at no more than a point of accuracy lost, as read off;
`certified` is what of it holds with a one-sided confidence of 95%.

    python -m benchmarks.router_targets [SET ...] [--json] [--fresh]

Results lie in `build/router_targets` until the code or the data that they come from change, so
that a run that was stopped goes on where it was.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from router import Arm, Evaluation, OutcomeMatrix, Router, evaluate
from router._objective import Objective  # noqa: PLC2701
from router.evaluation._assessment import Assessment  # noqa: PLC2701
from router.evaluation._baselines import BASELINES  # noqa: PLC2701
from router.evaluation._crossfit import HINT_LAYERS, Foresight, Predicted  # noqa: PLC2701
from router.model._fit import group_folds  # noqa: PLC2701

from . import _target_references, cascade
from ._report import Report, machine
from ._target_references import REFERENCES, Expected, cross_fitted, fit_predict
from ._target_sets import DATA, PAIRS, SETS, TargetSet, load_matrix
from .peers._data import load_set
from .peers._metrics import measure
from .peers._protocol import Question

CACHE = Path(__file__).resolve().parents[1] / "build" / "router_targets"
POCKET = "pocket"
NAMES = (*SETS, *PAIRS, POCKET)
N_FOLDS = 5
SEED = 0
Floats = NDArray[np.float64]
Result = dict[str, Any]


def run(report: Report) -> None:
    """Add every figure of every set to the report."""
    for name in NAMES:
        try:
            _add(report, result_of(name))
        except OSError as error:
            report.skip(name, str(error))


def result_of(name: str, *, is_fresh: bool = False, data: Path = DATA) -> Result:
    """Return the figures of a set, from the last run if nothing has changed since.

    Args:
        name: Of `NAMES`.
        is_fresh: Whether everything is measured again.
        data: Where the recorded outcomes lie.

    Raises:
        OSError: The data are not there.
    """
    if name == POCKET:
        return _cached(name, _router_code(), _pocket, is_fresh=is_fresh)
    if name in PAIRS:
        path = data / "weak_strong_pairs" / f"data_{name[-1]}.json"
        key = _digest([path, Path(_target_references.__file__)]) + _router_code()
        return _cached(name, key, lambda: _pair(name, data), is_fresh=is_fresh)
    path = data / SETS[name].folder / "long.parquet"
    matrix: list[OutcomeMatrix] = []

    def load() -> OutcomeMatrix:
        if not matrix:
            matrix.append(load_matrix(SETS[name], data))
        return matrix[0]

    of_data = _digest([path, Path(__file__).with_name("_target_sets.py")])
    routed = _cached(
        name, of_data + _router_code(), lambda: _routed(SETS[name], load()), is_fresh=is_fresh
    )
    of_references = of_data + _digest([Path(_target_references.__file__)])
    for reference in REFERENCES:
        routed[reference] = _cached(
            f"{name}-{reference}",
            of_references,
            lambda reference=reference: _referred(SETS[name], reference, load()),
            is_fresh=is_fresh,
        )
    return routed


def _routed(one: TargetSet, matrix: OutcomeMatrix) -> Result:
    started = time.perf_counter()
    found = evaluate(matrix, reference=one.reference, n_folds=N_FOLDS, seed=SEED)
    ceiling = found.noise_ceiling
    return {
        "title": one.title,
        "note": one.note,
        "n": found.n,
        "n_groups": found.n_groups,
        "reference": found.reference,
        "targets": one.targets,
        "router": _figures(found),
        "fixed_cap": {
            "saved": found.headline_fixed_cap_point.tokens_saved,
            "certified": found.headline_fixed_cap.tokens_saved,
        },
        "arms": [
            {"name": row.name, "accuracy": row.accuracy, "tokens": row.mean_tokens}
            for row in found.rows[: found.n_arms]
        ],
        "ceiling": asdict(ceiling),
        "hints": [asdict(layer) for layer in found.hints],
        "own_objective": asdict(found.headline_own_objective),
        "seconds": time.perf_counter() - started,
    }


def _referred(one: TargetSet, name: str, matrix: OutcomeMatrix) -> Result:
    started = time.perf_counter()
    found = judged(matrix, one.reference, lambda folds, arm: cross_fitted(name, matrix, folds, arm))
    return {**_figures(found), "seconds": time.perf_counter() - started}


def judged(
    matrix: OutcomeMatrix,
    reference: str | None,
    expect: Callable[[list[NDArray[np.int64]], int], Expected],
) -> Evaluation:
    """Judge anybody's expectations as `evaluate` judges the router's, on the same folds.

    Args:
        matrix: Outcomes without gaps.
        reference: Policy of the reference arm; the most accurate arm if `None`.
        expect: Returns out-of-fold expectations for folds and a reference arm's column.
    """
    folds = group_folds(matrix.groups, N_FOLDS, np.random.default_rng(SEED))
    policies = [arm.policy for arm in matrix.arms]
    best = int(np.lexsort((matrix.tokens.mean(axis=0), -matrix.correct.mean(axis=0)))[0])
    column = best if reference is None else policies.index(reference)
    p, tokens = expect(folds, column)
    expected = Foresight(np.clip(p, 0.0, 1.0), tokens, tokens)
    always = np.full(matrix.n_questions, column, dtype=np.int64)
    predicted = Predicted(
        layers=dict.fromkeys(HINT_LAYERS, expected),
        own_choice=always,
        baselines={baseline.name: always for baseline in BASELINES},
        objectives=(Objective.trade(0.0),),
        unit="tokens",
        n_folds=len(folds),
    )
    return Assessment(
        matrix,
        predicted,
        reference=column,
        margin=0.01,
        confidence=0.95,
        n_resamples=1000,
        seed=SEED,
        n_seen=None,
    ).result()


def _figures(found: Evaluation) -> Result:
    return {
        "saved": found.headline_point.tokens_saved,
        "certified": found.headline.tokens_saved,
        "headroom": found.metrics.headroom,
        "headroom_ends": found.metrics.intervals["headroom"],
        "headroom_hull": found.metrics.headroom_hull,
        "apgr": found.metrics.apgr,
        "ece": found.metrics.ece,
    }


def _pair(name: str, data: Path) -> Result:
    """Return APGR of text and of the task's name on a pair of models with its own split."""
    pair = load_set(name, data)
    split = pair.splits[0]
    train, test = (_matrix(part, split.arms) for part in (split.train, split.test))
    router = Router.fit(train, seed=SEED)

    def apgr(p: Floats) -> list[float]:
        by_calls = p[:, 1] - p[:, 0]
        return list(measure(pair.labels, by_calls, None, None).interval("apgr"))

    hinted = np.empty((test.n_questions, 2))
    for task in sorted(set(test.tasks)):
        rows = np.flatnonzero(np.array(test.tasks) == task)
        known = task if task in train.tasks else None
        asked = [test.prompts[row] for row in rows.tolist()]
        hinted[rows] = router.predict(asked, known).p_correct
    columns = [[arm.model for arm in train.arms].index(model) for model, _ in split.arms]
    result: Result = {
        "title": pair.title,
        "n": len(split.test),
        "n_train": len(split.train),
        "targets": {} if PAIRS[name] is None else {"apgr": PAIRS[name]},
        "router": {"apgr": apgr(router.predict(test.prompts).p_correct[:, columns])},
        "hint": {"apgr": apgr(hinted[:, columns])},
    }
    for reference in REFERENCES:
        p, _ = fit_predict(reference, train, test, columns[1])
        result[reference] = {"apgr": apgr(p[:, columns])}
    return result


def _matrix(rows: Iterable[Question], arms: Iterable[tuple[str, str]]) -> OutcomeMatrix:
    """Return the questions of a pair; tokens were not recorded, and nothing here depends on them."""
    rows = list(rows)
    values = np.array([[row.weak, row.strong] for row in rows], dtype=np.float64)
    parsed = [Arm.parse(model, policy) for model, policy in arms]
    columns = sorted((0, 1), key=lambda column: parsed[column].order)
    unknown = np.full(values.shape, np.nan)
    tasks = tuple(row.task for row in rows)
    return OutcomeMatrix(
        arms=tuple(parsed[column] for column in columns),
        question_ids=tuple(map(str, range(len(rows)))),
        groups=tuple(row.group for row in rows),
        tasks=tasks,
        task_types=tasks,
        prompts=tuple(row.q for row in rows),
        correct=values[:, columns],
        prompt_tokens=np.full(values.shape, 100.0),
        tokens=np.tile([1.0, 10.0], (len(rows), 1))[:, columns],
        flops=unknown,
        seconds=unknown.copy(),
        n_samples=np.ones(values.shape, dtype=np.int64),
        n_errors=0,
    )


def _pocket() -> Result:
    """Return the headroom on pocket, where the answers' own evidence was recorded."""
    report = Report()
    report.begin(POCKET)
    cascade.run(report)
    rows = [
        {"case": row.case, "headroom": row.value, "target": row.target, "is_met": row.is_met}
        for row in report.rows
    ]
    return {"title": "pocket-m, direct or reasoning, with evidence", "rows": rows}


def _cached(name: str, key: str, make: Callable[[], Result], *, is_fresh: bool) -> Result:
    path = CACHE / f"{name}.json"
    if path.exists() and not is_fresh:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept.get("key") == key:
            found: Result = kept["result"]
            return found
    print(f"measuring {name} ...", file=sys.stderr, flush=True)
    result = make()
    CACHE.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"key": key, "result": result}, indent=1)
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    # As it will be read the next time.
    written: dict[str, Result] = json.loads(text)
    return written["result"]


def _router_code() -> str:
    folder = Path(sys.modules["router"].__file__ or "").parent
    return _digest(sorted(folder.rglob("*.py")))


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _add(report: Report, result: Result) -> None:
    title = result["title"]
    if "rows" in result:
        for row in result["rows"]:
            report.add(
                f"{title}: {row['case']}",
                row["headroom"],
                "share",
                at_least=float(row["target"].split()[-1]) if row["target"] else None,
            )
        return
    for name in ("saved", "certified", "headroom", "apgr"):
        value = _number(result["router"].get(name))
        if value is None:
            continue
        others = [
            (label, _number(result[label].get(name)))
            for label in ("simple", "strong", "fixed_cap", "hint")
            if label in result
        ]
        told = [f"{label} {number:.3f}" for label, number in others if number is not None]
        if name == "headroom" and result["ceiling"]["headroom"] is not None:
            told.append(f"ceiling {result['ceiling']['headroom']:.3f}")
        strong = _number(result["strong"].get(name))
        report.add(
            f"{title}: {name}",
            value,
            "share",
            baseline=None if strong is None else ("strong", strong),
            at_least=result["targets"].get(name),
            note=", ".join([*told, *([result["note"]] if result.get("note") else [])]),
        )


def _number(value: Any) -> float | None:
    """Return a figure without its interval."""
    if isinstance(value, list):
        return cast("list[float]", value)[0]
    return None if value is None else float(value)


def main() -> int:
    """Print the sets that were asked for as they come; exit status 1 if one could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.router_targets", description=__doc__
    )
    parser.add_argument("names", nargs="*", metavar="SET", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--fresh", action="store_true", help="measure again what is known")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the recorded outcomes")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(NAMES)):
        parser.error(f"no set {', '.join(unknown)}; there are {', '.join(NAMES)}")
    report = Report()
    results: dict[str, Result] = {}
    for name in arguments.names or NAMES:
        report.begin(name)
        try:
            results[name] = result_of(name, is_fresh=arguments.fresh, data=arguments.data)
        except OSError as error:
            report.fail(name, str(error))
            continue
        _add(report, results[name])
    if arguments.json:
        document = {"schema_version": 1, "machine": machine(), "sets": results}
        print(json.dumps(document, indent=2))
    else:
        print(report.to_text())
    return 1 if report.has_failures else 0


if __name__ == "__main__":
    sys.exit(main())
