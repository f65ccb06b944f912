"""Which of a run's arms answered directly, and which reasoned."""

from collections.abc import Sequence
from typing import NamedTuple

from policies import InvalidInputError, InvalidPolicyError, PolicySpec, UnknownNameError

from ..tops import innermost_policy, is_single

__all__ = ["PairArms", "RunArm", "check_policies", "choose_arms"]

_DIRECT, _REASONING, _WHOLE = "direct", "reasoning", "reasoning@max"


class RunArm(NamedTuple):
    """A model and how it was asked."""

    model: str
    policy: str

    @property
    def name(self) -> str:
        """Model and policy as one string, as runs name it."""
        return f"{self.model}:{self.policy}"

    @property
    def must_think(self) -> bool:
        """Whether an answer without a thought is not what was asked for."""
        return innermost_policy(self.policy).name == _REASONING


class PairArms(NamedTuple):
    """The two arms whose answers become pairs."""

    ift: RunArm
    reasoning: RunArm

    @property
    def is_one_model(self) -> bool:
        """Whether lengths of the two are counted by one tokenizer."""
        return self.ift.model == self.reasoning.model


def choose_arms(
    arms: Sequence[tuple[str, str]],
    *,
    ift: str | None = None,
    reasoning: str | None = None,
    model: str | None = None,
) -> PairArms:
    """Return the arms of a run whose answers become pairs.

    Args:
        arms: Model and policy of every arm with answers.
        ift: Policy, or MODEL:POLICY, of the direct answers; `direct` by default.
        reasoning: The same of the reasoning answers; by default `reasoning@max`, or the one
            `reasoning@N` there is.
        model: The model whose answers are taken.

    Raises:
        UnknownNameError: There is no such model or arm.
        InvalidInputError: An arm is not there, several would do, or one asks more than once.
    """
    found = [RunArm(*arm) for arm in arms]
    if model is not None:
        models = sorted({arm.model for arm in found})
        if model not in models:
            raise UnknownNameError("model", model, models)
        found = [arm for arm in found if arm.model == model]
    single = [arm for arm in found if is_single(arm.policy)]
    direct = [arm for arm in single if innermost_policy(arm.policy).name == _DIRECT]
    thinking = [arm for arm in single if arm.must_think]
    whole = [arm for arm in thinking if arm.policy == _WHOLE]
    chosen = PairArms(
        _one(found, direct, ift, "--ift"), _one(found, whole or thinking, reasoning, "--reasoning")
    )
    check_policies(chosen.ift.name, chosen.reasoning.name)
    return chosen


def check_policies(ift: str, reasoning: str) -> None:
    """Refuse two arms that cannot make pairs.

    Raises:
        InvalidInputError: They are the same, or one asks more than once for one answer.
    """
    if ift == reasoning:
        raise InvalidInputError(
            f"{ift} is to give both the direct and the reasoning answers",
            hint="choose two with --ift and --reasoning",
            code="invalid-arms",
        )
    for arm in (ift, reasoning):
        policy = arm.rpartition(":")[2]
        if not is_single(policy):
            raise InvalidInputError(
                f"{policy!r} asks more than once for one answer, of which only one was kept",
                hint="give the policy it asks, such as reasoning@max",
                code="invalid-arms",
            )


def _one(
    found: Sequence[RunArm], usual: Sequence[RunArm], wanted: str | None, option: str
) -> RunArm:
    """Return the arm that is wanted, or the usual one."""
    names = [arm.name for arm in found]
    fitting = list(usual)
    if wanted is not None:
        known = {wanted, _canonical(wanted)}
        fitting = [arm for arm in found if known & {arm.name, arm.policy}]
        if not fitting:
            raise UnknownNameError("arm", wanted, names)
    if len(fitting) == 1:
        return fitting[0]
    several = ", ".join(arm.name for arm in fitting)
    kind = "direct" if option == "--ift" else "reasoning"
    raise InvalidInputError(
        f"several arms gave {kind} answers: {several}"
        if several
        else f"the run has no {kind} answers, only those of {', '.join(names)}",
        hint=f"choose one with --model NAME or {option} MODEL:POLICY"
        if several
        else f"measure them with advisor calibrate --policies direct,reasoning@max, or name {option}",
        code="invalid-arms",
    )


def _canonical(policy: str) -> str:
    try:
        return str(PolicySpec.parse(policy))
    except InvalidPolicyError:
        return policy
