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
from processor.observe.failures import Failure, Failures
from processor.observe.head_blocks import KEPT
from processor.observe.lines import ReadStats, SourcedEvent
from processor.observe.report.findings import findings
from processor.observe.report.page import page
from processor.observe.report.text import text
from processor.observe.sessions import Sessions
from processor.observe.watch import Watch
from processor.telemetry.events import HeadOfLine, HeadState, SessionLoad, kinds
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


def test_a_round_is_the_sum_of_all_consumers() -> None:
    def stats(at: float, rate: float, p50: float, **fields: object) -> bytes:
        return consumer(at, tasks_per_second=rate, handler_p50_seconds=p50, handler_p99_seconds=p50 * 10, **fields)

    watch = watching(stats(0, 10, 0.1), stats(0.5, 30, 0.3, consumer=1), partition(1, lag=40), stats(10, 50, 0.1))
    (ended,) = watch.load.trail
    assert (ended.tasks_per_second, ended.p50_seconds, ended.p99_seconds, ended.lag) == (40, 0.3, 3.0, 40)


def test_two_pods_whose_consumers_have_the_same_number_have_different_labels() -> None:
    watch = Watch()
    for name in ("pod/shop-a/x", "pod/shop-b/x"):
        for event in sourced(consumer(0), name=name):
            watch.handle(event)
    assert [watch.label(member) for member in watch.living()] == ["shop-a/x #0", "shop-b/x #0"]


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


def test_a_head_that_moves_on_blocks_nothing() -> None:
    stats = [partition(at, commit_point=100 + int(at), head=head(offset=100 + int(at))) for at in (0.0, 10.0)]
    watch = watching(*stats)
    assert watch.current_blocks() == []
    assert watch.longest_blocks() == []


def test_a_block_that_is_over_is_remembered_with_its_longest_time() -> None:
    stats = [partition(at, head=head(state="parked", state_seconds=1)) for at in (0.0, 10.0, 20.0)]
    watch = watching(*stats, partition(30, head=None))
    assert watch.current_blocks() == []
    (block,) = watch.longest_blocks()
    assert (block.since, block.until) == (BEGAN - 1, BEGAN + 20)


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


def test_failures_of_one_kind_are_one_group_though_their_numbers_differ() -> None:
    dead = [
        line("task.dead_lettered", n, error_type="x.Refused", error=f"card {n} at 0x{n:x} of '{n}'", session_id=f"s{n}")
        for n in range(3)
    ]
    watch = watching(*dead, line("task.timed_out", 9, timeout_seconds=2.0))
    first, second = watch.failures.groups
    assert (first.count, first.outcomes, first.example.session_id) == (3, {"dead-lettered": 3}, "s2")
    assert second.example.summary == "TaskTimeout: ran longer than 2 s"


def test_groups_of_failures_are_bounded_and_all_failures_are_counted() -> None:
    failures = Failures(groups=3)
    for letter in "abcdefabc":
        failures.note(Failure(at=1.0, outcome="dead-lettered", error_type=letter, error=letter))
    *kinds, rest = failures.groups
    assert [group.example.error for group in kinds] == ["a", "b", "c"]
    assert (rest.is_rest, rest.count) == (True, 3)


def test_busy_sessions_are_bounded_and_the_busiest_are_kept() -> None:
    sessions = Sessions(kept=5)
    for n in range(1000):
        sessions.note([SessionLoad(session_id=f"s{n}", topic="t", partition=0, waiting=n)], float(n))
    assert [busy.waiting for busy in sessions.busiest()] == [999, 998, 997, 996, 995]


def test_two_fleets_on_one_host_have_different_labels_while_both_run() -> None:
    started = [line("consumer.started", 0, host="web", pid=pid, fleet=pid - 1, consumer=0) for pid in (11, 21)]
    watch = watching(*started)
    assert [watch.label(one) for one in watch.living()] == ["10 #0", "20 #0"]
    for event in sourced(line("consumer.stopped", 1, host="web", pid=11, fleet=10, consumer=0)):
        watch.handle(event)
    assert [watch.label(one) for one in watch.living()] == ["#0"]


def test_the_live_view_has_a_row_for_each_error_the_latest_first() -> None:
    failed = [
        line("task.dead_lettered", at, consumer=0, session_id=f"s{at}", error_type="builtins.OSError", error="away")
        for at in range(30)
    ]
    failed.append(line("task.dead_lettered", 31, consumer=0, session_id="z", error_type="builtins.KeyError", error="k"))
    shown = drawn(watching(consumer(0), *failed), BEGAN + 40, 80, 24).splitlines()
    first, second = [row for row in shown if "dead-lettered" in row]
    assert "KeyError: k z" in first
    assert "OSError: away ×30 s29" in second


def test_a_narrow_terminal_still_shows_a_fault_and_its_cause() -> None:
    stalled = [partition(at, 7, lag=9, gap=5, head=head(state_seconds=at + 5.0)) for at in range(0, 30, 2)]
    shown = drawn(watching(consumer(0), *stalled), BEGAN + 30, 44, 12)
    assert "1 of 1 partition at fault" in shown
    assert "orders[7] stalled" in shown
    assert "orders[7] anna @100 35 s: its handler" in shown


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
