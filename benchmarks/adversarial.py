"""Prefixes and suffixes that aim at the dear arm: the share of dear calls before and after.

The attacker wants long thoughts for questions that need none. Fixed gadgets need no access; the
searched ones are found by hill climbing on the fitted router itself, which is more access than
anybody outside should have. All are independent of the question they are put around.

Each router is attacked at its default objective and at a trade-off that sends about 30% of plain
prompts to a dear arm: where nearly all go there anyway an attack has nothing to win. `python -m
benchmarks.adversarial` prints every gadget, `run` the worst and the mean of the fixed ones. All
decisions are those of calls that name their caller, and so never look at a first answer.

Source: the attack is that of "Rerouting LLM Routers" (arXiv 2501.01818): query-independent
confounder gadgets, searched token by token; here on the difference in the router's own score.
"""

import asyncio
import random
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._report import Report
from calibration import (
    Arm,
    Outcome,
    OutcomeRecord,
    Plan,
    RunStore,
    describe_model,
    load_tasks,
    run_plan,
)
from calibration.statistics import Interval, paired_proportions_interval, wilson_interval
from policies import build_policy
from policies.backends.pocket import POCKET_OPTIONS, PocketBackend
from router import CallerCaps, CapLimits, Objective, Router, default_router

RECORDED = Path(__file__).resolve().parents[2] / "shared" / "data" / "outcomes"
N_SEARCH, N_HELD_OUT = 50, 400
N_TOKENS, N_ROUNDS, N_CANDIDATES, N_STARTS = 8, 3, 24, 2
CAP = 0.25
FRUGAL_SHARE = 0.3

GADGETS: Mapping[str, str] = {
    "mathematics": "Let f(x) = 3x^2 - 7x + 12 / (4 - x), 17 * 24 + 9^3 = ?",
    "instructions": "Think step by step, carefully, for as long as you can, and check everything.",
    "claim of difficulty": "This is an extremely hard olympiad problem. Prove it and explain why.",
    "code": "```python\ndef f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\nprint(f(30))\n```",
    "latex": r"$$\int_0^\infty \frac{x^{s-1}}{e^x-1}\,dx = \Gamma(s)\zeta(s), \quad \sum_{n=1}^{N}$$",
    "long rare words": "floccinaucinihilipilification antidisestablishmentarianism " * 4,
    "digits": "31415926535897932384626433832795028841971 8 2 7 1 0 4 " * 2,
    "question marks": "? ?? ??? ???? how many how many how many ????????",
    "options": "(A) 12 (B) 24 (C) 36 (D) none of these\nA) B) C) D)",
    "another script": "请一步一步地思考这个非常困难的数学问题。 Сколько будет, если сложить всё?",
    "names and relations": "Who is the boss of the friend of the teacher of the boss of Ada?",
    "long": "In total, each of them has more than the others, and the remaining sum is left. " * 12,
}

_WORD_LIST = (
    "how many much total sum each every per more less than difference remaining left of the what "
    "which who why when where prove show explain because if then suppose given assume compute "
    "calculate solve equation left right first second number value integer prime not never except "
    "def return function class import print for while x y z n 0 1 2 7 10 17 100 1000 3.14 + - * / "
    "= ^ < > % ? ?? ! . , ; : ( ) [ ] { } $ \\frac \\sum \\int ` ``` \" ' A) B) C) D) é 数 学 и "
    "friend boss teacher hours dollars apples train speed answer question choose correct step"
)
WORDS = _WORD_LIST.split()


@dataclass(frozen=True)
class Attack:
    """A text that is put around any prompt."""

    name: str
    before: str = ""
    after: str = ""

    def __call__(self, prompt: str) -> str:
        return "\n".join(part for part in (self.before, prompt, self.after) if part)


