"""Self-consistency: votes over sampled answers."""

import itertools
import re
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import (
    BackendRequestError,
    Capability,
    DecodingOptions,
    FinishReason,
    InvalidInputError,
    InvalidPolicyError,
    build_policy,
    policy_names,
    user_message,
)
from policies.backends.fake import FakeAnswer, FakeBackend, Reply
from policies.contract import check_policy
from policies.decoding._samples import is_decided, majority, sums_of
from policies.decoding._sampling import sample_seed
from policies.decoding.direct import Direct
from policies.decoding.self_consistency import SelfConsistency

SAMPLED = DecodingOptions(temperature=0.7, seed=3)


def saying(*replies: Reply) -> FakeBackend:
    return FakeBackend(list(replies))


async def test_the_majority_wins_and_every_sample_is_billed() -> None:
    backend = saying("Answer: 5", "I say.\nAnswer: 6", "answer is **6.0**.", "7", "six")
    completion = await build_policy("sc(n=5)/direct").run(user_message("q"), backend, SAMPLED)
    assert completion.text == "I say.\nAnswer: 6"
    assert completion.evidence is not None
    assert completion.evidence.agreement == pytest.approx(2 / 5)
    one = await Direct().run(user_message("q"), FakeBackend({"q": "x y"}), DecodingOptions())
    assert completion.usage.prompt_tokens == 5 * one.usage.prompt_tokens
    n_words = sum(len(re.findall(r"\S+", text)) for text in (
        "Answer: 5", "I say.\nAnswer: 6", "answer is **6.0**.", "7", "six",
    ))  # fmt: skip
    assert completion.usage.completion_tokens == n_words + 5  # and five ends of turn


async def test_the_first_of_equally_frequent_answers_wins() -> None:
    backend = saying("b", "a", "a", "b")
    completion = await build_policy("sc(n=4)/direct").run(user_message("q"), backend, SAMPLED)
    assert completion.text == "b"


async def test_unfinished_samples_vote_for_nothing_and_count_among_all() -> None:
    cut = FakeAnswer("9", finish_reason=FinishReason.LENGTH)
    backend = saying(cut, cut, FakeAnswer("4"))
    completion = await build_policy("sc(n=3)/direct").run(user_message("q"), backend, SAMPLED)
    assert completion.text == "4"
    assert completion.evidence is not None
    assert completion.evidence.agreement == pytest.approx(1 / 3)


async def test_without_any_finished_sample_the_first_is_returned_and_nobody_agrees() -> None:
    cut = FakeAnswer("9", finish_reason=FinishReason.LENGTH)
    completion = await build_policy("sc(n=2)/direct").run(
        user_message("q"), saying(cut, cut), SAMPLED
    )
    assert completion.finish_reason is FinishReason.LENGTH
    assert completion.evidence is not None
    assert completion.evidence.agreement == 0.0


async def test_log_probabilities_are_those_of_the_returned_sample() -> None:
    backend = saying(
        FakeAnswer("a", logprob=-0.9),
        FakeAnswer("b", logprob=-0.2, margin=0.5),
        FakeAnswer("b", logprob=-0.1),
    )
    options = DecodingOptions(temperature=1.0, logprobs=True)
    completion = await build_policy("sc(n=3)/direct").run(user_message("q"), backend, options)
    assert completion.evidence is not None
    assert completion.evidence.mean_logprob == -0.2
    assert completion.evidence.margin == 0.5
    assert completion.evidence.agreement == pytest.approx(2 / 3)


async def test_samples_have_seeds_of_their_own_that_the_callers_seed_decides() -> None:
    async def seeds(seed: int | None) -> list[int | None]:
        backend = FakeBackend({"q": "a"})
        options = DecodingOptions(temperature=0.7, seed=seed)
        await build_policy("sc(n=4)/direct").run(user_message("q"), backend, options)
        return [call.seed for call in backend.calls]

    assert len(set(await seeds(1))) == 4
    assert await seeds(1) == await seeds(1)
    assert not set(await seeds(1)) & set(await seeds(2))
    assert await seeds(None) == [None] * 4


async def test_greedy_sampling_is_refused_before_anything_is_asked() -> None:
    backend = saying("a", "a")
    with pytest.raises(InvalidInputError, match="temperature") as caught:
        await build_policy("sc(n=2)/direct").run(user_message("q"), backend, DecodingOptions())
    assert backend.calls == []
    assert caught.value.code == "greedy-samples"


async def test_the_others_decide_where_a_sample_is_lost_and_a_remark_says_so() -> None:
    lost = BackendRequestError("no", backend="fake", model="m")
    completion = await build_policy("sc(n=4)/direct").run(
        user_message("q"), saying("b", lost, "a", "a"), SAMPLED
    )
    assert completion.text == "a"
    assert completion.evidence is not None
    assert completion.evidence.agreement == pytest.approx(2 / 4)
    assert [remark.code for remark in completion.remarks] == [lost.code]
    assert not completion.is_measurement


async def test_an_error_is_raised_only_if_no_sample_came() -> None:
    lost = BackendRequestError("no", backend="fake", model="m")
    with pytest.raises(BackendRequestError, match="no"):
        await build_policy("sc(n=3)/direct").run(
            user_message("q"), saying(lost, lost, lost), SAMPLED
        )


