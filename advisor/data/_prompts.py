"""When two prompts are the same, and which ones an evaluation must keep out of training."""

import hashlib
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

from policies import DataFileError

from ._lines import BrokenLine, check_file, describe_lines, read_objects, remember

__all__ = ["KEY_BYTES", "prompt_hash", "prompt_key", "prompt_keys", "read_prompt_hashes"]

KEY_BYTES = 16
_NAMES = ("prompt", "question", "problem", "input", "query", "text")
_HASH = re.compile(r"[0-9a-f]{32}")


def prompt_hash(prompt: str) -> str:
    r"""Return what two prompts share that differ in letter case or white space only.

    Returns:
        32 hexadecimal digits, 128 bits of BLAKE2b over the text in Unicode's form NFC, case
        folded, with single spaces.

    Example:
        >>> prompt_hash("What is  2 + 2?\n") == prompt_hash("what is 2 + 2?")
        True
        >>> prompt_hash("What is 2 + 2?") == prompt_hash("What is 2 - 2?")
        False
    """
    return prompt_key(prompt).hex()


def prompt_key(prompt: str) -> bytes:
    """Return `prompt_hash` as bytes."""
    if not prompt.isascii():
        prompt = unicodedata.normalize("NFC", prompt)
    plain = " ".join(prompt.casefold().split())
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def prompt_keys(exclude: Collection[str]) -> frozenset[bytes]:
    """Return the keys of prompts that are given as texts or as what `prompt_hash` returns."""
    return frozenset(
        bytes.fromhex(item) if _HASH.fullmatch(item) else prompt_key(item) for item in exclude
    )


def read_prompt_hashes(path: Path) -> frozenset[str]:
    """Return the `prompt_hash` of every prompt in a JSONL file of questions.

    A prompt is the first of the texts `prompt`, `question`, `problem`, `input`, `query` and
    `text` on its line. Every line must have one: a question that cannot be read cannot be kept
    out of training.

    Raises:
        DataFileError: A line has none, or the file cannot be read.
    """
    check_file(path)
    hashes: set[str] = set()
    broken: list[BrokenLine] = []
    n_broken = 0
    for line in read_objects(path):
        problem = line
        if not isinstance(line, BrokenLine):
            prompt = next(
                (value for name in _NAMES if isinstance(value := line.value.get(name), str)), ""
            )
            if prompt.strip():
                hashes.add(prompt_hash(prompt))
                continue
            problem = BrokenLine(line.line, f"no text in any of {', '.join(_NAMES)}")
        if isinstance(problem, BrokenLine):
            n_broken += 1
            remember(broken, problem)
    if n_broken or not hashes:
        raise DataFileError(
            f"lines without a question, {n_broken:,}: {describe_lines(broken, n_broken)}"
            if n_broken
            else "no line holds a question",
            path=path,
            hint="give one object per line with a text 'prompt' or 'question'",
        )
    return frozenset(hashes)
