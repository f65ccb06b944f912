"""Train a pocket model: `python -m calibration.pocket.train --size pocket-m --out DIR`.

Needs the extra `train`. Runs on CPU or GPU, is seeded, and resumes from its last checkpoint.
Every question is trained with both of its answers at once: the prompt is computed a single
time and the direct and the reasoning continuation both attend to it but not to each other,
which costs about two thirds of two separate sequences and gives the same gradient.

The empty thought of direct mode belongs to the prompt (as in Qwen3's template), outside the
loss; trained inside the loss it teaches the model to close its thought at once.
"""

import argparse
import json
import math
import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .questions import (
    LEVELS,
    POCKET_TASK_TYPES,
    PocketQuestion,
    draw_question,
    stream_questions,
)
from .sizes import POCKET_SIZES, PocketSize
from .teacher import write_answer, write_trace
from .tokenizer import build_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

QUESTIONS_PER_STEP = 48
MICRO_BATCHES = 2
WARMUP_STEPS = 100
DECAY_SHARE = 0.3
"""Warm-up, stable, decay schedule as in arXiv 2509.22193 App. C; the decay is longer because
the runs are short."""
CHECKPOINT_EVERY_S = 120.0

_EMPTY_THOUGHT = "<think>\n\n</think>\n\n"


@dataclass(frozen=True, slots=True)
class PairedExample:
    """Token ids of one question with its answers.

    Attributes:
        prompt: Ids of the rendered chat up to and including the assistant header.
        branches: (context ids outside the loss, target ids) of each answer, which do not see each
            other; here one for direct and one for reasoning mode.
    """

    prompt: list[int]
    branches: tuple[tuple[list[int], list[int]], ...]

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.prompt) + sum(len(c) + len(t) for c, t in self.branches)


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded tensors of shape (batch, length); `mask` is (batch, 1, length, length)."""

    ids: "torch.Tensor"
    positions: "torch.Tensor"
    mask: "torch.Tensor"
    targets: "torch.Tensor"
    branch: "torch.Tensor"

    def to(self, device: str) -> "Batch":
        """Return the batch on `device`."""
        return Batch(*(getattr(self, name).to(device) for name in self.__slots__))


def encode_examples(
    questions: list[PocketQuestion], tokenizer: "PreTrainedTokenizerFast"
) -> list[PairedExample]:
    """Return the ids of questions with their direct and their reasoning answers."""
    texts: list[str] = [_EMPTY_THOUGHT]
    for question in questions:
        closing = f"{write_answer(question)}<|im_end|>"
        texts += [
            _header(question.prompt),
            closing,
            f"<think>\n{write_trace(question)}\n</think>\n\n{closing}",
        ]
    empty_thought, *rest = tokenizer(texts)["input_ids"]
    triples = zip(rest[::3], rest[1::3], rest[2::3], strict=True)
    return [
        PairedExample(prompt, ((empty_thought, direct), ([], reasoning)))
        for prompt, direct, reasoning in triples
    ]


def _header(prompt: str) -> str:
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"


def collate(examples: list[PairedExample], pad_id: int) -> Batch:
    """Pad examples to one length and build the mask that keeps the two branches apart."""
    import torch

    length = max(map(len, examples))
    shape = (len(examples), length)
    ids = torch.full(shape, pad_id)
    positions = torch.zeros(shape, dtype=torch.long)
    branch = torch.full(shape, -1)  # -1 padding, 0 prompt, then one number per answer
    targets = torch.full(shape, -100)
    for row, example in enumerate(examples):
        n_prompt = len(example.prompt)
        ids[row, :n_prompt] = torch.tensor(example.prompt)
        positions[row, :n_prompt] = torch.arange(n_prompt)
        branch[row, :n_prompt] = 0
        start = n_prompt
        for number, (context, target) in enumerate(example.branches, start=1):
            stop = start + len(context) + len(target)
            ids[row, start:stop] = torch.tensor(context + target)
            positions[row, start:stop] = torch.arange(n_prompt, n_prompt + stop - start)
            branch[row, start:stop] = number
            # The last prompt token predicts the first token of the reasoning branch.
            first = start + len(context)
            if context:
                targets[row, first - 1 : stop - 1] = torch.tensor(target)
            else:
                targets[row, n_prompt - 1] = target[0]
                targets[row, first : stop - 1] = torch.tensor(target[1:])
            start = stop
    keys, queries = branch[:, None, None, :], branch[:, None, :, None]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    mask = causal & ((keys == 0) | (keys == queries))
    return Batch(ids, positions, mask, targets, branch)


def build_model(
    size: PocketSize, tokenizer: "PreTrainedTokenizerFast", seed: int
) -> "Qwen3ForCausalLM":
    """Return a freshly initialised model of the given size."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    config = Qwen3Config(
        **size.config(
            vocab_size=len(tokenizer),
            eos_id=int(tokenizer.convert_tokens_to_ids("<|im_end|>")),
            pad_id=int(tokenizer.convert_tokens_to_ids("<|endoftext|>")),
        )
    )
    return Qwen3ForCausalLM(config)


