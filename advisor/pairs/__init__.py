"""Pairs of a direct and a reasoning answer, from what a teacher said in a run."""

from ._answers import Keep, PairRules, Pick, Status
from ._arms import PairArms, RunArm, check_policies, choose_arms
from ._figures import Fate, FateTable, ModeFigures
from ._write import PairCounts, RunPairs, manifest_path, write_pairs

__all__ = [
    "Fate",
    "FateTable",
    "Keep",
    "ModeFigures",
    "PairArms",
    "PairCounts",
    "PairRules",
    "Pick",
    "RunArm",
    "RunPairs",
    "Status",
    "check_policies",
    "choose_arms",
    "manifest_path",
    "write_pairs",
]
