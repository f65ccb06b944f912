"""Asks the code of LLaMA-Factory, in a process of its own: `drive_llamafactory.py WHEEL`.

Each line of the input is `[name of a function below, arguments]`, each line of the output its
result. The library is not installed, its wheel is on the path, beside newer versions of what it
needs than it was made for (`DISABLE_VERSION_CHECK=1`).
"""

import importlib.util
import json
import os
import sys
import traceback
import types
from importlib.machinery import ModuleSpec
from typing import Any

CPU = {"use_cpu": True}


def _stand_in() -> None:
    # Sound plays no part here; the build on the package index wants a GPU.
    if importlib.util.find_spec("torchaudio") is None:
        module = types.ModuleType("torchaudio")
        module.__spec__ = ModuleSpec("torchaudio", None)
        vars(module)["__version__"] = "2.11.0"
        sys.modules["torchaudio"] = module


def _values(text: str) -> dict[str, Any]:
    """Read a configuration as the command line of the library does."""
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(OmegaConf.create(text))
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def parse(text: str, folder: str) -> dict[str, Any]:
    """Parse a configuration strictly, with all checks of a start; return what was read.

    `deepspeed` is left out: the parser would import it.
    """
    from llamafactory.hparams.parser import get_train_args

    os.chdir(folder)
    values = _values(text)
    values.pop("deepspeed", None)
    try:
        parts = get_train_args({**values, **CPU})
    except (ValueError, TypeError) as error:
        return {"error": str(error), "read": {}}
    read = {}
    for key in values:
        (read[key],) = [getattr(part, key) for part in parts if hasattr(part, key)][:1]
    return {"error": None, "read": json.loads(json.dumps(read, default=str))}


def _arguments(text: str, folder: str) -> Any:
    from llamafactory.hparams.parser import get_train_args

    os.chdir(folder)
    values = _values(text)
    values.pop("deepspeed", None)
    return get_train_args({**values, **CPU})


def _stage(text: str) -> str:
    return "rm" if _values(text)["stage"] == "dpo" else "sft"


def merged_prompts(text: str, folder: str) -> list[str]:
    """Load and merge the data sets of a configuration; return the prompts in training order."""
    from llamafactory.data.loader import _get_merged_dataset

    model, data, training, *_ = _arguments(text, folder)
    rows = _get_merged_dataset(data.dataset, model, data, training, stage=_stage(text))
    return [turns[0]["content"] for turns in rows["_prompt"]]


def encoded(text: str, folder: str, model: str) -> list[dict[str, str]]:
    """Return what each training example holds: all of its text, and what is in the loss."""
    from llamafactory.data import get_template_and_fix_tokenizer
    from llamafactory.data.loader import _get_merged_dataset, _get_preprocessed_dataset
    from transformers import AutoTokenizer

    model_args, data, training, *_ = _arguments(text, folder)
    tokenizer = AutoTokenizer.from_pretrained(model)
    template = get_template_and_fix_tokenizer(tokenizer, data)
    stage = _stage(text)
    rows = _get_merged_dataset(data.dataset, model_args, data, training, stage=stage)
    examples = _get_preprocessed_dataset(rows, data, training, stage, template, tokenizer)
    prefixes = ("chosen_", "rejected_") if stage == "rm" else ("",)
    return [
        {
            "all": tokenizer.decode(example[f"{prefix}input_ids"]),
            "trained": tokenizer.decode([t for t in example[f"{prefix}labels"] if t != -100]),
        }
        for example in examples
        for prefix in prefixes
    ]


def _answer(task: str) -> dict[str, Any]:
    name, arguments = json.loads(task)
    try:
        return {"result": globals()[name](*arguments)}
    except Exception:  # noqa: BLE001 - whatever it was, the test shows it
        return {"problem": traceback.format_exc()}


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    # What the library prints must not come between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    _stand_in()
    for line in sys.stdin:
        print(json.dumps(_answer(line)), file=answers, flush=True)
