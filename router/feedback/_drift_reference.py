"""What prompts looked like when a router was calibrated, in a few numbers."""

import hashlib
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from policies import ArtifactCorruptError, InvalidInputError

from .._artifact import canonical_json, one_line, parse_json
from ..features.text import read_text
from ._logged import LoggedDecision

__all__ = [
    "DRIFT_MEMBER",
    "DriftReference",
    "ReferenceBins",
    "drift_features",
    "tie_of",
    "watched_numbers",
    "words_known_without_one",
]

DRIFT_MEMBER = "drift.json"
"""Name of the artifact's member that holds a router's reference."""

MIN_REFERENCE = 40
"""Values below which a number is not watched: they would tell too little of its distribution."""

_N_BINS = 10
_PER_BIN = 20
_MAX_TYPES = 8
_DIGITS = b"0123456789"
_OPERATORS = b"+-*/=^<>%\\$"
_LETTERS_AND_DIGITS = bytes(code for code in range(128) if chr(code).isalnum())
_NON_ASCII = bytes(range(128, 256))


def drift_features(prompt: str, known_words: Collection[bytes] | None = None) -> dict[str, float]:
    """Return the numbers about a prompt that are watched for drift, all finite.

    Its length in bytes, the mean length of its words, its shares of digits, of operators and of
    bytes beyond ASCII, and the share of its words that the router does not know.

    Args:
        prompt: Any text.
        known_words: The router's vocabulary; without it the last one is left out.

    Example:
        >>> drift_features("3 + 4 = ?")["digit_share"]
        0.2222...
    """
    text = read_text(prompt)
    data, words = text.data, text.words
    n_bytes, n_words = max(len(data), 1), max(len(words), 1)
    shares = {
        "digit_share": _DIGITS,
        "operator_share": _OPERATORS,
        "punctuation_share": None,
        "non_ascii_share": _NON_ASCII,
    }
    features = {"n_bytes": float(len(data)), "mean_word_bytes": sum(map(len, words)) / n_words}
    for name, members in shares.items():
        # What is left over is neither word, operator, space nor foreign.
        kept = members or _LETTERS_AND_DIGITS + _OPERATORS + _NON_ASCII + b" \n\t\r"
        removed = len(data) - len(data.translate(None, kept))
        features[name] = (removed if members else len(data) - removed) / n_bytes
    if known_words is not None:
        n_unknown = sum(word not in known_words for word in words)
        features["unknown_word_share"] = n_unknown / n_words
    return features


def watched_numbers(decision: LoggedDecision) -> dict[str, float]:
    """Return everything that is watched of a decision: features and, if guessed, task types."""
    guessed = {} if decision.is_hinted else _type_numbers(decision.posterior)
    return {**decision.features, **guessed}


def words_known_without_one(
    words: Mapping[bytes, int], idf: NDArray[np.float64], n_documents: int, min_documents: int = 2
) -> frozenset[bytes]:
    """Return the words that a vocabulary would know without any one of its prompts.

    Args:
        words: Position of each word in `idf`, counted from 1.
        idf: Smoothed inverse document frequencies, `ln((1 + n) / (1 + df)) + 1`.
        n_documents: Prompts that the vocabulary was built from.
        min_documents: Prompts that a word must occur in to be in the vocabulary.
    """
    frequency = np.rint((1.0 + n_documents) / np.exp(idf - 1.0) - 1.0)
    return frozenset(
        word for word, position in words.items() if frequency[position - 1] > min_documents
    )


