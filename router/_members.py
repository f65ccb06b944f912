"""An outcome model as artifact members, and back: JSON, `.npy` arrays and LightGBM text."""

import io
import re
from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from policies import ArtifactCorruptError, Mode

from ._arms import Arm
from ._artifact import canonical_json, one_line, parse_json
from .features.sparse import LinearScores, Vocabulary
from .features.task_type import Label
from .model._calibration import Calibration
from .model._forest import parse_trees
from .model._model import LEARNERS, ModelParameters, OutcomeModel
from .model._reference import MAX_REFERENCE, ReferenceQuestions

__all__ = ["MemberReader", "array_to_bytes", "model_from_members", "model_to_members"]

_M = TypeVar("_M", bound=BaseModel)

Probability = Annotated[float, Field(gt=0.0, lt=1.0)]
# Far beyond what is ever fitted, and small enough that no product of them overflows.
NotNegative = Annotated[float, Field(ge=0.0, le=1e30)]
Score = Annotated[float, Field(ge=-1e6, le=1e6)]
_MAX_WEIGHT = 1e6
# Of tokens and bytes.
_MAX_LENGTH = 1e12
_MAX_ARMS, _MAX_LABELS = 1_000, 10_000
# What `array_to_bytes` writes: version 1.0, a plain type, rows first.
_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([<|][a-z]\d)', 'fortran_order': False, "
    rb"'shape': \((\d{1,18}(?:, \d{1,18})*),?\), \} *\n",
    re.DOTALL,
)


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _ArmDocument(_Document):
    model: str
    policy: str
    mode: Literal["ift", "reasoning"]
    budget: Annotated[int, Field(ge=0, le=10**12)] | Literal["max"] | None
    size: Annotated[int, Field(gt=0, le=10**18)] | None


class _LabelDocument(_Document):
    name: str
    task_type: str


class _CalibrationDocument(_Document):
    method: Literal["affine", "sigmoid", "isotonic"]
    slope: Annotated[float, Field(ge=0.0, le=1e6)]
    intercepts: list[Score]
    gain_slope: Annotated[float, Field(ge=0.0, le=1e6)]
    # JSON has no tuples.
    knots: list[Annotated[tuple[list[Score], list[Probability]], Field(strict=False)]]


class _ModelDocument(_Document):
    """`model.json`: the small numbers of `ModelParameters`, fields of the same names."""

    arms: Annotated[list[_ArmDocument], Field(min_length=1, max_length=_MAX_ARMS)]
    labels: Annotated[list[_LabelDocument], Field(min_length=1, max_length=_MAX_LABELS)]
    blend: Annotated[dict[str, Annotated[float, Field(gt=0.0, le=1.0)]], Field(min_length=1)]
    n_topics: Annotated[int, Field(ge=0, le=10_000)]
    n_extra: Annotated[int, Field(ge=0, le=10_000)]
    score_intercepts: list[Score]
    p_means: list[list[Probability]]
    log_token_means: list[list[Score]]
    calibration: _CalibrationDocument
    token_scale: list[NotNegative]
    token_spread: list[list[NotNegative]]
    prompt_tokens_per_byte: list[NotNegative]
    flops_per_token: list[NotNegative | None]
    seconds_per_token: list[NotNegative | None]
    reference_ids: list[str]
    reference_tasks: list[str]


_JOINT_TREES = ("trees_correct", "trees_tokens")
_TREE_LISTS = ("trees_by_arm", "forest")


