import lightgbm
import numpy as np
import pytest

from router.model._forest import Forest, parse_trees
from router.model._tree_text import slim_text

N_QUERY, N_PAIR, N_ARMS = 5, 2, 3
ARM_FEATURES = np.array([[0.0, 0.0, 1.0], [1.0, 6.0, 2.0], [1.0, 24.0, 3.0]])


def fitted(seed: int, num_leaves: int = 12) -> tuple[lightgbm.Booster, str]:
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, size=(900, N_QUERY + N_PAIR + 3)).astype(float)
    x[:, N_QUERY + N_PAIR :] = ARM_FEATURES[rng.integers(0, N_ARMS, 900)]
    y = x[:, 0] * (x[:, -1] > 1) + x[:, N_QUERY] + rng.normal(size=900)
    parameters = {"num_leaves": num_leaves, "verbosity": -1, "num_threads": 1, "seed": seed}
    booster = lightgbm.train(parameters, lightgbm.Dataset(x, y), num_boost_round=25)
    return booster, booster.model_to_string()


@pytest.mark.parametrize(("seed", "num_leaves"), [(0, 2), (1, 12), (2, 63)])
def test_scores_equal_those_of_lightgbm(seed: int, num_leaves: int) -> None:
    (first, text), (second, other) = fitted(seed, num_leaves), fitted(seed + 10)
    forest = Forest([parse_trees(text), (), parse_trees(other)], N_QUERY, N_PAIR, ARM_FEATURES)
    rng = np.random.default_rng(seed + 100)
    # Integers hit the thresholds' neighbours; the rest is far outside of what was seen.
    near = rng.integers(-4, 5, (30, N_QUERY)).astype(float)
    query = np.concatenate([near, rng.normal(0, 99, (30, N_QUERY))])
    pair = rng.integers(-4, 5, size=(60, N_ARMS, N_PAIR)).astype(float)
    scores = forest.raw_scores(query, pair)
    for arm in range(N_ARMS):
        of_arm = np.tile(ARM_FEATURES[arm], (60, 1))
        x = np.hstack([query, pair[:, arm], of_arm])
        assert scores[0][:, arm] == pytest.approx(first.predict(x), abs=1e-12)
        assert scores[2][:, arm] == pytest.approx(second.predict(x), abs=1e-12)
    assert not scores[1].any()


def test_a_threshold_itself_goes_left_as_in_lightgbm() -> None:
    booster, text = fitted(3)
    trees = parse_trees(text)
    forest = Forest([trees], N_QUERY, N_PAIR, ARM_FEATURES)
    thresholds = [
        (feature, threshold)
        for tree in trees
        for feature, threshold in zip(tree.features, tree.thresholds, strict=True)
        if feature < N_QUERY and abs(threshold) > 1e-30  # LightGBM reads smaller values as 0
    ]
    for feature, threshold in thresholds:
        for value in (threshold, np.nextafter(threshold, np.inf)):
            query, pair = np.zeros((1, N_QUERY)), np.zeros((1, N_ARMS, N_PAIR))
            query[0, feature] = value
            x = np.hstack([query[0], pair[0, 1], ARM_FEATURES[1]])[np.newaxis]
            assert forest.raw_scores(query, pair)[0][:, 1] == pytest.approx(booster.predict(x))


def test_one_row_and_many_rows_agree_exactly() -> None:
    forest = Forest([parse_trees(fitted(4)[1])], N_QUERY, N_PAIR, ARM_FEATURES)
    rng = np.random.default_rng(0)
    query, pair = rng.normal(size=(9, N_QUERY)), rng.normal(size=(9, N_ARMS, N_PAIR))
    together = forest.raw_scores(query, pair)[0]
    for row in range(9):
        alone = forest.raw_scores(query[[row]], pair[[row]])[0]
        assert np.array_equal(alone[0], together[row])


def test_a_random_forest_is_averaged_as_in_lightgbm() -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(600, N_QUERY))
    y = x[:, 0] * x[:, 1] + rng.normal(size=600)
    parameters = {
        "boosting": "rf",
        "extra_trees": True,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "num_leaves": 63,
        "verbosity": -1,
        "num_threads": 1,
    }
    booster = lightgbm.train(parameters, lightgbm.Dataset(x, y), num_boost_round=30)
    boosted, text = fitted(7)[1], booster.model_to_string()
    assert "\naverage_output\n" in text
    boosted_trees, forest_trees = parse_trees(boosted), parse_trees(slim_text(text))
    assert forest_trees == parse_trees(text)
    # Both kinds in one forest, the average of the one and the sum of the other.
    forest = Forest([forest_trees, boosted_trees], N_QUERY + N_PAIR, 0, ARM_FEATURES)
    query = np.concatenate([x[:80], np.zeros((80, N_PAIR))], axis=1)
    averaged, summed = forest.raw_scores(query, np.zeros((80, N_ARMS, 0)))
    expected = np.asarray(booster.predict(x[:80]))
    for arm in range(N_ARMS):
        assert averaged[:, arm] == pytest.approx(expected, abs=1e-12)
    whole = lightgbm.Booster(model_str=slim_text(boosted))
    rows = np.hstack([query, np.tile(ARM_FEATURES[1], (80, 1))])
    assert summed[:, 1] == pytest.approx(np.asarray(whole.predict(rows)), abs=1e-12)


def test_no_queries_give_no_scores() -> None:
    forest = Forest([parse_trees(fitted(4)[1])], N_QUERY, N_PAIR, ARM_FEATURES)
    scores = forest.raw_scores(np.zeros((0, N_QUERY)), np.zeros((0, N_ARMS, N_PAIR)))
    assert [each.shape for each in scores] == [(0, N_ARMS)]


def test_no_trees_score_zero() -> None:
    forest = Forest([(), ()], N_QUERY, N_PAIR, ARM_FEATURES)
    scores = forest.raw_scores(np.zeros((2, N_QUERY)), np.zeros((2, N_ARMS, N_PAIR)))
    assert [each.tolist() for each in scores] == [[[0.0] * 3] * 2] * 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tree\n", "wood\n"),
        ("end of trees", ""),
        ("num_cat=0", "num_cat=1"),
        ("left_child=", "left_child=7 "),
        ("threshold=", "threshold=nan "),
        ("leaf_value=", "leaf_value=inf "),
        ("split_feature=", "split_feature=-"),
    ],
)
def test_broken_models_are_refused(old: str, new: str) -> None:
    text = fitted(5)[1]
    assert old in text
    with pytest.raises(ValueError):  # noqa: PT011 - any; the artifact reader names the member
        parse_trees(text.replace(old, new, 1))


def test_a_feature_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="feature"):
        Forest([parse_trees(fitted(6)[1])], 1, 1, np.zeros((3, 1)))
