"""Router artifacts broken on purpose, in ways that do not depend on what a router saves.

A mutant is made at one of two levels. *Outside*: bytes, files and links of the folder are
changed and nothing vouches for them. *Inside*: the content of a member or the manifest is changed
and sizes, hashes and checksum are made right again, so that the parsers behind are reached.
Members are mutated by their suffix (`.json`, `.npy`, `.txt`), whatever they are called.
"""

import hashlib
import io
import json
import os
import random
import re
import struct
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

__all__ = ["MANIFEST", "seal", "signed", "write_folder", "write_mutant"]

MANIFEST = "manifest.json"
Members = dict[str, bytes]
# What reading a member raises after an earlier mutation of the same mutant.
_BROKEN_ALREADY = (
    *(AttributeError, EOFError, KeyError, MemoryError, OverflowError, RecursionError),
    *(TypeError, ValueError),
)


def write_mutant(seed: Mapping[str, bytes], rng: random.Random, folder: Path) -> str:
    """Write one mutant of an artifact and return how it was made.

    Args:
        seed: Content of a sound artifact by file name, the manifest among them.
        rng: Decides everything.
        folder: An empty folder, which becomes the artifact.
    """
    files = dict(seed)
    if rng.random() < 0.25:
        return _mutate_outside(files, rng, folder)
    labels = [_mutate_inside(files, rng) for _ in range(rng.choice((1, 1, 1, 1, 2)))]
    write_folder(files, folder)
    return " + ".join(labels)


