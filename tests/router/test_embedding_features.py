"""Embeddings as features: principal components that know whose embeddings they are of."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from policies import ArtifactCorruptError, InvalidInputError
from router.features.embedding import EmbeddingProjection

IDENTITY = {"embedder": "openai", "model": "m"}
Rows = NDArray[np.float32]


def made_up(n: int, d: int, seed: int = 0, rank: int = 8) -> Rows:
    """Rows of length 1 around a few directions, as embeddings are."""
    rng = np.random.default_rng(seed)
    spread = 0.7 ** np.arange(rank)
    rows = rng.normal(size=(n, rank)) * spread @ rng.normal(size=(rank, d))
    rows += 0.01 * rng.normal(size=(n, d)) + 1.0
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def fitted(rows: Rows, k: int = 32, seed: int = 0) -> EmbeddingProjection:
    return EmbeddingProjection.fit(rows, k, seed, identity=IDENTITY)


def test_components_are_those_of_the_covariance() -> None:
    rows = made_up(200, 40)
    projection = fitted(rows, 5)
    values, vectors = np.linalg.eigh(np.cov(rows.T.astype(np.float64), bias=True))
    expected = vectors[:, ::-1][:, :5].T
    cosines = np.abs((projection.components * expected).sum(axis=1))
    np.testing.assert_allclose(cosines, 1.0, atol=1e-4)
    assert projection.explained == pytest.approx(values[::-1][:5].sum() / values.sum(), abs=1e-6)
    features = projection.apply(rows)
    np.testing.assert_allclose(features.mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(features.var(axis=0), values[::-1][:5], rtol=1e-3)


def test_the_randomised_way_finds_the_same_directions() -> None:
    rows = made_up(700, 600)
    projection = fitted(rows, 6)
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    cosines = np.abs((projection.components * directions[:6]).sum(axis=1))
    np.testing.assert_allclose(cosines, 1.0, atol=1e-4)
    kept = float((spread[:6] ** 2).sum() / (spread**2).sum())
    assert projection.explained == pytest.approx(kept, rel=1e-6)


@given(n=st.integers(2, 30), d=st.integers(1, 20), k=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_any_fit_is_orthonormal_finite_and_repeatable(n: int, d: int, k: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    projection, again = fitted(rows, k, seed), fitted(rows, k, seed)
    assert projection.n_components <= min(k, n - 1, d)
    products = projection.components.astype(np.float64) @ projection.components.T
    np.testing.assert_allclose(products, np.eye(projection.n_components), atol=1e-5)
    np.testing.assert_array_equal(projection.components, again.components)
    assert 0.0 <= projection.explained <= 1.0
    assert (projection.components[:, :].max(axis=1) > 0).all()
    assert np.isfinite(projection.apply(rows)).all()


@given(n=st.integers(1, 40), seed=st.integers(0, 1000))
def test_a_texts_features_do_not_depend_on_the_batch(n: int, seed: int) -> None:
    projection = fitted(made_up(64, 96), 16)
    rows = made_up(n, 96, seed)
    batch = projection.apply(rows)
    alone = np.concatenate([projection.apply(row[np.newaxis]) for row in rows])
    np.testing.assert_array_equal(batch, alone)


def test_the_mean_has_zeros() -> None:
    projection = fitted(made_up(50, 12), 4)
    np.testing.assert_allclose(projection.apply(projection.mean[np.newaxis]), 0.0, atol=1e-7)


def test_many_texts_are_sampled_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.features.embedding._MOST_ROWS", 50)
    rows = made_up(200, 12)
    first, second, other = fitted(rows, 4, 1), fitted(rows, 4, 1), fitted(rows, 4, 2)
    np.testing.assert_array_equal(first.components, second.components)
    assert not np.array_equal(first.mean, other.mean)


def test_parts_give_the_same_features_bit_for_bit() -> None:
    rows = made_up(60, 24)
    projection = fitted(rows, 8)
    document, arrays = projection.to_parts()
    read = EmbeddingProjection.from_parts(json.loads(json.dumps(document)), arrays)
    np.testing.assert_array_equal(read.apply(rows), projection.apply(rows))
    assert read.identity == IDENTITY
    assert read.explained == projection.explained


def parts() -> tuple[dict[str, Any], dict[str, Any]]:
    document, arrays = fitted(made_up(60, 24), 8).to_parts()
    return document, {name: array.copy() for name, array in arrays.items()}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 2),
        ("identity", ["m"]),
        ("identity", {"model": 1}),
        ("dimensions", 0),
        ("dimensions", 23),
        ("dimensions", True),
        ("n_components", 9),
        ("explained", 1.5),
        ("explained", float("nan")),
        ("more", 1),
    ],
)
def test_a_damaged_document_is_named(key: str, value: object) -> None:
    document, arrays = parts()
    with pytest.raises(ArtifactCorruptError, match="embedding projection"):
        EmbeddingProjection.from_parts({**document, key: value}, arrays)


@pytest.mark.parametrize("document", [None, [], "x", {}])
def test_what_is_no_document_is_named(document: object) -> None:
    with pytest.raises(ArtifactCorruptError, match="embedding projection"):
        EmbeddingProjection.from_parts(document, parts()[1])


@pytest.mark.parametrize("name", ["mean", "components"])
def test_damaged_arrays_are_named(name: str) -> None:
    document, arrays = parts()
    whole = arrays[name]
    broken = whole.copy()
    broken.flat[0] = np.nan
    for bad in (whole[:-1], whole.astype(np.float64), whole[np.newaxis], broken):
        with pytest.raises(ArtifactCorruptError, match=name):
            EmbeddingProjection.from_parts(document, {**arrays, name: bad})
    del arrays[name]
    with pytest.raises(ArtifactCorruptError, match="missing"):
        EmbeddingProjection.from_parts(document, arrays)


def test_components_that_are_no_directions_are_refused() -> None:
    document, arrays = parts()
    arrays["components"] *= 3.0
    with pytest.raises(ArtifactCorruptError, match="not orthonormal"):
        EmbeddingProjection.from_parts(document, arrays)


def test_another_embedder_is_refused_by_what_differs() -> None:
    projection = fitted(made_up(20, 6), 2)
    projection.refuse_other(dict(IDENTITY))
    with pytest.raises(InvalidInputError, match="model is 'other', expected 'm'") as caught:
        projection.refuse_other({**IDENTITY, "model": "other"})
    assert caught.value.code == "other-embedder"
    with pytest.raises(InvalidInputError, match="prefix is 'q', expected 'none'"):
        projection.refuse_other({**IDENTITY, "prefix": "q"})
    with pytest.raises(InvalidInputError, match="model is 'missing'"):
        projection.refuse_other({"embedder": "openai"})


def test_embeddings_of_another_length_are_refused() -> None:
    projection = fitted(made_up(20, 6), 2)
    with pytest.raises(InvalidInputError, match="7 dimensions, the projection was fitted on 6"):
        projection.apply(made_up(3, 7))
    assert projection.apply(np.empty((0, 6), np.float32)).shape == (0, 2)


@pytest.mark.parametrize(
    ("rows", "k", "words"),
    [
        (np.ones((1, 3)), 2, "1 embeddings cannot"),
        (np.ones((4, 3)), 2, "all 4 embeddings are the same"),
        (np.eye(3), 0, "k is 0"),
        (np.ones(3), 2, "shape"),
        (np.ones((3, 0)), 2, "shape"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), 2, "NaN"),
    ],
)
def test_what_cannot_be_projected_is_named(rows: Any, k: int, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        fitted(rows.astype(np.float32), k)
