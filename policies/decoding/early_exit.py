"""`early-exit(every=N,agree=K,level=P)/POLICY`: stop thinking once the answer stands.

Canonical: `early-exit/reasoning@max`, `early-exit(agree=3,every=64,level=0.95)/reasoning@max`.

Algorithm, all of it by token ids: the model thinks in pieces of `every` tokens. After each piece
the end of the thought is forced on a copy and the model answers greedily in at most `probe`
tokens: a probe. If the last `agree` probes are whole and have the same final answer, and the last
one's confidence - the geometric mean of its tokens' probabilities - is at least `level`, the
last probe is the answer. A thought that ends by itself goes on to its answer as without probes.

Probes are dear: each sends the prompt and the thought so far once more. On servers with a prefix
cache that is nearly free; what it costs is on the bill. Length alone tells nothing about when to
stop (arXiv 2509.22193, appendix H), so a level is fitted to a model by
`calibration.early_exit.fit_exit_level`.

Source: agreement of answers probed in the middle of a thought, Fu et al., "Efficiently Scaling LLM
Reasoning with Certaindex", arXiv 2412.20993; confidence of a trial answer as the mean probability
of its tokens against a level, Yang et al., "Dynamic Early Exit in Reasoning Models", arXiv
2504.15895, probed at equal distances as in arXiv 2509.07820. That both must hold, and that the
probe itself is the answer, is ours.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from .._backend import (
    Backend,
    Capability,
    GenerationRequest,
    TellsThoughtMarkers,
    ThoughtMarkers,
    require,
)
from .._bill import Bill
from .._card import Inner, Parameter, PolicyCard
from .._errors import BackendResponseError, CapabilityError, InvalidPolicyError
from .._messages import Completion, Evidence, FinishReason, Message
from .._policy import DecodingOptions, OneRequestPolicy, parts_of
from .._registry import build_one_request
from .._spec import PolicySpec
from .._vocabulary import Mode
from ._answers import final_answer
from ._sampling import sample_seed

__all__ = ["EarlyExit", "confidence_of", "final_answer", "probe_request"]

_EVERY, _AGREE, _LEVEL, _PROBE = 32, 2, 0.9, 64


def probe_request(
    request: GenerationRequest, thought: Sequence[int], markers: ThoughtMarkers, most: int
) -> GenerationRequest:
    """Return the request that asks what the answer would be if the thought ended here.

    Args:
        request: The request whose thought it is.
        thought: Ids of the open thought so far, its start marker included.
        markers: How thoughts lie in the ids.
        most: Cap on the probe's answer tokens.
    """
    return replace(
        request,
        continuation=(*thought, *markers.end),
        max_tokens=most,
        thinking_budget=None,
        temperature=0.0,
        top_p=1.0,
        seed=None,
        logprobs=True,
    )


def confidence_of(probe: Completion) -> float:
    """Return the geometric mean probability of a probe's answer tokens, 0 where it is not told."""
    evidence = probe.evidence
    if evidence is None or evidence.mean_logprob is None:
        return 0.0
    return math.exp(evidence.mean_logprob)


