"""Lanes that wait for a resume: for which pause, and which of them may begin again."""

from __future__ import annotations

from processor.engine.lane import HELD, Lane
from processor.engine.ledger import Ledger
from processor.engine.paused_lanes import PausedLanes, PauseLoad
from processor.engine.pauses import ALL, Pause, Pauses, Target
from tests.engine.record import FakeRecord

OLD, NEW = Pause(1000, "ann@host"), Pause(2000, "bob@host")
SESSION, NAME, PARTITION = Target("session", "s"), Target("name", "charge"), Target("partition", "t:1")


class Held:
    """Two ledgers, `t:0` and `t:1`, and the lanes that are held of them."""

    def __init__(self) -> None:
        self.pauses = Pauses()
        self.ledgers = [Ledger(0), Ledger(0)]
        self.lanes = PausedLanes(self.pauses, lambda ledger: f"t:{self.ledgers.index(ledger)}")

    def hold(self, number: int, key: bytes, tasks: int, name: str | None = None) -> Lane:
        lane = Lane(key, HELD, FakeRecord(0, key))
        lane.waiting += [FakeRecord(n, key) for n in range(1, tasks)]
        self.lanes.hold(self.ledgers[number], lane, name)
        return lane


def test_what_waits_is_counted_by_the_widest_pause_that_covers_it_and_by_partition() -> None:
    held = Held()
    for target, pause in ((SESSION, NEW), (NAME, OLD), (PARTITION, NEW), (Target("session", "idle"), OLD)):
        held.pauses.begin(target, pause)
    held.hold(0, b"s", 5)
    held.hold(0, b"u", 2, "charge")
    held.hold(1, b"s", 7)
    found = held.lanes.snapshot(3)
    assert found.loads == [PauseLoad(PARTITION, NEW, 7), PauseLoad(SESSION, NEW, 5), PauseLoad(NAME, OLD, 2)]
    assert (found.in_force, found.since, found.waiting) == (4, 1000, {"t:0": 7, "t:1": 7})
    held.pauses.begin(ALL, OLD)
    assert held.lanes.snapshot(1).loads == [PauseLoad(ALL, OLD, 14)]


def test_nothing_is_paused_at_first() -> None:
    found = Held().lanes.snapshot(10)
    assert (found.in_force, found.since, list(found.loads), dict(found.waiting)) == (0, None, [], {})


def test_lanes_that_no_pause_covers_any_more_are_taken_out_once() -> None:
    held = Held()
    held.pauses.begin(SESSION, OLD)
    held.pauses.begin(NAME, OLD)
    by_session, by_name = held.hold(0, b"s", 1), held.hold(0, b"u", 1, "charge")
    assert held.lanes.take_resumed(ALL) == []
    assert held.lanes.pause_of(held.ledgers[0], by_session) == OLD
    held.pauses.end(NAME)
    assert held.lanes.take_resumed(NAME) == [(held.ledgers[0], by_name)]
    held.pauses.end(SESSION)
    assert held.lanes.take_resumed(Target("session", "u")) == []
    assert held.lanes.take_resumed(SESSION) == [(held.ledgers[0], by_session)]
    assert len(held.lanes) == 0


def test_lanes_are_dropped_one_by_one_and_with_their_ledger() -> None:
    held = Held()
    held.lanes.forget(held.ledgers[0])
    gone, kept, dropped = held.hold(0, b"s", 1), held.hold(1, b"s", 1), held.hold(1, b"u", 1)
    held.lanes.drop(dropped)
    held.lanes.drop(gone)
    held.lanes.drop(gone)
    assert len(held.lanes) == 1
    held.hold(0, b"v", 1)
    held.lanes.forget(held.ledgers[0])
    assert held.lanes.take_resumed(ALL) == [(held.ledgers[1], kept)]
