"""Files that are broken or mean harm: one clear line, no crash, nothing unpacked, nothing run."""

import io
import json
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration import RunStore
from calibration.importers import import_file, read_outcomes
from policies import DataFileError, ThinkrouteError

GOLDEN = Path(__file__).parents[1] / "golden" / "import"
HEADER = {"version": 2, "eval": {"task": "t", "model": "m"}}


def error_of(path: Path) -> DataFileError:
    with pytest.raises(DataFileError) as caught:
        list(read_outcomes(path))
    error = caught.value
    assert str(path) in error.message
    assert "\n" not in str(error)
    assert error.hint
    return error


def archive(path: Path, members: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("header.json", json.dumps(HEADER))
        for name, data in members.items():
            file.writestr(name, data)
    return path


def test_a_zip_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    path = archive(tmp_path / "log.eval", {"samples/a_epoch_1.json": b" " * 100 * 2**20})
    assert "times its size" in error_of(path).message


def test_a_member_that_claims_a_gigabyte_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "log.eval", {"samples/a_epoch_1.json": "{}"})
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")  # the last entry of the directory: 24 bytes on, its size
    data[entry + 24 : entry + 28] = struct.pack("<I", 2**30)
    path.write_bytes(data)
    assert "unpacks to more than" in error_of(path).message


@pytest.mark.parametrize("claim", [1, 3000])
def test_a_member_that_lies_about_its_size_is_refused(tmp_path: Path, claim: int) -> None:
    path = archive(tmp_path / "log.eval", {"samples/a_epoch_1.json": json.dumps({"id": 1})})
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", claim)
    path.write_bytes(data)
    assert "samples/a_epoch_1.json" in error_of(path).message


