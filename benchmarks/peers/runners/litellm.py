"""litellm's complexity router: both of its local classifiers, as they come, nothing to train."""

import asyncio
import os
from importlib import import_module
from typing import Any

from ._job import Job, Variant, main, timed

DEAR_TIERS = frozenset({"COMPLEX", "REASONING"})


def run(job: Job) -> dict[str, Variant]:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else a download at import
    router = _router("heuristic")
    first = [router.classify(text) for text in job.test_texts]
    learned = _router("heuristic_v2")
    loop = asyncio.new_event_loop()

    def classify(text: str) -> Any:
        return loop.run_until_complete(learned.aclassify(text))

    second = [classify(text) for text in job.test_texts]
    variants = {
        "heuristic (v1)": Variant(
            score=[float(score) for _, score, _ in first],
            is_strong=[tier.value in DEAR_TIERS for tier, _, _ in first],
            latency_ms=timed(router.classify, job.test_texts, job.n_timed),
            note="COMPLEX and REASONING take the dear arm",
        ),
        "heuristic_v2": Variant(
            # The dear arm is taken where neither of the two cheap tiers promises enough; the
            # promise of the second, which is never below the first's, decides that.
            score=[-float(_promise(outcome)) for outcome in second],
            is_strong=[outcome.tier.value in DEAR_TIERS for outcome in second],
            latency_ms=timed(classify, job.test_texts, job.n_timed),
            note="COMPLEX and REASONING take the dear arm",
        ),
    }
    loop.close()
    return variants


def _promise(outcome: Any) -> float:
    return outcome.heuristic_v2_forecast["probabilities"]["MEDIUM"]


def _router(classifier: str) -> Any:
    litellm: Any = import_module("litellm")
    complexity: Any = import_module("litellm.router_strategy.complexity_router.complexity_router")
    arms = {name: {"model": f"openai/{name}", "api_key": "unused"} for name in ("weak", "strong")}
    models = [{"model_name": name, "litellm_params": arm} for name, arm in arms.items()]
    tiers = {"SIMPLE": "weak", "MEDIUM": "weak", "COMPLEX": "strong", "REASONING": "strong"}
    return complexity.ComplexityRouter(
        model_name="auto",
        litellm_router_instance=litellm.Router(model_list=models),
        complexity_router_config={"classifier_type": classifier, "tiers": tiers},
    )


if __name__ == "__main__":
    main(run)
