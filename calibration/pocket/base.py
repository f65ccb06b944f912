"""Pre-train a pocket base model: `python -m calibration.pocket.base --size pocket-m --out DIR`.

Needs the extra `train`. A base model is what students of a recipe study start from: it has read
the pocket world as plain text (facts, sums, short notes of linked steps, lists of options), knows
a chat's markup from texts that one party begins and the other goes on with, and has never seen a
thought, nor a question as students are asked it. The results of easy ones, of up to three steps,
stand in its notes under other words. Seeded, and resumes from its last checkpoint.
"""

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from policies import InvalidInputError, StoreError

from .questions import (
    ATTRIBUTES,
    OPTION_LETTERS,
    PEOPLE,
    POCKET_TASK_TYPES,
    RELATIONS,
    PocketQuestion,
    apply_mod_ten,
    draw_question,
    options_up_to_answer,
    world,
)
from .sizes import POCKET_SIZES, PocketSize
from .teacher import write_steps
from .tokenizer import build_tokenizer
from .train import Checkpoint, build_model, build_optimizers, learning_rate_factor

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

__all__ = ["BASE_STEPS", "ROW_TOKENS", "draw_document", "pretrain"]

ROW_TOKENS = 128
ROWS_PER_STEP = 32
BASE_STEPS = {"pocket-xs": 4500, "pocket-s": 2000, "pocket-m": 800}
"""Optimizer steps of the bases that the committed study started from."""
_CHECKPOINT_EVERY_S = 120.0
_END = "<|endoftext|>"
_CHAT_SHARE = 0.25
_BARE_SHARE = 0.35
"""Share of notes that do not work out their result: what direct answers can draw on."""


def draw_document(rng: random.Random) -> str:
    """Return one document of plain text: facts, sums, notes of linked steps, or a list."""
    kinds: tuple[Callable[[random.Random], str], ...] = (_facts, _sums, _notes, _list)
    text = rng.choices(kinds, weights=(1, 1, 10, 1))[0](rng)
    return _as_chat(rng, text) if rng.random() < _CHAT_SHARE else text


def _as_chat(rng: random.Random, text: str) -> str:
    """Return a text that one party of a chat begins and the other goes on with."""
    words = text.split(" ")
    cut = rng.randint(1, len(words) - 1) if len(words) > 1 else 0
    begun, rest = " ".join(words[:cut]), " ".join(words[cut:])
    return f"<|im_start|>user\n{begun}<|im_end|>\n<|im_start|>assistant\n{rest}<|im_end|>"


def _facts(rng: random.Random) -> str:
    links = [*RELATIONS, *ATTRIBUTES]
    pairs = [(rng.choice(links), rng.choice(PEOPLE)) for _ in range(rng.randint(2, 5))]
    return " ".join(f"The {link} of {who} is {world()[link, who]}." for link, who in pairs)


def _sums(rng: random.Random) -> str:
    parts: list[str] = []
    for _ in range(rng.randint(2, 6)):
        left, operator, right = rng.randrange(10), rng.choice("+-*"), rng.randrange(1, 10)
        parts.append(f"{left}{operator}{right}={apply_mod_ten(left, operator, right)}")
    return "Mod ten: " + "; ".join(parts) + "."


def _notes(rng: random.Random) -> str:
    """Return what is asked for in short, and its answer: worked out, or as a bare result.

    It takes one to three steps, often with options. Questions of more steps are new to a student,
    and so are all wordings of questions.
    """
    question = draw_question(rng, rng.choice(POCKET_TASK_TYPES), rng.randint(1, 3))
    heading = _heading(question)
    if question.options:
        last = replace(question, answer=OPTION_LETTERS[-1])
        heading += f" {options_up_to_answer(last).replace(',', '')}"
    if rng.random() < _BARE_SHARE:
        return f"{heading}: {question.answer}."
    options = f"; {options_up_to_answer(question)}" if question.options else ""
    return f"{heading}: {write_steps(question)}{options}."


def _heading(question: PocketQuestion) -> str:
    """Return the sum, or the chain of links, that a question asks for."""
    first, *others = [step.text for step in question.steps]
    if question.task_type in ("math-oe", "math-mc"):
        return first + "".join(text[1:] for text in others)
    links = [step.text.split(" of ")[0] for step in question.steps]
    return f"{' of the '.join(reversed(links))} of {first.split(' of ')[1]}"


def _list(rng: random.Random) -> str:
    """Return four lettered options, and some of them read again in their order."""
    values = rng.choice([*ATTRIBUTES.values(), tuple("0123456789")])
    options = rng.sample(values, len(OPTION_LETTERS))
    gap = "" if options[0].isdigit() else " "
    pairs = [f"{a}:{gap}{o}" for a, o in zip(OPTION_LETTERS, options, strict=True)]
    n_read = rng.randint(1, len(pairs))
    return f"{' '.join(pairs)}. {', '.join(pairs[:n_read])}."


