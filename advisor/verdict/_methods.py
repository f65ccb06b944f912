"""Ways to train that were considered, and what to think of each."""

from .._recommendation import MethodAdvice
from ._comparison import Facts
from ._draft import Draft
from ._ways import HIGHEST_RATE, LOWEST_RATE, SEARCH_PREFIX, signal_text

__all__ = ["advise_methods"]

_TOPS = "2502.18080"
_PRE_CHECK = (
    "pre-check: sample 8 answers to 100 prompts, and go on if at least a third of the prompts have "
    "both right and wrong ones"
)


def advise_methods(draft: Draft, facts: Facts) -> list[MethodAdvice]:
    """Return what to think of every way to train, the advised ones first."""
    question = facts.question
    reasons = draft.action not in {"ift", "scale_ift", "abstain"}
    rate = facts.pass_rate
    found = [
        _distillation(facts, reasons=reasons),
        _grpo(draft, facts),
        _tops(draft, reasons=reasons),
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
        _backtracking(draft, facts),
    ]
    if question.have != "reasoning":
        found.insert(2, _rl_later(rate, reasons=reasons, has_teacher=question.teacher is not None))
    order = ("advised", "later", "not-advised", "impossible")
    return sorted(found, key=lambda advice: order.index(advice.status))


def _distillation(facts: Facts, *, reasons: bool) -> MethodAdvice:
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


def _grpo(draft: Draft, facts: Facts) -> MethodAdvice:
    rate, cells = facts.pass_rate, ("2509.22193v2/claims/r1-distillation-vs-rl",)
    if draft.action == "grpo":
        return MethodAdvice(
            method="grpo",
            status="advised",
            text=f"the only way to reasoning without a teacher; {_PRE_CHECK}",
            source="arithmetic, 1 - p^G - (1-p)^G",
        )
    if rate is not None and not LOWEST_RATE < rate < HIGHEST_RATE:
        return MethodAdvice(
            method="grpo",
            status="not-advised",
            text=f"no signal: {signal_text(rate)}",
            source="arithmetic, 1 - p^G - (1-p)^G",
        )
    if facts.question.teacher is None and draft.action == "abstain":
        check = _PRE_CHECK if rate is None else signal_text(rate)
        return MethodAdvice(
            method="grpo",
            status="later",
            text=f"the only way to reasoning without a teacher; {check}. Whether reasoning pays on "
            "these data is not known: train the smallest size that way, and measure it against "
            "direct answers",
            source="arithmetic, 1 - p^G - (1-p)^G",
        )
    text = "from a base model it trails distillation and costs more GPU time"
    if facts.question.teacher is None:
        text = "reasoning is not what the evidence supports here"
    return MethodAdvice(
        method="grpo",
        status="not-advised",
        text=text,
        cells=cells,
        source="arXiv 2509.22193v2, appendix A, quoting",
    )


def _rl_later(rate: float | None, *, reasons: bool, has_teacher: bool) -> MethodAdvice:
    check = _PRE_CHECK if rate is None else signal_text(rate)
    return MethodAdvice(
        method="rl-after-distillation",
        status="later" if reasons and has_teacher else "not-advised",
        text=f"after the distilled model is measured; {check}. It raises accuracy, not what can be "
        "solved at all",
        cells=("claims/rl-accuracy-not-capability",),
        source="arXiv 2505.14216, abstract",
    )


def _tops(draft: Draft, *, reasons: bool) -> MethodAdvice:
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


def _backtracking(draft: Draft, facts: Facts) -> MethodAdvice:
    is_search = facts.question.task_type.startswith(SEARCH_PREFIX)
    needs = "needs beams and log-probabilities at serving time; shown on Countdown only"
    if is_search:
        status = "advised" if draft.action == "backtracking" else "later"
        text = f"a program can write traces with retracted steps; {needs}"
    else:
        status = "not-advised"
        text = f"for search problems whose goal a program can check; {needs}"
    return MethodAdvice(
        method="backtracking",
        status=status,
        text=text,
        cells=("methods/self-backtracking",),
        source="arXiv 2502.04404, abstract",
    )
