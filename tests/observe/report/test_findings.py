"""Each verdict has a reason and advice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from processor.observe.head_blocks import STATES
from processor.observe.report.findings import ADVICE_BY_STATE, Finding, findings
from processor.observe.watch import Watch
from processor.observe.window import Status
from tests.observe.building import BEGAN, consumer, head, line, partition, watching

TEN = [n * 10.0 for n in range(10)]
NOW = BEGAN + TEN[-1]


def only(watch: Watch, now: float = NOW) -> Finding:
    (finding,) = findings(watch, now)
    return finding


def stalled(**fields: Any) -> Iterator[bytes]:
    for at in TEN:
        yield partition(at, **{"gap": 40, "in_flight": 5, "head": head(state_seconds=at), **fields})


def test_a_partition_without_a_fault_has_no_reason_and_no_advice() -> None:
    finding = only(watching(partition(0, lag=0)))
    assert (finding.status, finding.why, finding.advice) == (Status.OK, "", "")


def test_a_stall_names_the_session_the_time_and_the_reason() -> None:
    finding = only(watching(*stalled()))
    assert finding.status is Status.STALLED
    assert (
        "session anna, offset 100, for 1 m 30 s: its handler is running, attempt 2, after OSError: no answer"
        in finding.why
    )
    assert "--timeout" in finding.advice
    assert "Other sessions continue" in finding.advice


def test_a_held_partition_names_the_offsets_that_it_waits_for_under_any_verdict() -> None:
    held: dict[str, Any] = {"head": None, "in_flight": 0, "gap": 0, "waits_for": ["orders[1]@7", "orders[2]@9"]}
    new = only(watching(partition(0, committed=None, commit_point=None, **held)))
    watched = only(watching(*stalled(**held)))
    assert watched.status is Status.STALLED
    for finding in (new, watched):
        assert "waits until the group has committed orders[1]@7, orders[2]@9." in finding.why
        assert "begins by itself" in finding.advice


def test_a_paused_partition_is_not_a_fault_and_shows_by_whom() -> None:
    paused = head(state="paused", error_type="processor.Paused", error="paused by ann@ops-1")
    finding = only(watching(*stalled(head=paused, head_paused=True)))
    assert (finding.status, finding.word, finding.status.is_fault) == (Status.PAUSED, "paused", False)
    assert "paused by ann@ops-1" in finding.why
    assert "processor control resume" in finding.advice


@pytest.mark.parametrize("state", STATES)
def test_each_state_of_a_head_has_its_advice(state: str) -> None:
    finding = only(watching(*stalled(head=head(state=state))))
    assert STATES[state] in finding.why
    assert ADVICE_BY_STATE[state] in finding.advice


def test_a_stall_by_refused_commits_names_the_error() -> None:
    refused = line("consumer.commit_failed", 85, consumer=0, error="not authorized", partitions=["orders[0]"])
    finding = only(watching(*stalled(head=None, in_flight=0), refused))
    assert "Commits are refused: not authorized." in finding.why


def test_a_stall_by_a_consumer_without_answers_of_its_group_names_it() -> None:
    lapsed = line("consumer.lease_lapsed", 85, consumer=0, reason="unanswered", seconds=30.0, waiting=5)
    finding = only(watching(*stalled(head=head(state="ready")), lapsed))
    assert "starts no tasks: the group has not answered for 30 s." in finding.why
    assert "brokers" in finding.advice


def test_a_stall_without_a_task_in_flight_points_to_the_consumer() -> None:
    assert "fetched nothing" in only(watching(*stalled(head=None, in_flight=0))).advice


def test_a_stall_that_is_longer_than_the_window_has_its_whole_duration() -> None:
    reports = [partition(at, committed=100 + (at >= 20), lag=9, head=head()) for at in range(0, 400, 10)]
    assert "Nothing was committed for 6 m 10 s, with a lag of 9 records." in only(watching(*reports)).why


def test_a_stall_at_the_stop_of_a_fleet_still_names_the_blocking_task() -> None:
    reports = [partition(at, lag=9, gap=5, head=head(state_seconds=at + 5.0)) for at in TEN]
    stopped = line("consumer.stopped", TEN[-1] + 1, consumer=0, exit_code=3)
    finding = only(watching(*reports, stopped))
    assert "Its commit point waited, until its consumer released it, for session anna, offset 100" in finding.why
    assert "--timeout" in finding.advice


def behind(**stats: Any) -> Watch:
    reports = [partition(at, committed=100 + int(at), lag=50 + int(at) * 2, waiting=90) for at in TEN]
    return watching(line("consumer.started", consumer=0, workers=8), *reports, consumer(TEN[-1], **stats))


def test_falling_behind_with_busy_workers_has_both_rates_and_asks_for_more_workers() -> None:
    finding = only(behind(running=8))
    assert finding.status is Status.BEHIND
    assert "1 records per second are committed, 3 produced; the lag is 230." in finding.why
    assert "All workers are busy" in finding.advice


def test_falling_behind_where_more_workers_did_not_help_asks_for_more_processes() -> None:
    reports = [partition(at, committed=100 + int(at), lag=50 + int(at) * 2, waiting=90) for at in TEN]
    started = line("consumer.started", consumer=0, workers=4, workers_most=64)
    finding = only(watching(started, *reports, consumer(TEN[-1], running=8, workers=8)))
    assert "more workers do not finish more tasks: raise --processes" in finding.advice
    finding = only(watching(started, *reports, consumer(TEN[-1], running=64, workers=64)))
    assert "raise --workers" in finding.advice


@pytest.mark.parametrize(
    ("used_cores", "advice"),
    [
        (0.97, "uses 0.97 of a processor core: handlers compute, so raise --processes (up"),
        (0.04, "0.04 of a processor core: handlers wait, unless the machine has no idle core. Raise --workers"),
        (0.6, "busy: raise --workers if handlers wait for I/O, --processes if they compute"),
        (0.0, "busy: raise --workers if handlers wait for I/O, --processes if they compute"),
    ],
)
def test_the_advice_for_busy_workers_follows_what_their_process_uses(used_cores: float, advice: str) -> None:
    assert advice in only(behind(running=8, used_cores=used_cores)).advice


def test_falling_behind_with_free_workers_asks_for_more_keys() -> None:
    assert "too few sessions" in only(behind(running=1)).advice


def test_falling_behind_for_one_hot_session_names_it() -> None:
    busiest = [{"session_id": "hot", "topic": "orders", "partition": 0, "waiting": 60}]
    finding = only(behind(running=1, busiest_sessions=busiest))
    assert "Session hot has 60 of the 90 waiting tasks." in finding.why
    assert "A session runs one task at a time" in finding.advice


def test_what_is_set_aside_of_a_hot_session_counts_as_waiting() -> None:
    busiest = [{"session_id": "hot", "topic": "orders", "partition": 0, "waiting": 5000}]
    reports = [partition(at, committed=100 + int(at), lag=50 + int(at) * 2, waiting=90, set_aside=4900) for at in TEN]
    finding = only(watching(*reports, consumer(TEN[-1], running=1, busiest_sessions=busiest)))
    assert "Session hot has 5,000 of the 5,000 waiting tasks." in finding.why
    assert "4,900 are set aside, so other sessions go on." in finding.why
    few = [{"session_id": "few", "topic": "orders", "partition": 0, "waiting": 60}]
    finding = only(watching(*reports, consumer(TEN[-1], running=1, busiest_sessions=few)))
    assert "Session" not in finding.why


def test_a_stopped_partition_names_its_owner_and_how_that_ended() -> None:
    reports = [partition(at) for at in TEN[:4]]
    ended = line(
        "fleet.consumer_exited", 31, pid=1, consumer=0, consumer_pid=7, exit_code=-9, reason="killed by SIGKILL"
    )
    finding = only(watching(*reports, ended))
    assert finding.status is Status.STOPPED
    assert "its lag was 5 records then. Consumer #0 (process 7) owned it and died: killed by SIGKILL." in finding.why


def test_a_stopped_partition_of_a_consumer_that_is_silent_or_released_it_or_reports_others() -> None:
    reports = [partition(at) for at in TEN[:4]]
    assert "has logged nothing since" in only(watching(*reports)).advice
    revoked = line("consumer.revoked", 31, consumer=0, partitions=["orders[0]"])
    assert "released it" in only(watching(*reports, revoked)).advice
    assert "but not this partition" in only(watching(*reports, consumer(TEN[-1]))).advice


def test_a_rewind_has_both_offsets() -> None:
    finding = only(watching(partition(0, committed=100), partition(10, committed=20)))
    assert finding.status is Status.REWOUND
    assert "from 100 to 20" in finding.why


def test_the_worst_partition_comes_first() -> None:
    watch = watching(*(partition(at, number=1, lag=0) for at in TEN), *stalled())
    assert [finding.partition.name for finding in findings(watch, NOW)] == ["orders[0]", "orders[1]"]
