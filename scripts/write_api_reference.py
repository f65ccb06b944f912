"""Write docs/reference/api/: a page of names for each public package; `--check` only compares.

The pages hold directives that mkdocstrings fills when the site is built. Names are read from each
`__all__` without importing anything.
"""

import ast
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs" / "reference" / "api"
PACKAGES = ("policies", "calibration", "router", "advisor")
# Without a leading underscore, but no interface for others.
LEFT_OUT = {
    "advisor.cli": "commands have a reference of their own",
    "calibration.pocket": "how the pocket models were made",
    "router.features": "what a router reads off a prompt, by its version",
}
HEAD = "Generated from the code by `python scripts/write_api_reference.py`."


def public_names(root: Path = ROOT) -> dict[str, dict[str, list[str]]]:
    """Return the names of each page, by the module that they are imported from.

    A page is a package. A module belongs to the page of its package, with those names of its
    `__all__` that the package does not hand on itself.
    """
    pages: dict[str, dict[str, list[str]]] = {}
    for path in sorted(path for name in PACKAGES for path in (root / name).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        page = module if is_package else module.rpartition(".")[0]
        if any(part.startswith("_") for part in module.split(".")) or _is_left_out(module):
            continue
        names = _exported(path)
        handed_on = [] if is_package else _exported(path.with_name("__init__.py"))
        if own := [name for name in names if name not in handed_on]:
            pages.setdefault(page, {})[module] = own
    # The package itself before its modules.
    return {page: dict(sorted(pages[page].items())) for page in sorted(pages, key=_place)}


def reference(root: Path = ROOT) -> dict[str, str]:
    """Return the text of every page by its file name."""
    pages = public_names(root)
    texts = {f"{name}.md": _page(name, modules, root) for name, modules in pages.items()}
    return {"index.md": _index(pages, root), **texts}


def _page(name: str, modules: Mapping[str, list[str]], root: Path) -> str:
    lines = [f"# {name}", "", HEAD, ""]
    for module, names in modules.items():
        if module != name:
            lines += [f"## {module} {{ data-search-exclude }}", "", f"*{_says(module, root)}*", ""]
        else:
            lines += [f"::: {module}", "    options:", "      members: false"]
            lines += ["      show_root_heading: false", "      show_root_toc_entry: false", ""]
        for one in sorted(names, key=str.lower):
            lines += [f"::: {module}.{one}"]
            lines += [] if module == name else ["    options:", "      heading_level: 3"]
            lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def _index(pages: Mapping[str, Mapping[str, list[str]]], root: Path) -> str:
    lines = ["# Python API", "", HEAD, ""]
    lines += [
        "Names that are not on these pages, and all that begin with an underscore, may change"
    ]
    lines += ["in any version.", "", "| package | what it has | names |", "|---|---|---:|"]
    for name, modules in pages.items():
        n_names = sum(map(len, modules.values()))
        lines.append(f"| [`{name}`]({name}.md) | {_says(name, root)} | {n_names} |")
    return "\n".join(lines) + "\n"


def _exported(path: Path) -> list[str]:
    """Return the `__all__` of a file, without running it."""
    for node in _tree(path).body:
        targets = node.targets if isinstance(node, ast.Assign) else ()
        targets = (node.target,) if isinstance(node, ast.AnnAssign) else targets
        if any(isinstance(one, ast.Name) and one.id == "__all__" for one in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            assert node.value is not None
            return list(ast.literal_eval(node.value))
    return []


def _says(module: str, root: Path) -> str:
    """Return the first line of a module's docstring, as text of a table's cell."""
    path = root.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(_tree(path)) or ""
    return text.split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _place(name: str) -> tuple[int, str]:
    return PACKAGES.index(name.split(".", 1)[0]), name


def _is_left_out(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in LEFT_OUT)


def main() -> int:
    """Write the pages, or tell whether they are up to date."""
    pages = reference()
    there = {path.name: path.read_text(encoding="utf-8") for path in TARGET.glob("*.md")}
    if "--check" in sys.argv[1:]:
        stale = sorted(name for name in pages.keys() | there if pages.get(name) != there.get(name))
        if stale:
            command = "python scripts/write_api_reference.py"
            sys.stderr.write(f"{TARGET} is out of date ({', '.join(stale)}): run {command}\n")
        return bool(stale)
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in there.keys() - pages:
        (TARGET / name).unlink()
    for name, text in pages.items():
        (TARGET / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
