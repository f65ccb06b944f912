"""Training data from a model's own answers: the shortest correct one, and pairs of good and bad.

The algorithm of "Towards Thinking-Optimal Scaling of Test-Time Compute" (TOPS), arXiv 2502.18080:
sample every effort, keep the shortest correct answer, train on it, repeat. What it reads is the
run of any model that `calibration` can reach; the rules are pure functions of a run's outcomes.
"""

from ._build import SETS, TopsData, TopsRules, build_tops
from ._efforts import (
    Effort,
    NamedPolicy,
    PromptedPolicy,
    choose_efforts,
    innermost_policy,
    is_single,
    named_policies,
    parse_texts,
)
from ._exclusion import evaluation_tasks, prompts_to_exclude
from ._reading import Excluded, RunFacts, facts_of
from ._report import EffortFigures, RankTable, Saving, Share, TopsReport
from ._rules import (
    PAPER_GAP_TOKENS,
    PAPER_SHARE,
    Attempt,
    MinGap,
    PairKind,
    PreferencePair,
    preference_pairs,
    seed_answers,
    shortest_correct,
)
from ._writing import DataFile, FolderWriter

__all__ = [
    "PAPER_GAP_TOKENS",
    "PAPER_SHARE",
    "SETS",
    "Attempt",
    "DataFile",
    "Effort",
    "EffortFigures",
    "Excluded",
    "FolderWriter",
    "MinGap",
    "NamedPolicy",
    "PairKind",
    "PreferencePair",
    "PromptedPolicy",
    "RankTable",
    "RunFacts",
    "Saving",
    "Share",
    "TopsData",
    "TopsReport",
    "TopsRules",
    "build_tops",
    "choose_efforts",
    "evaluation_tasks",
    "facts_of",
    "innermost_policy",
    "is_single",
    "named_policies",
    "parse_texts",
    "preference_pairs",
    "prompts_to_exclude",
    "seed_answers",
    "shortest_correct",
]
