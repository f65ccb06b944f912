"""Run the benchmarks: `python -m benchmarks [--json] [NAME ...]`.

Every module of this folder that has a function `run(report)` is a benchmark; without names all
of them run, in alphabetical order. Exit status 1 when one of them failed.
"""

import argparse
import importlib
import pkgutil
import sys
import traceback
from pathlib import Path

from ._report import Report


def benchmark_names() -> list[str]:
    """Return the modules of this folder, without the private ones."""
    folder = str(Path(__file__).parent)
    return sorted(
        module.name for module in pkgutil.iter_modules([folder]) if not module.name.startswith("_")
    )


def main() -> int:
    """Run what was asked for and print one table, or one JSON document."""
    known = benchmark_names()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(known))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")

    report = Report()
    for name in arguments.names or known:
        print(f"running {name} ...", file=sys.stderr)
        report.begin(name)
        try:
            importlib.import_module(f"benchmarks.{name}").run(report)
        except Exception as error:  # noqa: BLE001 - one broken benchmark must not hide the others
            traceback.print_exc()
            report.fail("all", f"{type(error).__name__}: {error}")
    print(report.to_json() if arguments.json else report.to_text())
    return 1 if report.has_failures else 0


if __name__ == "__main__":
    sys.exit(main())
