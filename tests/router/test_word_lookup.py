"""Words looked up by their hashes, against a dictionary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.features.sparse import Vocabulary
from router.features.text import WORD_CLASSES, read_text
from router.features.words import HashIndex, word_hashes

KNOWN = ("add", "numbers", "how", "many", "größe", "日本", "a", "aa", "x0")
DOCUMENTS = [[word.encode() for word in KNOWN]] * 2
VOCABULARY = Vocabulary.build(DOCUMENTS)

words = st.sampled_from([*KNOWN, "of", "the", "unknown", "0", "日本語", "?", "\x00"])
texts = st.one_of(st.text(max_size=80), st.lists(words, max_size=30).map(" ".join))


@given(st.lists(texts, min_size=1, max_size=4))
def test_texts_have_the_words_that_a_dictionary_finds(prompts: list[str]) -> None:
    read = [read_text(prompt) for prompt in prompts]
    expected = VOCABULARY.look_up([text.words for text in read])
    found = VOCABULARY.find([text.spaced for text in read])
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.tolist() == theirs.tolist()


@given(st.lists(texts, min_size=2, max_size=4))
def test_a_text_has_the_same_terms_alone_and_among_others(prompts: list[str]) -> None:
    spaced = [read_text(prompt).spaced for prompt in prompts]
    together = VOCABULARY.terms(VOCABULARY.find(spaced))
    for row, text in enumerate(spaced):
        alone = VOCABULARY.terms(VOCABULARY.find([text]))
        is_row = together.rows == row
        assert together.terms[is_row].tolist() == alone.terms.tolist()
        assert together.values[is_row].tolist() == alone.values.tolist()


def test_equal_words_have_equal_hashes_wherever_they_stand() -> None:
    hashes, before = word_hashes(b"  ab b  ab " + b"c " * 9000 + b"ab ")
    assert before[:4].tolist() == [1, 4, 7, 10]
    assert hashes[0] == hashes[2] == hashes[-1]
    assert len(set(hashes.tolist())) == 3


def test_class_words_outside_of_the_vocabulary_are_counted() -> None:
    found = Vocabulary({}, np.zeros(0, dtype=np.int64), np.zeros(0)).find([b" how many of the "])
    assert found.ids.tolist() == [0, 0, 0, 0]
    names = [list(WORD_CLASSES)[index - 1] for index in found.classes.tolist()]
    assert names == ["n_how", "n_many_much", "n_of", "n_the"]


@given(st.sets(st.integers(0, 2**64 - 1), max_size=60), st.integers(0, 2**64 - 1))
def test_an_index_finds_its_keys_and_no_others(keys: set[int], other: int) -> None:
    # Multiplied as the caller must: the places come from the higher bits.
    mixed = [key * 0x9E3779B97F4A7C15 % 2**64 for key in sorted(keys)]
    index = HashIndex(np.array(mixed, dtype=np.uint64), np.arange(1, len(mixed) + 1))
    found = index.find(np.array([*mixed, other], dtype=np.uint64)).tolist()
    assert found[:-1] == list(range(1, len(mixed) + 1))
    assert found[-1] == (mixed.index(other) + 1 if other in mixed else 0)


def test_keys_that_were_made_to_collide_are_refused() -> None:
    with pytest.raises(ValueError, match="told apart"):
        HashIndex(np.arange(9, dtype=np.uint64), np.arange(1, 10))


@pytest.mark.parametrize("word", [b"", b"two words"])
def test_a_word_that_no_text_can_have_is_refused(word: bytes) -> None:
    vocabulary = Vocabulary({b"a": 1, word: 2}, np.zeros(0, dtype=np.int64), np.ones(2))
    with pytest.raises(ValueError, match="empty or has a space"):
        vocabulary.prepare()
