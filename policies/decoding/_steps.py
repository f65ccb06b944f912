"""Answers built step by step: what the policies that search over steps have in common.

A step is a paragraph or a line. Each one is a request of its own, which goes on from the token
ids of what was said so far and ends with the token that completes the stop text; servers with a
prefix cache compute the shared beginning once. Where the inner policy thinks, the steps of the
thought come first, then those of the answer.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .._backend import Capability, GenerationRequest, TellsThoughtMarkers, Tokenizes
from .._bill import Bill
from .._card import Parameter
from .._errors import BackendError, BackendResponseError, CapabilityError
from .._messages import Completion, Evidence, FinishReason, Message
from .._policy import DecodingOptions, OneRequestPolicy
from ..verifiers import Candidate
from ._sampling import sample_seed

__all__ = [
    "STEP_NEEDS",
    "STEP_PARAMETER",
    "STEP_TOKENS_PARAMETER",
    "StepNode",
    "StepSearch",
    "Weighed",
    "combined_evidence",
    "distinct",
    "path_tokens",
]

_STOPS = {"paragraph": "\n\n", "line": "\n"}
_BLANKS = 2  # Steps in a row that say nothing: the first may be the template's, two are a loop.

STEP_NEEDS = frozenset({Capability.PREFIX_CONTINUATION, Capability.STOP, Capability.SAMPLES})
"""What going on step by step needs of a backend, besides the inner policy's needs."""

STEP_PARAMETER = Parameter(
    "step", str, "what a step is", default="paragraph", choices=tuple(_STOPS)
)
"""Parameter `step` of the policies that search over steps."""

STEP_TOKENS_PARAMETER = Parameter(
    "step_tokens", int, "cap on the tokens of one step", default=2048, least=1
)
"""Parameter `step_tokens`. Source: arXiv 2502.06703, 2,048 tokens per step."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """Evidence of one part of an answer.

    Attributes:
        evidence: What was measured.
        n_tokens: About how many tokens of the answer, 1 or more.
    """

    evidence: Evidence
    n_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class StepNode:
    """An answer as far as it has come.

    Attributes:
        token_ids: All of it, thought and inserted text included.
        text: The answer so far, without the thought.
        thinking: The thought so far, `None` without one.
        in_thought: Whether what comes next belongs to the thought.
        step: The text that came last, without the white space at its ends.
        depth: How many steps it has; inserted text is none.
        is_complete: The model has ended its turn with an answer that says something.
        is_dead: It cannot go on: cut at the cap, nothing new said, context full, request lost.
        latest: The completion of its last request; `None` if there was none.
        parent: What it goes on from.
    """

    token_ids: tuple[int, ...] = ()
    text: str = ""
    thinking: str | None = None
    in_thought: bool = False
    step: str = ""
    depth: int = 0
    is_complete: bool = False
    is_dead: bool = False
    latest: Completion | None = None
    parent: "StepNode | None" = None
    n_blank: int = 0
    weighed: tuple[Weighed, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it can go on."""
        return not self.is_complete and not self.is_dead

    @property
    def said(self) -> str:
        """Thought and answer together."""
        return (self.thinking or "") + self.text

    @property
    def key(self) -> tuple[str, str, bool, bool]:
        """Equal for nodes that say the same, white space at the ends aside."""
        thinking = (self.thinking or "").strip()
        return thinking, self.text.strip(), self.in_thought, self.is_complete


def distinct(nodes: Iterable[StepNode]) -> list[StepNode]:
    """Return the first of all nodes that say the same."""
    found: dict[object, StepNode] = {}
    for node in nodes:
        found.setdefault(node.key, node)
    return list(found.values())


def path_tokens(most: int, depth: int, step_tokens: int) -> int:
    """Return what one request per depth may generate at most, all depths together.

    Every step that can be gone on from has a token of its own, so that the step at depth d has
    at most `most - d` tokens left.

    Args:
        most: Cap on the whole answer.
        depth: Number of steps.
        step_tokens: Cap on one step.
    """
    return sum(min(step_tokens, most - done) for done in range(min(depth, most)))


