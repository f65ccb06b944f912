"""Running a study: errors, what is refused, and workers of a run that was killed."""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from advisor.study._design import StudyDesign
from advisor.study._run import run_study
from advisor.study._student import StudyOrder
from advisor.study._table import StudyTable
from policies import InvalidInputError, MissingPrerequisiteError
from tests.advisor.study.price_list import PriceList

ROOT = Path(__file__).parents[3]


def design(seeds: tuple[int, ...] = (1,), ratios: tuple[float, ...] = (0.0, 1.0)) -> StudyDesign:
    return StudyDesign(
        sizes=("pocket-xs",),
        ratios=ratios,
        orders=(StudyOrder.MIXED,),
        corpora=("general",),
        seeds=seeds,
        n_questions=20,
    )


def test_the_first_error_is_raised_where_it_cancels_many_families(tmp_path: Path) -> None:
    grid = design(seeds=tuple(range(1, 9)))
    lab = partial(PriceList, fails="pocket-xs.general.ift.seed1")
    with pytest.raises(MissingPrerequisiteError, match="no library"):
        run_study(grid, lab, tmp_path / "study", name="study")


def test_families_that_a_worker_was_handed_ahead_do_not_start_after_an_error(
    tmp_path: Path,
) -> None:
    grid, out = design(seeds=(1, 2, 3, 4), ratios=(0.0,)), tmp_path / "study"
    lab = partial(PriceList, fails="pocket-xs.general.ift.seed1")
    with pytest.raises(MissingPrerequisiteError, match="no library"):
        run_study(grid, lab, out, name="study")
    # The second family may have begun before the error was heard of, no later one.
    assert len(list((out / "students").glob("*/result.json"))) <= 1


def test_a_lab_clears_away_what_a_family_shared_once_all_of_it_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "study"
    lab = partial(PriceList, fails="pocket-xs.general.reasoning.seed2")
    with pytest.raises(MissingPrerequisiteError, match="no library"):
        run_study(design(seeds=(1, 2)), lab, out, name="study")
    finished = (out / "work" / "finished.txt").read_text("utf-8").split()
    assert sorted(finished) == ["pocket-xs.general.ift.seed1", "pocket-xs.general.reasoning.seed1"]


def test_a_refused_run_does_not_change_what_the_table_says_of_its_lab(tmp_path: Path) -> None:
    out = tmp_path / "study"
    run_study(design(), PriceList, out, name="study")
    with pytest.raises(InvalidInputError, match="version '1'"):
        run_study(design(seeds=(1, 2)), partial(PriceList, version="2"), out, name="study")
    assert StudyTable.load(out).provenance["lab"]["version"] == "1"
    assert json.loads((out / "identity.json").read_text("utf-8"))["version"] == "1"


def test_a_name_that_no_table_can_have_is_refused_before_anything_is_trained(
    tmp_path: Path,
) -> None:
    with pytest.raises(InvalidInputError, match="names neither a study"):
        run_study(design(), PriceList, tmp_path / "study", name="my study")
    assert not (tmp_path / "study").exists()


KILLED = """
import sys
from functools import partial
from pathlib import Path
from advisor.study._run import run_study
from tests.advisor.study.price_list import PriceList
from tests.advisor.study.test_run import design

if __name__ == "__main__":
    lab = partial(PriceList, slow="pocket-xs.general.reasoning.seed1", pause=60)
    run_study(design(), lab, Path(sys.argv[1]), name="study", on_event=lambda _: print("event", flush=True))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads processes from /proc")
def test_workers_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED, "utf-8")
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "study")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    for _ in range(4):
        assert process.stdout.readline() == b"event\n"
    task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    children = [int(one) for one in task.read_text().split()]
    process.kill()
    process.wait()
    process.stdout.close()
    assert len(children) >= 2
    deadline = time.monotonic() + 20
    while any(map(_is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_is_running, children))


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
