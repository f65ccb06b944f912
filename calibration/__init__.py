"""Measure policies: tasks, graders, plans, runs, stores, statistics and tables.

Names are loaded on first use, so that `import calibration` stays cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    from policies import check_sibling
except ImportError as error:
    error.add_note(
        "thinkroute needs its own package 'policies': rename the file that took its name"
    )
    raise
check_sibling("policies")

if TYPE_CHECKING:
    from ._arm import Arm, OtherModel
    from ._ceilings import Ceilings
    from ._check_replay import ReplayCheck, check_replay
    from ._compare import ArmComparison, ComparisonRow, CostDifference, compare_arms
    from ._front import front_of, pareto_front
    from ._judging import JudgedRun, judge_run
    from ._lengths import CellLengths, length_curves
    from ._models import ModelFacts, architecture_of, describe_model
    from ._outcomes import Cell, ImportedOutcome, Outcome, OutcomeRecord
    from ._plan import Plan, PlanSize, Sample
    from ._race_run import RaceSettings, run_race
    from ._race_state import ArmResult, PairResult, RaceOutcome, RaceResult
    from ._racing import Race
    from ._replay import trace_leads
    from ._run import Progress, RunSummary, run_plan, store_path
    from ._salvage import Repair, repair_store
    from ._store import RunStore
    from ._table import MeasuredTable, aggregate
    from .compute_optimal import (
        ArmInCell,
        BestPerDifficulty,
        DifficultyBins,
        DifficultyCell,
        best_per_difficulty,
    )
    from .importers import LoadedOutcomes, load_outcomes, select_outcomes
    from .tasks import ColumnMapping, Question, Task, load_tasks, task_names

__distribution__ = "thinkroute"

__all__ = [
    "Arm",
    "ArmComparison",
    "ArmInCell",
    "ArmResult",
    "BestPerDifficulty",
    "Ceilings",
    "Cell",
    "CellLengths",
    "ColumnMapping",
    "ComparisonRow",
    "CostDifference",
    "DifficultyBins",
    "DifficultyCell",
    "ImportedOutcome",
    "JudgedRun",
    "LoadedOutcomes",
    "MeasuredTable",
    "ModelFacts",
    "OtherModel",
    "Outcome",
    "OutcomeRecord",
    "PairResult",
    "Plan",
    "PlanSize",
    "Progress",
    "Question",
    "Race",
    "RaceOutcome",
    "RaceResult",
    "RaceSettings",
    "Repair",
    "ReplayCheck",
    "RunStore",
    "RunSummary",
    "Sample",
    "Task",
    "aggregate",
    "architecture_of",
    "best_per_difficulty",
    "check_replay",
    "compare_arms",
    "describe_model",
    "front_of",
    "judge_run",
    "length_curves",
    "load_outcomes",
    "load_tasks",
    "pareto_front",
    "repair_store",
    "run_plan",
    "run_race",
    "select_outcomes",
    "store_path",
    "task_names",
    "trace_leads",
]

_HOMES = {
    "Arm": "._arm",
    "OtherModel": "._arm",
    "ArmComparison": "._compare",
    "ComparisonRow": "._compare",
    "CostDifference": "._compare",
    "compare_arms": "._compare",
    "Ceilings": "._ceilings",
    "Cell": "._outcomes",
    "CellLengths": "._lengths",
    "ColumnMapping": ".tasks",
    "ImportedOutcome": "._outcomes",
    "JudgedRun": "._judging",
    "LoadedOutcomes": ".importers",
    "MeasuredTable": "._table",
    "ModelFacts": "._models",
    "Outcome": "._outcomes",
    "OutcomeRecord": "._outcomes",
    "Plan": "._plan",
    "PlanSize": "._plan",
    "Progress": "._run",
    "Question": ".tasks",
    "ArmResult": "._race_state",
    "PairResult": "._race_state",
    "Race": "._racing",
    "RaceOutcome": "._race_state",
    "RaceResult": "._race_state",
    "RaceSettings": "._race_run",
    "Repair": "._salvage",
    "ReplayCheck": "._check_replay",
    "RunStore": "._store",
    "RunSummary": "._run",
    "Sample": "._plan",
    "Task": ".tasks",
    "aggregate": "._table",
    "check_replay": "._check_replay",
    "architecture_of": "._models",
    "ArmInCell": ".compute_optimal",
    "BestPerDifficulty": ".compute_optimal",
    "DifficultyBins": ".compute_optimal",
    "DifficultyCell": ".compute_optimal",
    "best_per_difficulty": ".compute_optimal",
    "front_of": "._front",
    "pareto_front": "._front",
    "describe_model": "._models",
    "judge_run": "._judging",
    "length_curves": "._lengths",
    "load_outcomes": ".importers",
    "load_tasks": ".tasks",
    "repair_store": "._salvage",
    "run_plan": "._run",
    "run_race": "._race_run",
    "select_outcomes": ".importers",
    "store_path": "._run",
    "task_names": ".tasks",
    "trace_leads": "._replay",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value
