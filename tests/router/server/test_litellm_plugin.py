"""litellm's own Router, asked as a proxy does, sends each request where our decision says."""

import asyncio
import importlib.util
import inspect
import logging
import statistics
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from calibration import OutcomeRecord
from policies import InvalidInputError, Mode, UnknownNameError
from router import Arm, Objective, Router
from router.server.litellm_plugin import TIERS, ThinkrouteClassifier, _spread
from tests.servers.upstream import Seen, UpstreamServer, serving

EXAMPLE = Path(__file__).parents[3] / "examples" / "litellm"
EASY, HARD = "Compute, left to right: 3+4", "Compute, left to right: 3+4*5-6*7+8-2"
RELATION = "Who is the boss of the friend of Ada?"
PROMPTS = (EASY, HARD, RELATION)
OBJECTIVE = Objective(tradeoff=0.001, unit="tokens")  # Under which the prompts get other arms.

# litellm warns about its own code at import and on a first call.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Item:UserWarning:pydantic"),
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[UpstreamServer]:
    with serving(UpstreamServer()) as server:
        yield server


@pytest.fixture(scope="module")
def classifier(router: Router) -> ThinkrouteClassifier:
    return ThinkrouteClassifier(router, objective=OBJECTIVE)


def decided(router: Router) -> list[str]:
    return [router.decide(prompt, objective=OBJECTIVE).policy for prompt in PROMPTS]


def context(*messages: Any) -> Any:
    return SimpleNamespace(structured_messages=list(messages))


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def ask(
    upstream: UpstreamServer,
    classifier: object,
    tiers: dict[str, Any],
    *conversations: list[dict[str, Any]],
    more: dict[str, Any] | None = None,
) -> list[Seen]:
    """Ask a litellm Router, and return what reached the upstream."""
    from litellm.router import Router as LitellmRouter

    config = {
        "classifier_type": "custom",
        "classifier_plugin": classifier,
        "context_compaction": False,
        "tiers": tiers,
        **(more or {}),
    }
    deployed = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/upstream-of-{name}",
                "api_base": upstream.url,
                "api_key": "none",
            },
        }
        for name in ("one", "two", "three", "spare")
    ]
    smart = {
        "model_name": "smart",
        "litellm_params": {
            "model": "auto_router/complexity_router",
            "complexity_router_config": config,
            "complexity_router_default_model": "spare",
        },
    }
    before = len(upstream.generations())

    async def work() -> None:
        asking = LitellmRouter(model_list=[smart, *deployed], num_retries=0)
        for conversation in conversations:
            completion = cast("Callable[..., Awaitable[Any]]", asking.acompletion)
            answer = await completion(model="smart", messages=conversation)
            assert answer.choices[0].message.content

    asyncio.run(work())
    return upstream.generations()[before:]


def test_requests_go_to_the_deployment_that_the_decision_names(
    router: Router, classifier: ThinkrouteClassifier, upstream: UpstreamServer
) -> None:
    of_policy = {"direct": "one", "reasoning@64": "two", "reasoning@max": "three"}
    tiers = {classifier.tiers[f"toy:{policy}"]: deployed for policy, deployed in of_policy.items()}
    seen = ask(upstream, classifier, tiers, *([user(prompt)] for prompt in PROMPTS))
    policies = decided(router)
    assert len(set(policies)) > 1, "the prompts do not tell arms apart"
    assert [each.body["model"] for each in seen] == [
        f"upstream-of-{of_policy[policy]}" for policy in policies
    ]


def test_one_deployment_is_told_how_to_think_by_the_tiers_parameters(
    router: Router, classifier: ThinkrouteClassifier, upstream: UpstreamServer
) -> None:
    tiers = classifier.tier_entries({"toy": "one"})
    seen = ask(upstream, classifier, tiers, *([user(prompt)] for prompt in PROMPTS))
    expected = {
        "direct": (False, None),
        "reasoning@64": (True, 64),
        "reasoning@max": (True, None),
    }
    told = [
        (
            each.body["chat_template_kwargs"]["enable_thinking"],
            each.body.get("thinking_token_budget"),
        )
        for each in seen
    ]
    assert told == [expected[policy] for policy in decided(router)]
    assert len(set(told)) > 1, "the prompts do not tell arms apart"
    assert {each.body["model"] for each in seen} == {"upstream-of-one"}


