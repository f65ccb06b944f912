"""`cascade(CHEAP,DEAR)`: ask a cheap policy, and a dear one where the cheap answer looks doubtful.

Canonical: `cascade(direct,reasoning@max,level=0.8)`.

Algorithm: ask CHEAP. Keep its answer if what it says about itself reaches the level: the geometric
mean of its tokens' probabilities (`likelihood`), the share of the likeliest token against the
second at the least certain place (`margin`), or the share of samples that agree (`agreement`, for
a CHEAP that samples, such as `sc`). Else, and if the answer was cut or says nothing about itself,
ask DEAR.

A router asks in turn too, with levels fitted to outcomes: `ask_in_turn` is the part they share.

Source: Chen et al., "FrugalGPT", arXiv 2305.05176 (cascades); Gupta et al., "Language Model
Cascades: Token-Level Uncertainty and Beyond", arXiv 2404.10136 (token probabilities); Yue et al.,
arXiv 2310.03094 (agreement of samples).
"""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import TypeVar

from .._backend import Backend, Capability
from .._bill import Bill
from .._card import Parameter, PolicyCard
from .._messages import Call, Completion, Evidence, Message
from .._policy import DecodingOptions, Policy, parts_of
from .._registry import build_policy
from .._spec import PolicySpec
from .._vocabulary import Mode
from ._sampling import sample_seed

__all__ = ["CascadePolicy", "as_one_answer", "ask_in_turn", "evidence_of"]

_Answer = TypeVar("_Answer")

_LIKELIHOOD, _MARGIN, _AGREEMENT = "likelihood", "margin", "agreement"


class CascadePolicy:
    """Ask the dear policy only where the cheap one's answer looks doubtful."""

    card = PolicyCard(
        name="cascade",
        signature="cascade(CHEAP,DEAR[,level=P,by=likelihood|margin|agreement])",
        summary="The answer of CHEAP, or that of DEAR where CHEAP's looks doubtful.",
        paper="FrugalGPT, arXiv 2305.05176; signals: 2404.10136, 2310.03094",
        standard=("cascade(direct,reasoning@max)",),
        parameters=(
            Parameter(
                "level", float, "what keeps a cheap answer, a share", default=0.9, least=0, most=1
            ),
            Parameter(
                "by",
                str,
                "what the cheap answer is judged by",
                default=_LIKELIHOOD,
                choices=(_LIKELIHOOD, _MARGIN, _AGREEMENT),
            ),
        ),
        n_members=(2, 2),
    )

    def __init__(
        self, cheap: Policy, dear: Policy, *, level: float = 0.9, by: str = _LIKELIHOOD
    ) -> None:
        """Take the two policies.

        Args:
            cheap: What is asked first.
            dear: What is asked where the first answer looks doubtful.
            level: What keeps a cheap answer, in [0, 1].
            by: `likelihood`, `margin` or `agreement`.

        Raises:
            InvalidPolicyError: A parameter is out of range.
        """
        self.spec = self.card.spec(level=level, by=by, members=(cheap.spec, dear.spec))
        thinks = Mode.REASONING in (cheap.mode, dear.mode)
        self.mode = Mode.REASONING if thinks else Mode.IFT
        self._reads_logprobs = by != _AGREEMENT
        looked_at = frozenset({Capability.LOGPROBS} if self._reads_logprobs else ())
        self.needs: frozenset[Capability] = cheap.needs | dear.needs | looked_at
        self._cheap = cheap
        self._dear = dear
        self._level = level
        self._by = by

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "CascadePolicy":
        """Build from a spec such as `cascade(direct,reasoning@max)`.

        Raises:
            InvalidPolicyError: There are not two policies, or a parameter does not fit.
            UnknownNameError: There is no such policy.
        """
        values = cls.card.read(spec)
        cheap, dear = map(build_policy, spec.members)
        return cls(cheap, dear, level=values.number("level"), by=values.word("by"))

    def parts(self) -> Mapping[str, str]:
        """Return what identifies the two policies."""
        return parts_of(self._cheap, self._dear)

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what both policies together may generate at most."""
        return self._cheap.max_tokens(options) + self._dear.max_tokens(options)

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the answer that was kept, with the usage of all that was asked.

        If the dear answer is lost or cut, a whole cheap one is returned and remarked on.

        Raises:
            BackendError: There is no answer because the model could not be asked.
        """
        bill = Bill(backend, self.max_tokens(options))
        looked_at = replace(options, logprobs=True) if self._reads_logprobs else options
        # With the spec, so that the dear answer of a cascade in this one has another seed.
        seed = sample_seed(options.seed, "cascade", "dear", self.spec)

        def look(answer: Completion | None) -> Awaitable[Completion | None] | None:
            if answer is not None and self._is_kept(bill, answer):
                return None
            return bill.run(self._dear, messages, replace(options, seed=seed))

        cheap = bill.run(self._cheap, messages, looked_at)
        answers = await ask_in_turn(cheap, look)
        if answers[-1] is not None and answers[-1].is_finished:
            return bill.close(answers[-1])
        whole = next((one for one in answers if one is not None and one.is_finished), None)
        if whole is not None:
            bill.remark("dear-cut", "the dear answer did not finish, the doubtful one is given")
        cut = next((one for one in reversed(answers) if one is not None), None)
        return bill.close(whole or cut)

    def _is_kept(self, bill: Bill, answer: Completion) -> bool:
        evidence = evidence_of(answer)
        if evidence is None:
            return False
        certainty = _certainty(evidence, self._by)
        if certainty is None:
            bill.remark("no-evidence", f"the cheap answer does not tell its {self._by}")
            return False
        return certainty >= self._level


async def ask_in_turn(
    first: Awaitable[_Answer], look: Callable[[_Answer], Awaitable[_Answer] | None]
) -> tuple[_Answer, ...]:
    """Return a first answer, and a second one if a look at the first calls for it.

    Args:
        first: The asking of the first.
        look: Takes the first answer and returns the asking of a second, `None` to keep the first.

    Raises:
        Exception: What either asking raises; also the second, since nobody would know that a
            doubtful answer was given in its place.
    """
    answer = await first
    second = look(answer)
    return (answer,) if second is None else (answer, await second)


def as_one_answer(answers: Sequence[Completion]) -> Completion:
    """Return the last of the answers to one query, with what all of them have cost together.

    Usage, seconds, calls and remarks are those of all; everything else is the last one's.

    Args:
        answers: In the order in which they were asked, at least one.
    """
    if len(answers) == 1:
        return answers[0]
    return replace(
        answers[-1],
        usage=reduce(add, (one.usage for one in answers)),
        seconds=math.fsum(one.seconds for one in answers),
        calls=tuple(call for one in answers for call in one.calls or (Call(one.usage),)),
        remarks=tuple(dict.fromkeys(remark for one in answers for remark in one.remarks)),
    )


def evidence_of(answer: Completion) -> Evidence | None:
    """Return what an answer says about itself; `None` if there is no finished answer at all."""
    return (answer.evidence or Evidence()) if answer.is_finished else None


def _certainty(evidence: Evidence, by: str) -> float | None:
    """Return how certain an answer is, in [0, 1]; `None` where it does not tell."""
    if by == _AGREEMENT:
        return evidence.agreement
    if by == _MARGIN:
        # p1 / (p1 + p2), from the gap of their logarithms.
        return None if evidence.margin is None else 1 / (1 + math.exp(-evidence.margin))
    return None if evidence.mean_logprob is None else math.exp(evidence.mean_logprob)
