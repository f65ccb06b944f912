"""Ways to train, given what is there already and who writes the traces."""

from .._recipe import Method
from .._recommendation import MethodAdvice, Reason
from ..cost import grpo_signal
from ._candidate import Candidate
from ._choice import Draft
from ._comparison import Facts

__all__ = ["SEARCH_PREFIX", "adapt", "advise_methods", "pass_rate", "signal_text"]

SEARCH_PREFIX = "search"
"""Own task types whose name starts so are search problems with a mechanical goal check."""

_LOWEST_RATE, _HIGHEST_RATE = 0.05, 0.95
"""Pass rates between which groups of 8 answers give a signal on a third of the prompts or more.

Source: arithmetic, 1 - p^8 - (1 - p)^8 is 0.34 at both ends.
"""

_N_GENERATIONS = 8

_TOPS = "2502.18080"


def pass_rate(facts: Facts, draft: Draft) -> tuple[float, str] | None:
    """Return how often the model to be trained is right now, and where that comes from.

    As given; else the user's own direct answers at the size, whose mean hides the spread of
    questions and so gives an upper bound of the signal.
    """
    request = facts.question.request
    if request.pass_rate is not None:
        return request.pass_rate, "given"
    size = facts.question.size
    own = None if size is None else facts.own_at(size)
    arm = None if own is None else own.find(1.0 if facts.question.have == "reasoning" else 0.0)
    if arm is not None and arm.accuracy.value is not None:
        return arm.accuracy.value, "your measured mean, which makes the signal an upper bound"
    return None


def signal_text(rate: float) -> str:
    """Return the share of prompts that teach anything, as text."""
    share = grpo_signal(rate, _N_GENERATIONS).share
    return (
        f"at a pass rate of {rate:.0%}, {share:.0%} of the prompts have right and wrong answers "
        f"in a group of {_N_GENERATIONS}; the others teach nothing"
    )


def adapt(draft: Draft, facts: Facts) -> None:
    """Turn a verdict for a base model with a teacher into one for what is really there."""
    question = facts.question
    chosen = draft.chosen
    wants_reasoning = draft.action in {"sequential", "mixed", "reasoning"}
    if chosen is None:
        return
    if question.have == "reasoning":
        _for_reasoning_model(draft, facts, chosen, wants_reasoning)
    elif wants_reasoning and question.teacher is None:
        _without_teacher(draft, facts, chosen)
    elif wants_reasoning and question.have == "ift" and draft.action != "mixed":
        reason = Reason(
            code="have-ift",
            text="direct answers are trained already: what is missing is the second part of "
            "IFT-then-reasoning, 25-50% of all rows, distilled from the teacher",
            source="arXiv 2509.22193v2, section 5",
        )
        added = facts.build.added_reasoning(chosen.size, chosen.recipe.corpus)
        draft.candidates = [one for one in draft.candidates if one.recipe != added.recipe]
        _replace(draft, "distil", added, reason)
    elif draft.action == "ift" and question.have == "ift":
        draft.reasons.append(
            Reason(code="have-ift", text="direct answers are trained already: keep that model")
        )


def _for_reasoning_model(
    draft: Draft, facts: Facts, chosen: Candidate, wants_reasoning: bool
) -> None:
    question = facts.question
    if not wants_reasoning:
        draft.reasons.append(
            Reason(
                code="ift-after-reasoning",
                text="train direct answers from the base model, or ask the model that you have "
                "without thinking; never put IFT on top of reasoning",
                source="arXiv 2509.22193 v1, qualitative",
            )
        )
        return
    rate = pass_rate(facts, draft)
    has_signal = rate is None or _LOWEST_RATE < rate[0] < _HIGHEST_RATE
    if question.objective == "accuracy" and has_signal:
        candidate = facts.build.other_method(chosen.size, chosen.recipe.corpus, Method.GRPO)
        reason = Reason(
            code="rl-after-distillation",
            text="the model reasons already, and accuracy is what counts: reinforcement learning "
            "starts best from a distilled model"
            + ("" if rate is None else f"; {signal_text(rate[0])}"),
            source="arXiv 2501.12948, stages of R1; rule",
        )
        _replace(draft, "rl_after_distillation", candidate, reason)
        return
    candidate = facts.build.other_method(chosen.size, chosen.recipe.corpus, Method.TOPS)
    reason = Reason(
        code="tops",
        text="the model reasons already: train it on its own shortest correct answers, which "
        "keeps accuracy and saves tokens (the paper prints GSM8K 412 tokens against 938 for random "
        "correct ones, AIME 43.3 against 39.3 with a standard deviation of 2-3)",
        cells=(
            f"{_TOPS}/T3/Qwen2.5-32B-TOPS/default/GSM8K/tokens",
            f"{_TOPS}/T3/Qwen2.5-32B-Random/default/GSM8K/tokens",
        ),
        source="arXiv 2502.18080, Table 3",
    )
    _replace(draft, "tops", candidate, reason)


