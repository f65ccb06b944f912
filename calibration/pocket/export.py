"""Export a trained pocket model: `python -m calibration.pocket.export --size pocket-m --run DIR`.

Needs the extra `train`. Writes the ONNX form that the package ships and the safetensors form
that vLLM and transformers read, after checking that both give the same tokens.
"""

import argparse
import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from policies import GenerationRequest, user_message
from policies.backends.pocket import PocketBackend

from .questions import POCKET_TASK_TYPES, PocketQuestion, stream_questions

__all__ = ["export", "first_difference"]

_SAFETENSORS_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
_ONNX_FILES = (
    "model.onnx",
    "model.onnx.data",
    "genai_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
_N_CHECKED = 50


def export(name: str, trained: Path, onnx_root: Path, safetensors_root: Path) -> None:
    """Write both forms of a trained model.

    Args:
        name: Model name, for example `pocket-m`.
        trained: Folder that `train` wrote with `save_pretrained`.
        onnx_root: Receives `NAME/` with the ONNX model and `config.json`.
        safetensors_root: Receives `NAME/` with the transformers model.

    Raises:
        RuntimeError: The ONNX model generates other tokens than the transformers model.
        CalledProcessError: The model builder failed.
    """
    with TemporaryDirectory() as temporary:
        # The builder's own command line; its functions expect what that prepares.
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        command += ["-i", str(trained), "-o", temporary, "-p", "fp32", "-e", "cpu"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        _copy(Path(temporary), onnx_root / name, _ONNX_FILES)
    _copy(trained, onnx_root / name, ("config.json",))
    _copy(trained, safetensors_root / name, _SAFETENSORS_FILES)
    difference = first_difference(name, onnx_root / name, safetensors_root / name)
    if difference is not None:
        raise RuntimeError(f"ONNX and transformers differ on {difference!r}")


def first_difference(name: str, onnx: Path, safetensors: Path, n: int = _N_CHECKED) -> str | None:
    """Return the first held-out prompt on which greedy tokens differ, `None` if there is none.

    Args:
        name: Model name.
        onnx: Folder of the ONNX model.
        safetensors: Folder of the transformers model.
        n: Questions per task type; each is asked in both modes.
    """
    questions = [
        question
        for task_type in POCKET_TASK_TYPES
        for question in islice(stream_questions(task_type, seed=11, split="heldout"), n)
    ]
    generated = asyncio.run(_onnx_tokens(name, onnx, questions))
    agrees = _greedy_check(safetensors)
    for question, pair in zip(questions, generated, strict=True):
        for thinking, tokens in zip((False, True), pair, strict=True):
            if not agrees(question.prompt, thinking, tokens):
                return question.prompt
    return None


async def _onnx_tokens(
    name: str, directory: Path, questions: list[PocketQuestion]
) -> list[list[tuple[int, ...]]]:
    backend = PocketBackend(name, directory=directory)
    requests = [
        GenerationRequest(user_message(question.prompt), max_tokens=96, thinking=thinking)
        for question in questions
        for thinking in (False, True)
    ]
    completions = await asyncio.gather(*map(backend.generate, requests))
    await backend.aclose()
    ids = [completion.token_ids or () for completion in completions]
    return [list(pair) for pair in zip(ids[::2], ids[1::2], strict=True)]


def _greedy_check(directory: Path) -> Callable[[str, bool, tuple[int, ...]], bool]:
    """Return a function that tells whether transformers would generate the same tokens.

    One forward pass over prompt and answer suffices: if every token is the most likely one after
    those before it, greedy decoding gives exactly this answer.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory).eval()
    end = int(tokenizer.convert_tokens_to_ids("<|im_end|>"))

    def agrees(prompt: str, thinking: bool, tokens: tuple[int, ...]) -> bool:
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            add_generation_prompt=True,
            enable_thinking=thinking,
            return_dict=True,
        )["input_ids"]
        answer = [*tokens, end]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*ids, *answer[:-1]]])).logits[0]
        return logits[len(ids) - 1 :].argmax(-1).tolist() == answer

    return agrees


def _copy(source: Path, target: Path, names: tuple[str, ...]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(source / name, target / name)


def main() -> None:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(prog="python -m calibration.pocket.export")
    parser.add_argument("--size", required=True, help="pocket-xs, pocket-s, pocket-m")
    parser.add_argument("--run", type=Path, required=True, help="--out of calibration.pocket.train")
    parser.add_argument("--onnx-root", type=Path, default=Path("policies/pocket_models"))
    parser.add_argument("--safetensors-root", type=Path, default=Path("models"))
    options = parser.parse_args()
    export(options.size, options.run / "model", options.onnx_root, options.safetensors_root)
    sys.stderr.write(f"exported {options.size}\n")


if __name__ == "__main__":
    main()
