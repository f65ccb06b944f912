"""Local files of benchmarks: what the option `--data` says."""

from collections.abc import Sequence
from pathlib import Path

from policies import DataFileError, InvalidInputError, UnknownNameError

from .._reading import FILE_SUFFIXES
from ._benchmark import Benchmark

__all__ = ["find_files"]

# Files of one stem are tried in this order: the fastest first.
_SUFFIXES = (".parquet", ".jsonl", ".csv")


def find_files(
    values: Sequence[str | Path], asked: Sequence[Benchmark], known: Sequence[str]
) -> dict[str, tuple[Path, ...]]:
    """Return the files of benchmarks as the values of `--data` give them.

    A benchmark that no value speaks of is not in the result. A folder speaks of every benchmark
    that has no file of its own.

    Args:
        values: `NAME=PATH`, a folder, or a file if one benchmark is asked for; several files
            of one name are read one after the other.
        asked: The benchmarks that are asked for.
        known: Names of all benchmarks.

    Raises:
        InvalidInputError: A value belongs to no benchmark that is asked for, or to several.
        UnknownNameError: The name before `=` is no benchmark.
        DataFileError: There is no such file or folder, or folders lack files.
    """
    named: dict[str, list[Path]] = {}
    folders: list[Path] = []
    names = [benchmark.name for benchmark in asked]
    for value in values:
        name, path = _split(value, known)
        if name is not None and name not in names:
            raise _unused(f"--data {value} is for {name!r}, which is not among the tasks", names)
        if not names:
            raise _unused(f"--data {value} is given and no benchmark is asked for", names)
        if not path.exists():
            raise DataFileError("no such file or folder", path=path, hint="check the path")
        if name is not None:
            named.setdefault(name, []).append(path)
        elif path.is_dir():
            folders.append(path)
        elif len(names) == 1:
            named.setdefault(names[0], []).append(path)
        else:
            raise InvalidInputError(
                f"--data {value} could be for any of {', '.join(names)}",
                hint="write NAME=PATH, or give a folder",
                code="ambiguous-data",
            )
    return _resolve(asked, named, folders)


def _resolve(
    asked: Sequence[Benchmark], named: dict[str, list[Path]], folders: list[Path]
) -> dict[str, tuple[Path, ...]]:
    files: dict[str, tuple[Path, ...]] = {}
    lacking: list[str] = []
    for benchmark in asked:
        places = named.get(benchmark.name, folders)
        found = [path for path in places if not path.is_dir()]
        within = [path for path in places if path.is_dir()]
        for stems in benchmark.stems if within else ():
            path = _search(within, stems)
            if path is None:
                lacking.append(f"{benchmark.name} ({' or '.join(stems)})")
            else:
                found.append(path)
        if found:
            files[benchmark.name] = tuple(found)
    if lacking:
        searched = dict.fromkeys([*folders, *(p for paths in named.values() for p in paths)])
        raise DataFileError(
            f"no file for {', '.join(lacking)}",
            path=", ".join(str(path) for path in searched if path.is_dir()),
            hint=f"put it there as {', '.join(FILE_SUFFIXES)}, give NAME=PATH, or leave the task out",
        )
    return files


def _search(folders: Sequence[Path], stems: Sequence[str]) -> Path | None:
    candidates = (
        folder / f"{stem}{suffix}" for folder in folders for stem in stems for suffix in _SUFFIXES
    )
    return next((path for path in candidates if path.is_file()), None)


def _split(value: str | Path, known: Sequence[str]) -> tuple[str | None, Path]:
    """Return name and path of `NAME=PATH`; a path that contains `=` has no name."""
    if isinstance(value, Path):
        return None, value
    name, mark, rest = value.partition("=")
    if not mark or "/" in name or "\\" in name or (name not in known and Path(value).exists()):
        return None, Path(value)
    if name not in known:
        raise UnknownNameError("benchmark", name, known)
    if not rest:
        raise InvalidInputError(
            f"--data {value} names no file", hint=f"write {name}=PATH", code="invalid-data-option"
        )
    return name, Path(rest)


def _unused(message: str, names: Sequence[str]) -> InvalidInputError:
    return InvalidInputError(
        message,
        hint=f"asked for: {', '.join(names) or 'no benchmark'}",
        code="unused-data",
    )