def test_arms_that_are_left_out_of_the_tiers_are_never_chosen(
    router: Router, upstream: UpstreamServer
) -> None:
    assert "reasoning@max" not in decided(router)
    only = ThinkrouteClassifier(router, {"reasoning@max": "REASONING"}, objective=OBJECTIVE)
    tiers = {"SIMPLE": "one", "REASONING": "three"}
    seen = ask(upstream, only, tiers, *([user(prompt)] for prompt in PROMPTS))
    assert [each.body["model"] for each in seen] == ["upstream-of-three"] * len(PROMPTS)


def test_tiers_of_the_operators_own_are_named(router: Router, upstream: UpstreamServer) -> None:
    own = {"direct": "at once", "toy:reasoning@64": "a little", "reasoning@max": "at length"}
    classifier = ThinkrouteClassifier(router, own)
    more = {
        "tier_definitions": [{"name": tier, "description": tier} for tier in own.values()],
        "fallback_tier": "at length",
    }
    tiers = dict(zip(own.values(), ("one", "two", "three"), strict=True))
    (seen,) = ask(upstream, classifier, tiers, [user(RELATION)], more=more)
    assert router.decide(RELATION).policy == "direct"
    assert seen.body["model"] == "upstream-of-one"


def test_the_last_user_turn_is_decided_about(
    router: Router, classifier: ThinkrouteClassifier
) -> None:
    earlier = [
        {"role": "system", "content": "Be brief."},
        user(RELATION),
        {"role": "assistant", "content": "Ben"},
    ]
    for prompt, policy in zip(PROMPTS, decided(router), strict=True):
        parts = {"role": "user", "content": [{"type": "text", "text": prompt}]}
        tier = asyncio.run(classifier.classify(context(*earlier, parts)))
        assert tier == classifier.tiers[f"toy:{policy}"]


