"""Sample many answers of a pocket model at once, and tell how likely they are. Needs `train`.

What training on a model's own answers is made of: a group of answers per prompt, sampled with a
key/value cache on the CPU, and the log-probabilities of given answers, which gradients flow
through. FLOPs of both are told by the exact formula, padding left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policies import user_message
from policies.backends.pocket import render_chat

from ..cost import Architecture, decode_flops, prefill_flops, training_flops
from .questions import PocketQuestion
from .reading import said_answer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

__all__ = [
    "Answer",
    "answer_log_probs",
    "forward_flops",
    "group_flops",
    "is_right",
    "learning_flops",
    "network_of",
    "prompt_of",
    "sample_answers",
]

_END = "<|im_end|>"
_ANSWERS_AT_ONCE = 256
_KEPT_SHARE = 0.6
"""Finished answers leave the batch when no more than this share of it is unfinished."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One sampled answer.

    Attributes:
        prompt: Token ids of the rendered prompt.
        ids: Generated token ids, the end of the turn included where there is one.
        log_probs: Natural logarithm of each token's probability as it was sampled.
        text: What was generated, without the end of the turn.
        has_ended: Whether it ended by itself; else it was cut at the most tokens.
    """

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    text: str
    has_ended: bool

    def __len__(self) -> int:
        """Return the number of generated tokens."""
        return len(self.ids)


def prompt_of(question: PocketQuestion) -> str:
    """Return the rendered prompt of a plain question that may be thought about."""
    return render_chat(user_message(question.prompt), thinking=True)


def is_right(question: PocketQuestion, answer: Answer) -> bool:
    """Return whether an answer ended by itself and gives the right answer behind its thought.

    A thought that was opened and never closed holds no answer, whatever stands in it: whoever asks
    the model would see none.
    """
    said = answer.text.rpartition("</think>")[2]
    is_open = "<think>" in said
    return answer.has_ended and not is_open and said_answer(said) == question.answer


def network_of(model: "Qwen3ForCausalLM") -> Architecture:
    """Return the shape of a model, for its FLOPs."""
    return Architecture.from_config(model.config.to_dict())


def group_flops(network: Architecture, group: Sequence[Answer]) -> int:
    """Return the FLOPs of sampling a group: its prompt read once, each answer decoded."""
    n_prompt = len(group[0].prompt)
    return prefill_flops(network, n_prompt) + sum(
        decode_flops(network, n_prompt, len(answer)) for answer in group
    )


def learning_flops(network: Architecture, answer: Answer) -> int:
    """Return the FLOPs of one pass of learning from an answer: three forward passes."""
    return training_flops(network, len(answer.prompt), len(answer))


def forward_flops(network: Architecture, answer: Answer) -> int:
    """Return the FLOPs of telling how likely an answer is, without learning from it."""
    return learning_flops(network, answer) // 3


def sample_answers(
    model: "Qwen3ForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    prompts: Sequence[str],
    n: int,
    *,
    generator: "torch.Generator",
    temperature: float = 1.0,
    most_tokens: int = 96,
) -> list[list[Answer]]:
    """Return `n` answers to each prompt.

    Args:
        model: Who answers.
        tokenizer: Its tokenizer.
        prompts: Rendered prompts.
        n: Answers per prompt.
        generator: Source of randomness; equal states give equal answers on one machine.
        temperature: Of sampling, above 0; the log-probabilities are those at it.
        most_tokens: Answers that are longer are cut.
    """
    ids: list[list[int]] = tokenizer(list(prompts))["input_ids"]
    groups: list[list[Answer]] = []
    at_once = max(1, _ANSWERS_AT_ONCE // n)
    for start in range(0, len(ids), at_once):
        chosen = ids[start : start + at_once]
        decoded = list(_decode(model, tokenizer, chosen, n, generator, temperature, most_tokens))
        groups += [decoded[first : first + n] for first in range(0, len(decoded), n)]
    return groups


def _decode(
    model: "Qwen3ForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    prompts: Sequence[list[int]],
    n: int,
    generator: "torch.Generator",
    temperature: float,
    most_tokens: int,
) -> Iterator[Answer]:
    """Decode `n` answers to each of a few prompts together, padded on the left."""
    import torch
    from transformers import DynamicCache

    end, pad = int(tokenizer.convert_tokens_to_ids(_END)), int(tokenizer.pad_token_id)
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(one)) + one for one in prompts])
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    head = model.get_input_embeddings().weight
    said: list[list[int]] = [[] for _ in range(len(prompts) * n)]
    likely: list[list[float]] = [[] for _ in said]
    with torch.inference_mode():
        cache = DynamicCache(config=model.config)
        hidden = _forward(model, ids, mask, positions, cache)[:, -1]
        cache.batch_repeat_interleave(n)
        hidden, mask, last = (
            one.repeat_interleave(n, dim=0) for one in (hidden, mask, positions[:, -1:])
        )
        rows = torch.arange(len(said))
        for done in range(1, most_tokens + 1):
            scores = ((hidden @ head.T) / temperature).log_softmax(-1)
            tokens = torch.multinomial(scores.exp(), 1, generator=generator)
            chosen = scores.gather(1, tokens)
            for row, token, score in zip(
                rows.tolist(), tokens[:, 0].tolist(), chosen[:, 0].tolist(), strict=True
            ):
                if not said[row] or said[row][-1] != end:
                    said[row].append(token)
                    likely[row].append(score)
            goes_on = torch.tensor([said[row][-1] != end for row in rows.tolist()])
            if done == most_tokens or not goes_on.any():
                break
            if goes_on.float().mean() <= _KEPT_SHARE:
                kept = goes_on.nonzero()[:, 0]
                cache.batch_select_indices(kept)
                rows, tokens, mask, last = rows[kept], tokens[kept], mask[kept], last[kept]
            mask = torch.cat([mask, torch.ones_like(tokens)], dim=1)
            last = last + 1
            hidden = _forward(model, tokens, mask, last, cache)[:, -1]
    for row, (own, scores_of_row) in enumerate(zip(said, likely, strict=True)):
        has_ended = own[-1] == end
        text = tokenizer.decode(own[:-1] if has_ended else own)
        yield Answer(tuple(prompts[row // n]), tuple(own), tuple(scores_of_row), text, has_ended)


def _forward(
    model: "Qwen3ForCausalLM",
    ids: "torch.Tensor",
    mask: "torch.Tensor",
    positions: "torch.Tensor",
    cache: object,
) -> "torch.Tensor":
    return model.model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state


def answer_log_probs(
    model: "Qwen3ForCausalLM", answers: Sequence[Answer], pad_id: int
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return log-probabilities of answers' tokens, and where there are any, (answers, tokens) each.

    Args:
        model: Whose probabilities; gradients flow unless they are switched off.
        answers: Answers of any model of the same tokenizer.
        pad_id: What fills rows of a batch; on the right, where causal attention never looks.
    """
    import torch

    width = max(len(answer.prompt) + len(answer) for answer in answers) - 1
    longest = max(map(len, answers))
    ids = torch.full((len(answers), width), pad_id)
    wanted = torch.full((len(answers), longest), 0)
    # Where the hidden state that predicts each token of the answer stands.
    places = torch.zeros(len(answers), longest, dtype=torch.long)
    mask = torch.zeros(len(answers), longest)
    for row, answer in enumerate(answers):
        whole = torch.tensor(answer.prompt + answer.ids)
        ids[row, : len(whole) - 1] = whole[:-1]
        n = len(answer)
        wanted[row, :n] = whole[-n:]
        places[row, :n] = torch.arange(len(answer.prompt) - 1, len(whole) - 1)
        mask[row, :n] = 1.0
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    at_answers = hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))
    logits = at_answers @ model.get_input_embeddings().weight.T
    chosen = logits.log_softmax(-1).gather(2, wanted[..., None])[..., 0]
    return chosen * mask, mask
