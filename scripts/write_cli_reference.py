"""Write docs/reference/cli.md from the commands themselves; `--check` only compares."""

import sys
from pathlib import Path
from typing import Any

from typer.main import get_command

from advisor.cli._app import app  # noqa: PLC2701 - the reference documents this very object

TARGET = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"
HEAD = """# Commands

Generated from the code by `python scripts/write_cli_reference.py`.

stdout holds the answer, stderr progress and warnings. `--json` prints one document with
`schema_version`. Exit codes: 0 done, 1 defect, 2 usage, 3 bad file or artifact, 4 prerequisite
missing, 5 backend failed, 6 nothing satisfies the constraints, 130 interrupted (resumable).
"""


def reference() -> str:
    """Return the whole page."""
    root: Any = get_command(app)
    return "\n".join([HEAD, *_sections("advisor", root)]).rstrip() + "\n"


def _sections(path: str, command: Any) -> list[str]:
    children = getattr(command, "commands", {})
    if children:
        return [line for name in children for line in _sections(f"{path} {name}", children[name])]
    lines = [f"## `{path}`", "", _unwrap(command.help or ""), ""]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    lines += [f"- `{p.name}`: {_text(p)}" for p in arguments]
    lines += ["", "| option | meaning | default |", "|---|---|---|"] if options else []
    lines += [f"| `{', '.join(p.opts)}` | {_text(p)} | {_default(p)} |" for p in options]
    return [*lines, ""]


def _unwrap(text: str) -> str:
    paragraphs = text.split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _text(parameter: Any) -> str:
    return (getattr(parameter, "help", None) or parameter.name.replace("_", " ")).replace(
        "|", "\\|"
    )


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default is None or parameter.default is False:
        return ""
    return f"`{parameter.default}`"


def main() -> int:
    """Write the page, or tell whether it is up to date."""
    page = reference()
    if "--check" in sys.argv[1:]:
        if TARGET.read_text(encoding="utf-8") == page:
            return 0
        sys.stderr.write(f"{TARGET} is out of date: run python scripts/write_cli_reference.py\n")
        return 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
