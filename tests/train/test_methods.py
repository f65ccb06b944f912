"""Training on a pocket model's own answers: losses, pairs, FLOPs, and a tiny rerun. Needs `train`."""

import json
import math
import random
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from advisor.study.findings import load_methods, method_findings
from advisor.tops import preference_pairs
from advisor.tops._rules import Attempt
from calibration import Outcome
from calibration.cost import request_flops, training_flops
from calibration.pocket.methods import collect, main, perform
from calibration.pocket.methods_runs import MethodRun, Scale
from calibration.pocket.preferences import Preference, pairs_by_length, pairs_by_tops
from calibration.pocket.questions import PocketQuestion, stream_questions
from calibration.pocket.reinforce import Reinforcement
from calibration.pocket.rollouts import Answer, prompt_of
from calibration.pocket.shortest import Attempts, length_spread, pick_random, pick_shortest
from calibration.pocket.sizes import POCKET_SIZES
from calibration.pocket.students import Tuning, corpus_questions
from policies import InvalidInputError

pytestmark = [
    pytest.mark.train,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),
]
torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
TINY = Scale(
    start_rows={"pocket-xs": 32},
    budgets=(96,),
    n_sampled=8,
    n_per_effort=2,
    n_probed=4,
    n_measured=6,
    tuning={"pocket-xs": Tuning(rows_per_step=16)},
    reinforcement=Reinforcement(questions_per_step=2, group=4, most_tokens=48),
    preference=Preference(pairs_per_step=4),
)


def question() -> PocketQuestion:
    return next(stream_questions("math-oe", seed=1, split="train", level=1))


def answer(n_tokens: int, said: str, *, has_ended: bool = True) -> Answer:
    return Answer((1, 2), (7,) * n_tokens, (0.0,) * n_tokens, f"Answer: {said}", has_ended)


def test_advantages_are_standard_scores_within_a_group() -> None:
    from calibration.pocket.reinforce import group_advantages

    found = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]))
    # Mean 1/4, population variance 3/16: (3/4) / (sqrt(3)/4) and (-1/4) / (sqrt(3)/4).
    assert found[0].tolist() == pytest.approx([math.sqrt(3)] + [-1 / math.sqrt(3)] * 3, rel=1e-6)
    assert found[1].tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "learns"),
    [
        (1.0, 1.0, 1.0, True),
        (2.0, 1.0, 1.28, False),
        (0.5, 1.0, 0.5, True),
        (0.5, -1.0, -0.8, False),
        (2.0, -1.0, -2.0, True),
    ],
)
def test_policy_loss_is_clipped_on_the_side_that_was_gained(
    ratio: float, advantage: float, objective: float, learns: bool
) -> None:
    from calibration.pocket.reinforce import policy_loss

    now = torch.tensor([[math.log(0.3 * ratio)]], requires_grad=True)
    loss = policy_loss(
        now,
        torch.tensor([[math.log(0.3)]]),
        torch.tensor([advantage]),
        torch.ones(1, 1),
        clip_low=0.2,
        clip_high=0.28,
    )
    loss.backward()
    assert loss.item() == pytest.approx(-objective, rel=1e-5)
    assert now.grad is not None
    # d(ratio * advantage) / d(log p) is ratio * advantage itself.
    wanted = -ratio * advantage if learns else 0.0
    assert now.grad.item() == pytest.approx(wanted, rel=1e-5)


def test_policy_loss_is_a_mean_over_tokens_not_over_answers() -> None:
    from calibration.pocket.reinforce import policy_loss

    same = torch.zeros(2, 3)
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    gains = torch.tensor([1.0, -3.0])
    loss = policy_loss(same, same, gains, mask, clip_low=0.2, clip_high=0.28)
    assert loss.item() == pytest.approx(-(3 * 1.0 - 3.0) / 4)


def test_dpo_loss_is_that_of_the_paper() -> None:
    from calibration.pocket.preferences import dpo_loss

    margins, reference = torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0])
    # -log sigmoid(0) and -log sigmoid(0.5 * 2).
    wanted = (math.log(2) + math.log(1 + math.exp(-1))) / 2
    assert dpo_loss(margins, reference, 0.5).item() == pytest.approx(wanted, rel=1e-6)


def load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def doubtful_model() -> tuple[Any, Any]:
    """Return a model that answers some questions right and some wrong."""
    model, tokenizer = load(ROOT / "models" / "pocket-xs")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model, tokenizer


