"""When the loss of a worker is news: once per life, whatever comes back late."""

import itertools

import pytest

from calibration.distributed._member import Member


def test_a_loss_is_news_once_for_all_requests_of_that_life() -> None:
    member = Member(0, None)
    lives = [member.sent() for _ in range(5)]
    assert [member.failed(life) for life in lives] == [True, False, False, False, False]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_an_answer_of_an_earlier_life_does_not_make_an_old_failure_news(
    order: tuple[int, ...],
) -> None:
    member = Member(0, None)
    old = [member.sent() for _ in range(4)]
    told = []
    for place in order:
        if place % 2:
            told.append(member.failed(old[place]))
        else:
            member.answered(old[place])
    assert sum(told) == 1


def test_a_worker_that_answered_again_can_be_lost_again() -> None:
    member = Member(0, None)
    assert member.failed(member.sent())
    while_starting = member.sent()
    assert not member.failed(while_starting)
    member.answered(member.sent())
    assert member.failed(member.sent())