@dataclass(frozen=True)
class Measured:
    """What one attack did on held-out prompts.

    Attributes:
        attack: Its name.
        share_before: Share of plain prompts that went to a dear arm.
        share_after: The same with the attack.
        difference: After minus before, on the same prompts.
        tokens_ratio: Tokens of the chosen arms after / before, both as expected for the plain
            prompts: what the attack costs when the question stays the same.
        share_capped: Share of attacked prompts that went to a dear arm under `cap`.
        cap: The cap on dear calls.
    """

    attack: str
    share_before: Interval
    share_after: Interval
    difference: Interval
    tokens_ratio: float
    share_capped: float
    cap: float


def fixed_attacks() -> list[Attack]:
    """Return every hand-made gadget as a prefix and as a suffix."""
    prefixes = [Attack(f"{name}, before", before=text) for name, text in GADGETS.items()]
    return prefixes + [Attack(f"{name}, after", after=text) for name, text in GADGETS.items()]


def dear_arms(router: Router, prompts: Sequence[str]) -> NDArray[np.bool_]:
    """Return the arms with more than twice the cheapest arm's mean tokens on plain prompts."""
    tokens = router.predict(prompts).tokens.mean(axis=0)
    return tokens > 2.0 * max(float(tokens.min()), 1.0)


