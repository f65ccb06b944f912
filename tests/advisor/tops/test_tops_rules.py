"""The paper's rules against an oracle that tries every combination."""

from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.tops import (
    PAPER_SHARE,
    Attempt,
    MinGap,
    PairKind,
    preference_pairs,
    seed_answers,
    shortest_correct,
)
from calibration import Outcome
from policies import InvalidInputError

RIGHT, WRONG, CUT = Outcome.CORRECT, Outcome.WRONG, Outcome.CUT

N_EFFORTS = 3
outcomes = st.sampled_from([RIGHT, WRONG, CUT])


@st.composite
def sampled(draw: st.DrawFn) -> list[Attempt]:
    """Return up to three samples of each of three efforts, some missing, in any order."""
    places = [(effort, repeat) for effort in range(N_EFFORTS) for repeat in range(3)]
    chosen = draw(st.lists(st.sampled_from(places), unique=True))
    lengths = st.integers(0, 12) | st.integers(0, 2000)
    return [
        Attempt(effort, repeat, draw(lengths), draw(outcomes), f"{effort}/{repeat}")
        for effort, repeat in chosen
    ]


gaps = st.builds(MinGap, tokens=st.integers(0, 400)) | st.builds(
    MinGap, share=st.floats(0, 1, allow_nan=False)
)


def beats(one: Attempt, other: Attempt) -> bool:
    """Tell whether one answer goes before another as the shorter one."""
    if one.n_tokens != other.n_tokens:
        return one.n_tokens < other.n_tokens
    return (one.effort, one.repeat) < (other.effort, other.repeat)


@given(sampled())
def test_the_shortest_correct_answer_is_beaten_by_no_other_correct_one(
    attempts: list[Attempt],
) -> None:
    right = [one for one in attempts if one.outcome is RIGHT]
    expected = [one for one in right if not any(beats(other, one) for other in right)]
    found = shortest_correct(attempts)
    assert ([] if found is None else [found]) == expected


@given(sampled(), gaps)
def test_seeds_are_the_one_order_of_three_right_answers_that_grows_by_more_than_the_gap(
    attempts: list[Attempt], gap: MinGap
) -> None:
    expected: tuple[Attempt, ...] | None = None
    first = [one for one in attempts if one.repeat == 0 and one.outcome is RIGHT]
    for order in permutations(first, N_EFFORTS):
        lengths = [one.n_tokens for one in order]
        least = gap.tokens if gap.share is None else gap.share * sum(lengths) / N_EFFORTS
        apart = all(abs(a - b) > least for a, b in combinations(lengths, 2))
        if apart and lengths == sorted(set(lengths)):
            expected = order
    assert seed_answers(attempts, N_EFFORTS, gap) == expected


@given(sampled())
def test_pairs_reject_the_longest_wrong_answer_and_a_shorter_wrong_one(
    attempts: list[Attempt],
) -> None:
    found = {pair.kind: pair for pair in preference_pairs(attempts)}
    right = [one for one in attempts if one.outcome is RIGHT]
    wrong = [one for one in attempts if one.outcome is WRONG]
    if not right or not wrong:
        assert not found
        return
    chosen = shortest_correct(attempts)
    assert chosen is not None
    longest = found[PairKind.LONGEST_WRONG]
    assert longest.chosen is chosen
    assert longest.rejected.n_tokens == max(one.n_tokens for one in wrong)
    fewest = min(one.n_tokens for one in wrong)
    second = found.get(PairKind.SHORTEST_WRONG)
    if second is not None:
        assert second.chosen is chosen
        assert second.rejected.n_tokens == fewest < chosen.n_tokens
        assert second.rejected is not longest.rejected
    elif fewest < chosen.n_tokens:
        # The only shorter wrong answer is rejected already.
        assert longest.rejected.n_tokens == fewest


@given(sampled(), gaps, st.randoms(use_true_random=False))
def test_the_order_in_which_answers_come_does_not_matter(
    attempts: list[Attempt], gap: MinGap, random: object
) -> None:
    shuffled = list(attempts)
    random.shuffle(shuffled)  # pyright: ignore[reportAttributeAccessIssue] - a random.Random
    assert shortest_correct(shuffled) == shortest_correct(attempts)
    assert preference_pairs(shuffled) == preference_pairs(attempts)
    assert seed_answers(shuffled, N_EFFORTS, gap) == seed_answers(attempts, N_EFFORTS, gap)


@given(sampled())
def test_an_answer_that_ran_out_of_tokens_is_neither_chosen_nor_rejected(
    attempts: list[Attempt],
) -> None:
    without = [one for one in attempts if one.outcome is not CUT]
    assert preference_pairs(attempts) == preference_pairs(without)
    assert shortest_correct(attempts) == shortest_correct(without)


@given(sampled(), gaps)
def test_the_lowest_level_of_a_seed_is_the_shortest_correct_first_answer(
    attempts: list[Attempt], gap: MinGap
) -> None:
    seeds = seed_answers(attempts, N_EFFORTS, gap)
    if seeds is not None:
        first = [one for one in attempts if one.repeat == 0]
        assert seeds[0] == shortest_correct(first)


def test_the_paper_s_gap_is_exclusive() -> None:
    def seeds(*lengths: int) -> object:
        attempts = [Attempt(number, 0, n, RIGHT) for number, n in enumerate(lengths)]
        return seed_answers(attempts, 3, MinGap())

    assert seeds(100, 400, 900) is None
    assert seeds(900, 401, 100) is not None
    assert seeds(100, 700, 900) is None


def test_wrong_answers_longer_and_shorter_than_the_chosen_one_give_two_pairs() -> None:
    attempts = [
        Attempt(0, 0, 50, RIGHT),
        Attempt(0, 1, 40, RIGHT),
        Attempt(0, 2, 90, WRONG),
        Attempt(0, 3, 70, WRONG),
        Attempt(0, 4, 10, WRONG),
        Attempt(0, 5, 500, CUT),
    ]
    pairs = [(p.chosen.n_tokens, p.rejected.n_tokens, p.kind) for p in preference_pairs(attempts)]
    assert pairs == [(40, 90, PairKind.LONGEST_WRONG), (40, 10, PairKind.SHORTEST_WRONG)]


def test_of_equally_long_answers_the_lower_effort_and_then_the_earlier_sample_counts() -> None:
    places = [(1, 0), (0, 1), (0, 2)]
    right = [Attempt(effort, repeat, 5, RIGHT) for effort, repeat in places]
    wrong = [Attempt(effort, repeat, 9, WRONG) for effort, repeat in places]
    (pair,) = preference_pairs([*right, *wrong])
    assert (pair.chosen, pair.rejected) == (right[1], wrong[1])


@pytest.mark.parametrize("text", ["300", "0", "11.4%", "12.5"])
def test_gaps_round_trip(text: str) -> None:
    assert str(MinGap.parse(text)) == text
    assert MinGap.parse(str(MinGap.parse(text))) == MinGap.parse(text)


@pytest.mark.parametrize("text", ["", "-1", "a", "3e2", "nan", "%", "1 2", "inf"])
def test_what_is_no_gap_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="no number of tokens and no share"):
        MinGap.parse(text)


def test_the_relative_gap_is_the_paper_s_at_the_paper_s_lengths() -> None:
    # tables/tops_hparams: mean seed lengths of the 32B tag model, low, medium and high.
    assert pytest.approx(300 / ((1588.23 + 2535.65 + 3767.92) / 3), abs=5e-4) == PAPER_SHARE
