"""Asks the code of axolotl, in a process of its own: `drive_axolotl.py WHEEL`.

Each line of the input is `[name of a function below, arguments]`, each line of the output its
result. The library is not installed, its wheel is on the path; small things that it imports and
that play no part in what is asked are stood in for.
"""

import importlib.util
import json
import logging
import os
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


class _Dict(dict[str, Any]):
    """Stands in for `addict.Dict`: items are attributes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = self._hook(value)

    @classmethod
    def _hook(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return cls(value)
        return [cls._hook(item) for item in value] if isinstance(value, list) else value

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class _Colours:
    """Stands in for the names of `colorama.Fore`."""

    def __getattr__(self, name: str) -> str:
        return ""


def _stand_in(wheel: Path) -> None:
    def njit(function: Callable[..., Any]) -> Callable[..., Any]:
        return function  # compiled or not, it does the same

    def nothing(**_: object) -> None:
        pass

    failures = ("ReadTimeout", "ConnectionError", "Timeout", "HTTPError", "RequestException")
    requests = types.SimpleNamespace(**{name: type(name, (OSError,), {}) for name in failures})
    stand_ins: dict[str, dict[str, Any]] = {
        "addict": {"Dict": _Dict},
        "colorama": {"Fore": _Colours(), "Style": _Colours(), "init": nothing},
        "numba": {"njit": njit},
        "requests": {"exceptions": requests, **vars(requests)},
    }
    for name, members in stand_ins.items():
        if importlib.util.find_spec(name) is None:
            module = types.ModuleType(name)
            vars(module).update(members)
            sys.modules[name] = module
    # Only one module of this package is wanted; the others need what the wheel alone has not.
    package = types.ModuleType("axolotl.utils.data")
    package.__path__ = [str(wheel / "axolotl" / "utils" / "data")]
    sys.modules[package.__name__] = package


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _dropped(given: Any, model: Any, path: str = "") -> Iterator[str]:
    """Yield the keys of a configuration that the validated model does not hold."""
    from pydantic import BaseModel

    if isinstance(given, list) and isinstance(model, list):
        for number, (item, part) in enumerate(zip(given, model, strict=True)):
            yield from _dropped(item, part, f"{path}[{number}]")
    if not isinstance(given, dict) or not isinstance(model, BaseModel):
        return
    for key, value in given.items():
        place = f"{path}.{key}" if path else str(key)
        if key in type(model).model_fields and key in model.model_fields_set:
            yield from _dropped(value, getattr(model, key), place)
        else:
            yield place


def validate(text: str, n_gpus: int = 8) -> dict[str, Any]:
    """Validate a configuration for a node of H100 GPUs that is not there."""
    import yaml
    from axolotl.utils.schemas.config import AxolotlConfigWCapabilities

    given = yaml.safe_load(text)
    capabilities = {
        "bf16": True,
        "fp8": True,
        "tf32": True,
        "n_gpu": n_gpus,
        "n_node": 1,
        "compute_capability": "sm_90",
    }
    heard = _Warnings()
    logging.getLogger("axolotl").addHandler(heard)
    try:
        model = AxolotlConfigWCapabilities(
            **yaml.safe_load(text),
            capabilities=capabilities,
            env_capabilities={"torch_version": "2.11.0"},
        )
    except ValueError as error:
        return {"error": str(error), "unknown": [], "warnings": heard.messages}
    finally:
        logging.getLogger("axolotl").removeHandler(heard)
    return {"error": None, "unknown": [*_dropped(given, model)], "warnings": heard.messages}


def knows_scheduler(name: str) -> bool:
    """Return whether the trainer knows a schedule; the schema of the library takes any name."""
    from transformers import SchedulerType

    return name in [scheduler.value for scheduler in SchedulerType]


def n_known_keys() -> int:
    """Return how many keys the library knows, to notice an empty schema."""
    from axolotl.utils.schemas.config import AxolotlInputConfig

    return len(AxolotlInputConfig.model_fields)


def merged_prompts(text: str, folder: str) -> list[str]:
    """Load and merge the data sets of a configuration; return the prompts in training order."""
    import yaml
    from axolotl.utils.data.shared import load_dataset_with_config, merge_datasets
    from axolotl.utils.dict import DictDefault

    os.chdir(folder)
    config = DictDefault(yaml.safe_load(text))
    parts = [
        load_dataset_with_config(DictDefault(part), use_auth_token=False, streaming=False)
        for part in config["datasets"]
    ]
    rows = merge_datasets(parts, config)
    return [messages[0]["content"] for messages in rows["messages"]]


def data_cache_name(text: str, folder: str) -> str:
    """Return the folder that tokenised data are looked up in."""
    import yaml
    from axolotl.utils.data import shared
    from axolotl.utils.dict import DictDefault

    os.chdir(folder)
    config = DictDefault(yaml.safe_load(text))
    name = shared.generate_dataset_hash_from_config(config, config["datasets"], "tokenizer")
    return str(shared.get_prepared_dataset_path(config, name))


def pack(text: str, lengths: list[int]) -> list[list[int]]:
    """Return the rows of each pack, in training order."""
    import numpy as np
    import yaml
    from axolotl.utils.samplers.multipack import MultipackBatchSampler
    from torch.utils.data import SequentialSampler

    config = yaml.safe_load(text)
    assert config["sample_packing"]
    assert config["curriculum_sampling"]
    sampler = MultipackBatchSampler(
        SequentialSampler(lengths),
        batch_size=1,
        batch_max_len=config["sequence_len"],
        lengths=np.array(lengths),
        bin_size=200,
        sequential=bool(config.get("sample_packing_sequentially")),
        num_processes=1,
    )
    return [[int(row) for row in bins[0]] for bins in sampler.generate_batches()]


def trained_text(template: str, model: str, eos_token: str | None, answer: str) -> str:
    """Return what of a conversation with that answer is in the loss."""
    from axolotl.prompt_strategies.chat_template import ChatTemplatePrompter, ChatTemplateStrategy
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    if eos_token is not None:
        tokenizer.eos_token = eos_token
    strategy = ChatTemplateStrategy(
        ChatTemplatePrompter(tokenizer, chat_template=template or tokenizer.chat_template),
        tokenizer=tokenizer,
        train_on_inputs=False,
        sequence_len=512,
        roles_to_train=["assistant"],
        train_on_eos="turn",
    )
    turns = [{"role": "user", "content": "1 + 2"}, {"role": "assistant", "content": answer}]
    row = strategy.tokenize_prompt({"messages": turns})
    ids = [
        token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100
    ]
    return str(tokenizer.decode(ids))


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
    _stand_in(Path(sys.argv[1]))
    for line in sys.stdin:
        print(json.dumps(_answer(line)), file=answers, flush=True)
