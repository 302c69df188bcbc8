"""Every check of the ledger can fail: each fault is written by hand, and found."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.ledger import Entry, Follower, Ledger, Place, lost, out_of_order, overlapping, repeated, run_spans


class FakeTask(NamedTuple):
    topic: str = "t"
    partition: int = 0
    offset: int = 0
    session_id: str = "s"
    attempt: int = 1


def place(offset: int) -> Place:
    return Place("t", 0, offset)


def book(story: str, session: str = "s") -> list[Entry]:
    """A ledger in words, a nanosecond each: `a:start3` is process a starting offset 3; `done3` and `failed3` end it."""
    entries = []
    for at, word in enumerate(story.split()):
        pid, what = word.split(":")
        verb, offset = what.rstrip("0123456789"), int(what.lstrip("abcdefghijklmnopqrstuvwxyz"))
        entries.append(
            Entry(
                kind="start" if verb == "start" else "end",
                topic="t",
                partition=0,
                offset=offset,
                session=session,
                attempt=1,
                pid=ord(pid),
                thread=1,
                at=at,
                succeeded=verb == "done",
            )
        )
    return entries


def test_a_run_lasts_from_its_start_to_its_end_and_one_without_an_end_has_no_length() -> None:
    assert sorted(run_spans(book("a:start0 b:start1 a:done0 a:start2 a:failed2"))) == [(0, 2), (1, 1), (3, 4)]


IN_ORDER = "a:start0 a:done0 a:start1 a:failed1 a:start1 a:done1 a:start5 a:done5"
REPLAYED = "a:start0 a:done0 a:start1 a:done1 a:start2 b:start0 b:done0 b:start1 b:done1 b:start2 b:done2"


@pytest.mark.parametrize("story", [IN_ORDER, REPLAYED, ""])
def test_a_good_ledger_has_no_findings(story: str) -> None:
    entries = book(story)
    assert lost(entries, {entry.place for entry in entries}) == []
    assert out_of_order(entries) == []
    assert overlapping(entries) == []


def test_a_record_that_never_ran_is_lost() -> None:
    assert [finding.place for finding in lost(book(IN_ORDER), map(place, [0, 1, 2, 5]))] == [place(2)]


def test_a_record_whose_attempts_all_failed_is_lost_unless_it_was_given_up() -> None:
    entries = book("a:start0 a:failed0 a:start1")
    assert [finding.place for finding in lost(entries, map(place, [0, 1]))] == [place(0), place(1)]
    assert lost(entries, [place(0)], given_up=[place(0)]) == []


def test_a_run_after_the_record_was_done_is_a_repetition_and_another_attempt_is_none() -> None:
    assert repeated(book(IN_ORDER)) == []
    assert [finding.place for finding in repeated(book(REPLAYED))] == [place(0), place(1)]


def test_a_later_record_that_starts_first_is_out_of_order() -> None:
    assert [finding.place for finding in out_of_order(book("a:start1 a:done1 b:start0 b:done0"))] == [place(1)]


def test_a_later_record_that_starts_while_an_earlier_one_waits_for_its_retry_is_out_of_order() -> None:
    story = "a:start0 a:failed0 a:start1 a:done1 b:start0 b:done0"
    assert [finding.place for finding in out_of_order(book(story))] == [place(1)]


def test_a_later_record_may_start_when_the_earlier_one_was_given_up() -> None:
    story = "a:start0 a:failed0 a:start1 a:done1"
    assert out_of_order(book(story), given_up=[place(0)]) == []


def test_a_record_that_was_given_up_and_runs_later_is_out_of_order() -> None:
    story = "a:start1 a:done1 a:start0 a:failed0"
    assert [finding.place for finding in out_of_order(book(story), given_up=[place(0)])] == [place(0)]


def test_a_process_that_goes_back_is_out_of_order_unless_it_may_replay() -> None:
    entries = book("a:start0 a:done0 a:start1 a:done1 a:start0 a:done0")
    assert [finding.place for finding in out_of_order(entries)] == [place(0)]
    assert out_of_order(entries, replays_in_process=True) == []


def test_a_replay_that_overtakes_is_out_of_order() -> None:
    story = "a:start0 a:done0 a:start1 a:done1 b:start1 b:done1 b:start0 b:done0"
    assert [finding.place for finding in out_of_order(book(story))] == [place(0)]


def test_sessions_have_no_order_among_each_other() -> None:
    entries = book("a:start1 a:done1", session="x") + book("a:start0 a:done0", session="y")
    assert out_of_order(entries) == []


def test_two_runs_of_a_session_at_once_overlap() -> None:
    assert [finding.place for finding in overlapping(book("a:start0 a:start1 a:done0 a:done1"), {})] == [place(1)]


def test_a_replay_beside_the_first_run_of_the_same_record_overlaps() -> None:
    assert [finding.place for finding in overlapping(book("a:start0 b:start0 a:done0 b:done0"))] == [place(0)]


def test_a_short_run_inside_a_long_one_does_not_hide_the_next_overlap() -> None:
    story = "a:start0 b:start1 b:done1 b:start2 b:done2 a:done0"
    assert [finding.place for finding in overlapping(book(story))] == [place(1), place(2)]


def test_a_run_that_a_crash_cut_ends_with_its_process() -> None:
    story = "a:start0 b:start0 b:done0"
    assert overlapping(book(story), deaths={ord("a"): 1}) == []
    assert [finding.place for finding in overlapping(book(story), deaths={ord("a"): 2})] == [place(0)]


def test_a_run_without_an_end_is_taken_to_end_at_the_next_start() -> None:
    assert overlapping(book("a:start0 b:start0 b:done0")) == []


def test_records_without_a_session_have_no_order_and_may_overlap() -> None:
    entries = book("a:start1 a:start0 a:done0 a:done1", session="")
    assert out_of_order(entries) == []
    assert overlapping(entries) == []


def test_what_handlers_note_is_read_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with ledger.attempt(FakeTask(offset=7, session_id="ä\n", attempt=2)):
        pass
    with pytest.raises(ValueError, match="no"), ledger.attempt(FakeTask(offset=8)):
        raise ValueError("no")
    found = [(entry.kind, entry.offset, entry.session, entry.attempt, entry.succeeded) for entry in ledger.entries()]
    assert found == [
        ("start", 7, "ä\n", 2, False),
        ("end", 7, "ä\n", 2, True),
        ("start", 8, "s", 1, False),
        ("end", 8, "s", 1, False),
    ]
    assert {entry.pid for entry in ledger.entries()} == {os.getpid()}


def test_a_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with ledger.attempt(FakeTask()):
        pass
    ledger.path.write_bytes(ledger.path.read_bytes()[:-3])
    assert [entry.kind for entry in ledger.entries()] == ["start"]


def test_a_follower_reads_each_line_once_and_a_line_that_is_being_written_when_it_is_whole(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    follower = Follower(ledger.path)
    assert follower.read() == []
    with ledger.attempt(FakeTask(offset=1)):
        written = ledger.path.read_bytes()
        assert [(entry.kind, entry.offset) for entry in follower.read()] == [("start", 1)]
        with ledger.path.open("ab") as file:
            file.write(written[:10])
            file.flush()
            assert follower.read() == []
            file.write(written[10:])
    assert [(entry.kind, entry.offset) for entry in follower.read()] == [("start", 1), ("end", 1)]
    assert follower.read() == []


def test_entries_are_all_that_was_written_by_their_times(tmp_path: Path) -> None:
    """One process may take its time before it writes, and write behind another."""
    ledger = Ledger(tmp_path / "ledger")
    with ledger.attempt(FakeTask(offset=1)):
        earlier = ledger.path.read_bytes()
    assert len(ledger.entries()) == 2
    with ledger.path.open("ab") as file:
        file.write(earlier.replace(b'"offset":1', b'"offset":2'))
    entries = ledger.entries()
    assert [(entry.kind, entry.offset) for entry in entries] == [("start", 1), ("start", 2), ("end", 1)]
    entries.clear()
    assert len(ledger.entries()) == 3


def test_processes_that_write_at_once_do_not_mix_their_lines(tmp_path: Path) -> None:
    writers = [multiprocessing.get_context("spawn").Process(target=_write, args=(tmp_path / "l", n)) for n in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    entries = Ledger(tmp_path / "l").entries()
    assert len(entries) == 2 * 2 * 2000
    assert lost(entries, [Place("t", n, offset) for n in range(2) for offset in range(2000)]) == []


def _write(path: Path, partition: int) -> None:
    ledger = Ledger(path)
    for offset in range(2000):
        with ledger.attempt(FakeTask(partition=partition, offset=offset, session_id=f"{partition}" * 100)):
            pass