def learning_rate_factor(step: int, n_steps: int) -> float:
    """Return the schedule's factor in [0, 1]: linear warm-up, constant, linear decay."""
    decay_steps = max(1, int(n_steps * DECAY_SHARE))
    return min(1.0, (step + 1) / WARMUP_STEPS, (n_steps - step) / decay_steps)


def branch_losses(
    model: "torch.nn.Module", head: "torch.Tensor", batch: Batch
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return the summed token loss and a (batch, 2) matrix: whole branch predicted exactly."""
    import torch

    hidden = model(
        input_ids=batch.ids,
        position_ids=batch.positions,
        attention_mask=batch.mask,
        use_cache=False,
    ).last_hidden_state
    chosen = batch.targets != -100
    logits = hidden[chosen] @ head.T
    wanted = batch.targets[chosen]
    loss = torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="sum")
    missed = torch.zeros_like(batch.targets, dtype=torch.bool)
    missed[chosen] = logits.argmax(-1) != wanted
    exact = torch.stack(
        [~(missed & (batch.branch == 1)).any(1), ~(missed & (batch.branch != 1)).any(1)], dim=1
    )
    return loss, exact


def evaluate(
    model: "torch.nn.Module",
    head: "torch.Tensor",
    tokenizer: "PreTrainedTokenizerFast",
    device: str,
    n: int = 256,
) -> dict[str, tuple[float, float]]:
    """Return held-out exact match (direct, reasoning) per task type under teacher forcing."""
    import torch

    scores: dict[str, tuple[float, float]] = {}
    with torch.no_grad():
        for task_type in POCKET_TASK_TYPES:
            stream = stream_questions(task_type, seed=7, split="heldout")
            examples = encode_examples([next(stream) for _ in range(n)], tokenizer)
            batch = collate(examples, int(tokenizer.pad_token_id)).to(device)
            _, exact = branch_losses(model, head, batch)
            direct, reasoning = exact.float().mean(0).tolist()
            scores[task_type] = (round(direct, 3), round(reasoning, 3))
    return scores


def training_examples(
    tokenizer: "PreTrainedTokenizerFast", *, seed: int, step: int
) -> list[PairedExample]:
    """Return the questions of one optimizer step, a pure function of seed and step."""
    rng = random.Random(f"train/{seed}/{step}")
    questions: list[PocketQuestion] = []
    while len(questions) < QUESTIONS_PER_STEP:
        task_type = POCKET_TASK_TYPES[len(questions) % 4]
        # Direct mode can learn few-step questions only: show them more often than the
        # evaluation, which draws levels uniformly, does.
        levels = LEVELS[task_type]
        level = rng.choices(levels, weights=[1 / level for level in levels])[0]
        question = draw_question(rng, task_type, level)
        if question.split == "train":
            questions.append(question)
    examples = encode_examples(questions, tokenizer)
    return sorted(examples, key=len)


class Checkpoint:
    """Weights, optimizer moments and step, kept as safetensors and JSON (never pickled)."""

    def __init__(self, directory: Path) -> None:
        """Use `directory`, creating it."""
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def save(
        self, model: "torch.nn.Module", optimizers: "list[torch.optim.Optimizer]", step: int
    ) -> None:
        """Write the state of `step` finished steps; the previous one survives a crash."""
        from safetensors.torch import save_file

        tensors = {f"model/{k}": v.contiguous() for k, v in model.named_parameters()}
        for index, optimizer in enumerate(optimizers):
            for number, moments in optimizer.state_dict()["state"].items():
                for key, value in moments.items():
                    tensors[f"optimizer/{index}/{number}/{key}"] = value.contiguous()
        temporary = self._directory / "checkpoint.tmp"
        save_file(tensors, temporary, metadata={"step": str(step)})
        os.replace(temporary, self._directory / "checkpoint.safetensors")

    def load(self, model: "torch.nn.Module", optimizers: "list[torch.optim.Optimizer]") -> int:
        """Restore model and optimizers in place; return the number of finished steps."""
        import torch
        from safetensors import safe_open

        path = self._directory / "checkpoint.safetensors"
        if not path.exists():
            return 0
        parameters = dict(model.named_parameters())
        states: list[dict[int, dict[str, torch.Tensor]]] = [{} for _ in optimizers]
        with safe_open(path, framework="pt") as file:
            step = int(file.metadata()["step"])
            for name in file.keys():  # noqa: SIM118 - safe_open is no mapping
                kind, rest = name.split("/", 1)
                if kind == "model":
                    parameters[rest].data.copy_(file.get_tensor(name))
                else:
                    index, number, key = rest.split("/")
                    states[int(index)].setdefault(int(number), {})[key] = file.get_tensor(name)
        for optimizer, state in zip(optimizers, states, strict=True):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        return step


def build_optimizers(
    model: "torch.nn.Module", learning_rate: float
) -> "list[torch.optim.Optimizer]":
    """Return Muon for the matrices inside the layers and AdamW for embeddings and norms."""
    import torch

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "layers" in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "layers" not in n]
    return [
        torch.optim.Muon(
            matrices, lr=learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(
    size: PocketSize,
    directory: Path,
    *,
    seed: int,
    n_steps: int,
    device: str,
    stop_after: int | None = None,
) -> None:
    """Train one model to `n_steps`, resuming from `directory`, then save it there.

    Args:
        size: Shape and learning rate.
        directory: Receives `checkpoint.safetensors`, `log.jsonl` and, at the end, the
            transformers model and tokenizer.
        seed: Seeds the weights and every step's questions.
        n_steps: Optimizer steps in all; part of the learning-rate schedule.
        device: A torch device such as `cpu` or `cuda`.
        stop_after: Stop with a checkpoint after this many steps in all; the schedule is that
            of `n_steps`.
    """
    import torch

    tokenizer = build_tokenizer()
    model = build_model(size, tokenizer, seed).to(device)
    head = model.get_input_embeddings().weight
    optimizers = build_optimizers(model, size.learning_rate)
    checkpoint = Checkpoint(directory)
    first_step = checkpoint.load(model, optimizers)
    body = torch.compile(model.model, dynamic=True)
    pad_id = int(tokenizer.pad_token_id)
    last_saved = time.monotonic()
    log = (directory / "log.jsonl").open("a", encoding="utf-8")
    last_step = min(n_steps, n_steps if stop_after is None else stop_after)
    for step in range(first_step, last_step):
        factor = learning_rate_factor(step, n_steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = size.learning_rate * factor
        examples = training_examples(tokenizer, seed=seed, step=step)
        chunk = math.ceil(len(examples) / MICRO_BATCHES)
        batches = [
            collate(examples[i : i + chunk], pad_id).to(device)
            for i in range(0, len(examples), chunk)
        ]
        n_targets = sum(int((b.targets != -100).sum()) for b in batches)
        total = 0.0
        for batch in batches:
            loss, _ = branch_losses(body, head, batch)
            (loss / n_targets).backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 50 == 0:
            record: dict[str, object] = {
                "step": step + 1,
                "loss": round(total / n_targets, 4),
                "lr_factor": factor,
            }
            if (step + 1) % 250 == 0:
                record["heldout"] = evaluate(model.model, head, tokenizer, device)
            record["time"] = round(time.time(), 1)
            log.write(json.dumps(record) + "\n")
            log.flush()
            sys.stderr.write(f"{size.name} {json.dumps(record)}\n")
        if time.monotonic() - last_saved > CHECKPOINT_EVERY_S or step + 1 == last_step:
            checkpoint.save(model, optimizers, step + 1)
            last_saved = time.monotonic()
    log.close()
    if last_step < n_steps:
        return
    model.save_pretrained(directory / "model")
    tokenizer.save_pretrained(str(directory / "model"))


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m calibration.pocket.train")
    parser.add_argument("--size", choices=sorted(POCKET_SIZES), required=True)
    parser.add_argument("--out", type=Path, required=True, help="checkpoints and the model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, help="default: the size's own")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    options = parser.parse_args()
    size = POCKET_SIZES[options.size]
    train(
        size,
        options.out,
        seed=options.seed,
        n_steps=options.steps or size.n_steps,
        device=options.device,
    )


if __name__ == "__main__":
    main()
