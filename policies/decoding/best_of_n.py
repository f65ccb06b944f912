"""`bon(n=N,verifier=NAME)/POLICY`: of several samples the one that a verifier scores best.

N samples are asked at once, those that finished an answer are scored as wholes, and the best
one is returned. Without scores it is the majority's.

Source: Cobbe et al., "Training Verifiers to Solve Math Word Problems", arXiv 2110.14168;
the "best-of-N" of Snell et al., arXiv 2408.03314.
"""

from collections.abc import Mapping, Sequence

from .._card import Inner, PolicyCard
from ._scored import SCORED_PARAMETERS, ScoredSamples

__all__ = ["BestOfN"]


class BestOfN(ScoredSamples):
    """Ask a policy n times at the caller's temperature and return what a verifier likes best.

    Of equal scores the earlier sample's wins. Samples that did not finish an answer are not
    scored; if only one did, nothing is. If the verifier fails, the majority's first sample is
    returned and a remark says so.
    """

    card = PolicyCard(
        name="bon",
        signature="bon(n=N,verifier=NAME)/POLICY",
        summary="Of N samples the one that a verifier scores best.",
        paper="Cobbe et al., arXiv 2110.14168",
        standard=("bon(n=8,verifier={verifier})/direct", "bon(n=8,verifier={verifier})/cot"),
        parameters=SCORED_PARAMETERS,
        inner=Inner.ANY,
    )

    def choose(self, votes: Sequence[str], scores: Mapping[int, float]) -> int | None:
        """Return the sample with the best score, of equals the earlier one."""
        del votes
        return max(scores, key=scores.__getitem__, default=None)
