"""Efforts: ways of asking one model to think less or more."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, cast

from policies import (
    Backend,
    Capability,
    Completion,
    DecodingOptions,
    InvalidInputError,
    InvalidPolicyError,
    Message,
    Mode,
    Policy,
    PolicySpec,
    UnknownNameError,
    build_policy,
)

__all__ = [
    "Effort",
    "NamedPolicy",
    "PromptedPolicy",
    "choose_efforts",
    "default_labels",
    "innermost_policy",
    "is_prompted",
    "is_single",
    "named_policies",
    "parse_texts",
    "tag_prompts",
]

_PROMPTED = "prompted"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_LEVELS = {2: ("low", "high"), 3: ("low", "medium", "high")}


@dataclass(frozen=True, slots=True)
class Effort:
    """One way of asking.

    Attributes:
        name: What it is called: the user's word, or its policy.
        model: Name of the model in the run; provider efforts have one each.
        policy: Canonical policy string.
        system_prompt: The system prompt that asks for it, `None` if there is none.
    """

    name: str
    model: str
    policy: str
    system_prompt: str | None = None

    @property
    def arm(self) -> str:
        """Model and policy as one string, as runs name it."""
        return f"{self.model}:{self.policy}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)


class NamedPolicy(NamedTuple):
    """A policy under the name of an effort."""

    name: str
    policy: Policy


class PromptedPolicy:
    """Ask a policy behind a system prompt, as the paper asks for low, medium and high effort.

    Its canonical string holds a hash of the prompt, so that answers to two prompts never mix.
    """

    def __init__(self, inner: Policy, name: str, system_prompt: str) -> None:
        """Take what is asked, the effort's name and the system prompt.

        Raises:
            InvalidInputError: The name is no word, or the prompt is empty.
        """
        if not system_prompt.strip():
            raise InvalidInputError(f"the system prompt of the effort {name!r} is empty")
        digest = hashlib.sha256(system_prompt.encode()).hexdigest()[:16]
        self.spec = PolicySpec(
            _PROMPTED,
            params=(("name", _checked_name(name)), ("text", f"h{digest}")),
            inner=inner.spec,
        )
        self.mode: Mode = inner.mode
        self.needs: frozenset[Capability] = inner.needs
        self._inner = inner
        self._message = Message("system", system_prompt)

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what the policy asked may generate at most."""
        return self._inner.max_tokens(options)

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the policy's answer to the conversation behind the system prompt."""
        return await self._inner.run((self._message, *messages), backend, options)


def named_policies(texts: Iterable[str]) -> list[NamedPolicy]:
    """Return policies with names from texts such as `reasoning@64` or `low=reasoning@64`.

    Raises:
        InvalidInputError: A policy cannot be asked for single answers, or a name is no word or
            there twice.
        UnknownNameError: There is no such policy.
    """
    made: list[NamedPolicy] = []
    for text in texts:
        found = re.fullmatch(r"([A-Za-z][\w-]*)\s*=\s*([^=].*)", text.strip())
        policy = build_policy(found[2] if found else text)
        if not is_single(str(policy.spec)):
            raise InvalidInputError(
                f"{str(policy.spec)!r} asks more than once for one answer, so its length is no"
                " answer's",
                hint="give the policy it asks, such as reasoning@max",
                code="invalid-effort",
            )
        name = _checked_name(found[1].lower()) if found else str(policy.spec)
        made.append(NamedPolicy(name, policy))
    _refuse_twice([one.name for one in made])
    return made


def parse_texts(values: Iterable[str], option: str) -> dict[str, str]:
    """Return names and texts from values such as `low=Think briefly.`.

    Raises:
        InvalidInputError: A value is not NAME=TEXT, or a name is there twice.
    """
    found: dict[str, str] = {}
    for value in values:
        name, equals, text = value.partition("=")
        name = name.strip().lower()
        if not equals or not text.strip():
            raise InvalidInputError(
                f"{option} {value!r} is not NAME=TEXT",
                hint=f'for example {option} low="Think briefly."',
                code="invalid-effort",
            )
        if name in found:
            _refuse_twice([name, name])
        found[_checked_name(name)] = text
    return found


