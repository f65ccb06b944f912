"""The training program: paired branches, resumption, export. Needs the extra `train`."""

import json
from itertools import islice
from pathlib import Path

import pytest

from calibration.pocket.export import first_difference
from calibration.pocket.questions import POCKET_TASK_TYPES, stream_questions
from calibration.pocket.sizes import POCKET_SIZES

pytestmark = pytest.mark.train

ROOT = Path(__file__).parents[2]
SIZE = POCKET_SIZES["pocket-xs"]


def test_the_two_branches_of_an_example_do_not_see_each_other() -> None:
    import torch

    from calibration.pocket.tokenizer import build_tokenizer
    from calibration.pocket.train import build_model, collate, encode_examples

    tokenizer = build_tokenizer()
    model = build_model(SIZE, tokenizer, seed=3).eval()
    questions = [
        question
        for task_type in POCKET_TASK_TYPES
        for question in islice(stream_questions(task_type, seed=5, split="train"), 3)
    ]
    examples = encode_examples(questions, tokenizer)
    batch = collate(examples, int(tokenizer.pad_token_id))
    with torch.no_grad():
        paired = model(
            input_ids=batch.ids, position_ids=batch.positions, attention_mask=batch.mask
        ).logits
        for row, example in enumerate(examples):
            for number, (context, target) in enumerate(example.branches, start=1):
                alone = model(input_ids=torch.tensor([example.prompt + context + target])).logits
                inside = paired[row][batch.branch[row] == number]
                torch.testing.assert_close(inside, alone[0, len(example.prompt) :])


def test_every_answer_token_is_a_target_and_the_empty_thought_is_none() -> None:
    from calibration.pocket.tokenizer import build_tokenizer
    from calibration.pocket.train import collate, encode_examples

    tokenizer = build_tokenizer()
    (question,) = islice(stream_questions("math-mc", seed=5, split="train"), 1)
    (example,) = encode_examples([question], tokenizer)
    batch = collate([example], int(tokenizer.pad_token_id))
    (_, direct), (_, reasoning) = example.branches
    targets = [token for token in batch.targets[0].tolist() if token != -100]
    assert sorted(targets) == sorted(direct + reasoning)


# torch.compile imports a module of torch that uses a deprecated part of torch.
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_training_resumes_to_the_same_weights(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from calibration.pocket.tokenizer import build_tokenizer
    from calibration.pocket.train import build_model, train

    train(SIZE, tmp_path / "whole", seed=4, n_steps=6, device="cpu")
    train(SIZE, tmp_path / "parts", seed=4, n_steps=6, device="cpu", stop_after=3)
    assert not (tmp_path / "parts" / "model").exists()
    train(SIZE, tmp_path / "parts", seed=4, n_steps=6, device="cpu")
    whole = load_file(tmp_path / "whole" / "model" / "model.safetensors")
    parts = load_file(tmp_path / "parts" / "model" / "model.safetensors")
    assert whole.keys() == parts.keys()
    start = dict(build_model(SIZE, build_tokenizer(), seed=4).named_parameters())
    for name, tensor in whole.items():
        # Muon orthogonalises in bfloat16, which magnifies rounding; a lost moment or a wrong
        # learning rate would move the weights by tens of percent of their way, not by two.
        assert (tensor - parts[name]).norm() < 0.02 * (tensor - start[name]).norm(), name


@pytest.mark.parametrize("name", sorted(POCKET_SIZES))
def test_shipped_onnx_and_safetensors_give_the_same_tokens(name: str) -> None:
    onnx, safetensors = ROOT / "policies" / "pocket_models" / name, ROOT / "models" / name
    assert first_difference(name, onnx, safetensors, n=25) is None
    assert json.loads((onnx / "config.json").read_text()) == json.loads(
        (safetensors / "config.json").read_text()
    )


def test_the_chat_template_renders_as_the_pocket_backend_does() -> None:
    from transformers import AutoTokenizer

    from policies import Message
    from policies.backends.pocket import render_chat

    tokenizer = AutoTokenizer.from_pretrained(ROOT / "models" / "pocket-s")
    turns = [
        Message("system", "Be brief."),
        Message("user", "7+5"),
        Message("assistant", "<think>\nSo 7+5=2.\n</think>\n\nAnswer: 2"),
        Message("user", "3*3"),
    ]
    plain = [{"role": turn.role, "content": turn.content} for turn in turns]
    for thinking in (False, True):
        wanted = tokenizer.apply_chat_template(
            plain, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
        )
        assert render_chat(turns, thinking=thinking) == wanted
