"""Broken artifacts load and decide, or are refused in one line; the full run is a benchmark."""

import io
import json
import os
import random
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import fuzz_artifact
from benchmarks._artifact_mutations import MANIFEST, seal, signed, write_folder, write_mutant
from policies import ArtifactCorruptError, ArtifactError
from router import Router

N_SHARE = 400
KINDS = (
    *("means", "boosted", "forest", "neighbours", "per arm", "isotonic", "one arm", "many arms"),
    *("cascade", "guarantee", "embedding", "mean cost"),
)
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def files() -> Files:
    """A sound router with trees, as files by name."""
    return dict(dict(fuzz_artifact.seeds())["boosted"])


def write(files: Files, folder: Path) -> Path:
    folder.mkdir()
    write_folder(files, folder)
    return folder


def forge(files: Files, folder: Path, **members: bytes) -> Path:
    """Write an artifact with other members, and everything that vouches for them."""
    forged = files | {name.replace("__", "."): data for name, data in members.items()}
    seal(forged)
    return write(forged, folder)


def refusal(folder: Path) -> str:
    """Return the one line with which an artifact is refused."""
    assert fuzz_artifact.judge(folder) == "refused"
    with pytest.raises(ArtifactError) as caught:
        Router.load(folder)
    return str(caught.value)