def choose_efforts(
    arms: Sequence[tuple[str, str]],
    noted: Sequence[Mapping[str, Any]],
    *,
    wanted: Sequence[str] = (),
    model: str | None = None,
) -> tuple[Effort, ...]:
    """Return the efforts of a run in the order of effort asked for, the lowest first.

    Args:
        arms: Model and policy of every arm with answers.
        noted: What the run's own `efforts` say; they keep their order.
        wanted: Names or policies to keep, in this order; by default all that think, or all if
            none does.
        model: The model whose answers are taken.

    Raises:
        UnknownNameError: There is no such effort or model.
        InvalidInputError: Answers of several models, whose lengths cannot be compared.
    """
    known = {(str(one["model"]), str(one["policy"])): one for one in noted}
    order = {key: number for number, key in enumerate(known)}
    found = [
        Effort(
            name=str(known[arm]["name"]) if arm in known else arm[1],
            model=arm[0],
            policy=arm[1],
            system_prompt=cast("str | None", known[arm]["system_prompt"]) if arm in known else None,
        )
        for arm in arms
        if is_single(arm[1])
    ]
    found.sort(key=lambda one: (order.get((one.model, one.policy), len(order)), _rank(one.policy)))
    found = _of_model(found, known, model)
    if wanted:
        return tuple(_named(found, name) for name in dict.fromkeys(wanted))
    thinking = [one for one in found if innermost_policy(one.policy).name != "direct"]
    return tuple(thinking or found)


def default_labels(efforts: Sequence[Effort]) -> tuple[str, ...]:
    """Return what the levels of the tag model are called, the lowest effort first.

    Efforts that have names keep them; two or three others are low, (medium,) high.
    """
    names = tuple(one.name for one in efforts)
    are_policies = any(one.name == one.policy for one in efforts)
    return _LEVELS.get(len(efforts), names) if are_policies else names


def is_prompted(policy: str) -> bool:
    """Return whether a policy asks behind a system prompt, whose text only the run notes."""
    return policy.startswith(f"{_PROMPTED}(")


def is_single(policy: str) -> bool:
    """Return whether one request gives one answer."""
    try:
        spec = PolicySpec.parse(policy)
    except InvalidPolicyError:
        return True
    if spec.name == _PROMPTED and spec.inner is not None:
        spec = spec.inner
    return spec.inner is None and not spec.members


def tag_prompts(
    efforts: Sequence[Effort], labels: Sequence[str], given: Mapping[str, str]
) -> dict[str, str]:
    """Return the system prompt of every level: given, asked with, or a sentence of our own.

    Not in the paper: its system prompts are shown as a picture only.

    Raises:
        UnknownNameError: A prompt is given for a level that there is not.
    """
    for name in given:
        if name not in labels:
            raise UnknownNameError("level of effort", name, labels)
    asked = {one.name: one.system_prompt for one in efforts if one.system_prompt}
    return {
        label: given.get(label) or asked.get(label) or f"Reasoning effort: {label}."
        for label in labels
    }


def _of_model(
    found: list[Effort], known: Mapping[tuple[str, str], object], model: str | None
) -> list[Effort]:
    models = sorted({one.model for one in found})
    if model is not None:
        if model not in models:
            raise UnknownNameError("model", model, models)
        return [one for one in found if one.model == model]
    are_efforts = all((one.model, one.policy) in known for one in found)
    if len(models) > 1 and not are_efforts:
        raise InvalidInputError(
            f"the run has answers of {', '.join(models)}: lengths of two models cannot be compared",
            hint="choose one with --model",
            code="several-models",
        )
    return found


def _named(found: Sequence[Effort], name: str) -> Effort:
    for one in found:
        if name in (one.name, one.policy, one.arm):
            return one
    try:
        canonical = str(PolicySpec.parse(name))
    except InvalidPolicyError:
        canonical = name
    for one in found:
        if one.policy == canonical:
            return one
    raise UnknownNameError("effort", name, [one.name for one in found])


def innermost_policy(policy: str) -> PolicySpec:
    """Return the policy within all others, `unknown` for a text that names none of ours."""
    try:
        spec = PolicySpec.parse(policy)
    except InvalidPolicyError:  # an imported arm may be named in any way
        return PolicySpec("unknown")
    while spec.inner is not None:
        spec = spec.inner
    return spec


def _rank(policy: str) -> tuple[int, int, str]:
    """Order by effort: direct, budgets, no budget, what cannot be told."""
    spec = innermost_policy(policy)
    if spec.name == "direct":
        return (0, 0, policy)
    if isinstance(spec.budget, int):
        return (1, spec.budget, policy)
    return (2 if spec.budget is not None else 3, 0, policy)


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name) or name in ("true", "false"):
        raise InvalidInputError(
            f"{name!r} is no name of an effort",
            hint="use lower-case letters, digits, - and _, a letter first",
            code="invalid-effort",
        )
    return name


def _refuse_twice(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInputError(
            f"the effort {', '.join(twice)} is given twice",
            hint="give each effort once",
            code="invalid-effort",
        )