def test_a_failure_is_logged_by_litellm_and_its_fallback_answers(
    classifier: ThinkrouteClassifier, upstream: UpstreamServer, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(ThinkrouteClassifier):
        async def classify(self, context: Any) -> str:
            context.structured_messages.clear()
            return await super().classify(context)

    failing = Failing(classifier._router)
    more = {"classifier_fallback": "default_model", "default_model": "spare"}
    own = logging.getLogger("LiteLLM Router")
    own.addHandler(caplog.handler)
    try:
        (seen,) = ask(upstream, failing, {"SIMPLE": "one"}, [user(EASY)], more=more)
    finally:
        own.removeHandler(caplog.handler)
    assert seen.body["model"] == "upstream-of-spare"
    assert "classifier plugin failed" in caplog.text
    assert "the request has no messages to decide about" in caplog.text


def test_a_request_without_messages_is_an_error(classifier: ThinkrouteClassifier) -> None:
    with pytest.raises(InvalidInputError, match="no messages"):
        asyncio.run(classifier.classify(context()))


def test_litellm_accepts_it_as_a_plugin(classifier: ThinkrouteClassifier) -> None:
    from litellm.types.router import ClassifierPlugin

    # What the proxy checks when it resolves the path in its configuration.
    assert isinstance(classifier, ClassifierPlugin)
    assert inspect.iscoroutinefunction(classifier.classify)


def test_litellm_has_the_tiers_that_arms_are_spread_over() -> None:
    from litellm.router_strategy.complexity_router.config import TIER_SEVERITY_ORDER

    assert tuple(tier.value for tier in TIER_SEVERITY_ORDER) == TIERS


ARMS = st.lists(
    st.tuples(
        st.sampled_from(["small", "large"]),
        st.sampled_from(["direct", "reasoning@0", "reasoning@64", "reasoning@max", "cod"]),
    ),
    min_size=1,
    max_size=7,
    unique=True,
)


@given(ARMS)
def test_arms_get_rising_tiers_of_their_own_and_direct_ones_the_lowest(
    pairs: list[tuple[str, str]],
) -> None:
    arms = [Arm.parse(model, policy, {"small": 1, "large": 9}[model]) for model, policy in pairs]
    if len(arms) > len(TIERS):
        with pytest.raises(InvalidInputError, match="give tiers="):
            _spread(arms)
        return
    tiers = _spread(arms)
    place = {name: TIERS.index(tier) for name, tier in tiers.items()}
    assert place.keys() == {arm.name for arm in arms}
    assert len(set(place.values())) == len(arms)
    for mode in Mode:
        own = sorted((arm for arm in arms if arm.mode is mode), key=lambda arm: arm.order)
        assert [place[arm.name] for arm in own] == sorted(place[arm.name] for arm in own)
    direct = [place[arm.name] for arm in arms if arm.mode is Mode.IFT]
    thinking = [place[arm.name] for arm in arms if arm.mode is Mode.REASONING]
    assert max(direct, default=-1) < min(thinking, default=len(TIERS))
    if thinking:
        assert max(thinking) == len(TIERS) - 1
    if direct:
        assert min(direct) == 0


def test_what_cannot_be_used_stops_the_start(router: Router, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="reasonin"):
        ThinkrouteClassifier(router, {"reasonin@64": "MEDIUM"})
    with pytest.raises(InvalidInputError, match="expected a tier's name"):
        ThinkrouteClassifier(router, {"direct": " "})
    with pytest.raises(InvalidInputError, match="expected a tier's name"):
        ThinkrouteClassifier(router, {})
    with pytest.raises(UnknownNameError):
        ThinkrouteClassifier(router, task="no such task")
    with pytest.raises(Exception, match="nowhere"):
        ThinkrouteClassifier(tmp_path / "nowhere")


def test_entries_are_refused_where_parameters_cannot_express_the_arm(
    make_records: Callable[..., list[OutcomeRecord]], router: Router
) -> None:
    shared = ThinkrouteClassifier(router, {"direct": "SIMPLE", "reasoning@64": "SIMPLE"})
    with pytest.raises(InvalidInputError, match="several arms have the tier 'SIMPLE'"):
        shared.tier_entries()
    records = [
        replace(one, policy="sc(n=5)/cod") if one.policy == "reasoning@max" else one
        for one in make_records(120)
    ]
    many = ThinkrouteClassifier(Router.fit(records))
    with pytest.raises(InvalidInputError, match="more than switch a thinking mode"):
        many.tier_entries()


def test_a_decision_takes_about_a_millisecond(classifier: ThinkrouteClassifier) -> None:
    async def timed() -> list[float]:
        found: list[float] = []
        for number in range(200):
            asked = context(user(f"Compute, left to right: 3+4*{number}"))
            start = perf_counter()
            await classifier.classify(asked)
            found.append(perf_counter() - start)
        return found

    # Ten times what it takes, since tests run beside each other.
    assert statistics.median(asyncio.run(timed())) < 0.01


def test_the_example_names_the_classifier_and_the_arms_parameters(
    make_records: Callable[..., list[OutcomeRecord]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from litellm.proxy.types_utils.utils import get_instance_fn

    policies = {"direct": "direct", "reasoning@64": "reasoning@512"}
    records = [
        replace(one, model="Qwen/Qwen3-8B", policy=policies.get(one.policy, one.policy))
        for one in make_records(120)
    ]
    records += [
        replace(one, policy="reasoning@2048") for one in records if one.policy == "reasoning@512"
    ]
    Router.fit(records).save(tmp_path / "router")
    monkeypatch.setenv("THINKROUTE_ROUTER", str(tmp_path / "router"))
    config = yaml.safe_load((EXAMPLE / "config.yaml").read_text("utf-8"))
    smart = config["model_list"][0]["litellm_params"]["complexity_router_config"]
    # As the proxy resolves it: a module beside the configuration.
    classifier = get_instance_fn(smart["classifier_plugin"], str(EXAMPLE / "config.yaml"))
    assert isinstance(classifier, ThinkrouteClassifier)
    assert smart["tiers"] == classifier.tier_entries({"Qwen/Qwen3-8B": "qwen"})
    names = {deployed["model_name"] for deployed in config["model_list"]}
    assert {entry["model_name"] for entry in smart["tiers"].values()} <= names
    assert smart["default_model"] in names


def test_litellm_is_not_imported() -> None:
    import subprocess
    import sys

    code = (
        "import sys; import router.server.litellm_plugin;"
        "print(*sorted({'litellm', 'starlette', 'uvicorn', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.strip()
    assert importlib.util.find_spec("litellm") is not None
