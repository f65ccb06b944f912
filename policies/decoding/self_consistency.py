r"""`sc(n=K)/POLICY`: several sampled answers, and the one that most of them give.

Source: Wang et al., "Self-Consistency Improves Chain of Thought Reasoning", arXiv 2203.11171,
section 2: the majority over final answers, unweighted.
"""

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from functools import reduce
from operator import add

from .._backend import Backend, Capability
from .._errors import InvalidInputError, InvalidPolicyError
from .._messages import Completion, Evidence, FinishReason, Message
from .._policy import DecodingOptions, Policy
from .._registry import build_policy
from .._spec import PolicySpec

__all__ = ["SelfConsistency", "final_answer"]

_MOST_SAMPLES = 1000
_MARKED = re.compile(r"\banswer(?:\s+is)?\s*[:=]?\s*", re.IGNORECASE)
_EDGES = " \t\r\n*_`$\"'.,;:!()[]{}<>"
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?(?:\.[0-9]+)?")


class SelfConsistency:
    """Ask a policy n times at the caller's temperature and return the majority's answer.

    All samples are asked at once, and all of their tokens are in the usage. The text returned is
    the first sample of the majority; with equally many votes the answer that came first wins.
    Samples that did not finish an answer vote for nothing, and count among the n that might have
    agreed.
    """

    def __init__(
        self, inner: Policy, n: int, *, canonical: Callable[[str], str] | None = None
    ) -> None:
        """Take the policy to sample.

        Args:
            inner: What is asked each time.
            n: Number of samples, 2 or more.
            canonical: Returns equal texts for answers that mean the same; by default
                `final_answer`.

        Raises:
            InvalidPolicyError: `n` is out of range.
        """
        if not 2 <= n <= _MOST_SAMPLES:
            raise InvalidPolicyError(f"sc(n={n}): expected 2 to {_MOST_SAMPLES} samples")
        self.spec = PolicySpec("sc", params=(("n", n),), inner=inner.spec)
        self.mode = inner.mode
        self.needs: frozenset[Capability] = inner.needs | {Capability.SAMPLES}
        self._inner = inner
        self._n = n
        self._canonical = canonical or final_answer

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "SelfConsistency":
        """Build from a spec such as `sc(n=5)/reasoning@1024`.

        Raises:
            InvalidPolicyError: There is no n or no inner policy, or something else besides.
            UnknownNameError: There is no such inner policy.
        """
        params = dict(spec.params)
        n = params.pop("n", None)
        if params or spec.members or spec.inner is None or type(n) is not int:
            raise InvalidPolicyError(
                f"policy {str(spec)!r} does not say what to sample, and how often",
                hint="write sc(n=5)/reasoning@1024",
            )
        return cls(build_policy(spec.inner), n)

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what all samples together may generate at most."""
        return self._n * self._inner.max_tokens(options)

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the majority's first completion with the usage of all samples.

        `evidence.agreement` is the share of samples that give the returned answer; the
        log-probabilities are the returned sample's. `seconds` is the slowest sample's.

        Raises:
            InvalidInputError: The temperature is 0, so that all samples would be equal.
            BackendError: A sample could not be had.
        """
        if options.temperature == 0:
            raise InvalidInputError(
                f"{str(self.spec)!r} at temperature 0 would ask for {self._n} equal answers",
                hint="set a temperature above 0, such as 0.7",
                code="self-consistency-greedy",
            )
        seeds = [_seed(options.seed, number) for number in range(self._n)]
        runs = (self._inner.run(messages, backend, replace(options, seed=seed)) for seed in seeds)
        tasks = [asyncio.ensure_future(run) for run in runs]
        try:
            samples = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # After a failure nobody waits for the others.
                task.cancel()
        return self._elected(samples)

    def _elected(self, samples: Sequence[Completion]) -> Completion:
        answers = [self._canonical(one.text) if _is_finished(one) else "" for one in samples]
        # Counter keeps the order in which answers came, and the first of equals is returned.
        votes = Counter(answer for answer in answers if answer)
        ((answer, n_votes),) = votes.most_common(1) or [("", 0)]
        winner = samples[answers.index(answer)]
        return replace(
            winner,
            usage=reduce(add, (one.usage for one in samples)),
            seconds=max(one.seconds for one in samples),
            evidence=replace(winner.evidence or Evidence(), agreement=n_votes / len(samples)),
        )


def final_answer(text: str) -> str:
    r"""Return the final answer of a text in a form in which equal answers are equal texts.

    The final answer is what the last `\boxed{...}` holds; else what follows the last "answer:"
    or "answer is" in its line; else the last line. Case, white space and marks around it are
    dropped, and numbers are written in one way: 1,000 and 1000.0 are equal. No mathematics is
    done: 1/2 and 0.5 are two answers.

    Example:
        >>> final_answer("So it is 40 + 2.\nThe answer is **42.0**.")
        '42'
    """
    found = _boxed(text)
    if found is None:
        marks = list(_MARKED.finditer(text))
        rest = text[marks[-1].end() :] if marks else text
        lines = [line for line in rest.splitlines() if line.strip(_EDGES)]
        found = "" if not lines else lines[0 if marks else -1]
    bare = " ".join(found.strip(_EDGES).casefold().split())
    return _number(bare) or bare


def _boxed(text: str) -> str | None:
    r"""Return what the last closed `\boxed{...}` holds, braces inside it balanced."""
    _, mark, rest = text.rpartition("\\boxed{")
    depth = 1
    for place, character in enumerate(rest if mark else ""):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[:place]
    return None


def _number(text: str) -> str | None:
    if not any(map(str.isdigit, text)) or not _NUMBER.fullmatch(text):
        return None
    try:
        value = Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None
    return format(value.normalize() + 0, "f")


def _is_finished(completion: Completion) -> bool:
    is_whole = completion.finish_reason is FinishReason.STOP and completion.thinking_closed
    return is_whole and bool(completion.text.strip())


def _seed(seed: int | None, number: int) -> int | None:
    """Return the seed of one sample; none where the caller leaves seeds to the backend."""
    if seed is None:
        return None
    digest = hashlib.sha256(f"sc/{seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1  # servers take signed 32 bits
