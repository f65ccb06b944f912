import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from router.features.sparse import LinearScores, Terms, Vocabulary
from router.features.text import MAX_BYTES, TEXT_FEATURES, read_text, text_features

TEXTS = [
    "What is the boss of the friend of Ada?",
    "Compute 12+3*4 and 12-3, then 7.",
    "Which of these? A) cat B) dog C) owl",
    "what is the boss of the boss",
    "Ünïcode straße 数学の問題",
    "",
]


SCRIPTS = {
    "n_latin_marked",
    "n_greek",
    "n_cyrillic",
    "n_hebrew_arabic",
    "n_indic_thai",
    "n_kana",
    "n_han",
    "n_hangul",
    "n_beyond",
}
NOTHING = Vocabulary.build([])


def features(texts: list[str]) -> NDArray[np.float64]:
    read = [read_text(text) for text in texts]
    return text_features(read, NOTHING.look_up([each.words for each in read]).classes)


def features_of(text: str) -> dict[str, float]:
    return dict(zip(TEXT_FEATURES, features([text])[0].tolist(), strict=True))


def words_of(texts: list[str]) -> list[list[bytes]]:
    return [read_text(text).words for text in texts]


def terms_of(vocabulary: Vocabulary, documents: list[list[bytes]]) -> Terms:
    return vocabulary.terms(vocabulary.look_up(documents))


def test_counts_are_what_their_names_say() -> None:
    found = features_of("What is the boss of the friend of the x? B) 12 + 345\n How many?")
    expected = {
        "n_bytes": 63,
        "n_words": 15,
        "n_what": 1,
        "n_of": 2,
        "n_the": 3,
        "n_of_the": 2,
        "n_how_many": 1,
        "n_numbers": 2,
        "n_two_digits": 1,
        "n_three_digits": 1,
        "n_digits": 5,
        "n_operators": 1,
        "n_newlines": 1,
        "n_option_marks": 1,
        "n_question_marks": 2,
        "n_han": 0,
        "ascii_share": 1.0,
        "digit_share": 5 / 63,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_word_classes_do_not_need_to_be_in_the_vocabulary() -> None:
    text = "What is the total of the rest, if not more?"
    known = Vocabulary.build(words_of([text, text]))
    read = read_text(text)
    rows = [text_features([read], each.look_up([read.words]).classes) for each in (NOTHING, known)]
    assert known.n_terms > 0
    assert np.array_equal(rows[0], rows[1])


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("ข้อใดถูกต้อง", "n_indic_thai"),
        ("সঠিক উত্তর কোনটি", "n_indic_thai"),
        ("下列哪一项是正确的", "n_han"),
        ("どれですか", "n_kana"),
        ("무엇입니까", "n_hangul"),
        ("Что верно", "n_cyrillic"),
        ("ما هو الصحيح", "n_hebrew_arabic"),
        ("τι είναι", "n_greek"),
        ("größe", "n_latin_marked"),
        ("😀😀", "n_beyond"),
    ],
)
def test_each_character_of_a_script_counts_once(text: str, feature: str) -> None:
    found = features_of(text)
    n_others = sum(character.isascii() for character in text)
    n_expected = len(text) - n_others
    if feature == "n_latin_marked":
        n_expected = 2
    assert found[feature] == n_expected
    scripts = [name for name in TEXT_FEATURES if name in SCRIPTS and name != feature]
    assert all(found[name] == 0 for name in scripts)
    assert found["ascii_share"] == pytest.approx(
        sum(map(str.isascii, text)) / len(text.encode()), abs=0.02
    )


@pytest.mark.parametrize(
    ("text", "shared", "other"),
    [
        ("ข้อใดถูกต้อง", "อันไหนถูกต้อง", "แมวสามตัว"),
        ("下列哪一项是正确的", "哪一项不是正确的", "三只猫"),
        ("どれが正しいですか", "正しいものはどれ", "ねこが三びき"),
        ("সঠিক উত্তর কোনটি", "কোনটি ভুল উত্তর", "বিড়াল"),
    ],
)
def test_texts_of_any_script_share_words_with_their_like(
    text: str, shared: str, other: str
) -> None:
    words, alike, unlike = (set(read_text(each).words) for each in (text, shared, other))
    assert len(words & alike) >= 2
    assert not words & unlike