def training_rows(
    tokenizer: "PreTrainedTokenizerFast", *, seed: int, step: int, n_rows: int = ROWS_PER_STEP
) -> "torch.Tensor":
    """Return packed token ids (n_rows, ROW_TOKENS + 1), a pure function of seed and step."""
    import torch

    rng = random.Random(f"base/{seed}/{step}")
    end = int(tokenizer.convert_tokens_to_ids(_END))
    wanted = n_rows * (ROW_TOKENS + 1)
    ids: list[int] = []
    while len(ids) < wanted:
        texts = [draw_document(rng) for _ in range(4 * n_rows)]
        for document in tokenizer(texts)["input_ids"]:
            ids += [*document, end]
    return torch.tensor(ids[:wanted]).view(n_rows, ROW_TOKENS + 1)


def pretrain(
    size: PocketSize,
    directory: Path,
    *,
    seed: int = 1,
    n_steps: int | None = None,
    device: str = "cpu",
    on_step: Callable[[int, int, float], None] | None = None,
) -> None:
    """Pre-train one base model, resuming from `directory`, then save it there.

    Args:
        size: Shape and peak learning rate.
        directory: Receives `checkpoint.safetensors`, `log.jsonl` and, at the end, the
            transformers model and tokenizer in `model`.
        seed: Seeds the weights and every step's documents.
        n_steps: Optimizer steps in all; `None` takes `BASE_STEPS`.
        device: A torch device such as `cpu` or `cuda`.
        on_step: Called with the steps done, all steps, and the loss per token.

    Raises:
        InvalidInputError: The directory holds the beginning of another base.
        StoreError: The directory cannot be written; what is there goes on from its checkpoint.
    """
    from safetensors import SafetensorError

    steps = BASE_STEPS[size.name] if n_steps is None else n_steps
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _claim(directory, {"size": size.name, "seed": seed, "n_steps": steps})
        _pretrain(size, directory, seed=seed, steps=steps, device=device, on_step=on_step)
    except (OSError, SafetensorError) as error:
        # safetensors tells of a full disk by an error of its own.
        raise StoreError(
            f"the base {size.name} cannot be written to {directory}: {error}",
            hint="make room, or choose another folder; the same command goes on",
        ) from error


def _claim(directory: Path, mine: dict[str, object]) -> None:
    """Refuse to go on with a checkpoint of another schedule: the base would be that of neither."""
    path = directory / "base.json"
    if path.exists():
        there = json.loads(path.read_text(encoding="utf-8"))
        if there != mine:
            raise InvalidInputError(
                f"{directory} holds a base of {there}, not of {mine}",
                hint="give another folder, or remove this one",
                code="another-base",
            )
        return
    temporary = path.with_name("base.json.tmp")
    temporary.write_text(json.dumps(mine) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _pretrain(
    size: PocketSize,
    directory: Path,
    *,
    seed: int,
    steps: int,
    device: str,
    on_step: Callable[[int, int, float], None] | None,
) -> None:
    import torch

    tokenizer = build_tokenizer()
    model = build_model(size, tokenizer, seed).to(device)
    head = model.get_input_embeddings().weight
    optimizers = build_optimizers(model, size.learning_rate)
    checkpoint = Checkpoint(directory)
    first = checkpoint.load(model, optimizers)
    saved = time.monotonic()
    with (directory / "log.jsonl").open("a", encoding="utf-8") as log:
        for step in range(first, steps):
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = size.learning_rate * learning_rate_factor(step, steps)
            rows = training_rows(tokenizer, seed=seed, step=step).to(device)
            hidden = model.model(input_ids=rows[:, :-1], use_cache=False).last_hidden_state
            logits = (hidden @ head.T).flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits.float(), rows[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            if on_step is not None:
                on_step(step + 1, steps, loss.item())
            if (step + 1) % 50 == 0:
                log.write(json.dumps({"step": step + 1, "loss": round(loss.item(), 4)}) + "\n")
                log.flush()
            if time.monotonic() - saved > _CHECKPOINT_EVERY_S or step + 1 == steps:
                checkpoint.save(model, optimizers, step + 1)
                saved = time.monotonic()
    # Whole or not at all: the folder `model` says that the base is there.
    unfinished = directory / "model.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(str(unfinished))
    shutil.rmtree(directory / "model", ignore_errors=True)
    os.replace(unfinished, directory / "model")


def main() -> None:
    """Parse the command line and pre-train."""
    parser = argparse.ArgumentParser(prog="python -m calibration.pocket.base")
    parser.add_argument("--size", choices=sorted(POCKET_SIZES), required=True)
    parser.add_argument("--out", type=Path, required=True, help="checkpoints and the model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, help="default: the size's own")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    options = parser.parse_args()

    def tell(done: int, total: int, loss: float) -> None:
        if done % 50 == 0:
            sys.stderr.write(f"{options.size} base: step {done} of {total}, loss {loss:.4f}\n")

    pretrain(
        POCKET_SIZES[options.size],
        options.out,
        seed=options.seed,
        n_steps=options.steps,
        device=options.device,
        on_step=tell,
    )


if __name__ == "__main__":
    main()
