"""The state of a fleet after its events."""

from __future__ import annotations

import io
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from processor.cli.monitor.screen import line as status_line
from processor.cli.monitor.screen import screen
from processor.observe.head_blocks import KEPT
from processor.observe.lines import ReadStats, SourcedEvent
from processor.observe.report.findings import findings
from processor.observe.report.page import page
from processor.observe.report.text import text
from processor.observe.watch import Watch
from processor.telemetry.events import HandlerLoad, HeadOfLine, HeadState, SessionLoad, kinds
from processor.telemetry.reading import LogEvent, read
from tests.observe.building import BEGAN, consumer, head, line, partition, sourced, watching


def test_a_consumer_joins_works_and_stops() -> None:
    life = [
        line("consumer.started", consumer=0, group="shop", workers=8),
        line("consumer.assigned", 1, consumer=0, partitions=["orders[0]@5"]),
        line("consumer.stopping", 2, consumer=0, reason="SIGTERM"),
        line("consumer.stopped", 3, consumer=0, exit_code=0),
    ]
    watch, states = Watch(), []
    for event in sourced(*life):
        watch.handle(event)
        states += [member.state for member in watch.consumers.values()]
    assert states == ["joining", "working", "stopping", "stopped"]
    assert watch.living() == []


def test_a_consumer_without_partitions_is_idle() -> None:
    (member,) = watching(consumer(assigned_partitions=0)).living()
    assert member.state == "idle"


def test_a_consumer_without_answers_of_its_group_is_cut_off_until_one_comes() -> None:
    lapsed = line("consumer.lease_lapsed", 1, consumer=0, reason="unanswered", seconds=30.0, waiting=120)
    watch = watching(consumer(), lapsed)
    (member,) = watch.living()
    assert (member.state, member.reason) == ("cut off", "the group has not answered for 30 s")
    watch.handle(*sourced(line("consumer.lease_renewed", 9, consumer=0, seconds=8.0)))
    assert member.state == "working"
    assert [entry.text for entry in watch.timeline.recent] == [
        "starts no tasks, 120 tasks waiting: the group has not answered for 30 s",
        "resumes after 8.0 s: the group has answered",
    ]


def test_a_consumer_that_stops_while_it_is_cut_off_goes_on_stopping() -> None:
    lapsed = line("consumer.lease_lapsed", 1, consumer=0, reason="unanswered", seconds=30.0, waiting=120)
    stopping = line("consumer.stopping", 2, consumer=0, reason="SIGTERM")
    renewed = line("consumer.lease_renewed", 3, consumer=0, seconds=2.0)
    (member,) = watching(consumer(), lapsed, stopping, renewed).living()
    assert member.state == "stopping"


def test_the_owner_of_a_partition_is_the_consumer_that_reported_it_last() -> None:
    watch = watching(partition(0), partition(1, consumer=1))
    (known,) = watch.ordered_partitions()
    assert known.consumer is not None
    assert known.consumer.index == 1


def test_a_revoked_partition_has_no_owner_unless_another_has_reported_it() -> None:
    revoked = line("consumer.revoked", 2, consumer=0, partitions=["orders[0]"])
    (known,) = watching(partition(0), revoked).ordered_partitions()
    assert known.consumer is None
    (known,) = watching(partition(0), partition(1, consumer=1), revoked).ordered_partitions()
    assert known.consumer is not None


def test_a_killed_consumer_releases_its_partitions() -> None:
    ended = line(
        "fleet.consumer_exited", 1, pid=1, consumer=0, consumer_pid=7, exit_code=-9, reason="killed by SIGKILL"
    )
    watch = watching(partition(0), consumer(0), ended)
    (known,) = watch.ordered_partitions()
    assert known.consumer is None
    assert known.last_consumer is not None
    assert (known.last_consumer.state, known.last_consumer.reason) == ("died", "killed by SIGKILL")
    assert watch.timeline.counts["restart"] == 1


def test_a_process_id_that_is_used_again_is_another_consumer() -> None:
    """Every container's first process is process 1."""
    started = line("consumer.started", 1, consumer=0, group="shop")
    watch = watching(consumer(0, succeeded=50), started, consumer(2, succeeded=3, uptime_seconds=1))
    assert watch.load.counts.succeeded == 53
    assert len(watch.living()) == 1


def test_consumers_that_ended_or_were_lost_long_ago_are_forgotten() -> None:
    watch = Watch()
    for n in range(1000):
        for event in sourced(consumer(n, pid=n), line("consumer.stopped", n + 0.5, consumer=0, pid=n)):
            watch.handle(event)
    assert len(watch.consumers) <= 201
    for n in range(100):
        for event in sourced(consumer(1000 + n * 100, host=f"web-{n}")):
            watch.handle(event)
    assert len(watch.living()) <= 37  # those of the last hour


