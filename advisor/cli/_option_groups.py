"""Options that several commands share, a group at a time, with what is made of them."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from functools import update_wrapper
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, get_type_hints

import typer

from . import _calibrate_options as o
from ._arms import backend_options, usual_options
from ._output import note

if TYPE_CHECKING:
    from pathlib import Path

    from calibration import Ceilings, ColumnMapping
    from policies import DecodingOptions

__all__ = [
    "GREEDY",
    "NO_CEILINGS",
    "NO_FACTS",
    "POCKET",
    "ROUTERS_OWN",
    "SAMPLED",
    "SAMPLING_TEMPERATURE",
    "SERVER",
    "USUAL_COLUMNS",
    "CeilingOptions",
    "DecodingChoice",
    "ModelFacts",
    "QuestionColumns",
    "Reached",
    "with_groups",
]


SAMPLING_TEMPERATURE = 0.7
"""Where a policy draws several samples and nobody says how: the papers' usual value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """How a model is reached."""

    backend: o.Backend = "pocket"
    base_url: o.BaseUrl = None
    api_key_env: o.ApiKeyEnv = "OPENAI_API_KEY"
    dialect: o.Dialect = "vllm"
    backend_option: o.BackendOption = None

    def options(self) -> dict[str, Any]:
        """Return the options by which a backend is built; no secrets.

        Raises:
            InvalidInputError: A server has no address, or an option is not NAME=VALUE.
        """
        return backend_options(
            self.backend,
            base_urls=self.base_url or (),
            api_key_env=self.api_key_env,
            dialect=self.dialect,
            extra=self.backend_option or (),
        )

    def confirm(self, *, yes: bool) -> None:
        """Ask before requests leave this machine, if there is somebody to answer.

        Raises:
            typer.Abort: The answer is no.
        """
        if self.backend != "pocket" and not yes and sys.stdin.isatty() and sys.stderr.isatty():
            typer.confirm("Start?", abort=True, err=True, default=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a model is and costs."""

    config: o.Config = None
    price: o.PriceFile = None
    size: o.Size = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingChoice:
    """How answers are decoded."""

    max_answer_tokens: o.MaxAnswerTokens = None
    max_thinking_tokens: o.MaxThinkingTokens = None
    temperature: o.Temperature = None
    top_p: o.TopP = 1.0

    def options(
        self,
        backend: str,
        models: "Iterable[str]" = (),
        *,
        logprobs: bool = False,
        draws_samples: bool = False,
    ) -> "DecodingOptions":
        """Return decoding options, with the caps that are usual for the backend.

        Args:
            backend: Kind of backend.
            models: Names of the models.
            logprobs: Whether answers carry evidence.
            draws_samples: Whether a policy draws several samples, which greedy ones cannot be.

        Raises:
            InvalidInputError: A number is out of range.
        """
        from policies import DecodingOptions

        usual = usual_options(backend, models)
        temperature = self.temperature
        if temperature is None:
            temperature = SAMPLING_TEMPERATURE if draws_samples else 0.0
            if draws_samples:
                note(f"temperature {temperature:g}, since a policy draws several samples")
        return DecodingOptions(
            max_answer_tokens=self.max_answer_tokens or usual.max_answer_tokens,
            max_thinking_tokens=self.max_thinking_tokens or usual.max_thinking_tokens,
            temperature=temperature,
            top_p=self.top_p,
            logprobs=logprobs,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CeilingOptions:
    """What a run must not spend more of."""

    max_total_tokens: o.MaxTotalTokens = None
    max_usd: o.MaxUsd = None
    max_seconds: o.MaxSeconds = None

    def check(self, price: "Path | None") -> None:
        """Refuse a ceiling in money without prices.

        Raises:
            InvalidInputError: There are none.
        """
        from policies import InvalidInputError

        if self.max_usd is not None and price is None:
            raise InvalidInputError(
                f"--max-usd {self.max_usd:g} needs prices", hint="give --price prices.toml"
            )

    def ceilings(self) -> "Ceilings":
        """Return the ceilings of a run."""
        from calibration import Ceilings

        return Ceilings(tokens=self.max_total_tokens, usd=self.max_usd, seconds=self.max_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionColumns:
    """What the columns of question files are."""

    prompt_column: o.PromptColumn = None
    gold_column: o.GoldColumn = None
    options_column: o.OptionsColumn = None
    group_column: o.GroupColumn = None
    task_type: o.TaskType = None
    grader: o.GraderName = None
    instruction: o.Instruction = None

    def mapping(self) -> "ColumnMapping":
        """Return the columns, with the usual instruction where none is given."""
        from calibration import ColumnMapping

        return ColumnMapping(
            prompt=self.prompt_column,
            gold=self.gold_column,
            options=self.options_column,
            group=self.group_column,
            task_type=self.task_type,
            grader=self.grader,
            **({} if self.instruction is None else {"instruction": self.instruction}),
        )


ROUTERS_OWN = Reached(backend="")
"""Models are reached as the router says."""
POCKET, NO_FACTS, NO_CEILINGS = Reached(), ModelFacts(), CeilingOptions()
GREEDY, SAMPLED = DecodingChoice(), DecodingChoice(temperature=1.0)
SERVER, USUAL_COLUMNS = Reached(backend="openai"), QuestionColumns()
"""Defaults of groups, by what they are in most commands."""


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with the options of each group in the group's place, as typer reads them.

    A parameter is a group if its annotation is a dataclass; its default holds the defaults of the
    options.
    """
    groups: dict[str, type[Any]] = {}
    flat: list[Parameter] = []
    for parameter in signature(command).parameters.values():
        kind: Any = parameter.annotation
        if not (isinstance(kind, type) and is_dataclass(kind)):
            flat.append(parameter)
            continue
        groups[parameter.name] = kind
        hints = get_type_hints(kind, include_extras=True)
        flat += [
            parameter.replace(
                name=field.name,
                default=getattr(parameter.default, field.name),
                annotation=hints[field.name],
            )
            for field in fields(kind)
        ]

    def grouped(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        command(**values)

    update_wrapper(grouped, command)
    grouped.__annotations__ = {one.name: one.annotation for one in flat}
    vars(grouped)["__signature__"] = signature(command).replace(parameters=flat)
    return grouped
