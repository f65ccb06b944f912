from typing import Any

import pytest

from advisor.cost import InferBudget, TrainBudget
from tests.advisor.verdict.asking import ask, codes, pair, reason_codes


def status(answer: Any) -> dict[str, str]:
    return {advice.method: advice.status for advice in answer.methods}


def test_with_a_teacher_distillation_is_advised_and_the_rest_comes_later() -> None:
    found = status(ask("3B", "math-oe"))
    assert found["distillation"] == "advised"
    assert found["rl-after-distillation"] == "later"
    assert found["tops"] == found["iter-sft"] == found["iter-dpo"] == "later"
    assert found["grpo"] == found["backtracking"] == "not-advised"


def test_direct_answers_need_no_method_at_all() -> None:
    assert "advised" not in status(ask("3B", "general-mc")).values()


def test_without_a_teacher_reasoning_is_learned_by_reinforcement() -> None:
    answer = ask("3B", "math-oe", teacher="none")
    assert answer.verdict.action == "grpo"
    assert answer.recommended is not None
    assert answer.recommended.recipe.label == "grpo"
    assert status(answer)["distillation"] == "impossible"
    assert any("pre-check" in stage.title for stage in answer.plan)


@pytest.mark.parametrize(("rate", "action"), [(0.01, "ift"), (0.3, "grpo"), (0.99, "ift")])
def test_reinforcement_without_signal_is_not_advised(rate: float, action: str) -> None:
    answer = ask("3B", "math-oe", teacher="none", pass_rate=rate)
    assert answer.verdict.action == action
    if action == "ift":
        assert "no-signal" in reason_codes(answer)
        assert status(answer)["grpo"] == "not-advised"


def test_pass_rate_is_quoted_with_the_share_of_prompts_that_teach() -> None:
    answer = ask("3B", "math-oe", teacher="none", pass_rate=0.3)
    text = " ".join(reason.text for reason in answer.verdict.reasons)
    assert "at a pass rate of 30%, 94% of the prompts" in text


def test_measured_accuracy_of_what_is_there_stands_in_for_the_pass_rate() -> None:
    cells = pair(0.01, 0.3)
    answer = ask("3B", "math-oe", cells=cells, teacher="none", have="ift")
    assert answer.verdict.action == "ift"
    assert "no-signal" in reason_codes(answer)
    # a base model is not the one that was measured
    assert ask("3B", "math-oe", cells=cells, teacher="none").verdict.action == "grpo"


def test_without_a_teacher_nothing_that_needs_traces_is_open() -> None:
    answer = ask("3B", "math-oe", teacher="none")
    needy = [option for option in answer.options if option.recipe.label not in {"ift", "grpo"}]
    assert needy
    assert all("nobody writes traces" in option.why_not for option in needy)
    assert "pass-rate" in " ".join(answer.next_measurements[0].commands)
    assert "off-frontier" not in reason_codes(answer)


def test_budgets_are_counted_for_what_would_really_be_trained() -> None:
    # the mixture costs 1.3e19, the reasoning rows alone 9.8e18, GRPO 3.2e19
    added = ask("3B", "math-oe", have="ift", train_budget=TrainBudget.parse("1e19"))
    assert added.verdict.action == "distil"
    rewards = ask("3B", "math-oe", teacher="none", train_budget=TrainBudget.parse("1e19"))
    assert rewards.verdict.action == "ift"
    assert "over-budget" in reason_codes(rewards)


def test_nothing_is_said_to_be_lost_where_no_figure_is_known() -> None:
    answers: tuple[dict[str, Any], ...] = (
        {},
        {"teacher": "none"},
        {"have": "ift"},
        {"have": "reasoning"},
    )
    for more in answers:
        assert ask("3B", "math-oe", **more).verdict.expected_regret is None
    without = ask("3B", "math-oe", teacher="none", pass_rate=0.01).verdict
    assert without.action == "ift"


def test_shortest_correct_answers_need_correct_ones() -> None:
    answer = ask("3B", "math-oe", have="reasoning", pass_rate=0.0)
    assert answer.verdict.action == "abstain"
    assert "no-signal" in reason_codes(answer)


@pytest.mark.parametrize(
    ("more", "base"),
    [
        ({"have": "reasoning", "objective": "accuracy"}, "YOUR-REASONING-MODEL"),
        ({"have": "ift"}, "YOUR-IFT-MODEL"),
        ({"have": "ift", "teacher": "none"}, "YOUR-IFT-MODEL"),
    ],
)
def test_plans_start_from_what_is_there(more: dict[str, Any], base: str) -> None:
    answer = ask("3B", "math-oe", **more)
    assert base in " ".join(stage.command or "" for stage in answer.plan)


def test_plans_of_sizes_without_a_published_base_name_it() -> None:
    commands = " ".join(stage.command or "" for stage in ask("4B", "math-oe").plan)
    assert "--base-model YOUR-BASE-MODEL" in commands
    printed = " ".join(stage.command or "" for stage in ask("3B", "math-oe").plan)
    assert "--base-model" not in printed