def test_counters_are_summed_over_consumers_and_restarts() -> None:
    stats = [consumer(0, succeeded=5), consumer(0, consumer=1, pid=8, succeeded=7), consumer(10, succeeded=9)]
    watch = watching(*stats, line("consumer.stopped", 11, consumer=0), consumer(12, pid=9, succeeded=2))
    assert watch.load.counts.succeeded == 9 + 7 + 2


def test_two_groups_on_one_topic_have_partitions_of_their_own() -> None:
    watch = watching(partition(0, group="shop"), partition(0, group="audit", pid=8, lag=0))
    assert [known.group for known in watch.ordered_partitions()] == ["audit", "shop"]


def test_the_session_that_a_commit_point_waits_for_is_known_with_time_and_reason() -> None:
    stats = [partition(at, gap=50, in_flight=3, head=head(state_seconds=at + 5)) for at in (0.0, 10.0, 20.0)]
    (block,) = watching(*stats).current_blocks()
    assert (block.place, block.session_id, block.gap) == ("orders[0]@100", "anna", 50)
    assert block.since == BEGAN - 5
    assert block.seconds == 25
    assert block.why == "its handler is running, attempt 2, after OSError: no answer"


def test_past_blocks_are_bounded_and_the_longest_are_kept() -> None:
    watch = Watch()
    for n in range(3 * KEPT):
        at = n * 1000.0
        for event in sourced(
            partition(at, head=head(offset=n)), partition(at + 5 + n, head=head(offset=n)), partition(at + 900)
        ):
            watch.handle(event)
    longest = watch.longest_blocks()
    assert len(longest) == KEPT
    assert longest[0].offset == 3 * KEPT - 1


HOSTILE = '<script>alert("x")</script>\x1b[2J\u202e\n&amp;'


TEXTS = st.sampled_from(["", "orders", "anna", HOSTILE, "orders[0]@5"])
NUMBERS = st.integers(-3, 5) | st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(-10, 1e12)
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    str | None: st.none() | TEXTS,
    int: NUMBERS,
    int | None: st.none() | NUMBERS,
    float: FLOATS,
    float | None: st.none() | FLOATS,
    bool: st.booleans(),
    list[str]: st.lists(TEXTS, max_size=3),
    dict[int, int | None]: st.dictionaries(NUMBERS, st.none() | NUMBERS, max_size=3),
}


def fields_of(kind: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """Any values of the right types for any of the fields."""
    fields = {field.name: BY_TYPE[field.type] for field in msgspec.structs.fields(kind) if field.type in BY_TYPE}
    return st.fixed_dictionaries({}, optional=fields)


BY_TYPE[HeadState] = TEXTS
BY_TYPE[HeadOfLine | None] = st.none() | fields_of(HeadOfLine)
BY_TYPE[list[SessionLoad]] = st.lists(fields_of(SessionLoad), max_size=3)
BY_TYPE[list[HandlerLoad]] = st.lists(fields_of(HandlerLoad), max_size=3)
ANY_EVENT = st.sampled_from(kinds()).flatmap(
    lambda kind: fields_of(kind).map(lambda fields: read(msgspec.json.encode(fields | LINE | {"event": kind.event})))
)
LINE: dict[str, Any] = {"timestamp": "2027-01-15T08:00:00Z"}


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 10.0, 1e6]), ANY_EVENT), min_size=1, max_size=30))
def test_every_view_of_any_log_can_be_drawn_and_none_is_forged(found: list[tuple[float, LogEvent]]) -> None:
    watch, at, stats = Watch(3), BEGAN, ReadStats()
    for later, log_event in found:
        at += later
        watch.handle(SourcedEvent("a", at, *log_event))
    watch.finish()
    for now in (watch.now, watch.now + 1000):
        shown = text(watch, now, stats) + status_line(watch, stats, now) + drawn(watch, now, 80, 24)
        assert "\x1b[2J" not in shown
        assert "\u202e" not in shown
        assert all(finding.word for finding in findings(watch, now))
        assert "<script" not in page(watch, now, stats)


def drawn(watch: Watch, now: float, width: int, height: int) -> str:
    console = Console(width=width, height=height, file=io.StringIO())
    with console.capture() as captured:
        console.print(screen(watch, ReadStats(), now, width, height))
    shown = captured.get()
    assert len(shown.splitlines()) <= height
    return shown