def model_to_members(model: ModelParameters) -> dict[str, bytes]:
    """Return the members; equal models give equal bytes."""
    reference, calibration = model.reference, model.calibration
    document = {
        "arms": [arm.to_json() for arm in model.arms],
        "labels": [{"name": label.name, "task_type": label.task_type} for label in model.labels],
        "blend": dict(sorted(model.blend.items())),
        "n_topics": model.n_topics,
        "n_extra": model.n_extra,
        "score_intercepts": model.linear.intercepts.tolist(),
        "p_means": model.p_means.tolist(),
        "log_token_means": model.log_token_means.tolist(),
        "calibration": {
            "method": calibration.method,
            "slope": calibration.slope,
            "intercepts": calibration.intercepts.tolist(),
            "gain_slope": calibration.gain_slope,
            "knots": [[raw.tolist(), p.tolist()] for raw, p in calibration.knots],
        },
        "token_scale": model.token_scale.tolist(),
        "token_spread": model.token_spread.tolist(),
        "prompt_tokens_per_byte": model.prompt_tokens_per_byte.tolist(),
        "flops_per_token": _nan_to_none(model.flops_per_token),
        "seconds_per_token": _nan_to_none(model.seconds_per_token),
        "reference_ids": list(reference.ids),
        "reference_tasks": list(reference.tasks),
    }
    members = {
        "model.json": canonical_json(document),
        "vocabulary.json": canonical_json([word.decode() for word in model.vocabulary.words]),
        "pairs.npy": array_to_bytes(model.vocabulary.pairs),
        "idf.npy": array_to_bytes(model.vocabulary.idf),
        "weights.npy": array_to_bytes(model.linear.weights),
        "seen.npy": array_to_bytes(reference.seen),
    }
    for name in _REFERENCE_ARRAYS:
        members[f"reference_{name}.npy"] = array_to_bytes(getattr(reference, name))
    for name in _JOINT_TREES:
        members[f"{name}.txt"] = getattr(model, name).encode()
    for name in _TREE_LISTS:
        for index, text in enumerate(getattr(model, name)):
            members[f"{name}_{index}.txt"] = text.encode()
    return members


class _Range(NamedTuple):
    low: float
    high: float
    has_gaps: bool = False


# Topics have Euclidean length 1, up to rounding; -1 stands for what was not measured.
_REFERENCE_ARRAYS = {
    "topics": _Range(-1.001, 1.001),
    "p_correct": _Range(0.0, 1.0),
    "correct": _Range(0.0, 1.0, has_gaps=True),
    "tokens": _Range(0.0, _MAX_LENGTH, has_gaps=True),
    "tokens_expected": _Range(0.0, _MAX_LENGTH),
    "n_bytes": _Range(0.0, _MAX_LENGTH),
}


def model_from_members(members: Mapping[str, bytes]) -> OutcomeModel:
    """Rebuild a model that predicts bit for bit what the written one did.

    Raises:
        ArtifactCorruptError: A member is missing or does not hold what it must; it is named.
    """
    reader = MemberReader(members)
    document = reader.document("model.json", _ModelDocument)
    n_labels, n_arms = len(document.labels), len(document.arms)
    n_scores = 2 * n_arms + n_labels + document.n_topics
    vocabulary = reader.vocabulary()
    weights = reader.array("weights.npy", np.float32, (vocabulary.n_terms, n_scores))
    numbers = {
        "score_intercepts": (n_scores,),
        "p_means": (n_labels, n_arms),
        "log_token_means": (n_labels, n_arms),
        "token_scale": (n_arms,),
        "token_spread": (n_arms, 4),
        "prompt_tokens_per_byte": (n_arms,),
        "flops_per_token": (n_arms,),
        "seconds_per_token": (n_arms,),
    }
    arrays = {
        name: reader.numbers(getattr(document, name), name, shape)
        for name, shape in numbers.items()
    }
    _check_blend(document, reader)
    by_arm = n_arms if "boosted-per-arm" in document.blend else 0
    in_forest = n_arms + 1 if "forest" in document.blend else 0
    parameters = ModelParameters(
        arms=tuple(
            Arm(arm.model, arm.policy, Mode(arm.mode), arm.budget, arm.size)
            for arm in document.arms
        ),
        labels=tuple(Label(label.name, label.task_type) for label in document.labels),
        vocabulary=vocabulary,
        linear=LinearScores(weights, arrays.pop("score_intercepts")),
        n_topics=document.n_topics,
        n_extra=document.n_extra,
        blend=dict(document.blend),
        trees_correct=reader.text("trees_correct.txt"),
        trees_tokens=reader.text("trees_tokens.txt"),
        trees_by_arm=tuple(reader.text(f"trees_by_arm_{arm}.txt") for arm in range(by_arm)),
        forest=tuple(reader.text(f"forest_{index}.txt") for index in range(in_forest)),
        calibration=_read_calibration(document.calibration, n_arms, reader),
        reference=_read_reference(document, reader, n_arms),
        **arrays,
    )
    try:
        return OutcomeModel(parameters)
    except (ValueError, KeyError, IndexError, OverflowError, RecursionError) as error:
        raise reader.corrupt(_name_of_broken_trees(parameters), error) from error