def small_model() -> tuple[Any, Any]:
    from calibration.pocket.tokenizer import build_tokenizer
    from calibration.pocket.train import build_model

    tokenizer = build_tokenizer()
    return build_model(replace(POCKET_SIZES["pocket-xs"], n_layers=1), tokenizer, 3), tokenizer


def test_sampled_log_probabilities_are_those_of_one_forward_pass() -> None:
    from calibration.pocket.rollouts import answer_log_probs, sample_answers

    model, tokenizer = small_model()
    prompts = [prompt_of(one) for one in corpus_questions("general", 3, seed=1)]
    generator = torch.Generator().manual_seed(5)
    groups = sample_answers(model, tokenizer, prompts, 4, generator=generator, most_tokens=20)
    assert [len(group) for group in groups] == [4, 4, 4]
    answers = [one for group in groups for one in group]
    assert len({one.ids for one in answers}) > 3
    likely, mask = answer_log_probs(model, answers, int(tokenizer.pad_token_id))
    for row, one in enumerate(answers):
        assert mask[row].sum() == len(one)
        assert likely[row, : len(one)].tolist() == pytest.approx(one.log_probs, abs=1e-4)


def test_answers_do_not_depend_on_the_batch_and_repeat_with_the_seed() -> None:
    from calibration.pocket.rollouts import is_right, sample_answers

    model, tokenizer = load(ROOT / "models" / "pocket-xs")
    questions = list(islice(stream_questions("math-oe", seed=3, split="heldout"), 12))
    prompts = [prompt_of(one) for one in questions]

    def ask(chosen: list[str], temperature: float, seed: int) -> list[list[Answer]]:
        generator = torch.Generator().manual_seed(seed)
        return sample_answers(
            model, tokenizer, chosen, 2, generator=generator, temperature=temperature
        )

    together = ask(prompts, 1e-4, 1)
    alone = [ask([prompt], 1e-4, 2)[0] for prompt in prompts]
    assert [[one.ids for one in group] for group in together] == [
        [one.ids for one in group] for group in alone
    ]
    # The shipped model answers all of these; so sampling, decoding and the reward fit together.
    rewards = [
        is_right(q, one) for q, group in zip(questions, together, strict=True) for one in group
    ]
    assert sum(rewards) >= 22
    first, again = ask(prompts, 1.0, 7), ask(prompts, 1.0, 7)
    assert [[one.ids for one in group] for group in first] == [
        [one.ids for one in group] for group in again
    ]


def test_flops_of_a_group_read_the_prompt_once() -> None:
    from calibration.pocket.rollouts import (
        forward_flops,
        group_flops,
        learning_flops,
        network_of,
    )

    model, _ = small_model()
    network = network_of(model)
    group = [answer(5, "1"), answer(9, "2")]
    prefill = request_flops(network, 2, 1)
    assert group_flops(network, group) == (
        request_flops(network, 2, 5) + request_flops(network, 2, 9) - prefill
    )
    assert learning_flops(network, group[0]) == training_flops(network, 2, 5)
    assert 3 * forward_flops(network, group[0]) == learning_flops(network, group[0])


@pytest.mark.parametrize("flops", [1.5e9, 2e9])
def test_a_budget_of_flops_is_used_up_and_not_broken(flops: float) -> None:
    from calibration.pocket.reinforce import reinforce

    model, tokenizer = doubtful_model()
    settings = Reinforcement(questions_per_step=4, group=2, most_tokens=48)
    steps: list[int] = []
    spent = reinforce(
        model,
        tokenizer,
        iter(corpus_questions("math", 256, seed=1)),
        settings,
        flops=flops,
        seed=1,
        on_step=lambda step: steps.append(step.flops),
    )
    assert len(steps) == len(spent.steps) > 3
    assert steps == sorted(steps)
    assert 0.85 * flops <= spent.flops == steps[-1] <= flops
    assert 8 * (len(steps) - 1) < spent.n_answers <= 8 * len(steps)
    assert 0 < spent.n_learned < spent.n_answers


def test_learning_does_not_break_a_budget_that_only_sampling_fits() -> None:
    from calibration.pocket.reinforce import reinforce

    def run(flops: float) -> tuple[int, int, int]:
        model, tokenizer = doubtful_model()
        settings = Reinforcement(questions_per_step=8, group=4, most_tokens=48)
        asked = iter(corpus_questions("math", 8, seed=1))
        spent = reinforce(model, tokenizer, asked, settings, flops=flops, seed=1)
        return spent.sample_flops, spent.flops, spent.n_learned

    sampled, whole, n_learned = run(1e12)
    assert n_learned > 2
    between = (sampled + whole) // 2
    again = run(between)
    assert again[0] == sampled
    assert sampled < again[1] <= between
    assert 0 < again[2] < n_learned