@pytest.mark.parametrize("name", ["../../x.json", "samples/../../x.json", "/etc/x", "..\\x.json"])
def test_names_that_lead_out_of_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    before = set(tmp_path.rglob("*"))
    path = archive(folder / "log.eval", {"samples/a_epoch_1.json": "{}", name: "{}"})
    assert "points out of the archive" in error_of(path).message
    assert set(tmp_path.rglob("*")) - before == {path}


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("header.json", "{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("header.json", "{}")
    assert "same name" in error_of(path).message


@pytest.mark.parametrize("name", ["inspect_epochs.eval", "inspect_epochs.json"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_log_that_ends_too_early_is_refused(tmp_path: Path, name: str, share: float) -> None:
    data = (GOLDEN / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: int(len(data) * share)])
    error_of(path)


def test_a_flipped_bit_in_a_member_is_noticed(tmp_path: Path) -> None:
    data = bytearray((GOLDEN / "inspect_epochs.eval").read_bytes())
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        info = file.getinfo("samples/3_epoch_1.json")
    data[info.header_offset + 30 + len(info.filename) + info.compress_size // 2] ^= 1
    path = tmp_path / "log.eval"
    path.write_bytes(data)
    assert "samples/3_epoch_1.json" in error_of(path).message


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_are_never_read(tmp_path: Path, protocol: int) -> None:
    # PROTO, then an instruction to run `os.system`: neither is ever interpreted.
    path = tmp_path / "routerbench_0shot.csv"
    path.write_bytes(b"\x80" + bytes([protocol]) + b"cos\nsystem\n(S'touch x'\ntR.")
    error = error_of(path)
    assert "never read" in error.message
    assert "to_csv" in error.hint


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty"),
        (b"\x1f\x8b\x08abc", "gzip"),
        (b"PAR1 and nothing of the kind", "Parquet"),
        (b"PK\x03\x04 and nothing of the kind", "ZIP"),
        ("question_id,model,mode,correct\nä,b,direct,1\n".encode("latin-1"), "UTF-8"),
        ("question_id,model\n".encode("utf-16"), "UTF-8"),
        (b'{"question_id": "\xff"}\n', "UTF-8"),
        (b"\x00\x01\x02\x03", "no format fits"),
        (b"hello, world\n", "no format fits"),
        (b'{"a": 1}\n{"a": 2}\n', "no format fits"),
        (b'{"a": \n', "not JSON"),
        (b"[1, 2]\n", "no format fits"),
        (b"question_id,model,mode,correct\n1,m,direct\n", "3 cells"),
        (b'question_id,model,mode,correct\n1,"m,direct,1\n', "not a CSV"),
        (b"question_id,model,mode,correct,correct\n1,m,direct,1,0\n", "same name"),
        (b'{"a": ' + b"[" * 100_000, "nested|not JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "not JSON"),
        (b'{"n": ' + b"9" * 10_000 + b"}\n", "not JSON"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_broken_file_gets_one_clear_line(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "t.dat"
    path.write_bytes(data)
    error = error_of(path)
    assert any(word in error.message for word in problem.split("|"))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert "no such file" in error_of(tmp_path / "nothing.csv").message
    assert "no such file" in error_of(tmp_path).message


def test_an_unknown_file_is_told_what_each_format_misses(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("question_id,model,verdict\n1,m,1\n")
    error = error_of(path)
    for name in ("long", "lm-eval", "inspect", "wide"):
        assert f"{name} misses" in error.message
    assert "column mode or policy (or --policy), column correct or outcome" in error.message
    assert "verdict" in error.hint


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    row = {"question_id": 1, "model": "m", "mode": "direct", "correct": 1}
    path = tmp_path / "t.jsonl"
    path.write_bytes(json.dumps(row).encode() + b"\n\n" + b'{"question_id": "\xff"}\n')
    assert error_of(path).line == 3


def test_texts_that_cannot_be_stored_are_spelled_out(tmp_path: Path) -> None:
    row = {"question_id": "q", "model": "m", "mode": "direct", "correct": 1, "prompt": "\ud800"}
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with RunStore.create(tmp_path / "run.sqlite") as store:
        assert import_file(path, store).rows == 1
        assert [record.prompt for record in store.records()] == ["\\ud800"]


def test_cells_of_a_megabyte_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("question_id,model,mode,correct,prompt\nq,m,direct,1," + "x" * 2**20 + "\n")
    [found] = list(read_outcomes(path))
    assert len(getattr(found, "prompt")) == 2**20  # noqa: B009 - one of two types


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
LONG_KEYS = (
    *("question_id", "model", "mode", "correct", "budget_tokens", "n_samples", "sample_ok_1"),
    *("sample_idx", "model_size_b", "size", "task", "task_type", "completion_tokens", "score"),
)
SAMPLE_KEYS = ("id", "epoch", "input", "target", "scores", "output", "model_usage", "limit")
LM_KEYS = ("doc_id", "doc", "filtered_resps", "resps", "arguments", "filter", "metrics", "acc")


def whatever(keys: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    good = {"question_id": "q", "model": "m", "mode": "direct", "correct": 1, "id": 1, "doc_id": 0}
    values = {key: st.just(good[key]) | JSON if key in good else JSON for key in keys}
    return st.fixed_dictionaries(values)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(whatever(LONG_KEYS), min_size=1, max_size=3)
    | st.lists(whatever(LM_KEYS), min_size=1, max_size=3)
)
def test_lines_of_any_content_are_read_or_refused(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with RunStore.create(Path(folder) / "run.sqlite") as store:
            try:
                summary = import_file(path, store)
            except ThinkrouteError:
                return
            assert summary.rows == len(list(store.records()))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(whatever(SAMPLE_KEYS), max_size=3), JSON, JSON)
def test_logs_of_any_content_are_read_or_refused(
    samples: list[dict[str, Any]], spec: Any, rest: Any
) -> None:
    document = {"version": 2, "eval": spec, "plan": rest, "stats": rest, "samples": samples}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.json"
        path.write_text(json.dumps(document))
        with RunStore.create(Path(folder) / "run.sqlite") as store:
            try:
                import_file(path, store)
            except ThinkrouteError:
                return


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["inspect_epochs.eval", "inspect_limited.eval"]), st.data())
def test_changed_bytes_of_an_archive_are_read_or_refused(name: str, data: st.DataObject) -> None:
    content = bytearray((GOLDEN / name).read_bytes())
    places = data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4))
    for place in places:
        content[place] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.eval"
        path.write_bytes(content)
        try:
            list(read_outcomes(path))
        except ThinkrouteError:
            return
