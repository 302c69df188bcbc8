"""Each verdict says why, and what to do; and so do the notes on the whole fleet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from processor.observe.holds import STATES
from processor.observe.report.findings import ADVICE_BY_STATE, Finding, findings
from processor.observe.report.notes import notes
from processor.observe.watch import Watch
from processor.observe.window import Status
from tests.observe.telling import BEGAN, consumer, head, line, partition, watching

TEN = [n * 10.0 for n in range(10)]
NOW = BEGAN + TEN[-1]


def only(watch: Watch, now: float = NOW) -> Finding:
    (finding,) = findings(watch, now)
    return finding


def stalled(**fields: Any) -> Iterator[bytes]:
    for at in TEN:
        yield partition(at, **{"gap": 40, "in_flight": 5, "head": head(state_seconds=at), **fields})


def test_a_partition_that_is_well_has_nothing_to_say() -> None:
    finding = only(watching(partition(0, lag=0)))
    assert (finding.status, finding.why, finding.advice) == (Status.OK, "", "")


def test_a_stall_names_the_session_since_when_and_why() -> None:
    finding = only(watching(*stalled()))
    assert finding.status is Status.STALLED
    assert (
        "session anna, offset 100, for 1 m 30 s: its handler runs, attempt 2, after OSError: no answer" in finding.why
    )
    assert "--timeout" in finding.advice
    assert "The other sessions go on" in finding.advice


@pytest.mark.parametrize("state", STATES)
def test_each_state_of_a_head_has_its_advice(state: str) -> None:
    finding = only(watching(*stalled(head=head(state=state))))
    assert STATES[state] in finding.why
    assert ADVICE_BY_STATE[state] in finding.advice


def test_a_stall_by_refused_commits_says_so() -> None:
    refused = line("consumer.commit_failed", 85, consumer=0, error="not authorized", partitions=["orders[0]"])
    finding = only(watching(*stalled(head=None, in_flight=0), refused))
    assert "Commits are refused: not authorized." in finding.why


def test_a_stall_by_a_consumer_that_its_group_does_not_answer_says_so() -> None:
    lapsed = line("consumer.lease_lapsed", 85, consumer=0, reason="unanswered", seconds=30.0, waiting=5)
    finding = only(watching(*stalled(head=head(state="ready")), lapsed))
    assert "begins nothing: the group has not answered for 30 s." in finding.why
    assert "brokers" in finding.advice


def test_a_stall_without_a_task_in_flight_asks_for_its_consumer() -> None:
    assert "taken nothing" in only(watching(*stalled(head=None, in_flight=0))).advice


def test_a_partition_that_has_stood_for_longer_than_the_window_tells_for_how_long() -> None:
    told = [partition(at, committed=100 + (at >= 20), lag=9, head=head()) for at in range(0, 400, 10)]
    assert "Nothing was committed for 6 m 10 s, and 9 records wait." in only(watching(*told)).why


def test_a_partition_that_stood_when_its_fleet_stopped_still_tells_what_held_it() -> None:
    told = [partition(at, lag=9, gap=5, head=head(state_seconds=at + 5.0)) for at in TEN]
    stopped = line("consumer.stopped", TEN[-1] + 1, consumer=0, exit_code=3)
    finding = only(watching(*told, stopped))
    assert "It waited, until its consumer left it, for session anna, offset 100" in finding.why
    assert "--timeout" in finding.advice


def behind(**stats: Any) -> Watch:
    told = [partition(at, committed=100 + int(at), lag=50 + int(at) * 2, waiting=90) for at in TEN]
    return watching(line("consumer.started", consumer=0, workers=8), *told, consumer(TEN[-1], **stats))


def test_falling_behind_tells_both_rates_and_asks_for_more_where_every_worker_is_busy() -> None:
    finding = only(behind(running=8))
    assert finding.status is Status.BEHIND
    assert "1 records a second are committed and 3 produced; the lag is 230." in finding.why
    assert "Every worker is busy" in finding.advice


def test_falling_behind_with_free_workers_asks_for_more_keys() -> None:
    assert "too few sessions" in only(behind(running=1)).advice


def test_falling_behind_for_one_hot_session_names_it() -> None:
    busiest = [{"session_id": "hot", "topic": "orders", "partition": 0, "waiting": 60}]
    finding = only(behind(running=1, busiest_sessions=busiest))
    assert "Session hot has 60 of the 90 waiting." in finding.why
    assert "One session runs one task at a time" in finding.advice


def test_a_stopped_partition_tells_who_had_it_and_what_became_of_them() -> None:
    told = [partition(at) for at in TEN[:4]]
    ended = line(
        "fleet.consumer_exited", 31, pid=1, consumer=0, consumer_pid=7, exit_code=-9, reason="killed by SIGKILL"
    )
    finding = only(watching(*told, ended))
    assert finding.status is Status.STOPPED
    assert "5 records waited then. Consumer #0 (process 7) had it, and died: killed by SIGKILL." in finding.why


def test_a_stopped_partition_of_a_consumer_that_is_silent_or_gave_it_back_or_speaks_of_others() -> None:
    told = [partition(at) for at in TEN[:4]]
    assert "says nothing at all" in only(watching(*told)).advice
    revoked = line("consumer.revoked", 31, consumer=0, partitions=["orders[0]"])
    assert "gave it back" in only(watching(*told, revoked)).advice
    assert "not of this partition" in only(watching(*told, consumer(TEN[-1]))).advice


def test_a_rewind_tells_from_where_to_where() -> None:
    finding = only(watching(partition(0, committed=100), partition(10, committed=20)))
    assert finding.status is Status.REWOUND
    assert "from 100 to 20" in finding.why


def test_the_worst_partition_comes_first() -> None:
    watch = watching(*(partition(at, number=1, lag=0) for at in TEN), *stalled())
    assert [finding.partition.name for finding in findings(watch, NOW)] == ["orders[0]", "orders[1]"]


def test_a_fleet_whose_consumers_keep_ending_is_told_so() -> None:
    ended = [
        line("fleet.consumer_exited", at, consumer=0, exit_code=1, reason="no module named shop") for at in TEN[:3]
    ]
    (note,) = notes(watching(*ended), NOW)
    assert "3 restarts" in note
    assert "no module named shop" in note


def test_one_restart_is_no_note() -> None:
    assert notes(watching(line("fleet.consumer_exited", consumer=0, exit_code=1)), NOW) == []


def test_a_silent_consumer_is_noted_and_one_that_has_stopped_is_not() -> None:
    assert "1 consumer should have spoken" in notes(watching(consumer(0)), NOW)[0]
    assert notes(watching(consumer(0), line("consumer.stopped", 1, consumer=0)), NOW) == []


def test_a_stuck_handler_and_where_it_is_are_noted() -> None:
    stack = 'File "a.py", line 3, in wait\n  sock.recv()'
    (note,) = notes(watching(line("task.stuck", session_id="anna", stack=stack)), NOW)
    assert "1 handler could not be stopped, the last of session anna" in note
    assert "sock.recv()" in note


def test_many_dead_letters_are_noted_with_their_commonest_error() -> None:
    dead = line("task.dead_lettered", 1, error_type="a.Refused", error="no")
    (note,) = notes(watching(dead, consumer(2, succeeded=90, dead_lettered=10)), BEGAN + 3)
    assert "10% of all tasks" in note
    assert "Refused: no" in note


def test_a_group_that_rebalances_again_and_again_is_restless() -> None:
    got = [line("consumer.assigned", n, consumer=0, partitions=["orders[0]@1"]) for n in range(8)]
    assert "restless" in notes(watching(*got), BEGAN + 8)[0]
    assert notes(watching(*got[:3]), BEGAN + 3) == []


def test_records_that_retention_deleted_unread_come_first() -> None:
    missed = line(
        "consumer.offsets_missed", 1, consumer=0, topic="orders", partition=3, missed_offsets=12, offsets=["5-16"]
    )
    watch = watching(consumer(0), missed)
    assert "12 offsets were deleted before anybody read them" in notes(watch, NOW)[0]
    assert "orders[3]: 12 offsets (5-16)" in watch.moments.last[-1].text