def _name_of_broken_trees(parameters: ModelParameters) -> str:
    """Return the member whose trees cannot be read, `trees` where only all together cannot."""
    texts = {f"{name}.txt": getattr(parameters, name) for name in _JOINT_TREES}
    for name in _TREE_LISTS:
        texts |= {f"{name}_{i}.txt": text for i, text in enumerate(getattr(parameters, name))}
    for name, text in texts.items():
        try:
            parse_trees(text or "tree\nend of trees")
        except (ValueError, KeyError, IndexError, OverflowError, RecursionError):
            return name
    return "trees"


def _check_blend(document: _ModelDocument, reader: "MemberReader") -> None:
    unknown = set(document.blend) - set(LEARNERS)
    if unknown:
        raise reader.corrupt("model.json", f"unknown learners {sorted(unknown)}")
    if abs(sum(document.blend.values()) - 1.0) > 1e-6:
        raise reader.corrupt("model.json", "the learners' weights do not sum to 1")
    if "neighbours" in document.blend and not document.reference_ids:
        raise reader.corrupt("model.json", "neighbours of no questions")


def _read_calibration(
    document: _CalibrationDocument, n_arms: int, reader: "MemberReader"
) -> Calibration:
    intercepts = reader.numbers(document.intercepts, "calibration", (n_arms,))
    knots: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for raw, p in document.knots:
        ascends = all((np.diff(each) >= 0).all() for each in (raw, p))
        if not raw or len(raw) != len(p) or not ascends:
            raise reader.corrupt("model.json", "calibration: knots do not ascend")
        knots.append((np.array(raw), np.array(p)))
    if len(knots) != (n_arms if document.method == "isotonic" else 0):
        raise reader.corrupt("model.json", "calibration: the number of knots is wrong")
    return Calibration(
        document.method, document.slope, intercepts, document.gain_slope, tuple(knots)
    )


def _read_reference(
    document: _ModelDocument, reader: "MemberReader", n_arms: int
) -> ReferenceQuestions:
    n = len(document.reference_ids)
    if n != len(document.reference_tasks) or n > MAX_REFERENCE:
        raise reader.corrupt("model.json", "reference questions do not fit together")
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_REFERENCE_ARRAYS, (n, n_arms))
    shapes |= {"topics": (n, document.n_topics), "n_bytes": (n,)}
    arrays: dict[str, NDArray[np.float32]] = {}
    for name, shape in shapes.items():
        member = f"reference_{name}.npy"
        kind = _REFERENCE_ARRAYS[name]
        arrays[name] = reader.array(member, np.float32, shape, kind.high)
        known = arrays[name][arrays[name] != -1.0] if kind.has_gaps else arrays[name]
        if (known < kind.low).any():
            raise reader.corrupt(member, f"it holds numbers below {kind.low:g}")
    seen = reader.array("seen.npy", np.uint64, (None,))
    if (seen[1:] <= seen[:-1]).any():
        raise reader.corrupt("seen.npy", "the hashes are not ascending")
    return ReferenceQuestions(
        ids=tuple(document.reference_ids),
        tasks=tuple(document.reference_tasks),
        seen=seen,
        **arrays,
    )