@pytest.mark.parametrize("share", range(4))
def test_mutants_load_and_decide_or_are_refused_in_one_line(share: int, tmp_path: Path) -> None:
    start = share * N_SHARE // 4
    tally = fuzz_artifact.run_cases(range(start, start + N_SHARE // 4), tmp_path)
    assert tally.n == N_SHARE // 4
    assert not tally.violations
    assert min(tally.loaded, tally.refused) > 0  # both sides of the fence were visited


@pytest.mark.parametrize("kind", KINDS)
def test_a_resealed_artifact_is_sound(kind: str, tmp_path: Path) -> None:
    sound = dict(dict(fuzz_artifact.seeds())[kind])
    before = dict(sound)
    seal(sound)
    assert sound == before
    assert fuzz_artifact.judge(write(sound, tmp_path / "x")) == "loaded"


def test_every_kind_and_every_member_has_a_seed() -> None:
    found = dict(fuzz_artifact.seeds())
    assert set(found) == set(KINDS)
    members = {name for files in found.values() for name, data in files.items() if data}
    assert members >= {
        *("cascade.json", "drift.json", "embedding.json", "forest_0.txt", "trees_by_arm_0.txt"),
        *("embedding_mean.npy", "embedding_components.npy", "seen.npy", "trees_correct.txt"),
        *(f"reference_{name}.npy" for name in ("topics", "p_correct", "correct", "tokens")),
        *("reference_tokens_expected.npy", "reference_n_bytes.npy", "trees_tokens.txt"),
    }


def test_mutants_are_told_by_their_number_alone(tmp_path: Path) -> None:
    for number in range(12):
        made = [fuzz_artifact.write_case(number, tmp_path / name) for name in "ab"]
        assert made[0] == made[1]
        kept = [
            {file.name: file.read_bytes() for file in (tmp_path / name).iterdir() if is_plain(file)}
            for name in "ab"
        ]
        assert kept[0] == kept[1]


def is_plain(file: Path) -> bool:
    return file.is_file() and not file.is_symlink() and file.stat().st_size < 2**20


def test_every_kind_of_member_is_mutated(files: Files, tmp_path: Path) -> None:
    labels = ""
    for number in range(300):
        folder = tmp_path / str(number)
        folder.mkdir()
        labels += write_mutant(files, random.Random(number), folder) + "\n"
    assert all(name in labels for name in files)


BROKEN: dict[str, Callable[[Router], Any]] = {
    "error": lambda router: router.__setattr__("_model", None),
    "wait": lambda _: time.sleep(60),
    "loop": lambda _: any(False for _ in iter(int, 1)),
    "warning": lambda _: np.exp(np.array([1000.0])),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_the_judge_sees_errors_hangs_and_warnings(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(fuzz_artifact, "MAX_SECONDS", 0.5)
    monkeypatch.setattr(fuzz_artifact, "MAX_WAIT_S", 1.0)
    load = Router.load

    def load_and_break(path: Path) -> Router:
        router = load(path)
        BROKEN[kind](router)
        return router

    monkeypatch.setattr(Router, "load", load_and_break)
    with pytest.raises(fuzz_artifact.Violation):
        fuzz_artifact.judge(write(files, tmp_path / "x"))


def test_a_run_that_was_cut_off_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz_artifact, "CHUNK", 10)
    state = tmp_path / "state.jsonl"
    whole = fuzz_artifact.fuzz(30, 2, state=state)
    lines = state.read_text().splitlines()
    state.write_text("\n".join(lines[:2]) + "\n")
    again = fuzz_artifact.fuzz(30, 2, state=state)
    assert (again.n, again.loaded, again.refused) == (30, whole.loaded, whole.refused)
    assert sorted(state.read_text().splitlines()) == sorted(lines)


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "weights.npz", "a.pt", "x.dill"])
def test_pickles_are_refused_unread_even_when_the_manifest_vouches_for_them(
    files: Files, tmp_path: Path, name: str
) -> None:
    # Loading this with pickle would create the file `owned`.
    payload = f"cos\nsystem\n(S'touch {tmp_path}/owned'\ntR.".encode()
    assert repr(name) in refusal(write(files | {name: payload}, tmp_path / "added"))
    forged = files | {name: payload}
    seal(forged)
    assert repr(name) in refusal(write(forged, tmp_path / "vouched"))
    forged = dict(files)
    forged["model.json"] = payload
    seal(forged)
    assert "'model.json'" in refusal(write(forged, tmp_path / "inside"))
    assert not (tmp_path / "owned").exists()


def test_object_arrays_and_zip_archives_are_refused(files: Files, tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "'idf.npy'" in refusal(forge(files, tmp_path / "object", idf__npy=stream.getvalue()))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../evil.npy", b"x")
    assert "'idf.npy'" in refusal(forge(files, tmp_path / "zip", idf__npy=archive.getvalue()))
    assert not list(tmp_path.glob("**/evil*"))


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (5L,), }",  # warned in NumPy's reader
        "{'descr': 'a8', 'fortran_order': False, 'shape': (1,), }",  # so did this
        "{'descr': (), 'fortran_order': False, 'shape': (1,), }",  # IndexError
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1,",  # TokenError
        "-" * 3000 + "1",  # RecursionError
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "9" * 60 + ",), }",
    ],
)
def test_headers_of_arrays_are_never_evaluated(files: Files, tmp_path: Path, header: str) -> None:
    assert "'idf.npy'" in refusal(forge(files, tmp_path / "x", idf__npy=npy(header, b"\0" * 8)))


@pytest.mark.parametrize(
    "text",
    ["1e400", "-1e400", '"\\ud800"', "[" * 400 + "]" * 400, "9" * 5000],
    ids=["1e400", "-1e400", "surrogate", "nested", "digits"],
)
def test_what_json_allows_and_we_never_write_is_refused(
    files: Files, tmp_path: Path, text: str
) -> None:
    manifest = files[MANIFEST].replace(b'"seed": 0', f'"seed": {text}'.encode())
    assert manifest != files[MANIFEST]
    assert MANIFEST in refusal(write(files | {MANIFEST: manifest}, tmp_path / "manifest"))
    words = forge(files, tmp_path / "words", vocabulary__json=f"[{text}]".encode())
    assert "'vocabulary.json'" in refusal(words)


