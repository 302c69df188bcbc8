"""What happened to a fleet, one line for each event that an operator cares for."""

from __future__ import annotations

from typing import Any

import pytest

from processor.observe.timeline import KEPT, Timeline, TimelineEntry
from tests.observe.building import BEGAN, line, watching


def entry(at: float = 0.0, text: str = "x") -> TimelineEntry:
    return TimelineEntry(at=at, kind="restart", subject="#0", text=text)


def test_the_latest_are_kept_and_all_are_counted() -> None:
    timeline = Timeline()
    for n in range(3 * KEPT):
        timeline.add(entry(float(n), str(n)))
    assert len(timeline.recent) == KEPT
    assert timeline.recent[-1].text == str(3 * KEPT - 1)
    assert timeline.counts["restart"] == 3 * KEPT
    assert sum(point.sum for point in timeline.marks["restart"].points()) == 3 * KEPT


@pytest.mark.parametrize(
    ("event", "fields", "kind", "text"),
    [
        ("fleet.started", {"app": "shop:app", "processes": 2}, "start", "shop:app starts, 2 consumers"),
        ("fleet.stopping", {"reason": "SIGTERM"}, "stop", "the fleet is stopping: SIGTERM"),
        ("fleet.stopped", {"exit_code": 3}, "stop", "the fleet stopped with exit code 3"),
        (
            "fleet.processes_changed",
            {"processes": 3, "processes_before": 2, "reason": "SIGTTIN"},
            "scale",
            "has 3 consumers, before 2: SIGTTIN",
        ),
        (
            "fleet.processes_limited",
            {"processes": 1, "reason": "SIGTTOU: a fleet has at least 1"},
            "trouble",
            "keeps 1 consumer: SIGTTOU: a fleet has at least 1",
        ),
        (
            "fleet.consumer_exited",
            {"reason": "killed by SIGKILL"},
            "restart",
            "killed by SIGKILL; it is being replaced",
        ),
        ("fleet.consumer_exited", {"exit_code": 7}, "restart", "exit code 7; it is being replaced"),
        (
            "process.died",
            {"running": 4, "suspects": ["t-0-1", "t-0-7", "t-1-2", "t-2-5"]},
            "trouble",
            "it died while it ran 4 tasks: t-0-1, t-0-7, t-1-2 and others",
        ),
        (
            "task.suspected",
            {"topic": "t", "partition": 3, "offset": 17, "deaths": 2},
            "trouble",
            "a task kills its process: t[3], offset 17, 2 deaths",
        ),
        ("fleet.consumer_killed", {}, "trouble", "killed: it did not exit within its drain timeout"),
        ("consumer.assigned", {"partitions": ["t[0]@5"]}, "rebalance", "was assigned t[0]"),
        (
            "consumer.assigned",
            {"partitions": ["t[0]@5"], "settled_ahead": 1200},
            "rebalance",
            "was assigned t[0], 1,200 settled ahead",
        ),
        ("consumer.revoked", {"partitions": ["t[0]"]}, "rebalance", "released t[0]"),
        (
            "consumer.workers_changed",
            {"workers": 16, "workers_before": 8, "reason": "set by ann@ops-1"},
            "scale",
            "has 16 workers, before 8: set by ann@ops-1",
        ),
        (
            "consumer.workers_limited",
            {"workers": 900, "wanted": 4000, "error": "can't start new thread"},
            "trouble",
            "has only 900 of 4,000 workers: can't start new thread",
        ),
        (
            "handler.suspended",
            {"handler": "store", "error_type": "E", "error": "refused", "waiting": 1200},
            "trouble",
            "handler store is suspended, 1,200 tasks waiting: E: refused",
        ),
        (
            "handler.resumed",
            {"handler": "store", "suspended_seconds": 63},
            "trouble",
            "handler store is resumed after 1 m 03 s",
        ),
        (
            "consumer.revoked",
            {"partitions": ["t[0]"], "abandoned": 2},
            "rebalance",
            "released t[0], 2 tasks still running",
        ),
        ("consumer.lost", {"partitions": ["t[0]"]}, "rebalance", "lost t[0]: the group had evicted it"),
        (
            "consumer.partition_held",
            {"topic": "t", "partition": 4, "waits_for": ["t[0]@9", "t[1]@7"]},
            "rebalance",
            "holds the new t[4] until t[0], t[1] are settled",
        ),
        (
            "consumer.partition_released",
            {"topic": "t", "partition": 4, "seconds": 2.0},
            "rebalance",
            "begins the new t[4], held for 2.0 s",
        ),
        (
            "consumer.producer_late",
            {"topic": "t", "partition": 1, "offset": 1500, "belongs_to": 5, "partitions": 8},
            "trouble",
            "offset 1,500 of t[1] belongs to partition 5 since the topic has grown",
        ),
        (
            "consumer.growth_uneven",
            {"topic": "t", "partitions_before": 4, "partitions": 6},
            "trouble",
            "t grew from 4 to 6 partitions, not by a multiple: sessions may be out of order",
        ),
        (
            "consumer.offsets_rewound",
            {"topic": "t", "partition": 1, "expected_offset": 1500, "offset": 0},
            "trouble",
            "offsets of t[1] moved back from 1,500 to 0",
        ),
        (
            "consumer.offsets_rewound",
            {"topic": "t", "partition": 1, "offset": 0},
            "trouble",
            "offsets of t[1] moved back to 0",
        ),
        (
            "consumer.offsets_missed",
            {"topic": "t", "partition": 1, "missed_offsets": 12, "offsets": ["0-9", "11", "13", "15"]},
            "trouble",
            "t[1]: 12 offsets (0-9, 11, 13) deleted before they were read",
        ),
        (
            "consumer.lease_lapsed",
            {"reason": "asleep", "seconds": 30.0, "waiting": 1},
            "trouble",
            "starts no tasks, 1 task waiting: it was suspended for 30 s",
        ),
        (
            "consumer.lease_lapsed",
            {"reason": "unanswered", "seconds": 30.0, "waiting": 120},
            "trouble",
            "starts no tasks, 120 tasks waiting: the group has not answered for 30 s",
        ),
        ("consumer.lease_renewed", {"seconds": 8.0}, "trouble", "resumes after 8.0 s: the group has answered"),
        ("consumer.stopped", {"exit_code": 0}, "stop", "stopped with exit code 0"),
        (
            "consumer.stopped",
            {"exit_code": 3, "abandoned": 1},
            "stop",
            "stopped with exit code 3, 1 task still running",
        ),
        (
            "consumer.recycling",
            {"reason": "t-1 is stuck"},
            "trouble",
            "is being replaced by a new process: t-1 is stuck",
        ),
        ("consumer.failed", {"error": "no broker"}, "trouble", "failed: no broker"),
        ("consumer.commit_failed", {"error": "fenced"}, "trouble", "commit refused: fenced"),
        (
            "task.stuck",
            {"session_id": "anna", "offset": 7},
            "trouble",
            "a handler cannot be interrupted: session anna, offset 7",
        ),
    ],
)
def test_an_event_is_a_line_of_its_kind(event: str, fields: dict[str, Any], kind: str, text: str) -> None:
    (found,) = watching(line(event, 3, consumer=0, **fields)).timeline.recent
    assert (found.at, found.kind, found.subject, found.text) == (BEGAN + 3, kind, "#0", text)


@pytest.mark.parametrize("event", ["consumer.assigned", "consumer.revoked"])
def test_a_rebalance_that_does_not_change_a_consumer_has_no_line_in_the_timeline(event: str) -> None:
    assert not watching(line(event, consumer=0, partitions=[])).timeline.recent


@pytest.mark.parametrize(
    "event", ["consumer.stats", "partition.stats", "fleet.stats", "task.succeeded", "kafka.client_log"]
)
def test_frequent_events_have_no_line_in_the_timeline(event: str) -> None:
    assert not watching(line(event, consumer=0)).timeline.recent


def test_texts_from_the_log_cannot_control_a_terminal() -> None:
    (found,) = watching(line("consumer.failed", consumer=0, error="\x1b[2J\u202e\n")).timeline.recent
    assert found.text.isprintable()


def test_a_death_of_which_nothing_is_known_is_the_restart_alone() -> None:
    watch = watching(line("process.died", 1, consumer=0, exit_code=-9, reason="killed by SIGKILL", running=0))
    assert list(watch.timeline.recent) == []