def test_the_shortest_right_answer_is_picked_and_a_cut_one_never() -> None:
    gold = question()
    short, longer = answer(9, gold.answer), answer(12, gold.answer)
    wrong, cut = answer(3, "x"), answer(2, gold.answer, has_ended=False)
    attempts = Attempts(gold, [longer, wrong, cut, short])
    assert pick_shortest(attempts) is short
    assert {id(pick_random(attempts, random.Random(i))) for i in range(20)} == {
        id(short),
        id(longer),
    }
    assert pick_shortest(Attempts(gold, [wrong])) is None
    assert pick_random(Attempts(gold, [wrong]), random.Random(1)) is None
    spread = length_spread([attempts, Attempts(gold, [wrong]), Attempts(gold, [short])])
    assert spread == (2, 0.5, pytest.approx((10.5 + 9) / 2), 9.0)


@pytest.mark.parametrize(
    ("thought", "earns"),
    [
        ("", True),
        ("<think>\n1+1=2\n</think>\n\n", True),
        # Whoever asks the model sees a thought without end, and no answer.
        ("<think>\n1+1=2\n", False),
        ("<think>\n1+1=2\n</think>\n\n<think>\n", False),
    ],
)
def test_an_answer_within_a_thought_without_end_earns_nothing(thought: str, earns: bool) -> None:
    from calibration.pocket.rollouts import is_right

    gold = question()
    said = replace(answer(9, ""), text=f"{thought}Answer: {gold.answer}")
    assert is_right(gold, said) is earns


def test_pairs_are_those_of_the_command_for_whole_runs() -> None:
    gold = question()
    rng = random.Random(1)
    n_pairs: list[int] = []
    for _ in range(300):
        lengths = rng.sample(range(5, 60), rng.randrange(1, 7))
        made = [
            answer(n, rng.choice((gold.answer, "x")), has_ended=rng.random() < 0.9) for n in lengths
        ]
        told = [
            Attempt(
                effort=0,
                repeat=place,
                n_tokens=len(one),
                outcome=Outcome.CUT
                if not one.has_ended
                else Outcome.CORRECT
                if one.text.endswith(gold.answer)
                else Outcome.WRONG,
            )
            for place, one in enumerate(made)
        ]
        own = [(len(a), len(b)) for a, b in pairs_by_tops(Attempts(gold, made))]
        assert own == [(p.chosen.n_tokens, p.rejected.n_tokens) for p in preference_pairs(told)]
        n_pairs.append(len(own))
    assert set(n_pairs) == {0, 1, 2}


def test_right_answers_are_rejected_above_one_and_a_half_times_the_shortest() -> None:
    gold = question()
    short, near, far = (answer(n, gold.answer) for n in (10, 15, 16))
    assert pairs_by_length(Attempts(gold, [near, short])) == []
    assert pairs_by_length(Attempts(gold, [near, far, short])) == [(short, far)]
    assert pairs_by_length(Attempts(gold, [answer(40, "x")])) == []


def test_preferring_pairs_makes_the_chosen_answers_likelier_than_the_rejected() -> None:
    from calibration.pocket.preferences import Pair, fit_pairs
    from calibration.pocket.rollouts import answer_log_probs, sample_answers

    model, tokenizer = small_model()
    prompts = [prompt_of(one) for one in corpus_questions("math", 4, seed=1)]
    generator = torch.Generator().manual_seed(1)
    groups = sample_answers(model, tokenizer, prompts, 2, generator=generator, most_tokens=8)
    pairs = [Pair(*group) for group in groups]
    answers = [one for pair in pairs for one in pair]

    def margin() -> float:
        with torch.no_grad():
            likely = answer_log_probs(model, answers, int(tokenizer.pad_token_id))[0].sum(1)
        return float((likely[::2] - likely[1::2]).mean())

    before = margin()
    losses: list[float] = []
    settings = Preference(pairs_per_step=4, learning_rate=1e-3, warmup_steps=1)

    def on_step(done: int, total: int, loss: float) -> None:
        del done, total
        losses.append(loss)

    fit_pairs(model, tokenizer, pairs * 5, settings, on_step=on_step)
    assert losses[0] == pytest.approx(math.log(2), rel=1e-4)
    assert losses[-1] < losses[0]
    assert margin() > before