Change = Callable[[dict[str, Any]], Any]
MODEL_CHANGES: list[Change] = [
    lambda model: model["arms"][0].update(size=10**400),
    lambda model: model["arms"][1].update(budget=10**400),
    lambda model: model["calibration"]["intercepts"].__setitem__(0, 1e308),
    lambda model: model["calibration"].update(slope=1e308),
    lambda model: model["calibration"].update(gain_slope=1e308),
    lambda model: model["calibration"].update(method="isotonic"),
    lambda model: model["calibration"].update(method="isotonic", knots=[[[0.1], [0.2]]]),
    lambda model: model["calibration"].update(knots=[[[0.1, 0.2], [0.2, 0.1]]] * 2),
    lambda model: model["token_spread"][0].__setitem__(0, -1.0),
    lambda model: model.update(blend={"boosted": 1.0, "means": 1.0}),
    lambda model: model.update(blend={"boosted": 1e-9}),
    lambda model: model.update(blend={"strange": 1.0}),
    lambda model: model.update(blend={}),
    lambda model: model.update(n_topics=10**9),
    lambda model: model.update(n_extra=1),
    lambda model: model.update(arms=model["arms"] * 1000),
    lambda model: model.update(labels=model["labels"] * 10_000),
    lambda model: model["reference_ids"].append("one more"),
    lambda model: model["log_token_means"][0].__setitem__(0, 1e308),
    lambda model: model["token_scale"].__setitem__(0, 1e308),
    lambda model: model.update(extra="x" * 100_000),
    lambda model: model.update({f"extra{index}": 1 for index in range(1000)}),
]


@pytest.mark.parametrize("number", range(len(MODEL_CHANGES)))
def test_numbers_whose_products_overflow_are_refused_in_one_line(
    files: Files, tmp_path: Path, number: int
) -> None:
    model = json.loads(files["model.json"])
    MODEL_CHANGES[number](model)
    line = refusal(forge(files, tmp_path / "x", model__json=json.dumps(model).encode()))
    assert "'model.json'" in line
    assert len(line) < 1000


@pytest.mark.parametrize("kind", ["means", "boosted"])
def test_neighbours_of_no_questions_are_refused(kind: str, tmp_path: Path) -> None:
    files = dict(dict(fuzz_artifact.seeds())[kind])
    model = json.loads(files["model.json"])
    model |= {"reference_ids": [], "reference_tasks": [], "blend": {"neighbours": 1.0}}
    empty = {
        name.replace(".", "__"): saved(read(data)[:0])
        for name, data in files.items()
        if name.startswith("reference_")
    }
    line = refusal(
        forge(files, tmp_path / "x", model__json=json.dumps(model).encode(), **empty),
    )
    assert "neighbours" in line


def read(data: bytes) -> Any:
    return np.load(io.BytesIO(data), allow_pickle=False).copy()


def saved(array: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("topics", 2.0), ("topics", -2.0), ("p_correct", 1.5), ("p_correct", -1.0)),
        *(("correct", -0.5), ("correct", 2.0), ("tokens", -2.0), ("tokens", 1e13)),
        *(("tokens_expected", -1.0), ("n_bytes", -1.0), ("n_bytes", np.nan)),
    ],
)
def test_numbers_that_no_measured_question_has_are_refused(
    files: Files, tmp_path: Path, name: str, value: float
) -> None:
    member = f"reference_{name}.npy"
    array = read(files[member])
    array.reshape(-1)[-1] = value
    forged = forge(files, tmp_path / "x", **{member: saved(array)})
    assert repr(member) in refusal(forged)


def test_hashes_of_seen_prompts_are_ascending(files: Files, tmp_path: Path) -> None:
    seen = read(files["seen.npy"])
    for forged in (seen[::-1].copy(), seen[[0, 0]], seen.astype(np.int64), seen[np.newaxis]):
        folder = forge(files, tmp_path / str(id(forged)), seen__npy=saved(forged))
        assert "'seen.npy'" in refusal(folder)


