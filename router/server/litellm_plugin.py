"""A classifier for litellm's complexity router, so that a litellm proxy follows our decisions.

In a module beside the proxy's configuration:

    classifier = ThinkrouteClassifier("routers/qwen")

and in the configuration, `classifier_type: custom` with `classifier_plugin: MODULE.classifier`; see
`examples/litellm`. Needs nothing of the extra `serve`, and never imports litellm. Written for
litellm 1.106, whose `ClassifierPlugin` is any object with `async classify(context)`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from policies import InvalidInputError, Mode, build_policy
from policies.backends.thinking import dialect_named, with_thinking

from .._admission import Conditions
from .._arms import Arm
from .._default import default_router
from .._objective import Objective
from .._reference_arm import find_arm
from .._router import Router
from ._conversation import read_conversation
from ._upstream_chat import thinking_of

__all__ = ["TIERS", "RoutingContext", "ThinkrouteClassifier"]

TIERS = ("SIMPLE", "MEDIUM", "COMPLEX", "REASONING")
"""litellm's own tiers, in rising order; others are named under its `tier_definitions`."""


class RoutingContext(Protocol):
    """What of litellm's context is read."""

    @property
    def structured_messages(self) -> list[dict[str, Any]]:
        """The conversation in the form of OpenAI's chat completions, whatever API it came by."""
        ...


class ThinkrouteClassifier:
    """Names the tier of the arm that a router decides on.

    A decision takes about a millisecond and asks nobody, unless the router has an embedder. It
    is for a single call: a router that would look at a first answer before it asks another arm
    decides without looking, since litellm asks one deployment.

    What fails when the proxy starts stops it. What fails later, in one request, is raised:
    litellm then logs the warning `classifier plugin failed`, with the error, and does what
    `classifier_fallback` (or `fallback_tier`) says, so the client gets an answer. Set it to
    `default_model`; its default, litellm's own word counting, knows nothing of your models.
    """

    def __init__(
        self,
        router: Router | str | Path | None = None,
        tiers: Mapping[str, str] | None = None,
        *,
        objective: Objective | None = None,
        task: str | None = None,
    ) -> None:
        """Load the router and check the tiers.

        Args:
            router: The router or its folder; by default the one that the environment variable
                THINKROUTE_ROUTER names, else the bundled one.
            tiers: Tier by arm, the arm by its name or, if unique, its policy. An arm that is left
                out is never chosen. By default the arms are spread over litellm's own tiers:
                first those that answer directly, then those that think, each from small to
                large, so that an escalation of litellm's never takes a thought away.
            objective: What to optimise, the router's default if `None`.
            task: Task type of all requests, where they have one.

        Raises:
            ArtifactError: The router cannot be loaded.
            UnknownNameError: There is no such arm or task.
            InvalidInputError: There are more arms than litellm has tiers, or a tier has no name.
            NoAdmissibleArmError: No arm satisfies the objective.
        """
        if router is None:
            router = default_router()
        self._router = router if isinstance(router, Router) else Router.load(router)
        arms = self._router.arms
        if tiers is None:
            self.tiers: dict[str, str] = _spread(arms)
            """Tier by the arm's name."""
        else:
            self.tiers = {arms[find_arm(arms, name)].name: tier for name, tier in tiers.items()}
        if not self.tiers or not all(tier.strip() for tier in self.tiers.values()):
            raise InvalidInputError(
                f"tiers is {dict(tiers or {})!r}, expected a tier's name for one arm or more"
            )
        self._objective = objective
        self._task = task
        # An objective or a task that cannot be used is found here and not at the first request.
        self._router.decide("ready?", task, objective=objective)

    async def classify(self, context: RoutingContext) -> str:
        """Return the tier of the arm that the router decides on.

        Args:
            context: litellm's; its last user turn is what is decided about.

        Raises:
            InvalidInputError: It holds no conversation.
            NoAdmissibleArmError: No arm satisfies the objective.
            BackendError: The router's embedder could not be asked.
        """
        messages = context.structured_messages
        if not messages:
            raise InvalidInputError("the request has no messages to decide about")
        talk = read_conversation(messages)
        conditions = Conditions(
            objective=self._objective,
            task=self._task,
            more_bytes=talk.more_bytes,
            among=self.tiers.keys(),  # Also keeps the choice to a single call.
        )
        admission = await self._router.admit(talk.text, conditions)
        return self.tiers[admission.decision.arm.name]

    def tier_entries(
        self, model_names: Mapping[str, str] | None = None, *, dialect: str = "vllm"
    ) -> dict[str, dict[str, Any]]:
        """Return what belongs under `complexity_router_config.tiers`, so that arms are honoured.

        Args:
            model_names: `model_name` of litellm's deployment by the router's model; the same by
                default.
            dialect: How the servers are told to think, such as `vllm`.

        Raises:
            InvalidInputError: Two arms share a tier, and one deployment cannot be both; or an arm
                does more than switch a thinking mode, which no parameters express.
            UnknownNameError: There is no such dialect.

        Example:
            >>> ThinkrouteClassifier().tier_entries()["SIMPLE"]["litellm_params"]
            {'extra_body': {'chat_template_kwargs': {'enable_thinking': False}}}
        """
        known = dialect_named(dialect)
        entries: dict[str, dict[str, Any]] = {}
        for arm in (arm for arm in self._router.arms if arm.name in self.tiers):
            tier = self.tiers[arm.name]
            if tier in entries:
                raise InvalidInputError(
                    f"several arms have the tier {tier!r}, which is one deployment",
                    hint="give each a tier of its own, or write the entry yourself",
                )
            thinking = thinking_of(build_policy(arm.policy))
            if thinking is None:
                raise InvalidInputError(
                    f"{arm.name} does more than switch a thinking mode: no parameters express it",
                    hint="leave it out of tiers, or let `advisor serve` answer it",
                )
            fields = with_thinking(
                {},
                known,
                thinking=thinking.is_on,
                budget=thinking.budget,
                effort=thinking.effort,
            )
            entries[tier] = {
                "model_name": (model_names or {}).get(arm.model, arm.model),
                "litellm_params": {"extra_body": fields},
            }
        return entries


def _spread(arms: Sequence[Arm]) -> dict[str, str]:
    """Return a tier of its own for each arm."""
    if len(arms) > len(TIERS):
        raise InvalidInputError(
            f"the router has {len(arms)} arms and litellm {len(TIERS)} tiers",
            hint="give tiers={ARM: TIER} for those that may be chosen; litellm's tier_definitions"
            " allow up to eight tiers",
        )
    ordered = sorted(arms, key=lambda arm: (arm.mode is Mode.REASONING, arm.order))
    if len(ordered) == 1:
        return {ordered[0].name: TIERS[-1 if ordered[0].mode is Mode.REASONING else 0]}
    last = len(ordered) - 1
    return {arm.name: TIERS[place * (len(TIERS) - 1) // last] for place, arm in enumerate(ordered)}
