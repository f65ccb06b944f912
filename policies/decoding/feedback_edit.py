"""`feedback-edit([responses=R][,feedbacks=F][,edits=E],verifier=NAME)/POLICY`: draft, hear, edit.

R answers are sampled; for each, F feedbacks are sampled; with each feedback the answer is edited
E times; the verifier picks among the R * F * E edited answers. R * (1 + F * (1 + E)) requests,
besides what the verifier asks.

Source: Wang et al., "HelpSteer3: Human-Annotated Feedback and Edit Data to Empower Inference-Time
Scaling in Open-Ended General-Domain Tasks", arXiv 2503.04378: three models of their own for the
three roles, whose numbers are scaled. Its best numbers are 8 answers with 16 feedbacks; the
defaults here are small. The wordings are our own.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from .._backend import Backend, Capability, GenerationRequest, require
from .._bill import Bill
from .._card import Inner, Parameter, PolicyCard
from .._errors import BackendError
from .._messages import Call, Completion, Message
from .._policy import DecodingOptions, OneRequestPolicy, parts_of
from .._registry import build_one_request, build_verifier
from .._spec import PolicySpec
from ..verifiers import Verifier, verifier_parts
from ._asides import aside
from ._samples import draw, first_of, scores_of
from ._sampling import need_sampling, sample_seed, with_logprobs

__all__ = ["EDIT", "FEEDBACK", "FeedbackEdit"]

FEEDBACK = "Say what is right and what is wrong in this answer, step by step."
"""User turn after an answer, for the feedback role."""

EDIT = "Rewrite the answer with this feedback in mind:\n\n{feedback}"
"""User turn after an answer, for the edit role."""


class FeedbackEdit:
    """Sample answers, feedback on them and edits by it, and return the edit a verifier likes best.

    The three roles are played by the policy's own model unless others are given. The source found
    that a model's feedback on itself gives no gain: use this with models trained for the roles,
    or take the default as the baseline that it is.

    Requests to other models are on the bill under their names, and count neither for the usage
    nor for the ceiling, which are the policy's own model's. Without a finished edit the first
    finished answer is returned with a remark, and without scores the first finished edit.
    """

    card = PolicyCard(
        name="feedback-edit",
        signature="feedback-edit(verifier=NAME[,responses=R,feedbacks=F,edits=E])/POLICY",
        summary="R answers, F feedbacks on each, E edits by each, and the best edit.",
        paper="Wang et al., arXiv 2503.04378 (there with three models; the same model gains nothing)",
        standard=("feedback-edit(verifier={verifier})/direct",),
        parameters=(
            Parameter("responses", int, "answers sampled", 2, least=1, most=1000),
            Parameter("feedbacks", int, "feedbacks sampled on each answer", 2, least=1, most=1000),
            Parameter("edits", int, "edits sampled with each feedback", 1, least=1, most=1000),
            Parameter("verifier", str, "name of the verifier that picks an edit"),
        ),
        inner=Inner.ONE_REQUEST,
    )

    def __init__(
        self,
        inner: OneRequestPolicy,
        verifier: Verifier,
        *,
        responses: int = 2,
        feedbacks: int = 2,
        edits: int = 1,
        feedback_backend: Backend | None = None,
        edit_backend: Backend | None = None,
    ) -> None:
        """Take the policy that answers and edits, and the verifier.

        Args:
            inner: How answers and edits are asked for; feedback has its budgets.
            verifier: What picks an edit.
            responses: Answers, 1 or more.
            feedbacks: Feedbacks on each answer, 1 or more.
            edits: Edits with each feedback, 1 or more.
            feedback_backend: Model that gives feedback; the policy's own if `None`.
            edit_backend: Model that edits; the policy's own if `None`.

        Raises:
            InvalidPolicyError: A parameter is out of range.
        """
        self.spec = self.card.spec(
            responses=responses,
            feedbacks=feedbacks,
            edits=edits,
            verifier=verifier.name,
            inner=inner.spec,
        )
        self.mode = inner.mode
        samples = (
            {Capability.SAMPLES} if max(responses, feedbacks, edits) > 1 else set[Capability]()
        )
        self.needs: frozenset[Capability] = inner.needs | verifier.needs | samples
        self._inner = inner
        self._verifier = verifier
        self._numbers = (responses, feedbacks, edits)
        self._feedback_backend = feedback_backend
        self._edit_backend = edit_backend

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "FeedbackEdit":
        """Build from a spec such as `feedback-edit(feedbacks=4,verifier=self)/direct`.

        Raises:
            InvalidPolicyError: The verifier is missing, a parameter is out of range, or the inner
                policy sends several requests.
            UnknownNameError: There is no such verifier or inner policy.
        """
        values = cls.card.read(spec)
        return cls(
            build_one_request(spec),
            build_verifier(values.word("verifier")),
            responses=values.integer("responses"),
            feedbacks=values.integer("feedbacks"),
            edits=values.integer("edits"),
        )

    def parts(self) -> Mapping[str, str]:
        """Return what identifies inner policy, verifier, and the models of the other roles."""
        roles = {"feedback": self._feedback_backend, "edit": self._edit_backend}
        return (
            parts_of(self._inner)
            | verifier_parts(self._verifier)
            | {
                f"role:{role}": json.dumps(dict(backend.identity()), sort_keys=True)
                for role, backend in roles.items()
                if backend is not None
            }
        )

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what all requests to the policy's own model may generate at most."""
        n_responses, n_feedbacks, n_edits = self._totals()
        n_requests = n_responses
        n_requests += n_feedbacks if self._feedback_backend is None else 0
        n_requests += n_edits if self._edit_backend is None else 0
        scoring = n_edits * self._verifier.max_tokens()
        return n_requests * self._inner.max_tokens(options) + scoring

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the best edit; its usage is that of all requests to the policy's own model.

        Raises:
            InvalidInputError: The temperature is 0, so that all samples would be equal.
            CapabilityError: The model of a role cannot do what it is asked.
            BackendError: No answer could be had.
        """
        if max(self._numbers) > 1:
            need_sampling(self.spec, options)
        drawn = with_logprobs(options, self._verifier.needs)
        self._require_roles(drawn)
        bill = Bill(backend, self.max_tokens(options))
        answers = await draw(
            bill, self._inner, messages, drawn, "feedback-edit", range(self._numbers[0])
        )
        heard = await self._feedback(bill, messages, options, answers)
        edits = await self._edits(bill, messages, drawn, heard)
        scores = await scores_of(bill, self._verifier, messages, edits)
        if scores:
            return bill.close(edits[max(scores, key=scores.__getitem__)])
        edit = next((one for one in edits if one is not None and one.is_finished), None)
        if edit is None:
            bill.remark("no-edit", "no edit was finished, so an answer is returned as it was")
        return bill.close(edit or first_of(answers))

    async def _feedback(
        self,
        bill: Bill,
        messages: Sequence[Message],
        options: DecodingOptions,
        answers: Sequence[Completion | None],
    ) -> list[tuple[int, int, str, str]]:
        """Return answer's number, feedback's number, answer and feedback for all that came."""
        places = [
            (i, j, answer.text)
            for i, answer in enumerate(answers)
            if answer is not None and answer.is_finished
            for j in range(self._numbers[1])
        ]
        requests = [
            replace(
                aside(self._inner, _after(messages, answer, FEEDBACK), options),
                temperature=options.temperature,
                seed=sample_seed(options.seed, "feedback-edit", "feedback", i, j),
            )
            for i, j, answer in places
        ]
        came = await _ask_role(bill, self._feedback_backend, requests)
        heard = [
            (*place, one.text.strip())
            for place, one in zip(places, came, strict=True)
            if one is not None and one.text.strip()
        ]
        if len(heard) < sum(one is not None for one in came):
            bill.remark("no-feedback", "some feedback was empty and is left out")
        return heard

    async def _edits(
        self,
        bill: Bill,
        messages: Sequence[Message],
        options: DecodingOptions,
        heard: Sequence[tuple[int, int, str, str]],
    ) -> list[Completion | None]:
        requests: list[GenerationRequest] = []
        for i, j, answer, feedback in heard:
            turns = _after(messages, answer, EDIT.format(feedback=feedback))
            for k in range(self._numbers[2]):
                seed = sample_seed(options.seed, "feedback-edit", "edit", i, j, k)
                requests.append(self._inner.request(turns, replace(options, seed=seed)))
        return await _ask_role(bill, self._edit_backend, requests)

    def _totals(self) -> tuple[int, int, int]:
        n_responses, n_each, n_edits_each = self._numbers
        n_feedbacks = n_responses * n_each
        return n_responses, n_feedbacks, n_feedbacks * n_edits_each

    def _require_roles(self, drawn: DecodingOptions) -> None:
        needs = set(self._inner.needs)
        if drawn.temperature > 0:
            needs.add(Capability.SAMPLES)
        if self._feedback_backend is not None:
            require(self._feedback_backend, frozenset(needs))
        if drawn.logprobs:
            needs.add(Capability.LOGPROBS)
        if self._edit_backend is not None:
            require(self._edit_backend, frozenset(needs))


def _after(messages: Sequence[Message], answer: str, request: str) -> tuple[Message, ...]:
    return (*messages, Message("assistant", answer), Message("user", request))


async def _ask_role(
    bill: Bill, backend: Backend | None, requests: Sequence[GenerationRequest]
) -> list[Completion | None]:
    """Return the completions of a role's requests, by its own model if it has one."""
    if backend is None:
        return await bill.ask_all(requests)
    own = Bill(backend, sum(request.max_tokens for request in requests))
    completions = await own.ask_all(requests)
    came = [one for one in completions if one is not None]
    for one in came:
        for call in one.calls or (Call(one.usage),):
            bill.charge(call.usage, call.model or backend.model)
    try:
        closed = own.close(next(iter(came), None))
    except BackendError as error:
        bill.fault(error)
    else:
        for remark in closed.remarks:
            bill.remark(remark.code, remark.text, is_fault=remark.is_fault)
    return completions
