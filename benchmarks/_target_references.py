"""What anybody could build in an afternoon with scikit-learn, on the same folds as the router.

`simple`: gradient boosting on eleven hand-made features, averaged with a ridge regression on
TF-IDF of words. `strong`: the mean of a ridge on TF-IDF of words and characters, of gradient
boosting, and of extra trees, the latter two on 64 latent dimensions, the hand-made features, a
task posterior and the task's name, which the router is not told.

Both regress the gain of each arm over the reference arm. Nothing of a question's group is seen.
"""

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router import OutcomeMatrix

__all__ = ["REFERENCES", "Expected", "cross_fitted", "fit_predict"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Expected = tuple[Floats, Floats]
"""Probabilities and tokens, both of shape `(n_questions, n_arms)`."""

_ALPHAS = (1.0, 4.0, 16.0, 64.0, 256.0)
_N_TOPICS = 64
_SEED = 0


def cross_fitted(
    name: str, matrix: OutcomeMatrix, folds: Sequence[Ints], reference: int
) -> Expected:
    """Return what a reference expects of each question, fitted on the other folds.

    Args:
        name: Of `REFERENCES`.
        matrix: Outcomes without gaps.
        folds: The folds.
        reference: Column of the arm that gains are measured from.
    """
    p, tokens = np.empty_like(matrix.correct), np.empty_like(matrix.tokens)
    for fold in folds:
        rest = np.setdiff1d(np.arange(matrix.n_questions), fold)
        p[fold], tokens[fold] = fit_predict(name, matrix.rows(rest), matrix.rows(fold), reference)
    return p, tokens


def fit_predict(name: str, train: OutcomeMatrix, test: OutcomeMatrix, reference: int) -> Expected:
    """Return what a reference expects of the test questions.

    Args:
        name: Of `REFERENCES`.
        train: Outcomes without gaps.
        test: Questions; their outcomes are not looked at.
        reference: Column of the arm that gains are measured from.
    """
    others = [arm for arm in range(len(train.arms)) if arm != reference]
    gains = train.correct[:, others] - train.correct[:, [reference]]
    words = _tfidf(train.prompts, test.prompts, "word")
    gained = REFERENCES[name](train, test, words, gains)
    p = np.full((test.n_questions, len(train.arms)), train.correct[:, reference].mean())
    p[:, others] += gained
    tokens = np.expm1(_ridge(*words, np.log1p(train.tokens)))
    tokens *= train.tokens.mean(axis=0) / np.maximum(tokens.mean(axis=0), 1e-9)
    return p, np.maximum(tokens, 1.0)


def _simple(
    train: OutcomeMatrix, test: OutcomeMatrix, words: tuple[Any, Any], gains: Floats
) -> Floats:
    by_hand = (_hand(train.prompts), _hand(test.prompts))
    return (_boosted(*by_hand, gains) + _ridge(*words, gains)) / 2.0


def _strong(
    train: OutcomeMatrix, test: OutcomeMatrix, words: tuple[Any, Any], gains: Floats
) -> Floats:
    sparse: Any = import_module("scipy.sparse")
    decomposition: Any = import_module("sklearn.decomposition")
    characters = _tfidf(train.prompts, test.prompts, "char_wb")
    both = [sparse.hstack(pair, format="csr") for pair in zip(words, characters, strict=True)]
    n_topics = min(_N_TOPICS, words[0].shape[0] - 1, words[0].shape[1] - 1)
    svd = decomposition.TruncatedSVD(n_topics, random_state=_SEED)
    topics = (svd.fit_transform(words[0]), svd.transform(words[1]))
    known = sorted(set(train.tasks))
    dense = [
        np.hstack([latent, _hand(part.prompts), posterior, _one_hot(part, known)])
        for latent, part, posterior in zip(
            topics, (train, test), _posteriors(topics, train), strict=True
        )
    ]
    of_words: Floats = _ridge(both[0], both[1], gains)
    of_boosting = _boosted(dense[0], dense[1], gains)
    return (of_words + of_boosting + _extra_trees(dense[0], dense[1], gains)) / 3.0


REFERENCES: dict[str, Callable[[OutcomeMatrix, OutcomeMatrix, tuple[Any, Any], Floats], Floats]] = {
    "simple": _simple,
    "strong": _strong,
}
"""Each returns the expected gains of the test questions, shape `(n_test, n_arms - 1)`."""

_HAND = tuple(
    re.compile(pattern)
    for pattern in (
        r"\d",
        r"\d+",
        r"[-+*/=<>^%]",
        r"\\[a-zA-Z]+|\$",
        r"\n",
        r"\?",
        r"[A-Z]",
        r"(?m)^\s*\(?[A-H][).:]",
        r"[.!]",
    )
)


def _hand(prompts: Sequence[str]) -> Floats:
    """Return eleven features: characters, words, and counts of nine patterns, as logarithms."""
    rows = [
        [len(text), len(text.split()), *(len(one.findall(text)) for one in _HAND)]
        for text in prompts
    ]
    return np.log1p(np.array(rows, dtype=np.float64))


def _tfidf(train: Sequence[str], test: Sequence[str], analyzer: str) -> tuple[Any, Any]:
    text: Any = import_module("sklearn.feature_extraction.text")
    vectorizer = text.TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=(1, 2) if analyzer == "word" else (3, 5),
        min_df=2,
        max_features=50_000,
        sublinear_tf=True,
        dtype=np.float64,
    )
    return vectorizer.fit_transform(train), vectorizer.transform(test)


