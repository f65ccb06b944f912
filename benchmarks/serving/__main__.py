"""Run the comparison alone: `python -m benchmarks.serving [--rounds N] [--seconds S] [--json]`."""

import argparse
import sys
from pathlib import Path

from .._report import Report
from . import Plan, run
from ._targets import LITELLM_VENV


def main() -> int:
    """Measure, and print one table or one JSON document."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    usual = Plan()
    parser.add_argument("--rounds", type=int, default=usual.n_rounds, help="turns of each target")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="length of a turn")
    parser.add_argument(
        "--litellm", type=Path, default=LITELLM_VENV, help="environment of the litellm proxy"
    )
    parser.add_argument("--no-litellm", action="store_true", help="leave the litellm proxy out")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    report = Report()
    report.begin("serving")
    plan = Plan(arguments.rounds, arguments.seconds)
    run(report, plan, None if arguments.no_litellm else arguments.litellm)
    print(report.to_json() if arguments.json else report.to_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
