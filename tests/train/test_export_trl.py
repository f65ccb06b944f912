"""Exported recipes are read by the real TRL, and trained by it on a pocket model."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from advisor import Method, Order, Recipe
from advisor.export import Export, ExportRequest, export_recipe
from calibration.pocket.questions import PocketQuestion, stream_questions
from calibration.pocket.teacher import write_answer, write_trace
from policies import ModelSize

# The libraries warn of their own deprecations.
pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "pocket-s"
GOLDEN = ROOT / "tests" / "golden" / "export" / "trl"
CONFIGS = sorted(GOLDEN.glob("*/*.yaml"))
ON_CPU = ("--use_cpu", "true", "--bf16", "false", "--dtype", "float32", "--logging_steps", "1")
N_PAIRS = 128


def questions(n: int) -> Iterator[PocketQuestion]:
    long = (q for q in stream_questions("math-oe", seed=5, split="train") if len(q.steps) >= 4)
    return islice(long, n)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions that the pocket model was trained on, with its own direct and reasoning answers."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [
        {
            "prompt": question.prompt,
            "ift": write_answer(question),
            "reasoning": f"<think>\n{write_trace(question)}\n</think>\n\n{write_answer(question)}",
            "solution": question.answer,
        }
        for question in questions(N_PAIRS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def export(
    data: Path,
    out: Path,
    ratio: float = 0.5,
    order: Order = Order.IFT_THEN_REASONING,
    method: Method = Method.SFT,
    **more: Any,
) -> Export:
    recipe = Recipe(
        size=ModelSize.parse("0.5B"),
        corpus="own",
        reasoning_ratio=ratio,
        order=order,
        method=method,
    )
    asked: dict[str, Any] = {"base_model": str(MODEL), "tokenizer": str(MODEL), "n_gpus": 1, **more}
    request = ExportRequest(
        library="trl", recipe=recipe, task_type="math-oe", data=(data,), out=out, **asked
    )
    return export_recipe(request)


def run(folder: Path, *command: str, is_ok: bool = True) -> str:
    """Run a command in a folder without network; return what it printed."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment = {
        **os.environ,
        **offline,
        "HF_HOME": str(folder / "cache"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    text = done.stdout + done.stderr
    assert (done.returncode == 0) == is_ok, text[-4000:]
    return text


def train(folder: Path, name: str, *overrides: str) -> list[dict[str, Any]]:
    """Train one exported stage on the CPU; return what was logged at each step."""
    script = f"trl.scripts.{name.partition('_')[2]}"
    command = (sys.executable, "-m", script, "--config", f"{name}.yaml")
    run(folder, *command, *ON_CPU, *overrides)
    (state,) = (folder / "out" / name).glob("checkpoint-*/trainer_state.json")
    history = json.loads(state.read_text("utf-8"))["log_history"]
    return [entry for entry in history if "loss" in entry]


def batches(n: int) -> tuple[str, ...]:
    """Return overrides for steps of `n` rows."""
    return ("--per_device_train_batch_size", str(n), "--gradient_accumulation_steps", "1")


def parser(name: str) -> Any:
    from importlib import import_module

    return import_module(f"trl.scripts.{name}").make_parser()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_key_is_known_and_read_as_it_was_meant(path: Path) -> None:
    values = yaml.safe_load(path.read_text("utf-8"))
    arguments = ["--config", str(path), "--use_cpu", "true"]
    name = path.stem.partition("_")[2]
    known = parser(name if name in {"sft", "grpo", "dpo"} else "sft")
    parsed = known.parse_args_and_config(arguments, fail_with_unknown_args=True)
    for key, value in values.items():
        (found,) = [getattr(part, key) for part in parsed if hasattr(part, key)][:1]
        if key == "datasets":
            assert [one.data_files for one in found] == [one["data_files"] for one in value]
        elif key == "lora_target_modules":
            assert found in (value, value[0])
        elif key == "report_to":
            assert found == []  # what "none" means
        elif isinstance(value, dict):
            assert value.items() <= dict(found).items()
        else:
            assert found == value, key


def test_an_unknown_key_is_found_by_the_strict_parser_only(tmp_path: Path) -> None:
    path = tmp_path / "typo.yaml"
    text = (GOLDEN / "reasoning" / "1_sft.yaml").read_text("utf-8")
    path.write_text(text.replace("max_length:", "max_seq_length:"), "utf-8")
    arguments = ["--config", str(path), "--use_cpu", "true"]
    with pytest.raises(ValueError, match="max_seq_length"):
        parser("sft").parse_args_and_config(arguments, fail_with_unknown_args=True)
    # The trap: the script itself ignores the key, and rows are cut at the default.
    lenient = parser("sft").parse_args_and_config(arguments, fail_with_unknown_args=False)
    assert lenient[1].max_length == 1024


def test_the_exported_command_refuses_an_unknown_key(pairs: Path, tmp_path: Path) -> None:
    made = export(pairs, tmp_path / "out")
    config = tmp_path / "out" / "1_sft.yaml"
    config.write_text(config.read_text("utf-8").replace("max_length:", "max_seq_length:"), "utf-8")
    said = run(tmp_path / "out", *shlex.split(made.commands[0]), *ON_CPU, is_ok=False)
    assert "max_seq_length" in said


def test_the_exported_command_trains(pairs: Path, tmp_path: Path) -> None:
    made = export(pairs, tmp_path / "out")
    command = shlex.split(made.commands[0])
    said = run(tmp_path / "out", *command, *ON_CPU, *batches(8), "--max_steps", "2")
    assert "Training completed" in said
    assert (tmp_path / "out" / "out" / "1_sft" / "model.safetensors").is_file()


def test_an_ordered_recipe_reads_direct_answers_first(pairs: Path, tmp_path: Path) -> None:
    made = export(pairs, tmp_path / "out")
    steps = train(tmp_path / "out", "1_sft", *batches(8))
    counts = [0, *(entry["num_tokens"] for entry in steps)]
    per_step = [after - before for before, after in pairwise(counts)]
    half = len(per_step) // 2
    assert len(per_step) == 16
    # Every step of reasoning rows reads more than any step of direct answers.
    assert min(per_step[half:]) > 1.5 * max(per_step[:half])
    # Nothing was cut or dropped: the counter ends at the tokens of all rows.
    assert counts[-1] == sum(len(ids) for ids, _ in tokenised(tmp_path / "out", made))


def test_a_mixed_recipe_has_no_such_jump(pairs: Path, tmp_path: Path) -> None:
    export(pairs, tmp_path / "out", order=Order.MIXED)
    steps = train(tmp_path / "out", "1_sft", *batches(8))
    counts = [0, *(entry["num_tokens"] for entry in steps)]
    per_step = [after - before for before, after in pairwise(counts)]
    half = len(per_step) // 2
    assert 0.8 < sum(per_step[half:]) / sum(per_step[:half]) < 1.25


def test_best_fit_packing_would_undo_the_order(pairs: Path, tmp_path: Path) -> None:
    """The trap behind never packing an ordered run."""
    from trl.data_utils import pack_dataset

    made = export(pairs, tmp_path / "out")
    rows = list(tokenised(tmp_path / "out", made))
    from datasets import Dataset

    # Marked by their kind, in the order in which they are to be trained on.
    marks = [[int(is_trace)] * len(ids) for ids, is_trace in rows]
    ordered = Dataset.from_dict({"input_ids": marks, "labels": marks})
    packed = [row["input_ids"] for row in pack_dataset(ordered, 256, "bfd")]
    assert packed[0][0] == 1  # reasoning comes first
    assert packed[-1][-1] == 0


def tokenised(folder: Path, made: Export) -> Iterator[tuple[list[int], bool]]:
    """Yield the token ids of every supervised row as trained on, and whether it reasons."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    template = (folder / "chat_template.jinja").read_text("utf-8")
    for name in made.runs[0].files:
        for line in (folder / name).read_text("utf-8").splitlines():
            messages = json.loads(line)["messages"]
            ids = tokenizer.apply_chat_template(messages, chat_template=template, return_dict=True)
            yield list(ids["input_ids"]), "</think>" in messages[1]["content"]


def test_no_row_loses_its_answer_at_the_exported_length(pairs: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    made = export(pairs, tmp_path / "out", ratio=1.0, order=Order.MIXED)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    rows = [ids for ids, _ in tokenised(tmp_path / "out", made)]

    def n_whole(max_length: int) -> int:
        texts = [tokenizer.decode(ids[:max_length]) for ids in rows]
        return sum("</think>" in text and text.endswith("<|im_end|>\n") for text in texts)

    assert n_whole(made.runs[0].max_length) == len(rows) == N_PAIRS
    # The trap is real: at half of the longest row, hardly one keeps its answer.
    assert n_whole(max(map(len, rows)) // 2) < N_PAIRS // 10


def test_the_default_length_of_the_library_would_cut_thoughts(pairs: Path, tmp_path: Path) -> None:
    """With the pocket model's own tokens: traces of 1,024 and more lose their end."""
    from trl import SFTConfig

    default = SFTConfig(output_dir=str(tmp_path / "o"), use_cpu=True, bf16=False).max_length
    rows = [json.loads(line) for line in pairs.read_text("utf-8").splitlines()]
    for row in rows:
        row["reasoning"] = row["reasoning"].replace("</think>", "So 1+1=2. " * 200 + "</think>")
    long = tmp_path / "long.jsonl"
    long.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    # Not the pocket model itself: its context is 1,024.
    made = export(long, tmp_path / "out", base_model="Qwen/Qwen2.5-0.5B")
    lengths = [len(ids) for ids, is_trace in tokenised(tmp_path / "out", made) if is_trace]
    assert min(lengths) > default == 1024
    assert max(lengths) <= made.runs[0].max_length


def test_only_answers_are_trained_on(pairs: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    made = export(pairs, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    template = (tmp_path / "out" / "chat_template.jinja").read_text("utf-8")
    for name in made.runs[0].files:
        line = (tmp_path / "out" / name).read_text("utf-8").splitlines()[0]
        messages = json.loads(line)["messages"]
        done = tokenizer.apply_chat_template(
            messages, chat_template=template, return_dict=True, return_assistant_tokens_mask=True
        )
        marked = zip(done["input_ids"], done["assistant_masks"], strict=True)
        trained = tokenizer.decode([token for token, is_answer in marked if is_answer])
        assert trained == messages[1]["content"] + "<|im_end|>"


def test_the_own_template_of_a_model_that_reasons_would_drop_the_thoughts(
    pairs: Path, tmp_path: Path
) -> None:
    """The trap behind exporting a chat template."""
    from transformers import AutoTokenizer
    from trl.chat_template_utils import get_training_chat_template

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    row = json.loads(pairs.read_text("utf-8").splitlines()[0])
    messages = [
        {"role": "user", "content": row["prompt"]},
        {"role": "assistant", "content": row["reasoning"]},
    ]
    assert "</think>" not in tokenizer.apply_chat_template(messages, tokenize=False)
    # And the library could not mark the answers of a template that it does not know.
    with pytest.raises(ValueError, match="not training-compatible"):
        get_training_chat_template(tokenizer)


def test_token_shares_of_the_manifest_are_those_of_the_tokenizer(
    pairs: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    made = export(pairs, tmp_path / "out", ratio=0.25)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    tokens = {True: 0, False: 0}
    for name in made.runs[0].files:
        for line in (tmp_path / "out" / name).read_text("utf-8").splitlines():
            answer = json.loads(line)["messages"][1]["content"]
            tokens["</think>" in answer] += len(tokenizer.encode(answer, add_special_tokens=False))
    assert made.reasoning_ratio == 0.25
    assert made.reasoning_token_share == pytest.approx(tokens[True] / sum(tokens.values()))
    # A quarter of the rows is most of what is learned from.
    assert tokens[True] > 2 * tokens[False]


def test_two_stages_run_one_on_the_other_and_the_reward_reads_the_answers(
    pairs: Path, tmp_path: Path
) -> None:
    # Reasoning rows only: the pocket model keeps what it can.
    export(pairs, tmp_path / "out", ratio=1.0, order=Order.MIXED, then="grpo")
    train(tmp_path / "out", "1_sft", *batches(8), "--max_steps", "2")
    # Without a GPU there is no vLLM to write the completions.
    steps = train(
        *(tmp_path / "out", "2_grpo", *batches(8), "--max_steps", "2"),
        *("--use_vllm", "false", "--generation_batch_size", "8"),
    )
    assert len(steps) == 2
    # It was trained on these questions and gets nearly all of them right.
    assert all(entry["reward"] > 0.8 for entry in steps)
    assert all(entry["completions/clipped_ratio"] == 0 for entry in steps)


def test_adapters_are_trained(pairs: Path, tmp_path: Path) -> None:
    export(pairs, tmp_path / "out", ratio=1.0, order=Order.MIXED, is_lora=True)
    steps = train(tmp_path / "out", "1_sft", *batches(8), "--max_steps", "2")
    assert len(steps) == 2
    assert (tmp_path / "out" / "out" / "1_sft" / "adapter_model.safetensors").is_file()


def test_preferences_are_trained_on(pairs: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in pairs.read_text("utf-8").splitlines()]
    data = tmp_path / "dpo.jsonl"
    data.write_text(
        "".join(
            json.dumps(
                {"prompt": row["prompt"], "chosen": row["reasoning"], "rejected": row["ift"]}
            )
            + "\n"
            for row in rows
        ),
        "utf-8",
    )
    export(data, tmp_path / "out", ratio=1.0, order=Order.MIXED, method=Method.DPO)
    steps = train(tmp_path / "out", "1_dpo", *batches(8), "--max_steps", "2")
    assert len(steps) == 2
    # Before anything is learned both answers are as likely as under the reference: log 2.
    assert steps[0]["loss"] == pytest.approx(0.6931, abs=0.001)


def test_the_readme_tells_the_learning_rate_that_the_scheduler_gives(
    pairs: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import get_scheduler

    rows = [json.loads(line) for line in pairs.read_text("utf-8").splitlines()]
    many = tmp_path / "many.jsonl"
    many.write_text(
        "".join(
            json.dumps({**row, "prompt": f"{copy}: {row['prompt']}"}) + "\n"
            for copy in range(40)
            for row in rows
        ),
        "utf-8",
    )
    made = export(many, tmp_path / "out")
    values = yaml.safe_load((tmp_path / "out" / "1_sft.yaml").read_text("utf-8"))
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], values["learning_rate"])
    schedule = get_scheduler(
        values["lr_scheduler_type"],
        optimiser,
        num_warmup_steps=values["warmup_steps"],
        num_training_steps=made.runs[0].n_steps,
        scheduler_specific_kwargs=values["lr_scheduler_kwargs"],
    )
    rates = [schedule.get_last_lr()[0]]
    for _ in range(made.runs[0].n_steps or 0):
        optimiser.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    readme = (tmp_path / "out" / "README.md").read_text("utf-8")
    step, told = re.findall(r"learning rate of step (\d+) is about ([\d.e-]+)\.", readme)[0]
    assert float(told) == pytest.approx(rates[int(step)], rel=0.05)
    # The peak is reached and held, and the end is a tenth of it.
    assert max(rates) == values["learning_rate"] == rates[len(rates) // 2]
    assert rates[-1] == pytest.approx(values["learning_rate"] / 10)


def test_reinforcement_learns_from_answers_that_differ(pairs: Path, tmp_path: Path) -> None:
    export(
        *(pairs, tmp_path / "out", 1.0, Order.MIXED, Method.GRPO),
        base_model=str(MODEL.with_name("pocket-xs")),
    )
    steps = train(
        *(tmp_path / "out", "1_grpo", "--per_device_train_batch_size", "32", "--max_steps", "2"),
        *("--gradient_accumulation_steps", "1", "--use_vllm", "false", "--temperature", "1.5"),
    )
    # Where all answers to a prompt get the same reward, nothing is learned.
    assert any(entry["frac_reward_zero_std"] < 1 and entry["grad_norm"] > 0 for entry in steps)
