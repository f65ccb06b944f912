"""The DeepSpeed configuration that goes with an export."""

import json
from typing import Any

__all__ = ["ZERO3_FILE", "zero3_json"]

ZERO3_FILE = "ds_z3.json"
"""Its name in the export folder; neither axolotl's nor LLaMA-Factory's wheel brings one."""

_ZERO3: dict[str, Any] = {
    # What the training library knows is filled in from its configuration.
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "bf16": {"enabled": "auto"},
    "zero_optimization": {
        "stage": 3,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": "auto",
        "stage3_prefetch_bucket_size": "auto",
        "stage3_param_persistence_threshold": "auto",
        # Without it the saved model has empty matrices.
        "stage3_gather_16bit_weights_on_model_save": True,
    },
}


def zero3_json() -> str:
    """Return ZeRO stage 3: parameters, gradients and optimiser state divided over the GPUs.

    The optimiser keeps weights in float32. Steps at the learning rates of these recipes, 1e-6 to
    2e-5, are smaller than what bfloat16 weights can tell apart.

    Source: keys of https://www.deepspeed.ai/docs/config-json/.
    """
    return json.dumps(_ZERO3, indent=2) + "\n"
