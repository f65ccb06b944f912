"""An answer's token ids turned into pieces of thought and text as they come.

Nothing is said that later tokens could change: the beginning of a character whose bytes lie in
several tokens, line breaks that may turn out to end a thought, and the beginning of a forced end
of the thought are held back until it is clear what they are.
"""

from collections.abc import Callable, Sequence

from .._backend import Delta, ThoughtMarkers
from .._errors import BackendResponseError
from .._messages import Completion

__all__ = ["PieceSplitter"]

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_MOST_CHARACTER_TOKENS = 8
"""More tokens than a character has bytes. Where more are held back, they are no text, and are
looked at again only when there are twice as many, lest a long run costs its square."""

Decode = Callable[[Sequence[int]], str]


class PieceSplitter:
    """Tells thought from answer while the ids come, as `split_ids` does when all are there."""

    def __init__(
        self, decode: Decode, markers: ThoughtMarkers | None, given: Sequence[int] = ()
    ) -> None:
        """Begin an answer.

        Args:
            decode: Returns the text of ids, special tokens left out.
            markers: How the thought is marked; `None` if the model has none.
            given: Ids the answer begins with, which are said with the first that are fed.
        """
        self._undecided = list(given)
        self._start: tuple[int, ...] = ()
        self._forced: tuple[int, ...] = ()
        self._last = -1
        self._step: Callable[[], bool] = self._answer
        if markers is not None:
            self._start, self._forced, self._last = markers.start, markers.end[:-1], markers.end[-1]
            self._step = self._begin
        self._thinking = _Text(decode, holds_last_breaks=True)
        self._text = _Text(decode, holds_last_breaks=False)

    def feed(self, token_ids: Sequence[int]) -> Delta:
        """Return what can be said after more ids of the answer, the end of turn not among them."""
        n_thinking, n_text = len(self._thinking.said), len(self._text.said)
        self._undecided += token_ids
        # Each step works on one part of the answer, and tells whether the next has begun.
        while self._undecided and self._step():
            pass
        return Delta("".join(self._thinking.said[n_thinking:]), "".join(self._text.said[n_text:]))

    def rest(self, completion: Completion, *, backend: str, model: str) -> Delta:
        """Return what the whole answer says beyond what was said so far.

        Args:
            completion: The answer that the ids have become.
            backend: Name of the backend, for errors.
            model: Name of the model, for errors.

        Raises:
            BackendResponseError: It does not begin with what was said: the tokenizer does not
                decode an answer piece by piece.
        """
        rests: list[str] = []
        for whole, part in (
            (completion.thinking or "", self._thinking),
            (completion.text, self._text),
        ):
            said = "".join(part.said)
            if not whole.startswith(said):
                raise BackendResponseError(
                    f"{len(said)} characters were streamed that the whole answer does not begin"
                    " with: this tokenizer cannot decode an answer piece by piece",
                    backend=backend,
                    model=model,
                    hint="ask without streaming",
                    retryable=False,
                )
            rests.append(whole[len(said) :])
        return Delta(*rests)

    def _begin(self) -> bool:
        """Find out whether a thought opens the answer."""
        ids, start = self._undecided, self._start
        n = min(len(ids), len(start))
        if tuple(ids[:n]) != start[:n]:
            self._step = self._answer
            return True
        if n < len(start):
            return False
        del ids[:n]
        self._step = self._think
        return True

    def _think(self) -> bool:
        ids = self._undecided
        if self._last not in ids:
            n_sayable = len(ids) - self._n_maybe_forced(ids)
            self._thinking.say(ids[:n_sayable])
            del ids[:n_sayable]
            return False
        end = ids.index(self._last)
        n_forced = len(self._forced)
        is_forced = n_forced > 0 and tuple(ids[max(0, end - n_forced) : end]) == self._forced
        self._thinking.say(ids[: end - n_forced if is_forced else end])
        self._thinking.end()
        del ids[: end + 1]
        self._step = self._between
        return True

    def _n_maybe_forced(self, ids: Sequence[int]) -> int:
        """Return how many of the latest ids may begin a forced end, or be one."""
        return next(
            (
                n
                for n in range(min(len(ids), len(self._forced)), 0, -1)
                if tuple(ids[-n:]) == self._forced[:n]
            ),
            0,
        )

    def _between(self) -> bool:
        """Pass over end markers that are written once more."""
        ids = self._undecided
        while ids and ids[0] == self._last:
            del ids[0]
        if ids:
            self._step = self._answer
        return bool(ids)

    def _answer(self) -> bool:
        self._text.say(self._undecided)
        self._undecided.clear()
        return False


class _Text:
    """Text of ids that come bit by bit, without line breaks at its beginning.

    Attributes:
        said: The pieces so far.
    """

    def __init__(self, decode: Decode, *, holds_last_breaks: bool) -> None:
        self.said: list[str] = []
        self._decode = decode
        self._holds_last_breaks = holds_last_breaks
        # Some decoders treat the first token of a text in another way than the others, so that
        # new ids are decoded behind those that were said last.
        self._behind: list[int] = []
        self._behind_text = ""
        self._new: list[int] = []
        self._n_until_look = 0
        self._breaks = ""

    def say(self, ids: Sequence[int]) -> None:
        """Add ids, and say what is whole."""
        self._new += ids
        n_new = len(self._new)
        if n_new < self._n_until_look:
            return
        self._n_until_look = 0
        for n_whole in range(n_new, max(0, n_new - _MOST_CHARACTER_TOKENS), -1):
            text = self._decode([*self._behind, *self._new[:n_whole]])
            if not text.endswith(_REPLACEMENT) and self._is_said(n_whole, text):
                return
        if n_new > _MOST_CHARACTER_TOKENS:
            self._n_until_look = 2 * n_new

    def _is_said(self, n_whole: int, text: str) -> bool:
        """Say the first new ids, which with those before them have `text`, if they say anything."""
        whole = self._new[:n_whole]
        if len(text) > len(self._behind_text):
            self._put(text[len(self._behind_text) :])
            self._behind, self._behind_text = whole, self._decode(whole)
        elif self._decode(whole):
            # Such as a zero byte, after which onnxruntime-genai says nothing more.
            return False
        # Special tokens say nothing wherever they are, and need not be looked at again.
        del self._new[:n_whole]
        return True

    def end(self) -> None:
        """Say what was held back because a character might have gone on."""
        if self._new:
            text = self._decode([*self._behind, *self._new])
            self._put(text[len(self._behind_text) :])
            self._new = []

    def _put(self, text: str) -> None:
        if not self.said:
            text = text.lstrip("\n")
        text = self._breaks + text
        kept = text.rstrip("\n") if self._holds_last_breaks else text
        self._breaks = text[len(kept) :]
        if kept:
            self.said.append(kept)
