"""What could be trained: recipe, accuracy, costs, and which caps it breaks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from calibration.published import PublishedCorpus, PublishedRecipe
from policies import ModelSize

from .._recipe import Corpus, Method, Order, Recipe
from ..cost import (
    MFU,
    InferBudget,
    Network,
    Range,
    TrainingCost,
    grpo_cost,
    inference_flops,
    network_at,
    token_share,
    tops_cost,
    total_flops,
    training_cost,
)
from ..evidence import OwnArm, PublishedEvidence
from ..inference import NO_ESTIMATE, Estimate, accuracy_at, nominal_size
from ._question import Question

__all__ = ["MIXTURE_RATIO", "Builder", "Candidate", "Cost", "unique"]

MIXTURE_RATIO = 0.25
"""Share of reasoning rows to start with.

Source: arXiv 2509.22193v2, section 5: gains appear at 25%, 25-50% captures most of them.
"""

_GRPO_PROMPTS = 10_000
"""Prompts of one pass of reinforcement learning, an assumption to compare its cost by."""

InferenceBasis = Literal["measured", "published-fit", "lengths"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What making an option costs, however it is trained.

    Attributes:
        flops: FLOPs.
        n_tokens: Tokens that are learned from, prompts included.
        reasoning_token_share: Share of answer tokens that are in reasoning traces.
        gpu_hours: Hours of one GPU.
        wall_hours: Hours of the run.
        usd: US dollars, `None` without a price.
        formula: How the FLOPs came about.
        basis: `exact` for a known architecture, else how its coefficients were found; `study` for
            what a study counted; empty for what is not supervised training.
        over_six_nd: FLOPs / those of the shortcut `6 N D`; `None` where that says nothing.
    """

    flops: float
    n_tokens: float
    reasoning_token_share: float
    gpu_hours: Range
    wall_hours: Range
    usd: Range | None
    formula: str
    basis: str = ""
    over_six_nd: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An option before it is put in words.

    Attributes:
        recipe: How it would be trained.
        accuracy: What to expect of it.
        cost: What training it costs.
        inference_flops: Inference FLOPs per query, `None` if unknown.
        inference_basis: Where they come from.
        answer_tokens: Tokens per answered query, `None` if unknown.
        assumed_inference: What a query is taken to cost where budgets are checked: as
            `inference_flops`, or by rule for mixtures.
        assumed_tokens: The same in tokens.
        total_flops: Training and serving over the horizon, `None` without traffic.
        broken: Caps and budgets it breaks, in words.
        notes: What to know about it.
    """

    recipe: Recipe
    accuracy: Estimate
    cost: Cost
    inference_flops: float | None = None
    inference_basis: InferenceBasis | None = None
    answer_tokens: float | None = None
    assumed_inference: float | None = None
    assumed_tokens: float | None = None
    total_flops: float | None = None
    broken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> ModelSize:
        """Return the model size."""
        return self.recipe.size

    @property
    def is_feasible(self) -> bool:
        """Return whether it respects every cap and budget."""
        return not self.broken

    def price(self, objective: str) -> float:
        """Return the cost that an objective looks at first, in FLOPs; infinite if unknown."""
        if objective == "inference":
            return float("inf") if self.assumed_inference is None else self.assumed_inference
        if objective == "total":
            return float("inf") if self.total_flops is None else self.total_flops
        return self.cost.flops

    def is_cheaper(self, other: "Candidate", objective: str) -> bool:
        """Return whether it is known to cost less than `other` in what an objective looks at.

        `balanced` and `accuracy` look at training and inference both.
        """
        if objective in {"training", "inference", "total"}:
            return self.price(objective) < other.price(objective)
        mine, theirs = self.assumed_inference, other.assumed_inference
        answers = mine is not None and theirs is not None and mine < theirs
        return self.cost.flops < other.cost.flops and answers

    def noted(self, *notes: str) -> "Candidate":
        """Return the candidate with more notes."""
        return replace(self, notes=(*self.notes, *notes))


@dataclass(frozen=True, slots=True)
class Builder:
    """Makes candidates for one question.

    Attributes:
        question: The question.
        evidence: Published figures.
    """

    question: Question
    evidence: PublishedEvidence

    def pure(
        self, size: ModelSize, corpus: Corpus, ratio: float, accuracy: Estimate, *notes: str
    ) -> Candidate:
        """Return direct answers (ratio 0) or reasoning (ratio 1) with a known accuracy."""
        recipe: PublishedRecipe = "reasoning" if ratio else "ift"
        if accuracy.basis == "interpolated":
            sizes = " and ".join(ref.cell.rsplit(", ", 1)[-1] for ref in accuracy.refs)
            notes = (f"interpolated in log size between {sizes}", *notes)
        flops, tokens, basis = self._inference(size, recipe)
        return self._checked(
            Candidate(
                Recipe(size=size, corpus=corpus, reasoning_ratio=ratio),
                accuracy,
                self._training(size, ratio),
                flops,
                basis,
                tokens,
                flops,
                tokens,
                notes=notes,
            )
        )

    def published(self, size: ModelSize, corpus: PublishedCorpus, ratio: float) -> Candidate:
        """Return a published recipe at a size, without an accuracy where none is published."""
        recipe: PublishedRecipe = "reasoning" if ratio else "ift"
        table, family = self.evidence.table, self.question.family
        accuracy = NO_ESTIMATE
        if family is not None and not self.question.is_proxy:
            accuracy = accuracy_at(table, corpus, family, recipe, size)
        return self.pure(size, corpus, ratio, accuracy)

    def mixture(
        self, size: ModelSize, corpus: Corpus, order: Order, ratio: float = MIXTURE_RATIO
    ) -> Candidate:
        """Return a mixture; no figure supports an accuracy for it.

        For budgets, ordered mixtures are taken to answer as reasoning does, shuffled ones below
        50% as direct answers do.

        Source: arXiv 2509.22193v2, section 5.
        """
        as_ift = order is Order.MIXED and ratio < 0.5
        flops, tokens, _ = self._inference(size, "ift" if as_ift else "reasoning")
        cost = self._training(size, ratio)
        rows = f"{ratio:.0%} of the rows are {cost.reasoning_token_share:.0%} of the answer tokens"
        if order is Order.MIXED:
            rule = "answers stay near direct answers below 50% reasoning (rule)"
        else:
            rule = "25-50% reasoning captures most of the gain; it answers as reasoning does (rule)"
        return self._checked(
            Candidate(
                Recipe(size=size, corpus=corpus, reasoning_ratio=ratio, order=order),
                NO_ESTIMATE,
                cost,
                assumed_inference=flops,
                assumed_tokens=tokens,
                notes=(rule, "no accuracy is printed for mixtures", rows),
            )
        )

    def added_reasoning(self, size: ModelSize, corpus: Corpus) -> Candidate:
        """Return the second part of IFT-then-reasoning, for a model that has the first.

        Only the reasoning rows are trained, a quarter of the rows of the whole.
        """
        whole = self.mixture(size, corpus, Order.IFT_THEN_REASONING)
        workload = self.question.workload
        rows = replace(workload, n_rows=max(1, round(MIXTURE_RATIO * workload.n_rows)))
        known = self.network(size)
        spent = training_cost(known, 1.0, rows, gpus=self.question.gpus)
        note = f"only its {rows.n_rows:,} reasoning rows are trained: direct answers are there"
        return self._checked(
            replace(whole, cost=_cost(spent, 1.0, known.basis), notes=(*whole.notes, note))
        )

    def own(self, size: ModelSize, arm: OwnArm) -> Candidate:
        """Return what the user, or a study, measured."""
        notes = [f"measured: {arm.model}, {arm.policy}, n = {arm.n}"]
        corpus: Corpus = "own"
        if arm.study is not None:
            notes = [f"measured in {arm.study.view.source}: {arm.model}, {arm.policy}, n = {arm.n}"]
            corpus = self.question.corpus
        if arm.n_policies > 1:
            notes.append(
                f"the best of {arm.n_policies} policies on these data: a little optimistic"
            )
        if arm.order is Order.REASONING_THEN_IFT and arm.study is None:
            notes.append("never recommended: IFT after reasoning")
        flops, tokens, basis = self._own_inference(size, arm)
        recipe = Recipe(
            size=size, corpus=corpus, reasoning_ratio=arm.reasoning_ratio, order=arm.order
        )
        return self._checked(
            Candidate(
                recipe,
                arm.accuracy,
                self._studied(arm) or self._training(size, arm.reasoning_ratio),
                flops,
                basis,
                tokens,
                flops,
                tokens,
                notes=tuple(notes),
            ),
            is_taught=False,
        )

    def _own_inference(
        self, size: ModelSize, arm: OwnArm
    ) -> tuple[float | None, float | None, InferenceBasis | None]:
        """Return FLOPs and tokens per query of a measured arm, from what was measured of it."""
        if arm.mean_flops is not None:
            return arm.mean_flops, arm.mean_tokens, "measured"
        if arm.mean_tokens is not None and arm.mean_tokens > 0:
            prompt = self.question.workload.prompt_tokens
            flops = inference_flops(self.network(size), prompt, arm.mean_tokens)
            return flops, arm.mean_tokens, "lengths"
        return self._inference(size, "reasoning" if arm.reasoning_ratio else "ift")

    def searched(self, size: ModelSize, corpus: Corpus) -> Candidate:
        """Return reasoning on traces that a search program writes; no accuracy is known for it."""
        recipe = Recipe(size=size, corpus=corpus, reasoning_ratio=1.0, method=Method.BACKTRACKING)
        flops, tokens, _ = self._inference(size, "reasoning")
        note = "traces are written by a program, so no teacher is needed"
        return self._checked(
            Candidate(
                recipe,
                NO_ESTIMATE,
                self._training(size, 1.0),
                assumed_inference=flops,
                assumed_tokens=tokens,
                notes=(note,),
            ),
            is_taught=False,
        )

    def other_method(self, size: ModelSize, corpus: Corpus, method: Method) -> Candidate:
        """Return reinforcement learning or self-improvement; no accuracy is published for it here.

        GRPO is costed for one pass over 10,000 prompts with 8 answers each, TOPS for the
        paper's 50,000 prompts at three efforts.
        """
        nominal, workload = self.network(size), self.question.workload
        flops, tokens, _ = self._inference(size, "reasoning")
        answer = tokens or workload.reasoning_tokens
        if method is Method.GRPO:
            spent = grpo_cost(
                nominal,
                n_prompts=_GRPO_PROMPTS,
                prompt_tokens=workload.prompt_tokens,
                answer_tokens=answer,
                gpus=self.question.gpus,
            )
            n_tokens = _GRPO_PROMPTS * 8 * (workload.prompt_tokens + answer)
        else:
            spent = tops_cost(
                nominal,
                prompt_tokens=workload.prompt_tokens,
                answer_tokens=answer,
                gpus=self.question.gpus,
            )
            n_tokens = spent.training.n_tokens
        cost = Cost(
            spent.flops,
            n_tokens,
            1.0,
            spent.gpu_hours,
            spent.wall_hours,
            spent.usd,
            spent.formula,
        )
        return self._checked(
            Candidate(
                Recipe(size=size, corpus=corpus, reasoning_ratio=1.0, method=method),
                NO_ESTIMATE,
                cost,
                assumed_inference=flops,
                assumed_tokens=tokens,
                notes=(f"cost: {spent.formula}", "no accuracy is published for this question"),
            )
        )

    def network(self, size: ModelSize) -> Network:
        """Return the network that costs at a size are computed with."""
        return network_at(nominal_size(self.evidence.table, size))

    def _training(self, size: ModelSize, ratio: float) -> Cost:
        known, workload = self.network(size), self.question.workload
        spent = training_cost(known, ratio, workload, gpus=self.question.gpus)
        return _cost(spent, token_share(ratio, workload.trace_ratio), known.basis)

    def _studied(self, arm: OwnArm) -> Cost | None:
        """Return what training took in the study, for the rows asked for; `None` without one."""
        ref = arm.study
        trained = None if ref is None else ref.view.training(ref.arm.model, ref.arm.label)
        if trained is None:
            return None
        question, gpus = self.question, self.question.gpus
        scale = (question.request.n_examples or trained.n_rows) / trained.n_rows
        flops = scale * trained.flops
        gpu_hours = gpus.gpu_hours(flops, MFU)
        return Cost(
            flops,
            scale * trained.n_tokens,
            token_share(arm.reasoning_ratio, question.workload.trace_ratio),
            gpu_hours,
            gpu_hours.scaled(1 / gpus.n),
            gpus.usd(gpu_hours),
            f"as counted in the study, for {scale * trained.n_rows:,.0f} rows",
            "study",
        )

    def _inference(
        self, size: ModelSize, recipe: PublishedRecipe
    ) -> tuple[float | None, float | None, InferenceBasis | None]:
        """Return FLOPs and tokens per query and where they come from.

        Lengths that were given are exact for them; else the printed fit, whose tokens are what
        its FLOPs pay for.
        """
        question, table = self.question, self.evidence.table
        workload, nominal = question.workload, nominal_size(table, size)
        if question.are_lengths_given:
            tokens = workload.reasoning_tokens if recipe == "reasoning" else workload.answer_tokens
            flops = inference_flops(self.network(size), workload.prompt_tokens, tokens)
            return flops, tokens, "lengths"
        within = table.sizes[0] <= nominal <= table.sizes[-1]
        for fit in self.evidence.fits if within else ():
            if (fit.task_type, fit.recipe) == (question.family, recipe):
                flops = fit.flops(nominal)
                # Two FLOPs per parameter and token, all of it decode: what the fit pays for.
                return flops, flops / (2 * self.network(size).n_active_params), "published-fit"
        return None, None, None

    def _checked(self, candidate: Candidate, *, is_taught: bool = True) -> Candidate:
        """Return the candidate with its total cost and the caps it breaks.

        Args:
            candidate: The candidate.
            is_taught: Its reasoning needs somebody who writes traces.
        """
        question, request = self.question, self.question.request
        total = None
        if question.queries_per_day is not None and candidate.assumed_inference is not None:
            total = total_flops(
                candidate.cost.flops,
                candidate.assumed_inference,
                question.queries_per_day,
                question.horizon_days,
            ).flops
        broken: list[str] = []
        cap = question.cap
        if cap is not None and candidate.size > nominal_size(self.evidence.table, cap):
            broken.append(f"larger than {cap}")
        recipe = candidate.recipe
        needs_traces = recipe.reasoning_ratio > 0 and recipe.method is Method.SFT
        if is_taught and needs_traces and question.teacher is None:
            broken.append("nobody writes traces")
        budget = request.train_budget
        if budget is not None:
            used = budget.share_used(candidate.cost, question.gpus)
            if used.mid > 1:
                broken.append(f"training takes {used.mid:.2g}x the budget of {budget}")
            elif used.high > 1:
                candidate = candidate.noted(
                    f"may take up to {used.high:.2g}x the budget of {budget}"
                )
        if request.infer_budget is not None:
            broken += _over_inference(request.infer_budget, candidate)
        return replace(candidate, total_flops=total, broken=tuple(broken))


def _cost(spent: TrainingCost, share: float, basis: str) -> Cost:
    return Cost(
        spent.flops,
        spent.n_tokens,
        share,
        spent.gpu_hours,
        spent.wall_hours,
        spent.usd,
        spent.formula,
        basis,
        spent.over_six_nd,
    )


def _over_inference(budget: InferBudget, candidate: Candidate) -> list[str]:
    """Return what is wrong with the cost of a query, nothing if it is within the budget."""
    spent = candidate.assumed_tokens if budget.kind == "tokens" else candidate.assumed_inference
    if spent is None:
        return [f"what a query costs is not known, so {budget} cannot be promised"]
    if spent <= budget.amount:
        return []
    weak = (
        " (by a printed fit, a weak prior)" if candidate.inference_basis == "published-fit" else ""
    )
    return [f"a query takes {times(spent / budget.amount)} the budget of {budget}{weak}"]


def times(ratio: float) -> str:
    """Return a ratio above 1 as text; a little more than 1 is said to be so."""
    return "a little more than" if ratio < 1.005 else f"{ratio:,.3g}x"


def unique(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates without those whose recipe came before, in order."""
    found: dict[Recipe, Candidate] = {}
    for candidate in candidates:
        found.setdefault(candidate.recipe, candidate)
    return list(found.values())
