"""What the policies that draw several samples share: drawing, votes and who wins."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from .._bill import Bill
from .._messages import Completion, Evidence, Message
from .._policy import DecodingOptions, Policy
from ..verifiers import Candidate, Verifier, score_all
from ._answers import final_answer
from ._sampling import sample_seed

__all__ = [
    "close_with",
    "draw",
    "first_of",
    "is_decided",
    "majority",
    "scores_of",
    "sums_of",
    "votes_of",
]


async def draw(
    bill: Bill,
    policy: Policy,
    messages: Sequence[Message],
    options: DecodingOptions,
    name: str,
    numbers: Iterable[int],
) -> list[Completion | None]:
    """Return samples of a policy, all asked at once, each with a seed of its own.

    Args:
        bill: Where they are put.
        policy: What is asked each time.
        messages: The conversation.
        options: How it is asked; the seed is replaced.
        name: The sampling policy's name, part of the seeds.
        numbers: The samples' numbers, part of the seeds.
    """
    seeds = [sample_seed(options.seed, name, number) for number in numbers]
    return await bill.run_all(policy, messages, (replace(options, seed=seed) for seed in seeds))


def votes_of(
    samples: Iterable[Completion | None], canonical: Callable[[str], str] = final_answer
) -> list[str]:
    """Return each sample's vote, "" for one that did not come or did not finish an answer."""
    return [
        canonical(sample.text) if sample is not None and sample.is_finished else ""
        for sample in samples
    ]


def sums_of(votes: Sequence[str], weights: Sequence[float] | None = None) -> dict[str, float]:
    """Return the sum of the weights for each answer, in the order in which answers came.

    Args:
        votes: One answer per sample, "" for none.
        weights: One number per sample; `None` counts the votes.
    """
    each = [1.0] * len(votes) if weights is None else weights
    found: dict[str, list[float]] = {}
    for vote, weight in zip(votes, each, strict=True):
        if vote:
            found.setdefault(vote, []).append(weight)
    # Exact sums: whose answer wins must not hang on the order in which samples are added.
    return {answer: math.fsum(own) for answer, own in found.items()}


def majority(sums: Mapping[str, float]) -> str:
    """Return the answer with the largest sum, the earlier of equals; "" without any."""
    return max(sums, key=sums.__getitem__, default="")


def is_decided(votes: Sequence[str], n_left: int) -> bool:
    """Return whether samples that are still to come cannot change the majority.

    An answer that came later has to have more votes than the majority, one that came earlier as
    many; one that nobody has given yet comes later than all.

    Args:
        votes: One answer per sample so far, "" for none.
        n_left: How many samples are to come.
    """
    sums = sums_of(votes)
    leader = majority(sums)
    if not leader:
        return n_left == 0
    others = list(sums)
    place = others.index(leader)
    earlier = max((sums[answer] for answer in others[:place]), default=-1.0)
    later = max((sums[answer] for answer in others[place + 1 :]), default=0.0)
    return (earlier < 0 or earlier + n_left < sums[leader]) and later + n_left <= sums[leader]


async def scores_of(
    bill: Bill,
    verifier: Verifier,
    messages: Sequence[Message],
    samples: Sequence[Completion | None],
) -> dict[int, float] | None:
    """Return the scores of the samples that finished, by their places.

    A sample that is the only one has nobody to be compared with and is not put to the verifier;
    its score is 1. `None` if the verifier failed; why is on the bill.
    """
    finished = {
        place: sample
        for place, sample in enumerate(samples)
        if sample is not None and sample.is_finished
    }
    if len(finished) < 2:
        return dict.fromkeys(finished, 1.0)
    candidates = [Candidate.of(sample) for sample in finished.values()]
    scores = await score_all(verifier, messages, candidates, bill)
    return None if scores is None else dict(zip(finished, scores, strict=True))


def first_of(samples: Iterable[Completion | None]) -> Completion | None:
    """Return the first sample that finished an answer, else the first that came."""
    came = [sample for sample in samples if sample is not None]
    return next((one for one in came if one.is_finished), came[0] if came else None)


def close_with(
    bill: Bill, samples: Sequence[Completion | None], votes: Sequence[str], best: int | None
) -> Completion:
    """Return the query's answer: a sample with the share of samples that agree with it.

    Args:
        bill: The query's.
        samples: All samples, those that did not come included.
        votes: Their answers.
        best: Index of the chosen sample; `None` if nobody has voted: the first that finished is
            returned, or the first that came, and nobody agrees.
    """
    if best is None:
        chosen = first_of(samples)
        n_agreeing = 0
    else:
        chosen = samples[best]
        n_agreeing = votes.count(votes[best]) if votes[best] else 0
    evidence = (chosen.evidence if chosen is not None else None) or Evidence()
    return bill.close(chosen, evidence=replace(evidence, agreement=n_agreeing / len(samples)))
