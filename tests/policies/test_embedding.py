"""Embedders by name, and what the local one does before a library is loaded."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import BackendResponseError, InvalidInputError, UnknownNameError
from policies.embedding import Embedder, LocalEmbedder, build_embedder, embedder_names
from policies.embedding._protocol import prepared, unit_rows

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "pocket-xs"
OPTIONS: dict[str, dict[str, Any]] = {
    "openai": {"base_url": "http://127.0.0.1/v1"},
    "transformers": {},
}
texts = st.text(st.characters(codec=None), min_size=1).filter(str.strip)


def test_the_names_are_those_of_the_classes() -> None:
    assert embedder_names() == ["openai", "transformers"]
    for name in embedder_names():
        embedder = build_embedder(name, "owner/model", **OPTIONS[name])
        assert isinstance(embedder, Embedder)
        assert (embedder.name, embedder.model) == (name, "owner/model")
        assert (embedder.dimensions, embedder.n_truncated) == (None, 0)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'openai'") as caught:
        build_embedder("opnai", "m")
    assert caught.value.code == "unknown-embedder"


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(InvalidInputError, match="it takes model, base_url") as caught:
        build_embedder("openai", "m", url="x")
    assert caught.value.code == "invalid-embedder-options"


@pytest.mark.parametrize("option", ["max_batch", "max_tokens", "max_bytes"])
def test_options_out_of_range_are_refused(option: str) -> None:
    options: dict[str, Any] = {option: 0}
    with pytest.raises(InvalidInputError, match=f"{option} is 0"):
        LocalEmbedder("owner/model", **options)


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidInputError, match="nowhere"):
        LocalEmbedder(Path("nowhere"))


def test_importing_loads_no_heavy_library() -> None:
    code = "import sys, policies.embedding; print({'torch','transformers','openai','httpx'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"


WITHOUT_LIBRARY = """
import sys
for module in ("torch", "transformers"):
    sys.modules[module] = None
from policies import MissingPrerequisiteError
from policies.embedding import LocalEmbedder
try:
    LocalEmbedder(sys.argv[1]).embed(["a"])
except MissingPrerequisiteError as error:
    print(error.code, error.hint)
"""


def test_a_missing_library_names_the_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBRARY, str(MODEL)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == 'missing-extra pip install "thinkroute[transformers]"\n', done.stderr


def test_identity_tells_weights_and_settings_apart_and_not_the_folder(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in MODEL.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    plain = LocalEmbedder(MODEL).identity()
    assert LocalEmbedder(copy).identity() == plain
    assert LocalEmbedder(MODEL, prefix="query: ").identity() != plain
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(bytes(data))
    assert LocalEmbedder(copy).identity() != plain


@given(text=texts, max_bytes=st.integers(1, 40))
def test_any_text_is_cut_to_sound_utf8_of_at_most_so_many_bytes(text: str, max_bytes: int) -> None:
    [kept], [is_cut] = prepared([text], prefix="", max_bytes=max_bytes)
    whole = text.encode("utf-8", "replace")
    assert len(kept.encode()) <= max_bytes
    assert whole.startswith(kept.encode())
    assert is_cut == (len(whole) > max_bytes)
    assert len(whole) - len(kept.encode()) < 4 or is_cut


@given(
    rows=st.lists(
        st.lists(st.floats(-1e30, 1e30), min_size=3, max_size=3).filter(
            lambda row: max(map(abs, row)) > 1e-6
        ),
        min_size=1,
        max_size=5,
    )
)
def test_rows_come_out_with_length_one(rows: list[list[float]]) -> None:
    unit = unit_rows(np.array(rows), backend="b", model="m")
    np.testing.assert_allclose(np.linalg.norm(unit.astype(np.float64), axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("bad", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_rows_without_a_direction_are_refused(bad: list[float]) -> None:
    with pytest.raises(BackendResponseError, match="text 1 is zero, NaN or infinite"):
        unit_rows(np.array([[1.0, 0.0], bad]), backend="b", model="m")
