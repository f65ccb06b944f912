import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies import ArtifactCorruptError, ArtifactError, ArtifactTooNewError, InvalidInputError
from router import Router
from router._artifact import canonical_json, write_artifact

SHARED_FOLDER = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60
)
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def saved(router: Router, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifacts") / "router"
    router.save(path)
    return path


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "router"))


def rewrite_manifest(path: Path, change: Change) -> None:
    """Change the manifest as somebody would who knows how its checksum is made."""
    file = path / "manifest.json"
    manifest = json.loads(file.read_bytes())
    change(manifest)
    manifest.pop("checksum", None)
    manifest["checksum"] = hashlib.sha256(canonical_json(manifest)).hexdigest()
    file.write_bytes(canonical_json(manifest))


def forge_member(path: Path, name: str, data: bytes) -> None:
    """Replace a member and everything that vouches for it."""
    (path / name).write_bytes(data)

    def change(manifest: dict[str, Any]) -> None:
        digest = hashlib.sha256(data).hexdigest()
        manifest["members"][name] = {"n_bytes": len(data), "sha256": digest}

    rewrite_manifest(path, change)


def test_a_loaded_router_decides_bit_for_bit_the_same(router: Router, saved: Path) -> None:
    loaded = Router.load(saved)
    prompts = ["Compute, left to right: 3+4*5-1*2", "Who is the boss of Ada?", "", "ünïcode 数学"]
    for ours, theirs in zip(router.predict(prompts), loaded.predict(prompts), strict=True):
        assert np.array_equal(ours, theirs)
    assert loaded.artifact_id == router.artifact_id
    assert loaded.objective == router.objective


def test_saving_a_loaded_router_writes_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    Router.load(saved).save(tmp_path / "again")
    for file in saved.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


@SHARED_FOLDER
@given(data=st.data())
def test_any_flipped_byte_is_found(saved: Path, data: st.DataObject) -> None:
    files = sorted(file.name for file in saved.iterdir() if file.stat().st_size)
    file = saved / data.draw(st.sampled_from(files))
    original = file.read_bytes()
    position = data.draw(st.integers(0, len(original) - 1))
    flip = data.draw(st.integers(1, 255))
    broken = bytearray(original)
    broken[position] ^= flip
    try:
        file.write_bytes(broken)
        with pytest.raises(ArtifactError) as caught:
            Router.load(saved)
    finally:
        file.write_bytes(original)
    assert file.name in str(caught.value) or isinstance(caught.value, ArtifactTooNewError)
    is_version = isinstance(caught.value, ArtifactTooNewError)
    assert isinstance(caught.value, ArtifactCorruptError) or (
        is_version and file.name == "manifest.json"
    )


@pytest.mark.parametrize("n_bytes", [0, 1, 100])
def test_a_truncated_member_is_found(copy: Path, n_bytes: int) -> None:
    os.truncate(copy / "weights.npy", n_bytes)
    with pytest.raises(ArtifactCorruptError, match=r"weights\.npy"):
        Router.load(copy)


def test_all_missing_and_added_members_are_named(copy: Path) -> None:
    (copy / "idf.npy").unlink()
    (copy / "model.json").unlink()
    (copy / "extra.txt").write_text("x")
    with pytest.raises(ArtifactCorruptError) as caught:
        Router.load(copy)
    assert all(name in str(caught.value) for name in ("idf.npy", "model.json", "extra.txt"))


def test_a_newer_layout_is_told_before_anything_else(copy: Path) -> None:
    file = copy / "manifest.json"
    file.write_text(json.dumps({"schema_version": 3, "shape": "unknown"}))
    with pytest.raises(ArtifactTooNewError, match="schema_version 3"):
        Router.load(copy)


def test_newer_features_are_refused_as_newer_and_older_ones_as_old(copy: Path) -> None:
    rewrite_manifest(copy, lambda manifest: manifest["features"].update(text=99))
    with pytest.raises(ArtifactTooNewError):
        Router.load(copy)
    rewrite_manifest(copy, lambda manifest: manifest["features"].update(text=0))
    with pytest.raises(ArtifactError, match="text"):
        Router.load(copy)


def _set(key: str, value: Any) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        manifest[key] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("schema_version", 0),
        _set("schema_version", True),
        _set("schema_version", "1"),
        _set("members", []),
        _set("members", {"../../evil.txt": {"n_bytes": 1, "sha256": ""}}),
        _set("members", {"/etc/passwd": {"n_bytes": 1, "sha256": ""}}),
        _set("members", {"a.pkl": {"n_bytes": 1, "sha256": ""}}),
        _set("members", {"a.txt": {"n_bytes": 2**40, "sha256": ""}}),
        _set("members", {"manifest.json": {"n_bytes": 1, "sha256": ""}}),
        _set("arms", ["other:direct"]),
        _set("objective", {"tradeoff": -1.0}),
        _set("objective", {"unit": "tokens"}),
        _set("prices", {"m": {"prompt_usd": -1.0, "completion_usd": 0.0}}),
        _set("prices", {"m": {"cents": 1.0}}),
        _set("backends", {"m": {"backend": "openai", "options": {"api_key": "x"}}}),
        _set("surprise", 1),
        _set("seed", "0"),
    ],
)
def test_forged_manifests_are_refused(copy: Path, change: Change) -> None:
    rewrite_manifest(copy, change)
    with pytest.raises(ArtifactCorruptError):
        Router.load(copy)


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "null", '{"schema_version": NaN}', "[" * 100_000, "\xff"]
)
def test_manifests_that_are_no_object_are_refused(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text, "latin-1")
    with pytest.raises(ArtifactCorruptError, match=r"manifest\.json"):
        Router.load(copy)


