"""What is asked: pocket tasks, public benchmarks, and a user's own questions.

Own tasks are files of questions, TOML files that declare a task, or come from the entry-point
group `thinkroute.tasks`, whose objects are called with `limit` and `seed` and return a `Task`.
"""

from ._loading import load_tasks, task_names
from ._task import Question, Task, question_id
from ._template import PromptTemplate
from .benchmarks import Benchmark, HubDataset, get_benchmark
from .files import ColumnMapping

__all__ = [
    "Benchmark",
    "ColumnMapping",
    "HubDataset",
    "PromptTemplate",
    "Question",
    "Task",
    "get_benchmark",
    "load_tasks",
    "question_id",
    "task_names",
]
