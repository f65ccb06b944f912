"""Thought and answer told apart by token ids, for backends that hold the tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass

from .._backend import ThoughtMarkers

__all__ = ["SplitIds", "ThoughtTokens", "open_thought", "split_ids"]


@dataclass(frozen=True, slots=True)
class ThoughtTokens:
    """The token ids that mark a model's thoughts.

    Attributes:
        start: Ids that open a thought.
        natural_end: The one id with which the model closes it.
        forced_end: Ids that are forced at the budget; the last is `natural_end`.
    """

    start: tuple[int, ...]
    natural_end: int
    forced_end: tuple[int, ...]

    def open_in(self, prompt: Sequence[int]) -> int | None:
        """Return how many thinking tokens follow a thought that the prompt leaves open.

        Returns:
            `None` if it leaves none open.
        """
        return open_thought(prompt, self.start, (self.natural_end,))

    def markers(self, n_in_prompt: int | None) -> ThoughtMarkers:
        """Return how a thought lies in an answer.

        Args:
            n_in_prompt: What `open_in` says about a prompt of the model's template.
        """
        if n_in_prompt is None:
            return ThoughtMarkers(self.start, self.forced_end)
        return ThoughtMarkers((), self.forced_end, n_in_prompt)


@dataclass(frozen=True, slots=True)
class SplitIds:
    """Where the thought lies in an answer's token ids.

    Attributes:
        thought: The ids inside it, `None` if the model did not think.
        answer_start: Index of the answer's first id; past the end if the thought never ended.
        is_closed: Whether there is no thought that never ended.
    """

    thought: tuple[int, ...] | None
    answer_start: int
    is_closed: bool

    @property
    def n_thinking(self) -> int:
        """Tokens inside the thought, markers left out."""
        return len(self.thought or ())


def split_ids(token_ids: Sequence[int], markers: ThoughtMarkers | None) -> SplitIds:
    """Tell the thought from the answer.

    A thought is looked for at the beginning only, so that an answer may hold a marker. After a
    forced end some models write the end marker once more; it belongs to no side.

    Args:
        token_ids: The answer's ids, given ones included.
        markers: How the thought is marked; without a start marker the ids begin inside it.
            `None` if the model has no thoughts.
    """
    if markers is None:
        return SplitIds(None, 0, is_closed=True)
    n_start = len(markers.start)
    if tuple(token_ids[:n_start]) != markers.start:
        return SplitIds(None, 0, is_closed=True)
    last = markers.end[-1]
    n_ids = len(token_ids)
    end = next((i for i in range(n_start, n_ids) if token_ids[i] == last), n_ids)
    thought = tuple(token_ids[n_start:end])
    if end == n_ids:
        return SplitIds(thought, n_ids + 1, is_closed=False)
    # A forced end of several tokens is no part of the thought; nor is a natural one's last token.
    forced = markers.end[:-1]
    if forced and thought[-len(forced) :] == forced:
        thought = thought[: -len(forced)]
    start = end + 1
    while start < n_ids and token_ids[start] == last:
        start += 1
    return SplitIds(thought, start, is_closed=True)


def open_thought(
    prompt: Sequence[int], start: Sequence[int], natural_end: Sequence[int]
) -> int | None:
    """Return how many thinking tokens a prompt holds behind a thought it opens.

    Args:
        prompt: Token ids of a rendered prompt.
        start: Ids that open a thought, at least one.
        natural_end: Ids that close one, at least one.

    Returns:
        `None` if the prompt leaves no thought open.
    """
    begin = _last(prompt, start)
    if begin < 0 or _last(prompt, natural_end) > begin:
        return None
    return len(prompt) - begin - len(start)


def _last(ids: Sequence[int], pattern: Sequence[int]) -> int:
    wanted = list(pattern)
    n = len(wanted)
    for index in range(len(ids) - n, -1, -1):
        if ids[index] == wanted[0] and list(ids[index : index + n]) == wanted:
            return index
    return -1