def _npy(array: Any) -> bytes:
    import io

    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("idf.npy", _npy(np.array([np.nan]))),
        ("idf.npy", _npy(np.array([object()]))),
        ("idf.npy", _npy(np.ones(3, dtype=np.float32))),
        ("idf.npy", b"\x93NUMPY"),
        ("pairs.npy", _npy(np.array([5, 5]))),
        ("weights.npy", _npy(np.ones((2, 2), dtype=np.float32))),
        ("vocabulary.json", b'["a", "a"]'),
        ("vocabulary.json", b'{"a": 1}'),
        ("vocabulary.json", b"[NaN]"),
        ("model.json", b"{}"),
        ("model.json", b"[1"),
        ("trees_correct.txt", b"tree\nnonsense"),
        ("trees_tokens.txt", b"\xff"),
    ],
)
def test_forged_members_are_refused_by_name(copy: Path, name: str, data: bytes) -> None:
    forge_member(copy, name, data)
    with pytest.raises(ArtifactCorruptError) as caught:
        Router.load(copy)
    assert name in str(caught.value) or "idf.npy" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        _set("p_means", [[2.0, 0.5, 0.5], [0.5, 0.5, 0.5]]),
        _set("p_means", [[0.5], [0.5, 0.5]]),
        _set("intercepts", [0.0]),
        _set("slope", None),
        _set("token_scale", [-1.0, 1.0, 1.0]),
        _set("arms", []),
        _set("extra", 1),
    ],
)
def test_forged_numbers_are_refused(copy: Path, change: Change) -> None:
    document = json.loads((copy / "model.json").read_bytes())
    change(document)
    forge_member(copy, "model.json", canonical_json(document))
    with pytest.raises(ArtifactCorruptError, match=r"model\.json"):
        Router.load(copy)


def test_infinity_in_json_is_refused(copy: Path) -> None:
    text = (copy / "model.json").read_text()
    forge_member(copy, "model.json", text.replace('"slope": ', '"slope": 1e999, "s": ').encode())
    with pytest.raises(ArtifactCorruptError, match=r"model\.json"):
        Router.load(copy)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links here")
def test_links_are_not_followed(copy: Path, tmp_path: Path) -> None:
    (copy / "idf.npy").rename(tmp_path / "outside.npy")
    (copy / "idf.npy").symlink_to(tmp_path / "outside.npy")
    with pytest.raises(ArtifactCorruptError, match=r"idf\.npy"):
        Router.load(copy)


def test_nothing_there_and_another_kind_are_told_apart(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no artifact"):
        Router.load(tmp_path / "nowhere")
    rewrite_manifest(copy, _set("kind", "calendar"))
    with pytest.raises(ArtifactError, match="calendar"):
        Router.load(copy)


def test_an_existing_router_is_replaced_only_when_asked(router: Router, copy: Path) -> None:
    with pytest.raises(ArtifactError, match="overwrite=True"):
        router.save(copy)
    router.save(copy, overwrite=True)
    assert Router.load(copy).artifact_id == router.artifact_id
    assert [entry.name for entry in copy.parent.iterdir()] == ["router"]


def test_a_folder_of_something_else_is_never_replaced(router: Router, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("cat")
    with pytest.raises(ArtifactError, match="not replaced"):
        router.save(tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "cat"


@pytest.mark.parametrize("step", ["_write_synced", "_sync_folder", "_rename_over"])
def test_a_failed_write_leaves_the_old_artifact_and_no_rubbish(
    router: Router, copy: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(f"router._artifact.{step}", fail)
    with pytest.raises(OSError, match="disk full"):
        router.save(copy, overwrite=True)
    assert Router.load(copy).artifact_id == router.artifact_id
    assert [entry.name for entry in copy.parent.iterdir()] == ["router"]


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_artifact(
            tmp_path / "x", kind="k", schema_version=1, body={"a": float("nan")}, members={}
        )
    assert not list(tmp_path.iterdir())


def test_secrets_are_not_stored(make_records: Callable[..., Any]) -> None:
    backends = {"toy": {"backend": "openai", "options": {"api_key": "sk-123"}}}
    with pytest.raises(InvalidInputError, match="looks like a secret"):
        Router.fit(make_records(5), backends=backends)