def by_number(replies: Sequence[str], options: DecodingOptions) -> FakeBackend:
    """Return a model whose sample number i says `replies[i]`, whenever it is asked for."""
    said = {sample_seed(options.seed, "sc", number): text for number, text in enumerate(replies)}
    cut = FakeAnswer("9", finish_reason=FinishReason.LENGTH)
    return FakeBackend(lambda request: said[request.seed] or cut)


ANSWERS = st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=2, max_size=12)


@given(ANSWERS, st.integers(1, 5))
async def test_stopping_once_it_is_decided_changes_no_answer(replies: list[str], wave: int) -> None:
    n = len(replies)
    whole, early = by_number(replies, SAMPLED), by_number(replies, SAMPLED)
    expected = await build_policy(f"sc(n={n})/direct").run(user_message("q"), whole, SAMPLED)
    spec = f"sc(n={n},stop=decided,wave={wave})/direct"
    completion = await build_policy(spec).run(user_message("q"), early, SAMPLED)
    assert completion.text == expected.text
    assert completion.finish_reason is expected.finish_reason
    assert len(early.calls) <= len(whole.calls) == n
    assert completion.usage.completion_tokens <= expected.usage.completion_tokens
    # What was asked came back and is on the bill.
    assert len(completion.calls) in (0, len(early.calls))
    votes = [text for text in replies[: len(early.calls)] if text]
    share = votes.count(expected.text) / len(early.calls) if votes else 0.0
    assert completion.evidence is not None
    assert completion.evidence.agreement == pytest.approx(share)


@given(st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=5), st.integers(0, 4))
def test_a_majority_is_decided_exactly_if_no_votes_to_come_can_change_it(
    votes: list[str], n_left: int
) -> None:
    now = majority(sums_of(votes))
    rest = itertools.product([*dict.fromkeys(votes), "new", ""], repeat=n_left)
    can_change = any(majority(sums_of([*votes, *more])) != now for more in rest)
    assert is_decided(votes, n_left) is not can_change


@pytest.mark.parametrize(
    ("replies", "wave", "n_asked"),
    [
        ("aaaaaaaa", 1, 4),
        ("aaabaaaa", 1, 5),
        ("aaabaaaa", 3, 7),
        ("baaaaaaa", 1, 6),
        ("abababab", 1, 7),
        ("babbaaab", 1, 8),
        ("aaaaaaaa", 6, 6),
    ],
)
async def test_no_more_samples_are_asked_than_it_takes(
    replies: str, wave: int, n_asked: int
) -> None:
    backend = by_number(replies, SAMPLED)
    policy = build_policy(f"sc(n=8,stop=decided,wave={wave})/direct")
    await policy.run(user_message("q"), backend, SAMPLED)
    assert len(backend.calls) == n_asked


async def test_a_wave_goes_out_together() -> None:
    backend = FakeBackend(lambda request: FakeAnswer(str(request.seed)), latency_s=0.01)
    policy = build_policy("sc(n=6,stop=decided,wave=2)/direct")
    await policy.run(user_message("q"), backend, SAMPLED)
    assert backend.most_in_flight == 3
    backend = FakeBackend(lambda _: FakeAnswer("a"), latency_s=0.01)
    await build_policy("sc(n=6)/direct").run(user_message("q"), backend, SAMPLED)
    assert backend.most_in_flight == 6


def test_waves_without_stopping_are_refused() -> None:
    with pytest.raises(InvalidPolicyError, match="stop=all, which has no waves"):
        build_policy("sc(n=8,wave=2)/direct")


@pytest.mark.parametrize(
    "text",
    [
        "sc(n=3)/direct",
        "sc(n=3,stop=decided)/direct",
        "sc(n=2)/reasoning@4",
        "sc(n=2)/sc(n=2)/direct",
    ],
)
async def test_it_keeps_the_contract_of_policies(text: str) -> None:
    backend = FakeBackend(
        lambda _: FakeAnswer("yes", thinking="a b c d e f", samples=("yes", "no"))
    )
    policy = build_policy(text)
    report = await check_policy(policy, backend, options=SAMPLED)
    report.raise_on_failure()
    assert str(policy.spec) == text
    assert Capability.SAMPLES in policy.needs
    assert "sc" in policy_names()


@pytest.mark.parametrize(
    "text", ["sc/direct", "sc(n=1)/direct", "sc(n=5)", "sc(n=2,k=3)/direct", "sc(direct,n=2)/direct",
             "sc(n=many)/direct", "sc(n=3,stop=soon)/direct", "sc(n=3,stop=decided,wave=0)/direct"],
)  # fmt: skip
def test_specs_that_do_not_say_what_to_sample_are_refused(text: str) -> None:
    with pytest.raises(InvalidPolicyError):
        build_policy(text)


def test_the_most_tokens_are_those_of_all_samples() -> None:
    options = DecodingOptions(max_answer_tokens=10)
    assert build_policy("sc(n=7)/direct").max_tokens(options) == 70


async def test_a_rule_of_ones_own_decides_what_is_equal() -> None:
    first_letter: Callable[[str], str] = lambda text: text[0]  # noqa: E731
    policy = SelfConsistency(Direct(), 3, canonical=first_letter)
    completion = await policy.run(user_message("q"), saying("beta", "alpha", "anna"), SAMPLED)
    assert completion.text == "alpha"
