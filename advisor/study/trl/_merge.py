"""Merge a trained adapter into its model: `python _merge.py BASE ADAPTER OUT`.

A program of its own, so that the memory goes with it, and that it runs in the environment that
trains, which need not have this package.
"""

import sys
from importlib import import_module
from typing import Any


def merge(base: str, adapter: str, out: str) -> None:
    """Write the merged model to a folder, in the precision of its base; tokenizers are not copied.

    Args:
        base: Folder of the model that was started from.
        adapter: Folder of the adapter.
        out: Folder to write.
    """
    torch: Any = import_module("torch")
    models: Any = import_module("transformers").AutoModelForCausalLM
    own = models.from_pretrained(base, dtype="auto").dtype
    # The sum of weight and adapter is rounded once.
    model = models.from_pretrained(base, dtype=torch.float32)
    merged = import_module("peft").PeftModel.from_pretrained(model, adapter).merge_and_unload()
    merged.to(own).save_pretrained(out)


if __name__ == "__main__":
    merge(*sys.argv[1:4])
