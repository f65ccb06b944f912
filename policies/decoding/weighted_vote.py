"""`wvote(n=N,verifier=NAME)/POLICY`: a vote of several samples, weighted by a verifier.

N samples are asked at once, those that finished an answer are scored as wholes, and the answer
with the largest sum of scores wins. Without scores it is the majority's.

Source: Wang et al., arXiv 2203.11171 ("weighted sum"); the "best-of-N weighted" of
Snell et al., arXiv 2408.03314, after Li et al., arXiv 2206.02336.
"""

from collections.abc import Mapping, Sequence

from .._card import Inner, PolicyCard
from ._samples import majority, sums_of
from ._scored import SCORED_PARAMETERS, ScoredSamples

__all__ = ["WeightedVote"]


class WeightedVote(ScoredSamples):
    """Ask a policy n times at the caller's temperature and return the answer with the best scores.

    The text is the best scored sample that gives this answer; of equals the earlier one wins.
    Samples that did not finish an answer are not scored; if only one did, nothing is. If the
    verifier fails, the majority's first sample is returned and a remark says so.
    """

    card = PolicyCard(
        name="wvote",
        signature="wvote(n=N,verifier=NAME)/POLICY",
        summary="The answer whose samples have the largest sum of a verifier's scores.",
        paper="Wang et al., arXiv 2203.11171; Snell et al., arXiv 2408.03314",
        standard=("wvote(n=8,verifier={verifier})/direct", "wvote(n=8,verifier={verifier})/cot"),
        parameters=SCORED_PARAMETERS,
        inner=Inner.ANY,
    )

    def choose(self, votes: Sequence[str], scores: Mapping[int, float]) -> int | None:
        """Return the best scored sample of the answer with the largest sum of scores."""
        sums = sums_of(votes, [scores.get(place, 0.0) for place in range(len(votes))])
        answer = majority(sums)
        agreeing = [place for place in scores if not answer or votes[place] == answer]
        return max(agreeing, key=scores.__getitem__, default=None)