class MemberReader:
    """Reads members; every problem becomes an error that names the member."""

    def __init__(self, members: Mapping[str, bytes]) -> None:
        """Take the members by name."""
        self._members = members

    @staticmethod
    def corrupt(name: str, problem: object) -> ArtifactCorruptError:
        """Return the error that names a member and its problem."""
        return ArtifactCorruptError(f"artifact member {name!r}: {one_line(problem)}")

    def document(self, name: str, model: type[_M]) -> _M:
        """Return a JSON member as a validated document."""
        try:
            return model.model_validate(parse_json(self._data(name)))
        except ValueError as error:  # pydantic's ValidationError is one
            raise self.corrupt(name, error) from error

    def vocabulary(self) -> Vocabulary:
        """Return the vocabulary."""
        name = "vocabulary.json"
        try:
            words = _WORDS.validate_python(parse_json(self._data(name)), strict=True)
            position = {word.encode(): index for index, word in enumerate(words, start=1)}
        except ValueError as error:  # a lone surrogate is one, too
            raise self.corrupt(name, error) from error
        if len(position) != len(words):
            raise self.corrupt(name, "a word occurs twice")
        pairs = self.array("pairs.npy", np.int64, (None,))
        if len(pairs) and (pairs[0] < 0 or (np.diff(pairs) <= 0).any()):
            raise self.corrupt("pairs.npy", "the codes are not ascending")
        idf = self.array("idf.npy", np.float64, (len(words) + len(pairs),))
        # Every one is at least 1; smaller ones could vanish when squared.
        if (idf < 1e-6).any():
            raise self.corrupt("idf.npy", "a weight is not positive")
        return Vocabulary(position, pairs, idf)

    def text(self, name: str) -> str:
        """Return an ASCII member."""
        try:
            return self._data(name).decode("ascii")
        except UnicodeDecodeError as error:
            raise self.corrupt(name, str(error)) from error

    def numbers(self, values: list[Any], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return nested lists of numbers as an array; `None` becomes NaN."""
        try:
            array = np.array(values, dtype=np.float64)
        except ValueError as error:
            raise self.corrupt("model.json", f"{name} is ragged") from error
        if array.shape != shape:
            raise self.corrupt("model.json", f"{name} has shape {array.shape}, expected {shape}")
        return array

    def array(
        self,
        name: str,
        dtype: Any,
        shape: tuple[int | None, ...],
        limit: float = _MAX_WEIGHT,
    ) -> NDArray[Any]:
        """Return a `.npy` member without NumPy's object loader; `None` is any length.

        The header must fit the data to the byte, so nothing is allocated on its word alone.
        Floating-point numbers are finite and at most `limit` away from 0.
        """
        data = self._data(name)
        # NumPy's own reader evaluates the header as Python, warns, and raises whatever it likes.
        header = _NPY_HEADER.match(data)
        if header is None:
            raise self.corrupt(name, "not an array as this program writes it")
        found = tuple(map(int, header[2].split(b", ")))
        fits = len(found) == len(shape) and all(
            wanted is None or wanted == length for wanted, length in zip(shape, found, strict=False)
        )
        wanted_dtype = np.dtype(dtype)
        if not fits or header[1].decode() != wanted_dtype.str:
            raise self.corrupt(name, f"{header[1].decode()} of shape {found}, expected {shape}")
        if len(data) - header.end() != prod(found) * wanted_dtype.itemsize:
            raise self.corrupt(name, "the data do not fill the shape")
        array = np.frombuffer(data, dtype, offset=header.end()).reshape(found)
        if not np.isfinite(array).all():
            raise self.corrupt(name, "it holds NaN or infinity")
        if wanted_dtype.kind == "f" and (np.abs(array) > limit).any():
            raise self.corrupt(name, f"it holds numbers beyond {limit:g}")
        return array

    def _data(self, name: str) -> bytes:
        if name not in self._members:
            raise self.corrupt(name, "missing")
        return self._members[name]


_WORDS = TypeAdapter(list[str])


def _nan_to_none(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def array_to_bytes(array: NDArray[Any]) -> bytes:
    """Return an array as a `.npy` member of version 1.0."""
    stream = io.BytesIO()
    np.lib.format.write_array(
        stream, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False
    )
    return stream.getvalue()
