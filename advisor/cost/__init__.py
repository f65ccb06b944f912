"""What a recipe costs: training, memory, serving, and the budgets that it must keep.

Standard library and `calibration.cost` only; a table of a dozen options takes milliseconds.
"""

from ._budgets import BudgetVerdict, Costed, InferBudget, TrainBudget
from ._data_making import TeacherCost, TopsCost, teacher_cost, tops_cost
from ._equivalence import break_even_trace_ratio, equal_cost_size
from ._generation import ENGINE_EFFICIENCY, Generation
from ._gpus import ASSUMED_PRICE, Gpus, default_gpus
from ._memory import MemoryPerGpu, Sharding, Tuning, memory_per_gpu, smallest_n_gpus
from ._network import Basis, Network
from ._numbers import Range
from ._reinforcement import (
    GrpoCost,
    GrpoSignal,
    generations_for_signal,
    grpo_cost,
    grpo_signal,
    grpo_signal_from_counts,
)
from ._serving import (
    BreakEven,
    Lifetime,
    ServingCost,
    break_even,
    inference_flops,
    serving_cost,
    total_flops,
)
from ._sizes import Model, network, network_at
from ._traffic import Traffic
from ._training import (
    MFU,
    TrainingCost,
    six_nd_flops,
    token_share,
    training_cost,
    training_flops,
)
from ._workload import RowLength, Workload

__all__ = [
    "ASSUMED_PRICE",
    "ENGINE_EFFICIENCY",
    "MFU",
    "Basis",
    "BreakEven",
    "BudgetVerdict",
    "Costed",
    "Generation",
    "Gpus",
    "GrpoCost",
    "GrpoSignal",
    "InferBudget",
    "Lifetime",
    "MemoryPerGpu",
    "Model",
    "Network",
    "Range",
    "RowLength",
    "ServingCost",
    "Sharding",
    "TeacherCost",
    "TopsCost",
    "Traffic",
    "TrainBudget",
    "TrainingCost",
    "Tuning",
    "Workload",
    "break_even",
    "break_even_trace_ratio",
    "default_gpus",
    "equal_cost_size",
    "generations_for_signal",
    "grpo_cost",
    "grpo_signal",
    "grpo_signal_from_counts",
    "inference_flops",
    "memory_per_gpu",
    "network",
    "network_at",
    "serving_cost",
    "six_nd_flops",
    "smallest_n_gpus",
    "teacher_cost",
    "token_share",
    "tops_cost",
    "total_flops",
    "training_cost",
    "training_flops",
]