def _without_teacher(draft: Draft, facts: Facts, chosen: Candidate) -> None:
    question = facts.question
    if question.task_type.startswith(SEARCH_PREFIX):
        candidate = chosen
        reason = Reason(
            code="backtracking",
            text="a search program can write traces with retracted steps, no teacher is needed; "
            "shown on Countdown only (over 40% above training on the optimal path)",
            source="arXiv 2502.04404, abstract",
        )
        _replace(draft, "backtracking", candidate, reason)
        return
    rate = pass_rate(facts, draft)
    if rate is not None and not _LOWEST_RATE < rate[0] < _HIGHEST_RATE:
        ift = draft.compared.ift if draft.compared is not None else None
        text = f"nobody writes traces, and reinforcement learning has no signal: {signal_text(rate[0])}"
        reason = Reason(code="no-signal", text=text, source="arithmetic, 1 - p^G - (1-p)^G")
        if ift is None or not ift.is_feasible:
            draft.abstain(ift, reason)
        else:
            draft.take("ift", ift, reason)
        return
    candidate = facts.build.other_method(chosen.size, chosen.recipe.corpus, Method.GRPO)
    check = "measure the pass rate first" if rate is None else signal_text(rate[0])
    reason = Reason(
        code="no-teacher",
        text="nobody writes traces, so reasoning can only be learned from checked answers; "
        f"{check}. It trails distillation wherever both were tried",
        cells=("2509.22193v2/claims/r1-distillation-vs-rl",),
        source="arXiv 2509.22193v2, appendix A, quoting",
    )
    _replace(draft, "grpo", candidate, reason)


def _replace(draft: Draft, action: str, candidate: Candidate, reason: Reason) -> None:
    draft.candidates.append(candidate)
    if not candidate.is_feasible:
        draft.abstain(
            draft.compared.ift if draft.compared is not None else None,
            reason,
            Reason(code="over-budget", text=f"it does not fit: {'; '.join(candidate.broken)}"),
        )
        return
    draft.take(action, candidate, reason)  # pyright: ignore[reportArgumentType] - an Action


def advise_methods(draft: Draft, facts: Facts) -> list[MethodAdvice]:
    """Return what to think of every way to train, the advised ones first."""
    question = facts.question
    reasons = draft.action not in {"ift", "scale_ift", "abstain"}
    rate = pass_rate(facts, draft)
    found = [
        _distillation(draft, facts, reasons=reasons),
        _grpo(draft, facts, rate, reasons=reasons),
        _tops(draft, facts, reasons=reasons),
        MethodAdvice(
            method="iter-sft",
            status="later" if reasons else "not-advised",
            text="a second round of shortest correct answers, of 8 samples each: a few percent "
            "fewer tokens, accuracy within its noise",
            cells=(
                f"{_TOPS}/T3/Qwen2.5-32B-TOPS-Iter-SFT/default/MATH500/tokens",
                f"{_TOPS}/T3/Qwen2.5-32B-TOPS/default/MATH500/tokens",
            ),
            source="arXiv 2502.18080, Table 3",
        ),
        MethodAdvice(
            method="iter-dpo",
            status="later" if reasons else "not-advised",
            text="chosen: the shortest correct of 8; rejected: the longest wrong and, if a wrong "
            "one is shorter than the chosen, the shortest wrong (against underthinking)",
            cells=(f"{_TOPS}/T3/Qwen2.5-32B-TOPS-Iter-DPO/default/AIME2024/accuracy",),
            source="arXiv 2502.18080, section 4.3",
        ),
        _backtracking(facts),
    ]
    if question.have != "reasoning":
        found.insert(2, _rl_later(rate, reasons=reasons, has_teacher=question.teacher is not None))
    order = ("advised", "later", "not-advised", "impossible")
    return sorted(found, key=lambda advice: order.index(advice.status))


