"""What may be chosen about a study on one's own models: data, training, measuring."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from calibration import ColumnMapping
from policies import DecodingOptions, InvalidInputError, UnknownNameError

__all__ = ["CHATML", "OWN_CORPUS", "TrlData", "TrlMeasuring", "TrlTraining"]

OWN_CORPUS = "own"
"""Name of the corpus of a study on one file of pairs."""

CHATML = "chatml"
"""The chat template of exported recipes, asked for by name."""

_CORPORA = (OWN_CORPUS, "general", "math")
_BACKENDS = ("vllm", "transformers")
_Device = Literal["gpu", "cpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrlData:
    """What students are trained on and asked.

    Attributes:
        pairs: JSONL files of `prompt`, `ift` and `reasoning` by corpus: `own`, or `general` and
            `math`, which two-stage students need.
        questions: JSONL files of held-out questions with right answers. Without any, questions
            are held out of the pairs by a hash of their prompts, those with a `solution`.
        n_rows: Training rows of each stage, one per question.
        n_questions: Most held-out questions per file.
        columns: How the files of questions are read; by default nothing is appended to a prompt,
            because students learn the prompts of the pairs as they stand.

    Raises:
        InvalidInputError: A count is out of range, or there is no file of pairs.
        UnknownNameError: No such corpus.
    """

    pairs: Mapping[str, Path]
    questions: tuple[Path, ...] = ()
    n_rows: int = 4096
    n_questions: int = 1000
    columns: ColumnMapping = field(default_factory=lambda: ColumnMapping(instruction=""))

    def __post_init__(self) -> None:
        """Refuse what no study can be made of."""
        if not self.pairs:
            raise InvalidInputError(
                "a study needs pairs", hint="give --pairs PAIRS.jsonl, or --teacher to write them"
            )
        for corpus in self.pairs:
            if corpus not in _CORPORA:
                raise UnknownNameError("corpus", corpus, _CORPORA)
        for name in ("n_rows", "n_questions"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name} is {getattr(self, name)}, expected >= 1")
        for path in self.questions:
            if path.suffix != ".jsonl":
                raise InvalidInputError(
                    f"{path} is no name of a JSONL file",
                    hint="give held-out questions as JSONL, so that lines can be named",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrlTraining:
    """How students are trained; the same for all of them.

    Attributes:
        is_lora: Train adapters, which are merged into the base afterwards.
        n_epochs: Passes over the rows.
        learning_rate: Peak rate; `None` takes the published IFT rate of the nearest size for
            every recipe, ten times that with adapters.
        n_processes: Processes, one per GPU.
        accelerate_config: File or name of a configuration for `accelerate`; `None` takes the
            exported one: `single_gpu`, or `zero3` for several processes.
        device: `gpu`, or `cpu` to train without one, in float32.
        chat_template: Jinja file to train with, `chatml` for that of exported recipes, or `None`:
            the latter if the base has a template of its own and knows these marks.
        max_length: Longest row in tokens; pairs with a longer one are left out of all recipes.
            `None` takes all that fit into the base models.
        gpu: Kind of GPU, such as `h100`, to tell hours in advance; `None` tells none.
        python: Python of the environment that has TRL.
        overrides: More options of TRL by name, such as `{"optim": "adamw_torch"}`; they are part
            of what identifies the study.

    Raises:
        InvalidInputError: A value is out of range.
        UnknownNameError: No such device.
    """

    is_lora: bool = False
    n_epochs: int = 1
    learning_rate: float | None = None
    n_processes: int = 1
    accelerate_config: str | Path | None = None
    device: _Device = "gpu"
    chat_template: Path | Literal["chatml"] | None = None
    max_length: int | None = None
    gpu: str | None = None
    python: Path = field(default_factory=lambda: Path(sys.executable))
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        """Refuse values that no training could have."""
        for name in ("n_epochs", "n_processes", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInputError(f"{name} is {value}, expected >= 1")
        if self.learning_rate is not None and not 0 < self.learning_rate <= 0.1:
            raise InvalidInputError(
                f"learning rate {self.learning_rate:g}: expected more than 0 and at most 0.1",
                hint="published ones are 1e-6 to 2e-5",
            )
        if self.device not in get_args(_Device):
            raise UnknownNameError("device", self.device, get_args(_Device))
        if self.device == "cpu" and self.n_processes > 1 and self.accelerate_config is None:
            raise InvalidInputError(
                f"{self.n_processes} processes on the CPU",
                hint="give --accelerate-config for several CPU processes, or use one",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrlMeasuring:
    """How trained students are asked.

    Attributes:
        backend: `vllm` or `transformers`, in this process.
        options: More options of the backend, such as `{"max_model_len": 8192}`.
        decoding: How answers are decoded; `None` is greedy with caps of twice the longest answers
            of the pairs, as far as the context has room.
        concurrency: Most requests under way at once; `None` takes the backend's own number.

    Raises:
        UnknownNameError: No such backend.
    """

    backend: Literal["vllm", "transformers"] = "vllm"
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    decoding: DecodingOptions | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        """Refuse backends that cannot run a folder of weights."""
        if self.backend not in _BACKENDS:
            raise UnknownNameError("backend for students", self.backend, _BACKENDS)