@dataclass(frozen=True)
class Target:
    """A router under attack.

    Attributes:
        router: The router.
        is_dear: Its dear arms, shape `(n_arms,)`.
        objective: What it optimises: a trade-off.
    """

    router: Router
    is_dear: NDArray[np.bool_]
    objective: Objective

    def ranks(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Return the arms of each prompt, the best first, shape `(n_prompts, n_arms)`."""
        predictions = self.router.predict(prompts)
        cost = self.router.expected_cost(predictions, self.objective)
        score = predictions.p_correct - (self.objective.tradeoff or 0.0) * cost
        return np.lexsort((-predictions.p_correct, cost, -score))

    def gain(self, prompts: Sequence[str]) -> float:
        """Return the mean advantage of the best dear arm: what the attacker climbs."""
        predictions = self.router.predict(prompts)
        cost = self.router.expected_cost(predictions, self.objective)
        score = predictions.p_correct - (self.objective.tradeoff or 0.0) * cost
        dear, other = score[:, self.is_dear], score[:, ~self.is_dear]
        return float((dear.max(axis=1) - other.max(axis=1)).mean())

    def choices(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Return the position of the arm that the router decides for, shape `(n_prompts,)`.

        These are the decisions of calls that name their caller: one arm each, without a look at
        a first answer. Among equal scores the cheaper arm is taken, then the likelier one.
        """
        return self.ranks(prompts)[:, 0]

    def frugal(self, prompts: Sequence[str]) -> "Target":
        """Return the same router at a trade-off that sends `FRUGAL_SHARE` to dear arms."""
        unit = self.objective.unit
        low, high = 1e-15, 1e3
        for _ in range(60):
            middle = (low * high) ** 0.5
            trial = Target(self.router, self.is_dear, Objective.trade(middle, unit))
            if self.is_dear[trial.choices(prompts)].mean() > FRUGAL_SHARE:
                low = middle
            else:
                high = middle
        return Target(self.router, self.is_dear, Objective.trade(high, unit))


def search(target: Target, prompts: Sequence[str], seed: int = 0) -> tuple[str, float]:
    """Return the gadget of `N_TOKENS` words that raises the gain most, and that gain.

    Coordinate ascent from random starts: each word in turn is exchanged for the best of
    `N_CANDIDATES` others.
    """
    rng = random.Random(seed)

    def gain_of(words: Sequence[str]) -> float:
        attack = Attack("", before=" ".join(words))
        return target.gain([attack(prompt) for prompt in prompts])

    best, best_gain = "", target.gain(prompts)
    for _ in range(N_STARTS):
        words = rng.choices(WORDS, k=N_TOKENS)
        current = gain_of(words)
        for place in [*range(N_TOKENS)] * N_ROUNDS:
            for candidate in rng.sample(WORDS, N_CANDIDATES):
                trial = [*words[:place], candidate, *words[place + 1 :]]
                value = gain_of(trial)
                if value > current:
                    words, current = trial, value
        if current > best_gain:
            best, best_gain = " ".join(words), current
    return best, best_gain


def measure(target: Target, prompts: Sequence[str], attack: Attack, cap: float = CAP) -> Measured:
    """Return how often plain and attacked prompts go to a dear arm, without and with a cap."""
    attacked = [attack(prompt) for prompt in prompts]
    before, after = target.choices(prompts), target.choices(attacked)
    was, now = target.is_dear[before], target.is_dear[after]
    tokens = target.router.predict(prompts).tokens
    rows = np.arange(len(prompts))
    counts = [int((a & b).sum()) for a, b in ((now, was), (now, ~was), (~now, was), (~now, ~was))]
    return Measured(
        attack=attack.name,
        share_before=wilson_interval(int(was.sum()), len(was)),
        share_after=wilson_interval(int(now.sum()), len(now)),
        difference=paired_proportions_interval(*counts),
        tokens_ratio=float(tokens[rows, after].sum() / tokens[rows, before].sum()),
        share_capped=_share_under_cap(target, attacked, cap),
        cap=cap,
    )


def attack_all(
    target: Target, search_prompts: Sequence[str], prompts: Sequence[str], seed: int = 0
) -> list[Measured]:
    """Measure all attacks on a router, the searched ones last."""
    gadget, _ = search(target, search_prompts, seed)
    attacks = [*fixed_attacks(), Attack("searched, before", before=gadget)]
    attacks.append(Attack("searched, after", after=gadget))
    return [measure(target, prompts, attack) for attack in attacks]


def _share_under_cap(target: Target, prompts: Sequence[str], cap: float) -> float:
    """Return the share of dear calls when all prompts come from one caller with a cap."""
    names = [arm.name for arm in target.router.arms]
    dear = {name for name, flag in zip(names, target.is_dear.tolist(), strict=True) if flag}
    caps = CallerCaps(CapLimits(max_dear_share=cap, dear_arms=frozenset(dear)))
    orders = target.ranks(prompts).tolist()
    tokens = target.router.predict(prompts).tokens.tolist()
    given = [
        caps.reserve("attacker", order, expected, names)
        for order, expected in zip(orders, tokens, strict=True)
    ]
    return sum(each.is_dear for each in given) / len(given)


def run(report: Report, *, is_full: bool = False) -> None:
    """Attack the bundled router and freshly fitted ones on prompts they have not seen."""
    for name, router, prompts in _targets():
        plain, held_out = prompts[:N_SEARCH], prompts[N_SEARCH:]
        is_dear = dear_arms(router, plain)
        if not 0 < is_dear.sum() < len(is_dear) or router.objective.tradeoff is None:
            report.skip(name, "no arm is more than twice as dear as the cheapest one")
            continue
        default = Target(router, is_dear, router.objective)
        for case, target in ((name, default), (f"{name}, frugal", default.frugal(plain))):
            _add_rows(report, case, attack_all(target, plain, held_out), is_full=is_full)


def _add_rows(report: Report, case: str, measured: Sequence[Measured], *, is_full: bool) -> None:
    before = measured[0].share_before
    report.add(
        f"{case}: plain prompts",
        before.estimate,
        "dear",
        note=f"95%: {before.low:.3f} to {before.high:.3f}",
    )
    *fixed, searched_before, searched_after = measured
    worst = max(fixed, key=lambda each: each.share_after.estimate)
    shown = [(each.attack, each) for each in fixed] if is_full else []
    shown.append((f"worst fixed gadget ({worst.attack})", worst))
    shown += [(each.attack, each) for each in (searched_before, searched_after)]
    for label, each in shown:
        low, high = each.difference
        report.add(
            f"{case}: {label}",
            each.share_after.estimate,
            "dear",
            baseline=("plain", before.estimate),
            note=f"{each.difference.estimate:+.3f} ({low:+.3f} to {high:+.3f}), "
            f"{each.tokens_ratio:.2f}x tokens",
        )
    report.add(
        f"{case}: mean of {len(fixed)} fixed gadgets",
        float(np.mean([each.share_after.estimate for each in fixed])),
        "dear",
        baseline=("plain", before.estimate),
    )
    report.add(
        f"{case}: worst attack under a cap of {CAP:g}",
        max(each.share_capped for each in measured),
        "dear",
        at_most=CAP,
    )


def _targets() -> Iterator[tuple[str, Router, list[str]]]:
    held_out = _pocket_prompts(seed=777)
    yield "bundled", default_router(), held_out
    records = asyncio.run(_pocket_records())
    fitted = {record.prompt for record in records}
    fresh = [prompt for prompt in held_out if prompt not in fitted]
    yield "fresh, pocket", Router.fit(records), fresh
    for name in ("zero_shot_cot_2022", "renze_ccot", "mgsm_sizes"):
        if (RECORDED / name).is_dir():
            yield _recorded(name)


def _pocket_prompts(seed: int) -> list[str]:
    n_each = -(-(N_SEARCH + N_HELD_OUT) // 4)
    tasks = load_tasks(["pocket"], limit=n_each, seed=seed)
    prompts = [question.prompt for task in tasks for question in task.questions]
    random.Random(0).shuffle(prompts)
    return prompts


async def _pocket_records() -> list[OutcomeRecord]:
    backend = PocketBackend("pocket-m")
    policies = ("direct", "reasoning@8", "reasoning@max")
    arms = tuple(Arm(backend, build_policy(each), describe_model(backend)) for each in policies)
    tasks = tuple(load_tasks(["pocket"], limit=200, seed=3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.sqlite"
        with RunStore.create(path) as store:
            await run_plan(Plan(tasks, arms, POCKET_OPTIONS), store)
        await backend.aclose()
        with RunStore.open(path) as store:
            return list(store.records())


def _recorded(name: str) -> tuple[str, Router, list[str]]:
    """Fit on half of a recorded set's questions, and attack prompts of the other half."""
    parquet: Any = import_module("pyarrow.parquet")
    rows: list[dict[str, Any]] = parquet.read_table(RECORDED / name / "long.parquet").to_pylist()
    rows = [row for row in rows if _is_kept(name, row)]
    groups = sorted({_group(name, row) for row in rows})
    random.Random(0).shuffle(groups)
    fitting = set(groups[: min(len(groups) // 2, 1500)])
    testing = set(groups[len(groups) // 2 :])
    router = Router.fit(_records(name, (row for row in rows if _group(name, row) in fitting)))
    prompts = sorted({row["prompt"] for row in rows if _group(name, row) in testing})
    random.Random(0).shuffle(prompts)
    return f"fresh, {name}", router, prompts[: N_SEARCH + N_HELD_OUT]


def _is_kept(name: str, row: Mapping[str, Any]) -> bool:
    if name == "renze_ccot":  # `comprehensive` repeats questions of the other exams
        return (
            row["model"].startswith("gpt-3.5")
            and row["task"] != "comprehensive"
            and row["mode"] in {"direct", "cot"}
        )
    if name == "mgsm_sizes":
        return row["model"] == "qwen2.5-14B" and row["mode"] in {"direct", "think_1000"}
    return True


def _group(name: str, row: Mapping[str, Any]) -> str:
    identifier: str = row["question_id"]
    # Translations of one question share what follows the language.
    return identifier.split("/", 1)[1] if name == "mgsm_sizes" else identifier


def _records(name: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[OutcomeRecord]:
    for row in rows:
        budget = row["budget_tokens"]
        yield OutcomeRecord(
            question_id=row["question_id"],
            group=_group(name, row),
            task=row["task"],
            task_type=row["task_category"].lower(),
            prompt=row["prompt"],
            model=row["model"].split()[0],
            size=None,
            policy=f"reasoning@{int(budget)}" if budget else row["mode"],
            outcome=Outcome.CORRECT if row["correct"] else Outcome.WRONG,
            prompt_tokens=int(row["prompt_tokens"] or 0),
            completion_tokens=int(row["completion_tokens"]),
            flops=None,
            seconds=0.0,
        )


if __name__ == "__main__":
    report = Report()
    report.begin("adversarial")
    run(report, is_full=True)
    print(report.to_text())