def _ridge(train: Any, test: Any, targets: Floats) -> Floats:
    """Return ridge predictions; the penalty is chosen on a fifth of the training questions."""
    linear: Any = import_module("sklearn.linear_model")
    held = np.arange(len(targets)) % 5 == 0

    def fit(alpha: float, x: Any, y: Floats) -> Any:
        return linear.Ridge(alpha, solver="sparse_cg", tol=1e-3).fit(x, y)

    def error(alpha: float) -> float:
        guess = np.asarray(fit(alpha, train[~held], targets[~held]).predict(train[held]))
        return float(((guess.reshape(-1, targets.shape[1]) - targets[held]) ** 2).sum())

    best = min(_ALPHAS, key=error)
    return np.asarray(fit(best, train, targets).predict(test)).reshape(-1, targets.shape[1])


def _boosted(train: Floats, test: Floats, targets: Floats) -> Floats:
    lightgbm: Any = import_module("lightgbm")
    columns: list[Floats] = []
    for target in targets.T:
        model = lightgbm.LGBMRegressor(
            n_estimators=150,
            learning_rate=0.03,
            num_leaves=15,
            min_child_samples=30,
            colsample_bytree=0.5,
            subsample=0.8,
            subsample_freq=1,
            random_state=_SEED,
            n_jobs=1,
            verbose=-1,
        )
        columns.append(np.asarray(model.fit(train, target).predict(test)))
    return np.stack(columns, axis=1)


def _extra_trees(train: Floats, test: Floats, targets: Floats) -> Floats:
    ensemble: Any = import_module("sklearn.ensemble")
    model = ensemble.ExtraTreesRegressor(
        200, min_samples_leaf=5, max_features=0.3, random_state=_SEED, n_jobs=1
    )
    fitted = model.fit(train, targets[:, 0] if targets.shape[1] == 1 else targets)
    return np.asarray(fitted.predict(test)).reshape(-1, targets.shape[1])


def _posteriors(topics: tuple[Floats, Floats], train: OutcomeMatrix) -> tuple[Floats, Floats]:
    """Return probabilities of the tasks: of training questions out of fold, and of test ones."""
    if len(set(train.tasks)) < 2:
        return np.zeros((len(topics[0]), 0)), np.zeros((len(topics[1]), 0))
    linear: Any = import_module("sklearn.linear_model")
    selection: Any = import_module("sklearn.model_selection")
    model = linear.LogisticRegression(C=10.0, max_iter=200)
    labels = np.array(train.tasks)
    inner = selection.KFold(3, shuffle=True, random_state=_SEED)
    # Folds may miss a task; those that every fit knows are enough.
    own = np.zeros((len(labels), len(set(train.tasks))))
    names = sorted(set(train.tasks))
    for rest, fold in inner.split(own):
        fitted = model.fit(topics[0][rest], labels[rest])
        columns = [names.index(name) for name in fitted.classes_]
        own[np.ix_(fold, columns)] = fitted.predict_proba(topics[0][fold])
    return own, np.asarray(model.fit(topics[0], labels).predict_proba(topics[1]))


def _one_hot(part: OutcomeMatrix, known: Sequence[str]) -> Floats:
    return np.array([[task == name for name in known] for task in part.tasks], dtype=np.float64)