class EarlyExit:
    """Think in pieces, ask after each what the answer would be, and stop once it stands.

    If a piece of the thought is lost, or the thought uses up its tokens, the last whole probe is
    the answer, with a remark.
    """

    card = PolicyCard(
        name="early-exit",
        signature="early-exit[(every=N,agree=K,level=P,probe=N)]/POLICY",
        summary="Stop thinking once K answers probed every N tokens agree and the last is sure.",
        paper="Certaindex, arXiv 2412.20993; DEER, arXiv 2504.15895; both conditions together: own",
        standard=("early-exit/reasoning@max",),
        parameters=(
            Parameter("every", int, "thinking tokens from probe to probe", default=_EVERY, least=1),
            Parameter(
                "agree", int, "probes in a row with one answer", default=_AGREE, least=1, most=100
            ),
            Parameter(
                "level",
                float,
                "least confidence of the last one (mean probability of its tokens)",
                default=_LEVEL,
                least=0.0,
                most=1.0,
            ),
            Parameter(
                "probe",
                int,
                "cap on a probe's answer tokens; 0 for the run's own",
                default=_PROBE,
                least=0,
            ),
        ),
        inner=Inner.ONE_REQUEST,
    )
    mode = Mode.REASONING

    def __init__(
        self,
        inner: OneRequestPolicy,
        *,
        every: int = _EVERY,
        agree: int = _AGREE,
        level: float = _LEVEL,
        probe: int = _PROBE,
        canonical: Callable[[str], str] = final_answer,
    ) -> None:
        """Take the policy whose thought is stopped.

        Args:
            inner: A thinking policy of one request.
            every: Thinking tokens from one probe to the next.
            agree: How many probes in a row must have the same final answer.
            level: Least confidence of the last probe, 0 to 1.
            probe: Cap on a probe's answer tokens; 0 takes the options' own.
            canonical: Returns equal texts for answers that mean the same.

        Raises:
            InvalidPolicyError: A parameter is out of range, or the inner policy does not think.
        """
        self.spec = self.card.spec(
            every=every, agree=agree, level=level, probe=probe, inner=inner.spec
        )
        if inner.mode is not Mode.REASONING:
            raise InvalidPolicyError(
                f"policy {str(self.spec)!r}: {str(inner.spec)!r} does not think, so no thought can"
                " be stopped",
                hint="wrap a policy that thinks, such as reasoning@max",
            )
        self.needs: frozenset[Capability] = inner.needs | {
            Capability.THINKING_SWITCH,
            Capability.PREFIX_CONTINUATION,
            Capability.LOGPROBS,
        }
        self._inner = inner
        self._every, self._agree, self._level, self._probe = every, agree, level, probe
        self._canonical = canonical

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "EarlyExit":
        """Build from a spec.

        Raises:
            InvalidPolicyError: A parameter does not fit, or the inner policy is no single request
                that thinks.
            UnknownNameError: There is no such inner policy.
        """
        values = cls.card.read(spec)
        return cls(
            build_one_request(spec),
            every=values.integer("every"),
            agree=values.integer("agree"),
            level=values.number("level"),
            probe=values.integer("probe"),
        )

    def parts(self) -> Mapping[str, str]:
        """Return what identifies the inner policy."""
        return parts_of(self._inner)

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return the inner policy's tokens and those of a probe after every piece of them."""
        most = self._inner.max_tokens(options)
        return most + most // self._every * self._most_probe(options)

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the answer that stands, or the one after the whole thought.

        `usage` holds the thought, once, and the answers of all probes.

        Raises:
            CapabilityError: The backend cannot go on from token ids or tell probabilities.
            BackendError: There is no answer because the model could not be asked.
        """
        require(backend, self.needs)
        if not isinstance(backend, TellsThoughtMarkers):
            raise CapabilityError(
                f"backend {backend.name!r} does not tell the token ids of thoughts",
                backend=backend.name,
                model=backend.model,
                hint="choose reasoning@B where the server keeps budgets itself",
            )
        bill = Bill(backend, self.max_tokens(options))
        request = self._inner.request(messages, options)
        answer = _Pieces(request, await backend.thought_markers())
        probes: list[Completion] = []
        while answer.is_thinking:
            part = await bill.ask(answer.next_request(self._every, options))
            if part is None or not answer.take(part, bill):
                return self._best(bill, probes, "the thought could not be gone on with")
            if not answer.is_thinking:
                break
            # A piece of nothing, cut all the same, would be asked for again and again.
            is_going_on = part.finish_reason is FinishReason.LENGTH and part.token_ids
            if not is_going_on or not answer.room:
                unfinished = replace(part, token_ids=answer.ids)
                return self._best(bill, probes, "the thought did not end", unfinished)
            asked = probe_request(request, answer.ids, answer.markers, self._most_probe(options))
            probe = await bill.ask(asked)
            if probe is not None:
                probes.append(_with_ids(probe, asked.continuation))
                if self._stands(probes):
                    return bill.close(probe, token_ids=probes[-1].token_ids)
        return await _whole(bill, answer, options)

    def _stands(self, probes: Sequence[Completion]) -> bool:
        if len(probes) < self._agree or confidence_of(probes[-1]) < self._level:
            return False
        last = probes[-self._agree :]
        answers = {self._canonical(one.text) if one.is_finished else "" for one in last}
        return len(answers) == 1 and answers != {""}

    def _best(
        self, bill: Bill, probes: Sequence[Completion], why: str, part: Completion | None = None
    ) -> Completion:
        whole = [one for one in probes if one.is_finished]
        if whole:
            bill.remark("last-probe", f"{why}; the last probe is the answer")
        return bill.close(whole[-1] if whole else part)

    def _most_probe(self, options: DecodingOptions) -> int:
        return self._probe or options.max_answer_tokens


@dataclass(slots=True)
class _Pieces:
    """An answer that comes piece by piece.

    Attributes:
        request: What a single request would be.
        markers: How thoughts lie in its ids.
        ids: What was generated so far.
        last: The latest piece.
        n_pieces: How many there are.
    """

    request: GenerationRequest
    markers: ThoughtMarkers
    ids: tuple[int, ...] = ()
    last: Completion | None = None
    n_pieces: int = 0

    @property
    def is_thinking(self) -> bool:
        """Whether the thought is not closed."""
        return not self.markers.is_closed(self.ids)

    @property
    def room(self) -> int:
        """Tokens that may still be generated."""
        return self.request.max_tokens - len(self.ids)

    @property
    def n_answer(self) -> int:
        """Answer tokens so far."""
        n_thought = len(self.markers.start) + self.markers.n_thinking(self.ids) + 1
        return 0 if self.is_thinking else max(0, len(self.ids) - n_thought)

    def next_request(self, most: int, options: DecodingOptions) -> GenerationRequest:
        """Return the request for the next piece of at most `most` tokens.

        The first one may have the thought's start marker besides, so that the others end after
        multiples of `most` thinking tokens.
        """
        most += 0 if self.ids else len(self.markers.start)
        return replace(
            self.request,
            continuation=self.ids,
            max_tokens=min(most, self.room),
            seed=sample_seed(options.seed, "early-exit", self.n_pieces),
        )

    def take(self, part: Completion, bill: Bill) -> bool:
        """Add a piece; without its ids nothing can be gone on from, which is a fault."""
        if part.token_ids is None:
            bill.fault(
                BackendResponseError(
                    "a thought came without its token ids, so it cannot be gone on from",
                    backend=bill.backend.name,
                    model=bill.backend.model,
                )
            )
            return False
        self.ids = (*self.ids, *part.token_ids)
        self.last = part
        self.n_pieces += 1
        return True


async def _whole(bill: Bill, answer: _Pieces, options: DecodingOptions) -> Completion:
    """Return the answer after a thought that ended by itself."""
    last = answer.last
    if last is None or last.finish_reason is not FinishReason.LENGTH or not answer.room:
        return bill.close(last, token_ids=answer.ids)
    n_said = answer.n_answer
    rest = await bill.ask(answer.next_request(answer.room, options))
    if rest is None or not answer.take(rest, bill):
        return bill.close(rest or last)
    return bill.close(rest, token_ids=answer.ids, evidence=_joined(last, n_said, rest))


def _with_ids(probe: Completion, given: Sequence[int]) -> Completion:
    ids = None if probe.token_ids is None else (*given, *probe.token_ids)
    return replace(probe, token_ids=ids)


def _joined(first: Completion | None, n_first: int, rest: Completion) -> Evidence | None:
    """Return the evidence of an answer that came in two pieces, `None` if a part is not told."""
    head = None if first is None else first.evidence
    tail = rest.evidence
    if not n_first:
        return tail
    if head is None or tail is None or not head.is_measured or not tail.is_measured:
        return None
    n_rest = len(rest.token_ids or ())
    total = (head.mean_logprob or 0.0) * n_first + (tail.mean_logprob or 0.0) * n_rest
    least = min(head.min_logprob or 0.0, tail.min_logprob or 0.0)
    is_told = head.margin is not None and tail.margin is not None
    margin = min(head.margin or 0.0, tail.margin or 0.0) if is_told else None
    return Evidence(total / (n_first + n_rest), least, margin)
