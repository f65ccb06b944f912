"""Fine-tune students of a recipe study from one pocket base model. Needs the extra `train`.

A student's training rows are questions in a fixed order, each with a direct or a reasoning
answer: the recipe. A reasoning answer opens with its thought right after the assistant header, so
a student decides by itself whether to think, as the students of arXiv 2509.22193 do; a direct
answer is trained in that place, and behind the empty thought that switches thinking off.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from policies import StoreError

from .questions import LEVELS, PocketQuestion, PocketTaskType, draw_question
from .teacher import write_answer, write_trace
from .train import Checkpoint, PairedExample, build_optimizers, collate

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

__all__ = [
    "CORPORA",
    "TUNING",
    "Encode",
    "PocketCorpus",
    "StudentRow",
    "Tuning",
    "corpus_questions",
    "encode_rows",
    "fine_tune",
    "fit_examples",
    "has_state",
    "load_state",
    "row_tokens",
]

PocketCorpus: TypeAlias = Literal["general", "math"]

CORPORA: dict[PocketCorpus, dict[PocketTaskType, float]] = {
    "general": {"general-oe": 0.35, "general-mc": 0.35, "math-oe": 0.15, "math-mc": 0.15},
    "math": {"math-oe": 0.5, "math-mc": 0.5},
}
"""Share of each task type in a corpus. The general one holds some mathematics, as
Infinity-Instruct does in arXiv 2509.22193, section 2.1; the shares are ours."""

_EMPTY_THOUGHT = "<think>\n\n</think>\n\n"
_STATE = "checkpoint.safetensors"
"""The file that `Checkpoint` keeps."""


Encode: TypeAlias = Callable[[list[str]], list[list[int]]]
"""Returns the token ids of texts, special tokens in them recognised and none added."""


class StudentRow(NamedTuple):
    """One training row: a question and the kind of answer it is trained with."""

    question: PocketQuestion
    is_reasoning: bool


@dataclass(frozen=True, slots=True)
class Tuning:
    """Hyper-parameters of fine-tuning, equal for all students of a size.

    Attributes:
        rows_per_step: Rows of one optimizer step.
        learning_rate: Peak learning rate.
        warmup_steps: Steps of linear warm-up.
        decay_share: Share of all steps in which the rate falls linearly to a tenth.
    """

    rows_per_step: int = 32
    learning_rate: float = 2e-3
    warmup_steps: int = 8
    decay_share: float = 0.25

    def factor(self, step: int, n_steps: int) -> float:
        """Return the schedule's factor at a step: warm-up, constant, linear decay to a tenth.

        Source: the schedule of arXiv 2509.22193v2, appendix C; the lengths are ours.
        """
        decay = max(1, int(n_steps * self.decay_share))
        falling = 0.1 + 0.9 * min(1.0, (n_steps - step) / decay)
        return min((step + 1) / self.warmup_steps, falling)


TUNING: dict[str, Tuning] = {
    "pocket-xs": Tuning(learning_rate=4e-3),
    "pocket-s": Tuning(learning_rate=2e-3),
    "pocket-m": Tuning(learning_rate=1.2e-3),
}
"""Hyper-parameters by size. Rates were chosen among three on held-out answers of pure recipes."""


def corpus_questions(corpus: PocketCorpus, n: int, *, seed: int) -> list[PocketQuestion]:
    """Return `n` different training questions of a corpus in a random order."""
    rng = random.Random(f"students/{corpus}/{seed}")
    shares = CORPORA[corpus]
    seen: set[str] = set()
    questions: list[PocketQuestion] = []
    while len(questions) < n:
        task_type = rng.choices(list(shares), weights=list(shares.values()))[0]
        question = draw_question(rng, task_type, rng.choice(LEVELS[task_type]))
        if question.split == "train" and question.prompt not in seen:
            seen.add(question.prompt)
            questions.append(question)
    return questions


def encode_rows(rows: Sequence[StudentRow], encode: Encode) -> list[PairedExample]:
    """Return the token ids of rows, in their order."""
    texts = [_EMPTY_THOUGHT]
    for question, is_reasoning in rows:
        closing = f"{write_answer(question)}<|im_end|>"
        thought = f"<think>\n{write_trace(question)}\n</think>\n\n" if is_reasoning else ""
        header = f"<|im_start|>user\n{question.prompt}<|im_end|>\n<|im_start|>assistant\n"
        texts += [header, thought + closing]
    empty, *ids = encode(texts)
    examples: list[PairedExample] = []
    for row, prompt, target in zip(rows, ids[::2], ids[1::2], strict=True):
        switched = () if row.is_reasoning else ((empty, target),)
        examples.append(PairedExample(prompt, (([], target), *switched)))
    return examples


def row_tokens(rows: Sequence[StudentRow], encode: Encode) -> list[int]:
    """Return the number of tokens that training on each row computes."""
    return [len(example) for example in encode_rows(rows, encode)]


def fine_tune(
    model: "Qwen3ForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    rows: Sequence[StudentRow],
    tuning: Tuning,
    *,
    start: Path | None = None,
    keep: Mapping[int, Path] | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> None:
    """Train a model on rows in their order, one pass.

    Args:
        model: Has the weights of the base, or of the stage before; trained in place.
        tokenizer: The pocket tokenizer.
        rows: Training rows; the last ones that do not fill a step make a smaller one.
        tuning: Hyper-parameters.
        start: Folder with the state of a run that had the same first rows, which go on here.
        keep: Steps whose state is kept, with the folders for it.
        on_step: Called with the steps done, all steps, and the loss per target token.

    Raises:
        ValueError: The state in `start` is beyond the last step.
        StoreError: A state cannot be written.
    """

    def encode(texts: list[str]) -> list[list[int]]:
        return tokenizer(texts)["input_ids"]

    examples = encode_rows(rows, encode)
    fit_examples(model, tokenizer, examples, tuning, start=start, keep=keep, on_step=on_step)


def fit_examples(
    model: "Qwen3ForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    examples: Sequence[PairedExample],
    tuning: Tuning,
    *,
    start: Path | None = None,
    keep: Mapping[int, Path] | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> None:
    """Train a model on examples in their order, one pass: `fine_tune` for whoever has the tokens.

    Args:
        model: Trained in place.
        tokenizer: The pocket tokenizer.
        examples: What is taught; the last ones that do not fill a step make a smaller one.
        tuning: Hyper-parameters.
        start: Folder with the state of a run that had the same first examples, which go on here.
        keep: Steps whose state is kept, with the folders for it.
        on_step: Called with the steps done, all steps, and the loss per target token.

    Raises:
        ValueError: The state in `start` is beyond the last step.
        StoreError: A state cannot be written.
    """
    import torch

    n_steps = -(-len(examples) // tuning.rows_per_step)
    optimizers = build_optimizers(model, tuning.learning_rate)
    first = 0 if start is None else Checkpoint(start).load(model, optimizers)
    if first > n_steps:
        raise ValueError(f"{start} has {first} steps, but there are only {n_steps}")
    head = model.get_input_embeddings().weight
    pad_id = int(tokenizer.pad_token_id)
    for step in range(first, n_steps):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = tuning.learning_rate * tuning.factor(step, n_steps)
        chosen = examples[step * tuning.rows_per_step : (step + 1) * tuning.rows_per_step]
        batch = collate(list(chosen), pad_id).to(str(head.device))
        hidden = model.model(
            input_ids=batch.ids,
            position_ids=batch.positions,
            attention_mask=batch.mask,
            use_cache=False,
        ).last_hidden_state
        wanted = batch.targets != -100
        loss = torch.nn.functional.cross_entropy(hidden[wanted] @ head.T, batch.targets[wanted])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if on_step is not None:
            on_step(step + 1, n_steps, loss.item())
        if keep and step + 1 in keep:
            _keep_state(keep[step + 1], model, optimizers, step + 1)


def _keep_state(
    folder: Path,
    model: "Qwen3ForCausalLM",
    optimizers: "list[torch.optim.Optimizer]",
    step: int,
) -> None:
    from safetensors import SafetensorError

    try:
        Checkpoint(folder).save(model, optimizers, step)
    except (OSError, SafetensorError) as error:
        # safetensors tells of a full disk by an error of its own.
        raise StoreError(
            f"the state after step {step} cannot be written to {folder}: {error}",
            hint="make room, or choose another folder; the same command goes on",
        ) from error


def has_state(folder: Path) -> bool:
    """Return whether a folder holds a whole state that `fine_tune` has kept."""
    return (folder / _STATE).is_file()


def load_state(model: "Qwen3ForCausalLM", state: Path) -> None:
    """Give a model the weights of a kept state.

    Args:
        model: Of the same shape; changed in place.
        state: One of the folders that `fine_tune` has kept.
    """
    from safetensors.torch import load_file

    kept = load_file(state / _STATE)
    for name, parameter in model.named_parameters():
        parameter.data.copy_(kept[f"model/{name}"])