CASCADE_CHANGES: list[Change] = [
    lambda one: one.update(version=2),
    lambda one: one.update(version=10**4000),
    lambda one: one.update(more=1),
    lambda one: one.pop("gain"),
    lambda one: one.update(n_arms=3),
    lambda one: one.update(firsts=[7]),
    lambda one: one["shifts"][0][0][0].__setitem__(0, 1e300),
    lambda one: one["shifts"][0].__setitem__(0, one["shifts"][0][0] * 1000),
    lambda one: one["weights"][0][0].__setitem__(0, -1e7),
    lambda one: one["scale"][0].__setitem__(0, 1e-320),
    lambda one: one["scale"][0].__setitem__(0, -1.0),
    lambda one: one.update(edges=[[0.0, -1.0]]),
    lambda one: one.update(center="x"),
    lambda one: one.update(center=[[True] * 5]),
]


@pytest.mark.parametrize("number", range(len(CASCADE_CHANGES)))
def test_a_cascade_is_read_strictly(tmp_path: Path, number: int) -> None:
    files = dict(dict(fuzz_artifact.seeds())["cascade"])
    one = json.loads(files["cascade.json"])
    CASCADE_CHANGES[number](one)
    line = refusal(forge(files, tmp_path / "x", cascade__json=json.dumps(one).encode()))
    assert "'cascade.json'" in line


@pytest.mark.parametrize(
    "data",
    [
        *(b"{}", b"[]", b"", b'{"n": 1, "bins": {}, "version": 2}', b'{"n": -1, "bins": {}}'),
        *(b'{"n": 1, "bins": {}, "x": 0}', b'{"n": NaN, "bins": {}}', b"[" * 100_000),
        b'{"n": 1, "bins": {"x": {"values": [1e999], "ties": [0.5], "spacings": [1, 1]}}}',
        b'{"n": 1, "bins": {"x": {"values": [1.0], "ties": [0.5], "spacings": [1]}}}',
        b'{"n": 1, "bins": {"x": {"values": [2.0, 1.0], "ties": [0, 0], "spacings": [1, 1, 1]}}}',
    ],
)
def test_what_only_the_drift_monitor_reads_is_checked_at_loading(
    files: Files, tmp_path: Path, data: bytes
) -> None:
    assert "'drift.json'" in refusal(forge(files, tmp_path / "x", drift__json=data))


EMBEDDING_CHANGES: list[Change] = [
    lambda one: one.update(version=2),
    lambda one: one.update(dimensions=11),
    lambda one: one.update(n_components=10**9),
    lambda one: one.update(explained=2.0),
    lambda one: one.update(identity={"embedder": "x\n" * 10_000}),
    lambda one: one.update(identity={f"{n}\x1b[31m": "x" for n in range(90)}),
    lambda one: one.update(identity={str(n): "x" for n in range(1000)}),
]


@pytest.mark.parametrize("number", range(len(EMBEDDING_CHANGES)))
def test_an_embedding_is_read_strictly(tmp_path: Path, number: int) -> None:
    files = dict(dict(fuzz_artifact.seeds())["embedding"])
    one = json.loads(files["embedding.json"])
    EMBEDDING_CHANGES[number](one)
    folder = forge(files, tmp_path / "x", embedding__json=json.dumps(one).encode())
    assert fuzz_artifact.judge(folder) == "refused"


def test_an_embedding_without_the_features_of_the_model_is_refused(tmp_path: Path) -> None:
    files = dict(dict(fuzz_artifact.seeds())["embedding"])
    less = {name: data for name, data in files.items() if not name.startswith("embedding")}
    seal(less)
    assert "extra features" in refusal(write(less, tmp_path / "without"))
    components = read(files["embedding_components.npy"])[:-1]
    one = json.loads(files["embedding.json"]) | {"n_components": len(components)}
    folder = forge(
        files,
        tmp_path / "fewer",
        embedding__json=json.dumps(one).encode(),
        embedding_components__npy=saved(components),
    )
    assert "extra features" in refusal(folder)


