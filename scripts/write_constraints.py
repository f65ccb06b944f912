"""Write what pip resolves for some extras: `write_constraints.py EXTRAS FILE [REQUIREMENT ...]`.

Nothing is installed. The file holds names and versions only: no indexes, and no hashes, which
would tie it to the wheels of one platform. Local version labels (`2.13.0+cpu`) are cut off, so
that any build of that version satisfies the line, and the libraries of one accelerator, which
torch pins itself, are left out.
"""

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ACCELERATOR_PREFIXES = ("cuda-", "nvidia-", "triton")


def resolve(extras: str, requirements: list[str]) -> list[str]:
    """Return sorted `name==version` lines for this distribution and further requirements."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                *("--dry-run", "--ignore-installed", "--report", str(report)),
                f"{ROOT}[{extras}]",
                *requirements,
            ],
            check=True,
        )
        installed = json.loads(report.read_text())["install"]
    pins = {
        entry["metadata"]["name"].lower().replace("_", "-"): entry["metadata"]["version"]
        for entry in installed
    }
    pins.pop("thinkroute")
    return [
        f"{name}=={version.partition('+')[0]}"
        for name, version in sorted(pins.items())
        if not name.startswith(ACCELERATOR_PREFIXES)
    ]


def main() -> None:
    """Resolve and write the file."""
    extras, name, *requirements = sys.argv[1:]
    lines = resolve(extras, requirements)
    head = (
        f"# Written by `make lock`: {' '.join([f'.[{extras}]', *requirements])} "
        f"on Python {'.'.join(platform.python_version_tuple()[:2])}, {platform.system()}.\n"
    )
    (ROOT / name).write_text(head + "\n".join(lines) + "\n")
    print(f"{name}: {len(lines)} packages", file=sys.stderr)


if __name__ == "__main__":
    main()