class StepSearch:
    """Goes on from beginnings of an answer to one query, its requests on the query's bill.

    Attributes:
        messages: The query's conversation.
        bill: Where the requests go.
        root: The answer that has not begun.
        most: Cap on the tokens of the whole answer.
    """

    def __init__(
        self,
        inner: OneRequestPolicy,
        messages: Sequence[Message],
        options: DecodingOptions,
        bill: Bill,
        *,
        step: str = "paragraph",
        step_tokens: int = 2048,
    ) -> None:
        """Take the query.

        Args:
            inner: Whose request begins the answer.
            messages: The conversation.
            options: How to decode; `seed` is the query's.
            bill: Where the requests go.
            step: `paragraph` or `line`.
            step_tokens: Cap on the tokens of one step.
        """
        self.messages = messages
        self.bill = bill
        self._base = inner.request(messages, options)
        self._stop = _STOPS[step]
        self._step_tokens = step_tokens
        self._seed = options.seed
        self.most = self._base.max_tokens
        self.root = StepNode(in_thought=self._base.thinking)

    async def extend(
        self, nodes: Sequence[StepNode], n_each: int, seed_path: Sequence[object]
    ) -> list[list[StepNode]]:
        """Return `n_each` next steps for each node, all asked at once.

        Args:
            nodes: Where to go on from; those that are not open are their own only child.
            n_each: Children per node, those with equal text included.
            seed_path: What tells these requests from the query's others, such as a policy's
                name and the depth.

        Returns:
            Per node its children in the order of their seeds. Requests that did not come are
            missing; if none came, the node itself is there, dead.

        Raises:
            CapabilityError: The backend cannot go on step by step.
        """
        wanted = [
            (place, n) for place, node in enumerate(nodes) if node.is_open for n in range(n_each)
        ]
        requests = [
            self._request(nodes[place], (*seed_path, place, number), is_step=True)
            for place, number in wanted
        ]
        children: list[list[StepNode]] = [[] for _ in nodes]
        for (place, _), request, came in zip(
            wanted, requests, await self.bill.ask_all(requests), strict=True
        ):
            child = None if came is None else await self._child(nodes[place], request, came)
            if child is not None:
                children[place].append(child)
        return [
            found or [replace(node, is_dead=True) if node.is_open else node]
            for node, found in zip(nodes, children, strict=True)
        ]

    async def finish(
        self, nodes: Sequence[StepNode], seed_path: Sequence[object]
    ) -> list[StepNode]:
        """Return the nodes run to their ends in one request each, all asked at once.

        Those that are not open stay as they are; one whose request did not come is dead.

        Raises:
            CapabilityError: The backend cannot go on from a prefix.
        """
        wanted = [place for place, node in enumerate(nodes) if node.is_open]
        requests = [
            self._request(nodes[place], (*seed_path, "end", place), is_step=False)
            for place in wanted
        ]
        ends = list(nodes)
        for place, request, came in zip(
            wanted, requests, await self.bill.ask_all(requests), strict=True
        ):
            node = nodes[place]
            child = None if came is None else await self._child(node, request, came)
            if child is None:
                child = node
            ends[place] = child if child.is_complete else replace(child, is_dead=True)
        return ends

    async def insert(self, node: StepNode, text: str) -> StepNode:
        """Return the node with `text` put at its end, as if the model had said it.

        Raises:
            CapabilityError: The backend does not tokenize.
            BackendError: Its tokenizer cannot be reached.
        """
        backend = self.bill.backend
        if not isinstance(backend, Tokenizes):
            raise CapabilityError(
                f"backend {backend.name!r} does not turn text into tokens",
                backend=backend.name,
                model=backend.model,
            )
        begun = node.token_ids
        if node.in_thought and not begun and isinstance(backend, TellsThoughtMarkers):
            begun = (await backend.thought_markers()).start
        return replace(
            node,
            token_ids=(*begun, *await backend.encode(text)),
            text=node.text if node.in_thought else node.text + text,
            thinking=(node.thinking or "") + text if node.in_thought else node.thinking,
            step=text.strip(),
            parent=node,
            n_blank=0,
        )

    def candidate(self, node: StepNode) -> Candidate:
        """Return what a verifier scores."""
        return Candidate(
            node.text, node.thinking, node.is_complete, combined_evidence(node.weighed)
        )

    def completion(self, node: StepNode) -> Completion | None:
        """Return the node as an answer: cut if it is not complete, `None` if nothing came.

        Usage and seconds are those of its last request; `Bill.close` sets the query's.
        """
        if node.latest is None:
            return None
        is_cut = not node.is_complete and node.latest.finish_reason is FinishReason.STOP
        return replace(
            node.latest,
            text=node.text,
            thinking=node.thinking,
            thinking_closed=not node.in_thought,
            finish_reason=FinishReason.LENGTH if is_cut else node.latest.finish_reason,
            token_ids=node.token_ids,
            evidence=combined_evidence(node.weighed),
        )

    def _request(
        self, node: StepNode, path: Sequence[object], *, is_step: bool
    ) -> GenerationRequest:
        left = max(1, self.most - len(node.token_ids))
        return replace(
            self._base,
            max_tokens=min(self._step_tokens, left) if is_step else left,
            seed=sample_seed(self._seed, *path),
            continuation=node.token_ids,
            stop=(*self._base.stop, self._stop) if is_step else self._base.stop,
        )

    async def _child(
        self, node: StepNode, request: GenerationRequest, came: Completion
    ) -> StepNode | None:
        if came.token_ids is None:
            backend = self.bill.backend
            self.bill.fault(
                BackendResponseError(
                    "an answer came without its token ids, so it cannot be gone on from",
                    backend=backend.name,
                    model=backend.model,
                )
            )
            return None
        in_thought = not came.thinking_closed
        # Backends drop the white space around a thought, so that a prefix is one up to its end.
        said = ((came.thinking or "") + came.text).strip()
        step = said.removeprefix(node.said.strip()).strip()
        token_ids = node.token_ids + came.token_ids
        n_blank = node.n_blank + 1 if not step and in_thought == node.in_thought else 0
        was_stopped = self._stop in request.stop and self._was_stopped(
            came.text.removeprefix(node.text)
        )
        is_complete = came.is_finished and not was_stopped
        is_dead = not is_complete and (
            not came.token_ids
            or n_blank >= _BLANKS
            or len(token_ids) >= self.most
            or came.finish_reason not in (FinishReason.STOP, FinishReason.LENGTH)
        )
        return StepNode(
            token_ids,
            came.text,
            came.thinking,
            in_thought,
            step,
            node.depth + 1,
            is_complete,
            is_dead,
            came,
            node,
            n_blank,
            (*node.weighed, *await self._weigh(node, came, in_thought=in_thought)),
        )

    def _was_stopped(self, new_text: str) -> bool:
        """Return whether the stop text has ended a step of the answer, and not the model itself.

        A model that ends its turn has not said the stop text; a backend that does not know the
        stop goes on after it. The token that completes the text may begin the next word, never
        more than that. (An answer that ends with one word there is asked once more, for nothing.)
        """
        _, stop, rest = new_text.partition(self._stop)
        return bool(stop) and len(rest.split()) <= 1

    async def _weigh(
        self, node: StepNode, came: Completion, *, in_thought: bool
    ) -> tuple[Weighed, ...]:
        """Return the part's evidence with the number of its answer tokens."""
        token_ids = came.token_ids or ()
        if came.evidence is None or in_thought or not token_ids:
            return ()
        n_tokens = len(token_ids)
        backend = self.bill.backend
        if node.in_thought and isinstance(backend, TellsThoughtMarkers):
            try:
                last = (await backend.thought_markers()).end[-1]
            except CapabilityError:
                raise
            except BackendError as error:
                self.bill.fault(error)
                return ()
            if last in token_ids:
                n_tokens -= token_ids.index(last) + 1
        return (Weighed(came.evidence, max(1, n_tokens)),)


def combined_evidence(parts: Sequence[Weighed]) -> Evidence | None:
    """Return the evidence of an answer from that of its parts, means weighed by their tokens."""
    if not parts:
        return None
    means = [(one.evidence.mean_logprob, one.n_tokens) for one in parts]
    known = [(mean, n) for mean, n in means if mean is not None]
    lows = [one.evidence.min_logprob for one in parts]
    gaps = [one.evidence.margin for one in parts]
    known_gaps = [gap for gap in gaps if gap is not None]
    if len(known) < len(parts):
        return None
    return Evidence(
        math.fsum(mean * n for mean, n in known) / sum(n for _, n in known),
        min((low for low in lows if low is not None), default=None),
        min(known_gaps) if len(known_gaps) == len(gaps) else None,
    )
