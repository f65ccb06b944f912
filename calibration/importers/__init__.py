"""Outcomes that other tools have recorded: lm-evaluation-harness, inspect_ai, tables.

A file's format is told from its content. Nothing is guessed: token counts a file does not have
stay unknown, a row that does not say whether it was right is skipped and counted, and two modes
never become one arm. Nothing in a file is ever run or unpacked to the disk.
"""

from ._detect import AUTO, FORMATS, detect_format, read_outcomes
from ._import import ImportSummary, OutcomeStore, SkippedRows, import_file
from ._load import LoadedOutcomes, load_outcomes
from ._record import UNKNOWN_TASK_TYPE, FileNote, ImportHints, SkippedRow
from ._select import select_outcomes

__all__ = [
    "AUTO",
    "FORMATS",
    "UNKNOWN_TASK_TYPE",
    "FileNote",
    "ImportHints",
    "ImportSummary",
    "LoadedOutcomes",
    "OutcomeStore",
    "SkippedRow",
    "SkippedRows",
    "detect_format",
    "import_file",
    "load_outcomes",
    "read_outcomes",
    "select_outcomes",
]
