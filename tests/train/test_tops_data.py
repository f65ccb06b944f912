"""The data of `advisor data tops` are taken by TRL's trainers. Needs TRL."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from advisor.tops import TopsRules, build_tops, choose_efforts, facts_of
from calibration import Outcome
from tests.advisor.tops.made_up_runs import said, write_run

# What the training libraries warn of among themselves is not ours.
pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("default")]

MODEL = Path(__file__).parents[2] / "models" / "pocket-xs"
# As Qwen2.5's base models have it. The pocket models' own template drops the thoughts of earlier
# turns, as DeepSeek-R1's does, and a trainer would be given the bare answers.
PLAIN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of data with sixteen pairs."""
    pytest.importorskip("trl")
    for name, value in OFFLINE.items():
        monkeypatch.setitem(os.environ, name, value)
    outcomes = [
        said(f"{n}+1", tokens, outcome, repeat=repeat, thinking="So " + "3+1=4; " * repeat)
        for n in range(8)
        for repeat, (tokens, outcome) in enumerate(
            [(40, Outcome.CORRECT), (20, Outcome.WRONG), (60, Outcome.WRONG)]
        )
    ]
    run = write_run(tmp_path / "run", outcomes)
    facts = facts_of(run)
    out = tmp_path / "out"
    built = build_tops(
        *(run, out, facts, choose_efforts(facts.arms, facts.efforts)),
        TopsRules(sets=("iter_sft", "dpo")),
    )
    assert (built.n_rows("iter_sft"), built.n_rows("dpo")) == (8, 16)
    return out


def load(file: Path) -> Any:
    from datasets import load_dataset

    return load_dataset("json", data_files=str(file), split="train", cache_dir=str(file.parent))


def test_pairs_are_conversational_for_the_dpo_trainer_and_train(data: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer
    from trl.data_utils import is_conversational

    pairs = load(data / "dpo.jsonl")
    assert all(is_conversational(pair) for pair in pairs)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    tokenizer.chat_template = PLAIN_TEMPLATE
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(MODEL),
        args=DPOConfig(
            output_dir=str(data / "trained"),
            max_steps=2,
            per_device_train_batch_size=2,
            use_cpu=True,
            bf16=False,
            report_to=[],
            save_strategy="no",
            max_length=256,
        ),
        train_dataset=pairs,
        processing_class=tokenizer,
    )
    # What is trained on is the whole of both answers: the thought, its end and the answer.
    row: Any = next(iter(trainer.train_dataset))
    for name in ("chosen_ids", "rejected_ids"):
        text = tokenizer.decode(row[name])
        assert text.startswith("<think>\nSo")
        assert text.rstrip().endswith("</think>\n\nAnswer: 1<|im_end|>")
    assert trainer.train().global_step == 2


def test_messages_are_conversational_for_the_sft_trainer(data: Path) -> None:
    from trl.data_utils import is_conversational

    rows = load(data / "iter_sft.jsonl")
    assert all(is_conversational(row) for row in rows)
    first = json.loads((data / "iter_sft.jsonl").read_text("utf-8").splitlines()[0])
    assert rows[0] == first