def write_folder(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files into a folder."""
    for name, data in files.items():
        (folder / name).write_bytes(data)


def seal(files: Members) -> None:
    """Make sizes, hashes and checksum of the manifest right, as a forger would."""
    manifest = json.loads(files[MANIFEST])
    manifest["members"] = {
        name: {"n_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
        if name != MANIFEST
    }
    files[MANIFEST] = signed(manifest)


def signed(manifest: dict[str, Any]) -> bytes:
    """Return a manifest as it is written, its checksum made right."""
    manifest.pop("checksum", None)
    manifest["checksum"] = hashlib.sha256(_canonical(manifest)).hexdigest()
    return _canonical(manifest)


def _canonical(document: Any) -> bytes:
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False)
    return _with_raw(text).encode("utf-8", "surrogatepass") + b"\n"


_STRANGERS = (
    "model.pkl",
    "model.joblib",
    "weights.npz",
    "weights.pickle",
    "..txt",
    "a" * 200 + ".txt",
    "MODEL.JSON",
    "new\nline.json",
    "~",
    "%2e%2e%2fpasswd.txt",
)
# What `pickle.loads` would run; written as bytes so that nothing here knows pickles.
_PICKLE = b"cos\nsystem\n(S'exit 1'\ntR."


def _mutate_outside(files: Members, rng: random.Random, folder: Path) -> str:
    name = rng.choice(sorted(files))
    action = rng.choice(_OUTSIDE)
    action(files, name, rng)
    link = rng.random()
    special = files.pop(name, None) if link < 0.15 else None
    write_folder(files, folder)
    if special is None:
        return f"outside {action.__name__} {name}"
    kind = rng.choice(("symlink", "zero", "dangling", "folder", "fifo", "sparse"))
    file = folder / name
    if kind == "symlink":
        (folder.parent / f"{folder.name}.outside").write_bytes(special)
        file.symlink_to(folder.parent / f"{folder.name}.outside")
    elif kind == "zero":
        file.symlink_to("/dev/zero")
    elif kind == "dangling":
        file.symlink_to(folder / "nowhere")
    elif kind == "folder":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    else:
        file.touch()
        os.truncate(file, rng.choice((2**20, 2**31, 2**40)))
    return f"outside {kind} {name}"


def _flip(files: Members, name: str, rng: random.Random) -> None:
    data = bytearray(files[name])
    for _ in range(rng.choice((1, 1, 4, 64)) if data else 0):
        data[rng.randrange(len(data))] ^= rng.randint(1, 255)
    files[name] = bytes(data)


def _cut(files: Members, name: str, rng: random.Random) -> None:
    files[name] = files[name][: rng.randint(0, len(files[name]))]


def _extend(files: Members, name: str, rng: random.Random) -> None:
    files[name] += rng.randbytes(rng.choice((1, 7, 4096)))


def _replace(files: Members, name: str, rng: random.Random) -> None:
    files[name] = rng.choice((b"", b"\0" * 4096, b"[" * 100_000, _PICKLE, rng.randbytes(200)))


def _remove(files: Members, name: str, rng: random.Random) -> None:
    del files[name]


def _exchange(files: Members, name: str, rng: random.Random) -> None:
    other = rng.choice(sorted(files))
    files[name], files[other] = files[other], files[name]


def _add(files: Members, name: str, rng: random.Random) -> None:
    files[rng.choice(_STRANGERS)] = rng.choice((_PICKLE, b"", files[name]))


def _repeat(files: Members, name: str, rng: random.Random) -> None:
    files[name] *= rng.choice((2, 3, 20))


def _rename(files: Members, name: str, rng: random.Random) -> None:
    files[rng.choice(_STRANGERS)] = files.pop(name)


_OUTSIDE: tuple[Callable[[Members, str, random.Random], None], ...] = (
    _flip,
    _flip,
    _flip,
    _cut,
    _extend,
    _replace,
    _remove,
    _exchange,
    _add,
    _rename,
    _repeat,
)


def _mutate_inside(files: Members, rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.15:
        try:
            files[MANIFEST] = _mutate_manifest(files[MANIFEST], rng)
        except _BROKEN_ALREADY:
            return "inside manifest, broken already"
        return "inside manifest"
    if kind < 0.22:
        name = rng.choice([name for name in sorted(files) if name != MANIFEST] or [MANIFEST])
        action = rng.choice((_flip, _cut, _extend, _replace, _remove, _exchange, _repeat))
        action(files, name, rng)
        _seal_if_possible(files)
        return f"inside {action.__name__} {name}"
    by_suffix = {
        suffix: [name for name in sorted(files) if name.endswith(suffix) and name != MANIFEST]
        for suffix in _BY_SUFFIX
    }
    suffix = rng.choice([suffix for suffix, names in by_suffix.items() if names] or [""])
    if not suffix:
        return "inside nothing"
    name = rng.choice(by_suffix[suffix])
    try:
        files[name] = _BY_SUFFIX[suffix](files[name], rng)
    except _BROKEN_ALREADY:
        _flip(files, name, rng)
    _seal_if_possible(files)
    return f"inside {name}"


def _seal_if_possible(files: Members) -> None:
    try:
        seal(files)
    except _BROKEN_ALREADY:
        return


_BAD_NAMES = (
    "../../evil.txt",
    "/etc/passwd",
    "a/../b.txt",
    "..",
    "",
    "C:\\evil.txt",
    "a\x00.txt",
    "model.pkl",
    "model.joblib",
    "a.txt\n",
    "A.txt",
    MANIFEST,
    "x" * 65 + ".txt",
)


def _mutate_manifest(data: bytes, rng: random.Random) -> bytes:
    manifest: Any = json.loads(data)
    action = rng.random()
    if action < 0.25 and isinstance(manifest.get("members"), dict):
        members = manifest["members"]
        entry = {
            "n_bytes": rng.choice((0, 1, -1, 2**29, 2**40, 2**63, 1.0, True, None, "1")),
            "sha256": rng.choice(("", "0" * 64, None, 1, hashlib.sha256(b"").hexdigest())),
        }
        name = rng.choice((*_BAD_NAMES, *sorted(members)))
        members[name] = rng.choice((entry, entry, entry, None, [], {}, "x"))
    else:
        for _ in range(rng.choice((1, 1, 2, 4))):
            manifest = _change_somewhere(manifest, rng)
    if not isinstance(manifest, dict):
        return _canonical(manifest)
    return signed(cast("dict[str, Any]", manifest))


_RAW = re.compile(r'"@raw:([^"]*)@"')
_SPECIAL: tuple[Callable[[], Any], ...] = (
    *(
        (lambda value=value: value)
        for value in (
            *(None, True, False, 0, 1, -1, 2, 64, 2**31, 2**63, -(2**63), 2**64, 10**30, 10**400),
            *(0.5, -0.5, 1e-9, 1e-300, 1e-320, 5e-324, -0.0, 40.0, 710.0, 1e16, 1e30, 1e300),
            *(1e308, -1e308, 1.7976931348623157e308, 0.9999999999999999),
            # At the limits of what is read.
            *(1e6, -1e6, 1e-6, 1e-100, 1e12, 10**12, 1.0, 1e-15),
            *("", "x", "0.5", "nan", "\x00", "\x1b[31m", "a\nb", "\ud800", "\u202e", "数学"),
            *("x" * 10_000, "direct", "reasoning@max", "sc(n=5)/reasoning@8", "((((", "max"),
            *("@raw:NaN@", "@raw:Infinity@", "@raw:-Infinity@", "@raw:1e400@", "@raw:-1e400@"),
            *(f"@raw:{'9' * 5000}@", f"@raw:{'[' * 30_000}{']' * 30_000}@", "@raw:01@", "@raw:@"),
        )
    ),
    list,
    dict,
    lambda: [[]],
    lambda: {"": None},
    lambda: _nested(60),
    lambda: _nested(400),
    lambda: [0.5] * 10_000,
)


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def _with_raw(text: str) -> str:
    return _RAW.sub(lambda match: match[1], text)


def _mutate_json(data: bytes, rng: random.Random) -> bytes:
    document = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        document = _change_somewhere(document, rng)
    text = json.dumps(document, ensure_ascii=rng.random() < 0.8)
    if rng.random() < 0.02:  # the same key twice
        text = text.replace("{", '{"kind": 1, ', 1)
    return _with_raw(text).encode("utf-8", "surrogatepass")


def _change_somewhere(document: Any, rng: random.Random) -> Any:
    """Change one node of a JSON document, found by walking down from the root."""
    parent: Any = None
    key: Any = None
    node = document
    while isinstance(node, dict | list) and node and (parent is None or rng.random() < 0.75):
        parent = cast("Any", node)
        key = (
            rng.choice(sorted(cast("dict[str, Any]", node)))
            if isinstance(node, dict)
            else rng.randrange(len(cast("list[Any]", node)))
        )
        node = parent[key]
    if parent is None or rng.random() < 0.01:
        return rng.choice(_SPECIAL)()
    action = rng.random()
    if action < 0.1:
        del parent[key]
    elif action < 0.2 and isinstance(parent, list):
        parent.insert(key, json.loads(json.dumps(rng.choice(cast("list[Any]", parent)))))
    elif action < 0.2:
        parent[rng.choice(("extra", "", f"{key} "))] = node
    elif action < 0.5 and isinstance(node, int | float) and not isinstance(node, bool):
        factor = rng.choice((-1.0, 0.0, 2.0, 1e10, 1e-10, 1e150, 1e300, 1e-300))
        parent[key] = float(node) * factor if abs(node) < 1e300 else 0.0
    elif action < 0.55 and isinstance(node, list):
        rng.shuffle(cast("list[Any]", node))
    else:
        parent[key] = rng.choice(_SPECIAL)()
    return document


_DESCRIPTIONS = (
    *("'<f8'", "'<f4'", "'<i8'", "'>f8'", "'|O'", "'<c16'", "'<U8'", "'|V8'", "'a8'", "'|b1'"),
    *("'<M8[ns]'", "'nonsense'", "None", "8", "[('x', '<f8')]", "'f8,f8'", "'<f8' * 9", "()"),
)
_SHAPES = (
    *("()", "(0,)", "(1,)", "(-1,)", "(4611686018427387904,)", "(9" + "9" * 50 + ",)", "5"),
    *("(2, 2)", "(0, 7)", "(True,)", "(1.0,)", "('1',)", "(5L,)", "[1]", "None", "(1, 1, 1)"),
)
_HEADERS = (
    "",
    "{}",
    "(" * 3000,
    "-" * 3000 + "1",
    "[" * 300 + "]" * 300,
    "{'descr': '<f8'}",
    "__import__('os').abort()",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), 'extra': 1}",
    "{'descr': '<f8', 'fortran_order': 0, 'shape': (1,)}",
    "9" * 5000,
    "'\\",
    "\x00" * 100,
    "é",
)


def _npy(header: str, data: bytes, version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode("latin-1", "replace")
    n_length_bytes = 2 if version[0] == 1 else 4
    pad = -(6 + 2 + n_length_bytes + len(text) + 1) % 64
    text += b" " * pad + b"\n"
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def _read_npy(data: bytes) -> "np.ndarray[Any, Any]":
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # NumPy raises anything for a member broken by an earlier mutation
        raise ValueError("broken already") from error
    return cast("np.ndarray[Any, Any]", array).copy()


def _mutate_npy(data: bytes, rng: random.Random) -> bytes:
    array = _read_npy(data)
    raw = array.tobytes()
    description = repr(np.lib.format.dtype_to_descr(array.dtype))
    shape = repr(array.shape)
    action = rng.random()
    if action < 0.15:
        description = rng.choice(_DESCRIPTIONS)
    elif action < 0.3:
        shape = rng.choice(_SHAPES)
        raw = rng.choice((raw, b"", raw[:8]))
    elif action < 0.45:
        return _npy(rng.choice(_HEADERS), raw, rng.choice(((1, 0), (1, 0), (2, 0), (3, 0))))
    elif action < 0.5:
        header = f"{{'descr': {description}, 'fortran_order': False, 'shape': {shape}, }}"
        return _npy(header, raw, rng.choice(((2, 0), (3, 0), (9, 9), (0, 0))))
    elif action < 0.65:
        array = _other_shape(array, rng)
        raw, shape = array.tobytes(), repr(array.shape)
    else:
        raw = _other_values(array, rng).tobytes()
    is_fortran = rng.random() < 0.03
    header = f"{{'descr': {description}, 'fortran_order': {is_fortran}, 'shape': {shape}, }}"
    return _npy(header, raw)


def _other_shape(array: "np.ndarray[Any, Any]", rng: random.Random) -> "np.ndarray[Any, Any]":
    change = rng.choice(("drop", "double", "flat", "transpose", "none", "deep"))
    if change == "drop":
        return array[: rng.randint(0, len(array))] if array.ndim else array
    if change == "double":
        return np.concatenate([array, array], axis=rng.randrange(max(array.ndim, 1)))
    if change == "transpose":
        return np.ascontiguousarray(array.T)
    if change == "none":
        return array[:0] if array.ndim else array
    return array.reshape(-1) if change == "flat" else array[np.newaxis]


def _other_values(array: "np.ndarray[Any, Any]", rng: random.Random) -> "np.ndarray[Any, Any]":
    flat = array.reshape(-1)
    if not flat.size:
        return array
    if np.issubdtype(array.dtype, np.floating):
        top = float(np.finfo(array.dtype).max)
        tiny = float(np.finfo(array.dtype).smallest_subnormal)
        pool = (
            *(np.nan, np.inf, -np.inf, top, -top, tiny, 0.0, -1.0, 1e30, -1e30, 1e-30),
            *(1e6, -1e6, 1e-6, 1.0, -1.0, 0.0, 1e12),
        )
    else:
        info = np.iinfo(array.dtype)
        pool = (info.max, info.min, 0, 1, int(flat[0]))
    value = rng.choice(pool)
    if rng.random() < 0.3:
        flat[:] = value
    for _ in range(rng.choice((1, 1, 3, 50))):
        flat[rng.randrange(flat.size)] = value if rng.random() < 0.7 else rng.choice(pool)
    return array


_TOKENS = (
    *("inf", "-inf", "nan", "1e400", "1e308", "-1e308", "5e-324", "-1", "0", "1", "2", "63", "64"),
    *(
        "65",
        "-65",
        "1000000",
        "-1e6",
        "1e6",
        "0.5",
        "99999999999999999999999",
        "9" * 5000,
        "0x10",
        "1_0",
        "",
        "x",
        "1.5",
    ),
    *("True", "=", "-0", "+1", "1e3", "\x00", "\x85", "\x1c"),
)


def _mutate_txt(data: bytes, rng: random.Random) -> bytes:
    lines = data.decode("latin-1").split("\n")
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        _change_line(lines, rng)
    action = rng.random()
    text = "\n".join(lines)
    if action < 0.05:
        text = text.replace("end of trees", rng.choice(("", "end", "end of trees\n" * 3)))
    elif action < 0.1:
        start, end = text.find("\nTree="), text.find("end of trees")
        if 0 <= start < end:
            text = text[:start] + text[start:end] * rng.choice((2, 30)) + text[end:]
    elif action < 0.13:
        text = text.replace("\n", "\r\n")
    return text.encode("latin-1", "replace")


def _change_line(lines: list[str], rng: random.Random) -> None:
    if not lines:
        return
    position = rng.randrange(len(lines))
    action = rng.random()
    if action < 0.06:
        del lines[position]
    elif action < 0.12:
        lines.insert(position, rng.choice(lines))
    elif action < 0.16:
        other = rng.randrange(len(lines))
        lines[position], lines[other] = lines[other], lines[position]
    else:
        key, equals, value = lines[position].partition("=")
        tokens = value.split(" ")
        place = rng.randrange(len(tokens))
        if action < 0.7:
            tokens[place] = rng.choice(_TOKENS)
        elif action < 0.8:
            tokens[place] = str(rng.randint(-len(tokens) - 1, len(tokens) + 1))
        elif action < 0.85:
            tokens = [rng.choice(_TOKENS)]
        elif action < 0.9:
            tokens *= rng.choice((2, 100))
        elif action < 0.95:
            del tokens[place]
        else:
            rng.shuffle(tokens)
        lines[position] = f"{key}{equals}{' '.join(tokens)}"


_BY_SUFFIX: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    ".json": _mutate_json,
    ".npy": _mutate_npy,
    ".txt": _mutate_txt,
}
