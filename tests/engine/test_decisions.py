"""Retries and pace: small decisions from numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engine.cancels import Cancel
from processor.engine.outcome import Arrived, Cancelled, Cause, Deferred, Failed, Held, Paused, Verdict
from processor.engine.pace import (
    BATCH_SECONDS,
    LONG_BATCH_SECONDS,
    LONGEST_BATCH_SECONDS,
    MOST,
    SPARE_SECONDS,
    STALE_SECONDS,
    Pace,
    stale_after,
)
from processor.engine.retry import DEFAULT_RULES, RETRIED, ErrorRules, Policy, backoff, spread

POLICY = Policy(max_attempts=3, backoff=0.5, backoff_max=30.0)


def failure(cause: Cause) -> Failed:
    return Failed(cause, "builtins.ValueError", "no")


@pytest.mark.parametrize("cause", list(Cause))
def test_only_recoverable_failures_are_retried(cause: Cause) -> None:
    assert (POLICY.delay_after(failure(cause), 1, 0.5) is not None) == (cause in RETRIED)


def test_a_deferred_task_waits_at_least_as_long_as_asked_and_at_most_half_as_long_again() -> None:
    deferred = Deferred("processor.errors.NotReady", "not yet", retry_in=100.0)
    assert deferred.delay(0.0) == 100.0
    assert deferred.delay(1.0) == 150.0


def test_only_a_started_attempt_counts() -> None:
    unattempted = {cause for cause in Cause if not failure(cause).is_attempt}
    assert unattempted == {Cause.EXPIRED, Cause.INVALID, Cause.UNMET, Cause.CANCELLED, Cause.DEADLY}
    assert not Deferred("processor.errors.NotReady", "not yet", 1.0).is_attempt
    assert not Held().is_attempt
    assert not Arrived(None).is_attempt
    assert not Paused("charge").is_attempt
    assert not Cancelled(Cancel(1, "ann@host", 2), None).is_attempt


def test_the_last_attempt_is_the_last() -> None:
    assert POLICY.delay_after(failure(Cause.FAILED), 2, 0.5) == 1.0
    assert POLICY.delay_after(failure(Cause.FAILED), 3, 0.5) is None


def test_an_exception_is_rejected_if_it_is_listed_or_if_no_rule_retries_it() -> None:
    rules = ErrorRules(retry_on=(OSError,), reject_on=(BrokenPipeError,), outage_on=(TimeoutError,))
    assert rules.verdict(TimeoutError()) is Verdict.OUTAGE
    assert rules.verdict(ConnectionError()) is Verdict.RETRY
    assert rules.verdict(BrokenPipeError()) is rules.verdict(ValueError()) is Verdict.REJECT
    assert DEFAULT_RULES.verdict(SystemExit()) is Verdict.RETRY


def test_an_exception_that_is_rejected_gets_no_further_attempt() -> None:
    rejected = failure(Cause.FAILED)._replace(verdict=Verdict.REJECT)
    assert POLICY.delay_after(rejected, 1, 0.5) is None
    assert POLICY.delay_after(failure(Cause.TIMED_OUT)._replace(verdict=Verdict.REJECT), 1, 0.5) is None
    assert POLICY.delay_after(rejected._replace(retry_in=1.0, counts=False), 1, 0.5) is None


@given(st.integers(1, 10), st.floats(0, 1), st.floats(0, 1e6))
def test_a_time_that_the_handler_sets_is_neither_spread_nor_capped(attempt: int, jitter: float, after: float) -> None:
    asked = failure(Cause.FAILED)._replace(retry_in=after)
    assert POLICY.delay_after(asked, attempt, jitter) == (after if attempt < 3 else None)
    assert POLICY.delay_after(asked._replace(counts=False), attempt, jitter) == after


def test_a_time_that_the_handler_sets_replaces_the_backoff() -> None:
    assert POLICY.delay_after(failure(Cause.FAILED)._replace(retry_in=7.0), 1, 0.5) == 7.0


def test_a_handler_sets_some_of_a_policy_and_the_consumer_the_rest() -> None:
    assert POLICY.with_own(None, None, None) == POLICY
    assert POLICY.with_own(7, 0.0, 1.0) == Policy(7, 0.0, 1.0)
    assert POLICY.with_own(None, 60.0, None) == Policy(3, 60.0, 60.0)
    assert POLICY.with_own(None, None, 0.1).delay_after(failure(Cause.FAILED), 1, 1.0) == 0.1


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_a_backoff_grows_to_its_maximum_and_no_further(failures: int, jitter: float) -> None:
    delay = backoff(failures, 0.5, 30.0)
    assert delay == min(0.5 * 2.0 ** min(failures - 1, 64), 30.0)
    assert delay * 0.75 <= spread(delay, jitter, 30.0) <= min(delay * 1.25, 30.0)


def test_a_pace_begins_slow_follows_the_fast_at_once_and_the_slow_slowly() -> None:
    pace = Pace()
    assert pace.batch_size() == 1
    for _ in range(20):
        pace.observe(100, 100 * 1e-6)
    assert pace.batch_size() == MOST
    pace.observe(1, 0.001)
    assert pace.batch_size() < MOST
    assert pace.seconds < 0.0001


def test_a_turn_is_half_of_what_waits_for_a_worker_within_its_bounds() -> None:
    pace = Pace()
    pace.seconds = 0.001
    assert pace.batch_seconds(0, 64) == pace.batch_seconds(128, 64) == BATCH_SECONDS
    assert pace.batch_seconds(640, 64) == 0.005
    assert pace.batch_seconds(10_000, 4) == pace.batch_seconds(10_000, 8) == LONG_BATCH_SECONDS
    assert pace.batch_seconds(100_000, 16) == 0.032
    assert pace.batch_seconds(100_000, 32) == pace.batch_seconds(100_000, 200) == LONGEST_BATCH_SECONDS
    assert (pace.batch_size(), pace.batch_size(LONG_BATCH_SECONDS)) == (1, 16)


def test_a_batch_is_stale_after_several_times_its_duration_and_a_long_one_earlier() -> None:
    assert stale_after(BATCH_SECONDS) == STALE_SECONDS
    assert stale_after(LONG_BATCH_SECONDS) == LONG_BATCH_SECONDS + SPARE_SECONDS
    assert stale_after(LONGEST_BATCH_SECONDS) == LONGEST_BATCH_SECONDS + SPARE_SECONDS


def test_another_worker_is_woken_only_for_more_than_a_turn_to_each() -> None:
    pace = Pace()
    assert pace.wanted(0, 0, 0) == 0
    assert pace.wanted(1, 1, 0) == 1
    assert pace.wanted(5, 5, 1) == 4
    assert pace.wanted(2, 100, 1) == 2
    pace.seconds = BATCH_SECONDS / 100
    assert pace.wanted(50, 50, 0) == 1  # half a batch, and no worker is awake
    assert pace.wanted(50, 50, 1) == 0
    assert pace.wanted(50, 500, 1) == 4
