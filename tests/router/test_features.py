import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from policies import UnknownNameError
from router.features.sparse import LinearScores, Vocabulary
from router.features.task_type import posterior_from_logits, resolve_hint
from router.features.text import TEXT_FEATURES, read_text, text_features

TEXTS = [
    "What is the boss of the friend of Ada?",
    "Compute 12+3*4 and 12-3, then 7.",
    "Which of these? A) cat B) dog C) owl",
    "what is the boss of the boss",
    "Ünïcode straße 数学の問題",
    "",
]


def features_of(text: str) -> dict[str, float]:
    return dict(zip(TEXT_FEATURES, text_features([read_text(text)])[0], strict=True))


def words_of(texts: list[str]) -> list[list[bytes]]:
    return [read_text(text).words for text in texts]


def test_counts_are_what_their_names_say() -> None:
    found = features_of("What is the boss of the friend of the x? B) 12 + 345\n How many?")
    expected = {
        "n_what": 1,
        "n_of_the": 2,
        "n_how_many": 1,
        "n_numbers": 2,
        "n_digits": 5,
        "n_operators": 1,
        "n_newlines": 1,
        "n_option_marks": 1,
        "n_question_marks": 2,
        "n_non_ascii": 0,
    }
    assert {name: found[name] for name in expected} == expected


@given(st.lists(st.text(), min_size=1, max_size=6))
def test_any_text_has_finite_features_that_do_not_depend_on_the_batch(texts: list[str]) -> None:
    together = text_features([read_text(text) for text in texts])
    assert together.shape == (len(texts), len(TEXT_FEATURES))
    assert np.isfinite(together).all()
    for row, text in zip(together, texts, strict=True):
        assert np.array_equal(row, text_features([read_text(text)])[0])


def test_lone_surrogates_are_read() -> None:
    assert read_text("a\ud800b").words == [b"a", b"b"]


def test_term_weights_equal_those_of_scikit_learn() -> None:
    texts = [text for text in TEXTS if text] * 2  # every word is in two texts, so all are known
    documents = words_of(texts)
    terms = Vocabulary.build(documents).terms(documents)
    peer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\S+")
    lines = [b" ".join(words).decode() for words in documents]
    expected = peer.fit_transform(lines).toarray()
    for row in range(len(texts)):
        ours, theirs = terms.values[terms.rows == row], expected[row][expected[row] > 0]
        assert np.sort(ours) == pytest.approx(np.sort(theirs))


def test_word_pairs_do_not_reach_across_texts() -> None:
    vocabulary = Vocabulary.build([[b"a", b"b"], [b"a", b"b"]])
    assert vocabulary.n_terms == 3
    assert len(vocabulary.terms([[b"a", b"b"]]).terms) == 3
    assert len(vocabulary.terms([[b"a"], [b"b"]]).terms) == 2


@given(st.lists(st.lists(st.sampled_from([b"a", b"b", b"c", b"?"]), max_size=8), max_size=5))
def test_scores_do_not_depend_on_the_batch(documents: list[list[bytes]]) -> None:
    vocabulary = Vocabulary.build([[b"a", b"b", b"c"], [b"c", b"b", b"a"], [b"a", b"b"]])
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(vocabulary.n_terms, 3)).astype(np.float32)
    scores = LinearScores(weights, np.array([1.0, 2.0, 3.0]))
    together = scores.scores(vocabulary.terms(documents), len(documents))
    for row, document in zip(together, documents, strict=True):
        assert np.array_equal(row, scores.scores(vocabulary.terms([document]), 1)[0])


def test_a_text_without_known_words_gets_the_intercepts() -> None:
    vocabulary = Vocabulary.build([[b"a"], [b"a"]])
    scores = LinearScores(np.ones((1, 2), dtype=np.float32), np.array([0.5, -1.0]))
    assert scores.scores(vocabulary.terms([[b"z"], []]), 2).tolist() == [[0.5, -1.0]] * 2


def test_an_empty_vocabulary_still_scores() -> None:
    vocabulary = Vocabulary.build([[b"a"], [b"b"]])
    scores = LinearScores(np.zeros((0, 1), dtype=np.float32), np.array([0.5]))
    assert vocabulary.n_terms == 0
    assert scores.scores(vocabulary.terms([[b"a", b"b"]]), 1).tolist() == [[0.5]]


def test_posteriors_are_probabilities_even_for_large_logits() -> None:
    posterior = posterior_from_logits(np.array([[1000.0, 0.0], [0.0, 0.0]]))
    assert posterior.tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_a_hint_is_a_task_type_or_a_known_task() -> None:
    types, tasks = ("general-mc", "math-oe"), {"gsm8k": "math-oe"}
    assert resolve_hint("math-oe", types, tasks) == resolve_hint("gsm8k", types, tasks) == 1
    with pytest.raises(UnknownNameError, match="did you mean 'gsm8k'"):
        resolve_hint("gsm9k", types, tasks)