class ReferenceBins(NamedTuple):
    """The bins of one number.

    Attributes:
        edges: Inner edges, ascending, `n_bins - 1` of them. The second key of each, in [0, 1), is
            drawn, so that equal values are told apart by chance.
        spacings: Spacings of the sample in each bin, shape `(n_bins,)`; they sum to n + 1.
    """

    edges: list[tuple[float, float]]
    spacings: NDArray[np.float64]

    @classmethod
    def measure(cls, sample: NDArray[np.float64], rng: np.random.Generator) -> "ReferenceBins":
        """Cut a sample into bins of equal counts.

        Args:
            sample: The values, shape `(n,)`.
            rng: Breaks ties.
        """
        n = len(sample)
        ties = rng.random(n)
        order = np.lexsort((ties, sample))
        n_bins = min(_N_BINS, n // _PER_BIN)
        ranks = np.round(np.linspace(0, n + 1, n_bins + 1)).astype(np.int64)
        places = order[ranks[1:-1] - 1]
        edges = list(zip(sample[places].tolist(), ties[places].tolist(), strict=True))
        return cls(edges, np.diff(ranks).astype(np.float64))

    def find(self, value: float, tie: float) -> int:
        """Return the bin of a value, whose second key is `tie`."""
        return bisect_left(self.edges, (value, tie))


class _BinsDocument(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    values: list[Annotated[float, Field(ge=-1e15, le=1e15)]]
    ties: list[Annotated[float, Field(ge=0.0, lt=1.0)]]
    spacings: Annotated[
        list[Annotated[int, Field(gt=0, le=10**12)]], Field(min_length=2, max_length=1000)
    ]

    @model_validator(mode="after")
    def _fits(self) -> "_BinsDocument":
        if not len(self.values) == len(self.ties) == len(self.spacings) - 1:
            raise ValueError("edges and bins do not fit each other")
        edges = list(zip(self.values, self.ties, strict=True))
        if edges != sorted(edges):
            raise ValueError("the edges are not ascending")
        return self


class DriftReference(BaseModel):
    """The distribution of a few numbers over the prompts that a router was calibrated on.

    Build it with `measure` when fitting, or with `from_decisions` from the first decisions of a
    log. About 8 kB; holds no text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1] = 1
    """Raised whenever the same prompt gives other numbers."""
    n: Annotated[int, Field(ge=0, le=10**12)]
    """Prompts it was measured on."""
    bins: Annotated[dict[str, _BinsDocument], Field(max_length=1000)]
    """Bins by name of the number."""

    @classmethod
    def measure(
        cls,
        prompts: Sequence[str],
        *,
        groups: Sequence[str] | None = None,
        known_words: Collection[bytes] | None = None,
        posteriors: NDArray[np.float64] | None = None,
        task_types: Sequence[str] = (),
        seed: int = 0,
    ) -> "DriftReference":
        """Measure the reference; deterministic for a seed.

        A model knows the words of the prompts that it was fitted on better than those of new
        ones; for such prompts give `words_known_without_one`, or every new prompt would look
        like drift. For the same reason posteriors should be guesses made out of fold; only the
        most probable type is used, which hardly depends on how sure a fold's model is.

        Args:
            prompts: Prompts that stand for those to come.
            groups: Group of each prompt; one prompt of each group is used, since several would
                pretend to more knowledge than there is.
            known_words: Words that the model knows, or would know without the prompt; `None`
                leaves unknown words out.
            posteriors: Guessed task types of each prompt, shape `(n_prompts, n_types)`, `None`
                leaves them out.
            task_types: Their names.
            seed: Breaks ties.

        Raises:
            InvalidInputError: Lengths differ.
        """
        for name, values in (("groups", groups), ("posteriors", posteriors)):
            if values is not None and len(values) != len(prompts):
                raise InvalidInputError(f"{len(values)} {name} for {len(prompts)} prompts")
        rng = np.random.default_rng(seed)
        rows: list[dict[str, float]] = []
        for position in _one_of_each(groups or [str(n) for n in range(len(prompts))], rng):
            row = drift_features(prompts[position], known_words)
            if posteriors is not None:
                guess: list[float] = posteriors[position].tolist()
                row |= _type_numbers(dict(zip(task_types, guess, strict=True)))
            rows.append(row)
        return cls.from_numbers(rows, rng)

    @classmethod
    def from_decisions(
        cls, decisions: Iterable[LoggedDecision], *, seed: int = 0
    ) -> "DriftReference":
        """Measure the reference on logged decisions, such as the first thousand of a log.

        This is the reference to choose where live traffic is known to differ from the questions
        that the router was fitted on.
        """
        rows = [watched_numbers(decision) for decision in decisions]
        return cls.from_numbers(rows, np.random.default_rng(seed))

    @classmethod
    def from_numbers(
        cls, rows: Sequence[Mapping[str, float]], rng: np.random.Generator
    ) -> "DriftReference":
        """Measure the reference on numbers by name, one row per prompt; see `measure`."""
        bins: dict[str, _BinsDocument] = {}
        for name in sorted({name for row in rows for name in row}):
            sample = np.array([row[name] for row in rows if name in row])
            if len(sample) >= MIN_REFERENCE:
                measured = ReferenceBins.measure(sample, rng)
                bins[name] = _BinsDocument(
                    values=[value for value, _ in measured.edges],
                    ties=[tie for _, tie in measured.edges],
                    spacings=measured.spacings.astype(np.int64).tolist(),
                )
        return cls(n=len(rows), bins=bins)

    @classmethod
    def from_bytes(cls, data: bytes) -> "DriftReference":
        """Read the form written by `to_bytes`.

        Raises:
            ArtifactCorruptError: It is no such form.
        """
        try:
            return cls.model_validate(parse_json(data))
        except (ValueError, ValidationError) as error:
            raise ArtifactCorruptError(
                f"artifact member {DRIFT_MEMBER!r}: {one_line(error)}"
            ) from error

    def to_bytes(self) -> bytes:
        """Return it as JSON; equal references give equal bytes."""
        return canonical_json(self.model_dump())

    def bins_of(self, name: str) -> ReferenceBins:
        """Return the bins of a number."""
        document = self.bins[name]
        edges = list(zip(document.values, document.ties, strict=True))
        return ReferenceBins(edges, np.array(document.spacings, dtype=np.float64))


def tie_of(decision_id: str, name: str) -> float:
    """Return a number in [0, 1) that is uniform over decisions and equal at every reading."""
    digest = hashlib.sha256(f"{decision_id}/{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _type_numbers(posterior: Mapping[str, float]) -> dict[str, float]:
    """Return 1 for the most probable task type, 0 for others; the last follows from them."""
    if len(posterior) < 2:
        return {}
    guess = max(posterior, key=lambda name: posterior[name])
    names = sorted(posterior)[: min(len(posterior) - 1, _MAX_TYPES)]
    return {f"is({name})": float(name == guess) for name in names}


def _one_of_each(groups: Sequence[str], rng: np.random.Generator) -> list[int]:
    """Return one random position of each group, ascending."""
    chosen: dict[str, int] = {}
    positions: list[int] = rng.permutation(len(groups)).tolist()
    for position in positions:
        chosen.setdefault(groups[position], position)
    return sorted(chosen.values())
