"""The sessions with the most waiting tasks."""

from __future__ import annotations

from processor.observe.sessions import KEPT, Sessions, busy_session
from processor.telemetry.events import SessionLoad


def load(session: str, waiting: int, partition: int = 0, topic: str = "t", of: int = 0) -> SessionLoad:
    return SessionLoad(session_id=session, topic=topic, partition=partition, waiting=waiting, partition_waiting=of)


def test_a_session_is_remembered_with_its_most_waiting_tasks_and_its_times() -> None:
    sessions = Sessions()
    for at, waiting in ((1.0, 5), (2.0, 9), (3.0, 2)):
        sessions.note([load("anna", waiting)], at)
    (busy,) = sessions.busiest()
    assert (busy.session_id, busy.place, busy.waiting, busy.first, busy.last) == ("anna", "t[0]", 9, 1.0, 3.0)


def test_its_share_is_that_of_the_time_when_most_of_its_tasks_waited() -> None:
    sessions = Sessions()
    for at, waiting, of in ((1.0, 5, 5), (2.0, 9, 12), (3.0, 2, 2)):
        sessions.note([load("anna", waiting, of=of)], at)
    assert [(busy.waiting, busy.share) for busy in sessions.busiest()] == [(9, 0.75)]


def test_a_log_of_an_older_version_has_no_shares() -> None:
    assert busy_session(load("anna", 5), 0.0).share is None


def test_a_session_of_two_partitions_is_two() -> None:
    sessions = Sessions()
    sessions.note([load("anna", 1), load("anna", 2, partition=1), load("anna", 3, topic="u")], 0.0)
    assert [busy.place for busy in sessions.busiest()] == ["u[0]", "t[1]", "t[0]"]


def test_they_are_bounded_and_the_busiest_are_kept() -> None:
    sessions = Sessions(kept=5)
    for n in range(1000):
        sessions.note([load(f"s{n}", n)], float(n))
    assert [busy.waiting for busy in sessions.busiest()] == [999, 998, 997, 996, 995]


def test_one_round_may_have_more_sessions_than_are_kept() -> None:
    sessions = Sessions()
    sessions.note([load(f"s{n}", n) for n in range(10 * KEPT)], 0.0)
    assert len(sessions.busiest()) == KEPT
    assert sessions.busiest()[0].waiting == 10 * KEPT - 1


def test_a_forgotten_session_starts_again() -> None:
    sessions = Sessions(kept=1)
    sessions.note([load("small", 1)], 1.0)
    sessions.note([load("large", 9), load("larger", 10)], 2.0)
    sessions.note([load("small", 20)], 3.0)
    assert (sessions.busiest()[0].session_id, sessions.busiest()[0].first) == ("small", 3.0)


def test_names_from_the_log_cannot_control_a_terminal() -> None:
    busy = busy_session(load("a\x1b[2J", 1, topic="\u202e"), 0.0)
    assert busy.session_id.isprintable()
    assert busy.place.isprintable()
