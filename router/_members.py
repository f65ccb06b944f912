"""An outcome model as artifact members, and back: JSON, `.npy` arrays and LightGBM text."""

import io
from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter

from policies import ArtifactCorruptError, Mode

from ._arms import Arm
from ._artifact import canonical_json, parse_json
from ._model import ModelParameters, OutcomeModel
from .features.sparse import LinearScores, Vocabulary

__all__ = ["model_from_members", "model_to_members"]

Probability = Annotated[float, Field(gt=0.0, lt=1.0)]
NotNegative = Annotated[FiniteFloat, Field(ge=0.0)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _ArmDocument(_Document):
    model: str
    policy: str
    mode: Literal["ift", "reasoning"]
    budget: Annotated[int, Field(ge=0)] | Literal["max"] | None
    size: Annotated[int, Field(gt=0)] | None


class _ModelDocument(_Document):
    """`model.json`: the small numbers of `ModelParameters`, fields of the same names."""

    kind: Literal["boosted", "means"]
    arms: Annotated[list[_ArmDocument], Field(min_length=1)]
    task_types: Annotated[list[str], Field(min_length=1)]
    score_intercepts: list[FiniteFloat]
    p_means: list[list[Probability]]
    log_token_means: list[list[FiniteFloat]]
    slope: NotNegative
    intercepts: list[FiniteFloat]
    token_scale: list[NotNegative]
    prompt_tokens_per_byte: list[NotNegative]
    flops_per_token: list[NotNegative | None]
    seconds_per_token: list[NotNegative | None]


def model_to_members(model: ModelParameters) -> dict[str, bytes]:
    """Return the members; equal models give equal bytes."""
    document = {
        "kind": model.kind,
        "arms": [arm.to_json() for arm in model.arms],
        "task_types": list(model.task_types),
        "score_intercepts": model.linear.intercepts.tolist(),
        "p_means": model.p_means.tolist(),
        "log_token_means": model.log_token_means.tolist(),
        "slope": model.slope,
        "intercepts": model.intercepts.tolist(),
        "token_scale": model.token_scale.tolist(),
        "prompt_tokens_per_byte": model.prompt_tokens_per_byte.tolist(),
        "flops_per_token": _nan_to_none(model.flops_per_token),
        "seconds_per_token": _nan_to_none(model.seconds_per_token),
    }
    return {
        "model.json": canonical_json(document),
        "vocabulary.json": canonical_json([word.decode() for word in model.vocabulary.words]),
        "pairs.npy": _array_to_bytes(model.vocabulary.pairs),
        "idf.npy": _array_to_bytes(model.vocabulary.idf),
        "weights.npy": _array_to_bytes(model.linear.weights),
        "trees_correct.txt": model.trees_correct.encode(),
        "trees_tokens.txt": model.trees_tokens.encode(),
    }


def model_from_members(members: Mapping[str, bytes]) -> OutcomeModel:
    """Rebuild a model that predicts bit for bit what the written one did.

    Raises:
        ArtifactCorruptError: A member is missing or does not hold what it must; it is named.
    """
    reader = _Reader(members)
    document = reader.document()
    n_types, n_arms = len(document.task_types), len(document.arms)
    vocabulary = reader.vocabulary()
    weights = reader.array("weights.npy", np.float32, (vocabulary.n_terms, 2 * n_arms + n_types))
    numbers = {
        "score_intercepts": (2 * n_arms + n_types,),
        "p_means": (n_types, n_arms),
        "log_token_means": (n_types, n_arms),
        "intercepts": (n_arms,),
        "token_scale": (n_arms,),
        "prompt_tokens_per_byte": (n_arms,),
        "flops_per_token": (n_arms,),
        "seconds_per_token": (n_arms,),
    }
    arrays = {
        name: reader.numbers(getattr(document, name), name, shape)
        for name, shape in numbers.items()
    }
    parameters = ModelParameters(
        kind=document.kind,
        arms=tuple(
            Arm(arm.model, arm.policy, Mode(arm.mode), arm.budget, arm.size)
            for arm in document.arms
        ),
        task_types=tuple(document.task_types),
        vocabulary=vocabulary,
        linear=LinearScores(weights, arrays.pop("score_intercepts")),
        trees_correct=reader.text("trees_correct.txt"),
        trees_tokens=reader.text("trees_tokens.txt"),
        slope=document.slope,
        **arrays,
    )
    try:
        return OutcomeModel(parameters)
    except (ValueError, KeyError, IndexError, RecursionError) as error:
        raise reader.corrupt("trees_correct.txt or trees_tokens.txt", str(error)) from error


class _Reader:
    """Reads members; every problem becomes an error that names the member."""

    def __init__(self, members: Mapping[str, bytes]) -> None:
        self._members = members

    @staticmethod
    def corrupt(name: str, problem: str) -> ArtifactCorruptError:
        return ArtifactCorruptError(f"artifact member {name!r}: {problem}")

    def document(self) -> _ModelDocument:
        name = "model.json"
        try:
            return _ModelDocument.model_validate(parse_json(self._data(name)))
        except ValueError as error:  # pydantic's ValidationError is one
            raise self.corrupt(name, str(error)) from error

    def vocabulary(self) -> Vocabulary:
        name = "vocabulary.json"
        try:
            words = _WORDS.validate_python(parse_json(self._data(name)), strict=True)
        except ValueError as error:
            raise self.corrupt(name, str(error)) from error
        position = {word.encode(): index for index, word in enumerate(words, start=1)}
        if len(position) != len(words):
            raise self.corrupt(name, "a word occurs twice")
        pairs = self.array("pairs.npy", np.int64, (None,))
        if len(pairs) and (pairs[0] < 0 or (np.diff(pairs) <= 0).any()):
            raise self.corrupt("pairs.npy", "the codes are not ascending")
        idf = self.array("idf.npy", np.float64, (len(words) + len(pairs),))
        if (idf <= 0).any():
            raise self.corrupt("idf.npy", "a weight is not positive")
        return Vocabulary(position, pairs, idf)

    def text(self, name: str) -> str:
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

    def array(self, name: str, dtype: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """Return a `.npy` member without NumPy's object loader; `None` is any length.

        The header must fit the data to the byte, so nothing is allocated on its word alone.
        """
        data = self._data(name)
        stream = io.BytesIO(data)
        try:
            np.lib.format.read_magic(stream)
            found, is_fortran, found_dtype = np.lib.format.read_array_header_1_0(stream)
        except (ValueError, EOFError) as error:
            raise self.corrupt(name, f"not an array: {error}") from error
        fits = len(found) == len(shape) and all(
            wanted is None or wanted == length for wanted, length in zip(shape, found, strict=False)
        )
        if not fits or is_fortran or found_dtype != np.dtype(dtype):
            raise self.corrupt(name, f"{found_dtype} of shape {found}, expected {shape}")
        if len(data) - stream.tell() != prod(found) * found_dtype.itemsize:
            raise self.corrupt(name, "the data do not fill the shape")
        array = np.frombuffer(data, dtype, offset=stream.tell()).reshape(found)
        if not np.isfinite(array).all():
            raise self.corrupt(name, "it holds NaN or infinity")
        return array

    def _data(self, name: str) -> bytes:
        if name not in self._members:
            raise self.corrupt(name, "missing")
        return self._members[name]


_WORDS = TypeAdapter(list[str])


def _nan_to_none(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _array_to_bytes(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(
        stream, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False
    )
    return stream.getvalue()