@pytest.fixture
def bases(tmp_path: Path) -> Path:
    """Return a folder of bases in which the shipped pocket-xs stands for one."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime_genai")
    folder = tmp_path / "bases"
    (folder / "pocket-xs").mkdir(parents=True)
    (folder / "pocket-xs" / "model").symlink_to(ROOT / "models" / "pocket-xs")
    return folder


def test_experiments_rerun_resume_and_become_a_table(bases: Path, tmp_path: Path) -> None:
    runs = MethodRun.plan(("grpo", "tops", "dpo"), ("pocket-xs",), (1,), TINY)
    assert [run.method for run in runs] == [
        *("start", "distillation", "grpo"),
        *("start", "shortest", "random", "pairs-tops", "pairs-length"),
    ]

    def perform_all(out: Path) -> dict[str, Path]:
        return {
            run.id: perform(
                run,
                out,
                bases=bases,
                shipped=ROOT / "models",
                onnx=ROOT / "policies" / "pocket_models",
                scale=TINY,
            )
            for run in runs
        }

    files = perform_all(tmp_path / "out")
    written = {name: file.stat().st_mtime_ns for name, file in files.items()}
    again = perform_all(tmp_path / "out")
    assert {name: file.stat().st_mtime_ns for name, file in again.items()} == written
    results = {name: json.loads(file.read_text("utf-8")) for name, file in files.items()}
    by_method = {one["run"]["method"]: one for one in results.values() if one["run"]["seed"]}
    grpo, distilled = by_method["grpo"], by_method["distillation"]
    assert 0 < grpo["sample_flops"] < grpo["train_flops"] <= distilled["train_flops"]
    assert distilled["n_examples"] == 96
    assert by_method["shortest"]["n_examples"] == by_method["random"]["n_examples"] > 0
    shortest, anything = (
        by_method[m]["facts"]["mean_taught_tokens"] for m in ("shortest", "random")
    )
    assert shortest <= anything
    for result in results.values():
        assert [cell["n"] for cell in result["cells"]] == [6] * 4
    # Two temperatures of two task types for the student, four task types for the others.
    assert collect(tmp_path / "out", tmp_path / "table") == 4 * len(runs)
    cells = load_methods(tmp_path / "table")
    assert {cell.method for cell in cells} == {run.method for run in runs}
    rows = {one.key: len(one.rows) for one in method_findings(cells)}
    assert rows == {"methods/grpo": 4, "methods/tops": 4, "methods/dpo": 4}


def test_a_run_is_a_function_of_its_seed(bases: Path, tmp_path: Path) -> None:
    run = MethodRun("tops", "shortest", "pocket-xs-skills", "skills", 1)
    results = [
        json.loads(
            perform(
                run,
                tmp_path / out,
                bases=bases,
                shipped=ROOT / "models",
                onnx=ROOT / "policies" / "pocket_models",
                scale=TINY,
            ).read_text("utf-8")
        )
        for out in ("a", "b")
    ]
    for result in results:
        del result["train_cpu_seconds"], result["measure_cpu_seconds"]
    assert results[0] == results[1]


def test_a_run_without_its_start_says_what_is_missing(bases: Path, tmp_path: Path) -> None:
    run = MethodRun("grpo", "grpo", "pocket-xs", "math", 1, 96)
    with pytest.raises(InvalidInputError, match="begins there"):
        perform(
            run,
            tmp_path / "out",
            bases=bases,
            shipped=ROOT / "models",
            onnx=ROOT / "policies" / "pocket_models",
            scale=TINY,
        )


def test_a_run_is_bound_to_its_base_and_its_settings(bases: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    run = MethodRun("grpo", "start", "pocket-xs", "math", 1)

    def again(scale: Scale) -> Path:
        return perform(
            run,
            tmp_path / "out",
            bases=bases,
            shipped=ROOT / "models",
            onnx=ROOT / "policies" / "pocket_models",
            scale=scale,
        )

    written = again(TINY)
    before = written.read_bytes()
    # Which budgets there are is the other runs' business.
    assert again(replace(TINY, budgets=(96, 128))) == written
    with pytest.raises(InvalidInputError, match="another scale: it has n_probed 4, now it is 5"):
        again(replace(TINY, n_probed=5))
    model = bases / "pocket-xs" / "model"
    copied = model.resolve()
    model.unlink()
    shutil.copytree(copied, model)
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"] += 0.5
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        InvalidInputError, match=r"start\.seed1\.json was made with another base model"
    ):
        again(TINY)
    assert written.read_bytes() == before


def test_the_command_refuses_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["methods", "--out", str(tmp_path / "out"), "--bases", str(tmp_path / "bases")]
    monkeypatch.setattr("sys.argv", [*command, "--experiments", "grpo", "--sizes", "pocket-xs"])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 3
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "holds no model" in line