def _distillation(draft: Draft, facts: Facts, *, reasons: bool) -> MethodAdvice:
    question = facts.question
    if question.teacher is None:
        return MethodAdvice(
            method="distillation",
            status="impossible",
            text="no teacher writes traces; an open one, such as Qwen3-235B-A22B, would change that",
        )
    status = "advised" if reasons and question.have != "reasoning" else "not-advised"
    text = (
        f"traces of {question.teacher}, correct ones only, each prompt once: ahead of "
        "reinforcement learning alone in both printed comparisons (71.6 against 58.5 and 60.7 "
        "against 58.9)"
    )
    if question.have == "reasoning":
        text = "done already: the model reasons"
    return MethodAdvice(
        method="distillation",
        status=status,
        text=text,
        cells=(
            "2509.22193v2/claims/r1-distillation-vs-rl",
            "2509.22193v2/claims/magistral-distillation-vs-rl",
        ),
        source="arXiv 2509.22193v2, appendix A, quoting two reports",
    )


def _grpo(
    draft: Draft, facts: Facts, rate: tuple[float, str] | None, *, reasons: bool
) -> MethodAdvice:
    source = "arithmetic, 1 - p^G - (1-p)^G"
    if draft.action == "grpo":
        return MethodAdvice(
            method="grpo",
            status="advised",
            text="the only way to reasoning without a teacher; pre-check: sample 8 answers to 100 "
            "prompts, and go on only if 5% to 95% of them are right",
            source=source,
        )
    if rate is not None and not _LOWEST_RATE < rate[0] < _HIGHEST_RATE:
        text = f"zero signal: {signal_text(rate[0])}"
        return MethodAdvice(method="grpo", status="not-advised", text=text, source=source)
    return MethodAdvice(
        method="grpo",
        status="not-advised",
        text="from a base model it trails distillation and costs more GPU time"
        if facts.question.teacher is not None
        else "reasoning is not what the evidence supports here",
        cells=("2509.22193v2/claims/r1-distillation-vs-rl",),
        source="arXiv 2509.22193v2, appendix A, quoting",
    )


def _rl_later(rate: tuple[float, str] | None, *, reasons: bool, has_teacher: bool) -> MethodAdvice:
    check = "measure the pass rate first" if rate is None else signal_text(rate[0])
    return MethodAdvice(
        method="rl-after-distillation",
        status="later" if reasons and has_teacher else "not-advised",
        text=f"after the distilled model is measured, where 5% to 95% of its answers are right; "
        f"{check}. It raises accuracy, not what can be solved at all",
        cells=("claims/rl-accuracy-not-capability",),
        source="arXiv 2505.14216, abstract",
    )


def _tops(draft: Draft, facts: Facts, *, reasons: bool) -> MethodAdvice:
    status = "advised" if draft.action == "tops" else "later" if reasons else "not-advised"
    return MethodAdvice(
        method="tops",
        status=status,
        text="the model's own shortest correct answer of several efforts: fewer tokens at the "
        "same accuracy; the saving is solid, the gain in accuracy near its noise "
        "(`advisor data tops` builds the data)",
        cells=(
            f"{_TOPS}/T3/Qwen2.5-32B-TOPS/default/GSM8K/tokens",
            f"{_TOPS}/T3/Qwen2.5-32B-Random/default/GSM8K/tokens",
        ),
        source="arXiv 2502.18080, Table 3",
    )


def _backtracking(facts: Facts) -> MethodAdvice:
    is_search = facts.question.task_type.startswith(SEARCH_PREFIX)
    needs = "needs beams and log-probabilities at serving time; shown on Countdown only"
    if is_search:
        status = "advised" if facts.question.teacher is None else "later"
        text = f"a program can write traces with retracted steps; {needs}"
    else:
        status = "not-advised"
        text = f"for search problems whose goal a program can check; {needs}"
    return MethodAdvice(
        method="backtracking",
        status=status,
        text=text,
        source="arXiv 2502.04404, abstract",
    )
