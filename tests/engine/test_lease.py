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


def test_a_lease_is_invalid_before_the_first_answer_of_the_group(lease: Lease) -> None:
    lease.tick(1.0)
    assert not lease.holds(1.0)
    assert lease.renewal_due(1.0)
    lease.renew(1.1)
    assert lease.holds(1.2)
    assert not lease.renewal_due(1.2)


def test_an_answer_is_valid_for_most_of_a_session_from_the_time_of_its_request(lease: Lease) -> None:
    lease.tick(0.0)
    lease.renew(0.0)
    awake(lease, 0.0, LEASE)
    assert lease.holds(LEASE - 0.001)
    assert not lease.holds(LEASE)
    assert lease.unproven_seconds(LEASE) == LEASE


def test_a_renewal_is_due_before_the_lease_expires(lease: Lease) -> None:
    lease.renew(0.0)
    assert not lease.renewal_due(LEASE * RENEWAL_SHARE - 0.001)
    assert lease.renewal_due(LEASE * RENEWAL_SHARE)


def test_a_process_that_was_suspended_has_no_lease_when_it_resumes_even_within_its_session(lease: Lease) -> None:
    awake(lease, 0.0, 1.0)
    lease.renew(1.0)
    woken = 1.0 + ASLEEP_SECONDS + 0.5
    assert not lease.holds(woken)  # a worker that wakes before the thread that ticks
    assert lease.tick(woken) == ASLEEP_SECONDS + 0.5
    assert not lease.holds(woken)
    assert lease.renewal_due(woken)
    assert lease.unproven_seconds(woken + 1) == 1.0


def test_an_answer_to_a_request_from_before_a_suspension_is_ignored(lease: Lease) -> None:
    awake(lease, 0.0, 1.0)
    lease.tick(10.0)
    lease.renew(9.9)
    assert not lease.holds(10.0)
    lease.renew(10.0)
    assert lease.holds(10.1)


def test_an_older_answer_does_not_shorten_the_lease(lease: Lease) -> None:
    lease.tick(0.0)
    lease.renew(2.0)
    lease.renew(1.0)
    awake(lease, 0.0, LEASE + 1)
    assert lease.holds(LEASE + 1.5)


def test_a_lease_without_a_session_timeout_is_renewed_once() -> None:
    lease = Lease(inf)
    lease.tick(0.0)
    lease.renew(0.0)
    assert not lease.renewal_due(1e9)


STEPS = st.lists(st.tuples(st.floats(0.0, 6.0), st.sampled_from(["turn", "ask", "answer", "begin"])), max_size=60)


@given(STEPS)
def test_a_valid_lease_is_younger_than_a_session_and_no_suspension_followed_its_request(
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