def test_keeping_a_model_trains_nothing() -> None:
    kept = ask("0.5B", "general-mc", have="ift")
    assert [stage.command for stage in kept.plan] == [None]
    measured = ask("3B", "math-oe", cells=pair(0.62, 0.5))
    assert [stage.command for stage in measured.plan] == [None]


def test_model_trained_on_direct_answers_gets_the_second_part_only() -> None:
    whole = ask("3B", "math-oe")
    answer = ask("3B", "math-oe", have="ift")
    assert answer.verdict.action == "distil"
    assert answer.recommended is not None
    assert whole.recommended is not None
    assert answer.recommended.train_flops < whole.recommended.train_flops
    commands = " ".join(stage.command or "" for stage in answer.plan)
    assert "--base-model YOUR-IFT-MODEL" in commands
    assert "--n-rows" not in commands
    said = ask("3B", "math-oe", have="ift", n_examples=300_000)
    assert "--n-rows 75000" in " ".join(stage.command or "" for stage in said.plan)
    kept = ask("3B", "general-mc", have="ift")
    assert kept.verdict.action == "ift"
    assert "keep" in kept.verdict.text


def test_model_that_reasons_is_shortened_or_reinforced_never_tuned_on_direct_answers() -> None:
    short = ask("3B", "math-oe", have="reasoning")
    assert short.verdict.action == "tops"
    assert any("advisor data tops" in (stage.command or "") for stage in short.plan)
    accurate = ask("3B", "math-oe", have="reasoning", objective="accuracy")
    assert accurate.verdict.action == "rl_after_distillation"
    hopeless = ask("3B", "math-oe", have="reasoning", objective="accuracy", pass_rate=0.99)
    assert hopeless.verdict.action == "tops"
    direct = ask("0.5B", "general-mc", have="reasoning")
    assert direct.verdict.action == "ift"
    assert "ift-after-reasoning" in reason_codes(direct)


def test_search_without_a_teacher_gets_backtracking_traces() -> None:
    cells = pair(0.2, 0.5, task_type="search-oe")
    answer = ask("3B", "search-oe", cells=cells, teacher="none", answer_format="oe")
    assert answer.verdict.action == "backtracking"
    assert status(answer)["backtracking"] == "advised"


def test_mixed_training_warns_of_its_cliff_and_only_there() -> None:
    assert "mixed-above-half" in codes(ask("3B", "math-oe", objective="inference"))
    assert "mixed-above-half" not in codes(ask("3B", "math-oe"))
    assert "mixed-above-half" not in codes(ask("3B", "math-oe", objective="accuracy"))


def test_aime_sized_samples_are_warned_of_where_they_are_usual() -> None:
    assert "aime-sized" in codes(ask("3B", "math-oe"))
    assert "aime-sized" not in codes(ask("3B", "general-oe"))


def test_memory_that_does_not_fit_is_warned_of_with_a_cure() -> None:
    from advisor.cost import Gpus

    answer = ask("14B", "math-oe", gpus=Gpus.parse("1xa100"))
    text = next(warning.text for warning in answer.warnings if warning.code == "memory")
    assert "take" in text or "LoRA" in text
    assert "memory" not in codes(ask("3B", "math-oe"))


@pytest.mark.parametrize(
    ("size", "task_type", "corpus"),
    [("10B", "general-mc", "general"), ("3B", "general-oe", "math"), ("3B", "general-mc", None)],
)
def test_direct_answers_never_start_from_a_model_that_reasons(
    size: str, task_type: str, corpus: Any
) -> None:
    answer = ask(size, task_type, corpus=corpus, have="reasoning", max_size="14B")
    assert answer.verdict.action in {"ift", "scale_ift"}
    assert "ift-after-reasoning" in reason_codes(answer)
    commands = " ".join(stage.command or "" for stage in answer.plan)
    assert "YOUR-REASONING-MODEL" not in commands


def test_where_one_thing_alone_can_be_done_the_gain_does_not_matter() -> None:
    answer = ask("1.5B", "general-oe", train_budget=TrainBudget.parse("2.5e18"))
    assert answer.verdict.action == "ift"
    assert "over-budget" in reason_codes(answer)
    assert answer.next_measurements == ()


def test_a_model_at_hand_is_kept_while_nothing_is_decided() -> None:
    answer = ask("20B", "math-oe", have="reasoning")
    assert answer.verdict.fallback is None
    assert "keep the model" in answer.verdict.reasons[-1].text


def test_short_answers_stay_open_to_a_model_on_direct_answers() -> None:
    answer = ask("3B", "math-oe", have="ift", infer_budget=InferBudget.parse("8e12"))
    assert answer.verdict.action == "mixed"


def test_without_teacher_and_evidence_the_way_on_is_named() -> None:
    answer = ask("3B", "legal-qa", answer_format="oe", corpus="own", teacher="none", pass_rate=0.3)
    assert answer.verdict.action == "abstain"
    assert status(answer)["grpo"] == "later"
    text = next(one.text for one in answer.methods if one.method == "grpo")
    assert "94% of the prompts" in text
    assert "smallest size" in text