def test_words_with_marks_stay_whole() -> None:
    assert read_text("Größe über Null").words == ["größe".encode(), "über".encode(), b"null"]


def test_digits_are_one_and_case_is_none() -> None:
    assert read_text("Add 12 to X").words == read_text("add 34 TO x").words


def test_a_long_prompt_is_read_at_both_ends_and_measured_whole() -> None:
    text = "first " + "x" * 3 * MAX_BYTES + " last"
    read = read_text(text)
    assert (read.words[0], read.words[-1]) == (b"first", b"last")
    assert len(read.data) <= MAX_BYTES + 1
    assert features_of(text)["n_bytes"] == len(text)


def test_a_prompt_is_never_cut_within_a_character() -> None:
    for shift in range(3):
        text = "a" * shift + "数" * MAX_BYTES
        assert "\ufffd" not in read_text(text).data.decode()


@given(st.lists(st.text(), min_size=1, max_size=6))
def test_any_text_has_finite_features_that_do_not_depend_on_the_batch(texts: list[str]) -> None:
    together = features(texts)
    assert together.shape == (len(texts), len(TEXT_FEATURES))
    assert np.isfinite(together).all()
    for row, text in zip(together, texts, strict=True):
        assert np.array_equal(row, features([text])[0])


def test_lone_surrogates_are_read() -> None:
    assert read_text("a\ud800b").words == [b"a", b"b"]


def test_term_weights_equal_those_of_scikit_learn() -> None:
    texts = [text for text in TEXTS if text] * 2  # every word is in two texts, so all are known
    documents = words_of(texts)
    terms = terms_of(Vocabulary.build(documents), documents)
    peer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\S+")
    lines = [b" ".join(words).decode() for words in documents]
    expected = peer.fit_transform(lines).toarray()
    for row in range(len(texts)):
        ours, theirs = terms.values[terms.rows == row], expected[row][expected[row] > 0]
        assert np.sort(ours) == pytest.approx(np.sort(theirs))


def test_word_pairs_do_not_reach_across_texts() -> None:
    vocabulary = Vocabulary.build([[b"a", b"b"], [b"a", b"b"]])
    assert vocabulary.n_terms == 3
    assert len(terms_of(vocabulary, [[b"a", b"b"]]).terms) == 3
    assert len(terms_of(vocabulary, [[b"a"], [b"b"]]).terms) == 2


@given(st.lists(st.lists(st.sampled_from([b"a", b"b", b"c", b"?"]), max_size=8), max_size=5))
def test_scores_do_not_depend_on_the_batch(documents: list[list[bytes]]) -> None:
    vocabulary = Vocabulary.build([[b"a", b"b", b"c"], [b"c", b"b", b"a"], [b"a", b"b"]])
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(vocabulary.n_terms, 3)).astype(np.float32)
    scores = LinearScores(weights, np.array([1.0, 2.0, 3.0]))
    together = scores.scores(terms_of(vocabulary, documents), len(documents))
    for row, document in zip(together, documents, strict=True):
        assert np.array_equal(row, scores.scores(terms_of(vocabulary, [document]), 1)[0])


def test_a_text_without_known_words_gets_the_intercepts() -> None:
    vocabulary = Vocabulary.build([[b"a"], [b"a"]])
    scores = LinearScores(np.ones((1, 2), dtype=np.float32), np.array([0.5, -1.0]))
    assert scores.scores(terms_of(vocabulary, [[b"z"], []]), 2).tolist() == [[0.5, -1.0]] * 2


def test_an_empty_vocabulary_still_scores() -> None:
    vocabulary = Vocabulary.build([[b"a"], [b"b"]])
    scores = LinearScores(np.zeros((0, 1), dtype=np.float32), np.array([0.5]))
    assert vocabulary.n_terms == 0
    assert scores.scores(terms_of(vocabulary, [[b"a", b"b"]]), 1).tolist() == [[0.5]]