def test_sizes_that_would_fill_the_memory_are_refused_unread(files: Files, tmp_path: Path) -> None:
    for name, n_bytes in {"x.json": 2**26, "x.txt": 2**27, "x.npy": 2**30}.items():
        folder = write(files, tmp_path / name)
        (folder / name).touch()
        os.truncate(folder / name, n_bytes)  # sparse: takes no room
        vouch(folder, {name: n_bytes})
        assert repr(name) in refusal(folder)
    folder = write(files, tmp_path / "together")
    vouch(folder, {f"x{index}.npy": 2**28 for index in range(5)})
    assert "more than" in refusal(folder)
    folder = write(files, tmp_path / "many")
    vouch(folder, {f"x{index}.npy": 0 for index in range(5000)})
    assert "members" in refusal(folder)


def vouch(folder: Path, sizes: dict[str, int]) -> None:
    """Let a manifest list more members, with a checksum that fits."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["members"] |= {
        name: {"n_bytes": n_bytes, "sha256": "0" * 64} for name, n_bytes in sizes.items()
    }
    (folder / MANIFEST).write_bytes(signed(manifest))


def trees(n: int, leaf: str = "0.5") -> bytes:
    """Return a model of n trees with one split each, all at other values of one feature."""
    parts = [
        f"Tree={i}\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold={i}.5\n"
        f"left_child=-1\nright_child=-2\nleaf_value={leaf} 0.25\nis_linear=0\n"
        for i in range(n)
    ]
    return ("tree\nversion=v4\n\n" + "\n".join(parts) + "\nend of trees\n").encode()


def tree_member(files: Files) -> str:
    found = [name for name, data in sorted(files.items()) if data.startswith(b"tree\n")]
    if not found:
        pytest.skip("this layout has no LightGBM text")
    return found[0]


def test_few_simple_trees_load(files: Files, tmp_path: Path) -> None:
    folder = forge(files, tmp_path / "x", **{tree_member(files): trees(3)})
    assert fuzz_artifact.judge(folder) == "loaded"


def test_trees_whose_tables_would_fill_the_memory_are_refused(files: Files, tmp_path: Path) -> None:
    # 15,000 trees are 2 MB of text; tabulated they would be 2 GB.
    folder = forge(files, tmp_path / "x", **{tree_member(files): trees(15_000)})
    assert "trees" in refusal(folder)


@pytest.mark.parametrize("leaf", ["nan", "inf", "1e308", "-1e400"])
def test_leaves_that_are_no_usable_numbers_are_refused(
    files: Files, tmp_path: Path, leaf: str
) -> None:
    name = tree_member(files)
    assert "trees" in refusal(forge(files, tmp_path / "two", **{name: trees(3, leaf)}))
    single = f"tree\n\nTree=0\nnum_leaves=1\nnum_cat=0\nleaf_value={leaf}\n\nend of trees\n"
    assert "trees" in refusal(forge(files, tmp_path / "one", **{name: single.encode()}))


def test_special_files_are_refused_without_being_read(files: Files, tmp_path: Path) -> None:
    name = next(name for name in sorted(files) if name != MANIFEST)
    rest = {other: data for other, data in files.items() if other != name}
    kinds: dict[str, Callable[[Path], Any]] = {
        "pipe": os.mkfifo,
        "device": lambda file: file.symlink_to("/dev/zero"),
        "folder": lambda file: file.mkdir(),
        "huge": lambda file: (file.touch(), os.truncate(file, 2**40)),
    }
    for kind, make in kinds.items():
        folder = write(rest, tmp_path / kind)
        make(folder / name)
        assert repr(name) in refusal(folder)


def test_a_thousand_strange_files_still_make_one_short_line(files: Files, tmp_path: Path) -> None:
    folder = write(files, tmp_path / "x")
    for index in range(1000):
        (folder / f"new\nline \x1b[31m {index}").touch()
    assert len(refusal(folder)) < 1000


def test_a_refusal_is_an_error_of_the_artifact(files: Files, tmp_path: Path) -> None:
    with pytest.raises(ArtifactCorruptError):
        Router.load(forge(files, tmp_path / "x", model__json=b"{}"))
