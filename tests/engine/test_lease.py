"""The lease: a member that the group may have evicted begins no task."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engine.lease import ASLEEP_SECONDS, LEASE_SHARE, RENEWAL_SHARE, Lease

SESSION = 45.0
LEASE = SESSION * LEASE_SHARE


@pytest.fixture
def lease() -> Lease:
    return Lease(SESSION)


def awake(lease: Lease, since: float, until: float) -> None:
    """Let the thread run all the time, from one moment to the other."""
    for tenth in range(int(since * 10), int(until * 10) + 1):
        assert lease.tick(tenth / 10) == 0.0


def test_nothing_is_begun_before_the_group_has_answered(lease: Lease) -> None:
    lease.tick(1.0)
    assert not lease.holds(1.0)
    assert lease.renewal_due(1.0)
    lease.renew(1.1)
    assert lease.holds(1.2)
    assert not lease.renewal_due(1.2)


def test_an_answer_is_good_for_most_of_a_session_from_when_it_was_asked(lease: Lease) -> None:
    lease.tick(0.0)
    lease.renew(0.0)
    awake(lease, 0.0, LEASE)
    assert lease.holds(LEASE - 0.001)
    assert not lease.holds(LEASE)
    assert lease.unproven_seconds(LEASE) == LEASE


def test_it_is_renewed_before_it_is_over(lease: Lease) -> None:
    lease.renew(0.0)
    assert not lease.renewal_due(LEASE * RENEWAL_SHARE - 0.001)
    assert lease.renewal_due(LEASE * RENEWAL_SHARE)


def test_who_sleeps_does_not_begin_when_it_wakes_whatever_is_left_of_its_session(lease: Lease) -> None:
    awake(lease, 0.0, 1.0)
    lease.renew(1.0)
    woken = 1.0 + ASLEEP_SECONDS + 0.5
    assert not lease.holds(woken)  # a worker that wakes before the thread that ticks
    assert lease.tick(woken) == ASLEEP_SECONDS + 0.5
    assert not lease.holds(woken)
    assert lease.renewal_due(woken)
    assert lease.unproven_seconds(woken + 1) == 1.0


def test_an_answer_to_what_was_asked_before_a_sleep_says_nothing(lease: Lease) -> None:
    awake(lease, 0.0, 1.0)
    lease.tick(10.0)
    lease.renew(9.9)
    assert not lease.holds(10.0)
    lease.renew(10.0)
    assert lease.holds(10.1)


def test_answers_that_come_in_another_order_take_nothing_back(lease: Lease) -> None:
    lease.tick(0.0)
    lease.renew(2.0)
    lease.renew(1.0)
    awake(lease, 0.0, LEASE + 1)
    assert lease.holds(LEASE + 1.5)


def test_a_group_that_never_gives_a_member_up_is_asked_once() -> None:
    lease = Lease(inf)
    lease.tick(0.0)
    lease.renew(0.0)
    assert not lease.renewal_due(1e9)


STEPS = st.lists(st.tuples(st.floats(0.0, 6.0), st.sampled_from(["turn", "ask", "answer", "begin"])), max_size=60)


@given(STEPS)
def test_who_begins_was_a_member_less_than_a_session_ago_and_has_not_slept_since(
    steps: list[tuple[float, str]],
) -> None:
    lease, now, proven, turned = Lease(9.0), 0.0, -inf, inf
    asked: list[float] = []
    sleeps: list[float] = []
    for pause, step in steps:
        now += pause
        if step == "turn":
            if now - turned > ASLEEP_SECONDS:
                sleeps.append(now)
            assert bool(lease.tick(now)) == (bool(sleeps) and sleeps[-1] == now and now - turned > ASLEEP_SECONDS)
            turned = now
        elif step == "ask":
            asked.append(now)
        elif step == "answer" and asked:
            proven = max(proven, asked[0])
            lease.renew(asked.pop(0))
        elif step == "begin" and lease.holds(now):
            assert now - proven < 9.0
            assert now - turned < ASLEEP_SECONDS
            assert not sleeps or proven >= sleeps[-1]
