"""Problems of a fleet as a whole, each with what to do about it."""

from __future__ import annotations

import pytest

from processor.observe.report.notes import JOIN_SECONDS, LOOP, LOOP_SECONDS, MANY_REBALANCES, READY_SECONDS, notes
from tests.observe.building import BEGAN, consumer, head, line, partition, watching

NOW = BEGAN + 90


def exited(at: float) -> bytes:
    return line("fleet.consumer_exited", at, consumer=0, exit_code=1, reason="no module named shop")


def assigned(at: float, **fields: object) -> bytes:
    return line("consumer.assigned", at, **{"consumer": 0, "partitions": ["orders[0]@1"], **fields})


def test_a_fleet_without_problems_has_no_notes() -> None:
    assert notes(watching(consumer(0), partition(0), consumer(90)), NOW) == []


def test_consumers_that_keep_exiting_are_noted() -> None:
    (note,) = notes(watching(*(exited(at) for at in (0, 10, 20))), NOW)
    assert note == (
        "Consumers keep exiting: 3 restarts in the last 1 m 30 s, most recently #0 at 08:00:20: no module named shop; "
        "it is being replaced. Check the log just before each exit."
    )


@pytest.mark.parametrize("restarts", range(LOOP))
def test_a_few_restarts_are_not_noted(restarts: int) -> None:
    assert notes(watching(consumer(80), *(exited(80.0) for _ in range(restarts))), NOW) == []


def test_restarts_of_long_ago_are_not_noted() -> None:
    watch = watching(*(exited(at) for at in (0, 10, 20)), consumer(1000))
    assert notes(watch, BEGAN + LOOP_SECONDS) != []
    assert notes(watch, BEGAN + 1000) == []


def test_a_silent_consumer_is_noted_and_one_that_has_stopped_is_not() -> None:
    (note,) = notes(watching(consumer(0)), NOW)
    assert note.startswith("1 consumer stopped reporting: #0 since 08:00:00. Either it hangs,")
    assert notes(watching(consumer(0), line("consumer.stopped", 1, consumer=0)), NOW) == []


def test_of_many_silent_consumers_five_are_named() -> None:
    (note,) = notes(watching(*(consumer(0, consumer=n, pid=n) for n in range(9))), NOW)
    assert note.startswith("9 consumers stopped reporting: #0 since 08:00:00, #1 since")
    assert "#4 since" in note
    assert "#5 since" not in note


def test_a_stuck_handler_and_where_it_is_are_noted() -> None:
    stack = 'File "a.py", line 3, in wait\n  sock.recv()'
    (note,) = notes(watching(line("task.stuck", session_id="anna", stack=stack)), NOW)
    assert "1 handler could not be interrupted, most recently of session anna" in note
    assert "sock.recv()" in note


def held(handler: str, seconds: float | None, waiting: int) -> dict[str, object]:
    error = {"error_type": "shop.db.Away", "error": "refused"} if seconds is not None else {}
    return {"handler": handler, "waiting": waiting, "suspended_seconds": seconds, **error}


def test_suspended_handlers_are_noted_each_with_its_error_and_those_at_a_limit_are_not() -> None:
    first = consumer(80, held_handlers=[held("store", 30.0, 40), held("mail", None, 7)])
    second = consumer(81, consumer=1, held_handlers=[held("store", 65.0, 2)])
    (note,) = notes(watching(first, second), NOW)
    assert note == (
        "The handler store is suspended in 2 consumers, for 1 m 05 s: Away: refused. "
        "42 sessions of it wait until what it needs is back."
    )


def test_a_handler_that_is_resumed_is_not_noted() -> None:
    assert notes(watching(consumer(70, held_handlers=[held("store", 30.0, 4)]), consumer(80)), NOW) == []


def test_what_is_paused_is_noted_with_since_when_and_by_whom() -> None:
    pause = {"kind": "name", "task_name": "charge", "since": int(BEGAN * 1000), "by": "ann@ops-1", "waiting": 4}
    (note,) = notes(watching(consumer(80, paused_by=[pause])), BEGAN + 90)
    assert note == (
        "Paused: name charge, for 1 m 30 s, since 08:00:00, by ann@ops-1: 4 tasks waiting. "
        "`processor control resume` ends it."
    )


def test_stuck_handlers_of_several_places_are_counted_together() -> None:
    stuck = [line("task.stuck", n, session_id=f"s{n}", stack=f"in {'abc'[n]}\n  x()") for n in range(3)]
    (note,) = notes(watching(*stuck), NOW)
    assert note.startswith("3 handlers could not be interrupted")


def test_frequent_rebalances_are_noted_and_a_few_are_not() -> None:
    frequent = [assigned(n) for n in range(MANY_REBALANCES + 2)]
    assert notes(watching(*frequent), BEGAN + 8)[0] == (
        "Frequent rebalances: 8 rebalances in the last 8.0 s. Members join and leave, or miss polls and are evicted."
    )
    assert notes(watching(*frequent[:3]), BEGAN + 3) == []


def test_a_large_fleet_may_have_more_rebalances() -> None:
    joined = [assigned(n, consumer=n % 4, pid=n % 4) for n in range(4 * MANY_REBALANCES)]
    assert notes(watching(*joined), BEGAN + 25) == []


def test_tasks_that_wait_for_workers_are_noted_with_the_longest() -> None:
    waits = [partition(0, number, oldest_ready_seconds=seconds) for number, seconds in enumerate((1.0, 90.0, 61.0))]
    (note,) = notes(watching(*waits), BEGAN)
    assert note.startswith("Too few workers: in orders[1], a task that may run has waited 1 m 30 s for one.")


def test_a_short_wait_and_a_partition_without_an_owner_are_not_noted() -> None:
    assert notes(watching(partition(0, oldest_ready_seconds=READY_SECONDS - 1)), BEGAN) == []
    revoked = line("consumer.revoked", 1, consumer=0, partitions=["orders[0]"])
    assert notes(watching(partition(0, oldest_ready_seconds=900.0), revoked), BEGAN) == []


def test_tasks_that_are_set_aside_are_noted_with_what_they_cost() -> None:
    aside = [partition(0, n, set_aside=count, set_aside_sessions=1) for n, count in enumerate((5, 4000, 0))]
    (note,) = notes(watching(consumer(0, records_read_again=12_000, tasks_read_again=4000), *aside), BEGAN)
    assert note.startswith("3 sessions with more tasks than can run: 4,005 tasks set aside, most of them in orders[1].")
    assert "So far 12,000 records read again for 4,000 tasks set aside, 3.0 each." in note


def test_what_was_set_aside_is_no_problem_any_more_when_it_is_over() -> None:
    assert notes(watching(consumer(0, records_read_again=12_000, tasks_read_again=4000)), BEGAN) == []


def test_groups_that_wait_long_for_a_branch_are_noted_with_the_oldest() -> None:
    def waiting(number: int, seconds: float) -> bytes:
        error = f"the join {number}/then waits for {number}/2"
        return partition(0, number, head=head(state="joining", state_seconds=seconds, error=error))

    both = (waiting(1, JOIN_SECONDS - 1), waiting(2, JOIN_SECONDS))
    (note,) = notes(watching(consumer(0, open_joins=4), *both), BEGAN)
    assert note.startswith(
        "4 groups waiting for some of their branches, one in orders[2] for 10 m 00 s: the join 2/then waits for 2/2."
    )
    assert notes(watching(consumer(0, open_joins=4), both[0]), BEGAN) == []


def test_many_dead_letters_are_noted_with_their_most_frequent_error() -> None:
    dead = line("task.dead_lettered", 1, error_type="a.Refused", error="no")
    (note,) = notes(watching(dead, consumer(2, succeeded=90, dead_lettered=10)), BEGAN + 3)
    assert note == (
        "10% of all tasks were dead-lettered (10 of 100), most with Refused: no. They are in the dead-letter topic, "
        "with their errors in their headers."
    )


def test_dead_letters_whose_events_are_missing_are_noted_without_an_error() -> None:
    (note,) = notes(watching(consumer(0, succeeded=0, dead_lettered=10)), BEGAN)
    assert note.startswith("100% of all tasks were dead-lettered (10 of 10). They are")


def test_the_share_of_dead_letters_is_not_stated_if_a_consumer_died_and_its_last_counts_are_missing() -> None:
    (note,) = notes(watching(consumer(0, succeeded=0, dead_lettered=1), exited(0)), BEGAN)
    assert note == (
        "1 of 1 tasks in the statistics were dead-lettered. 1 consumer died: the statistics lack the last "
        "seconds of each. The dead letters are in their topic, with the errors in their headers."
    )


def test_one_dead_letter_in_a_hundred_is_not_noted() -> None:
    assert notes(watching(consumer(0, succeeded=99, dead_lettered=1)), BEGAN) == []


def test_records_that_retention_deleted_before_they_were_read_come_first() -> None:
    missed = line("consumer.offsets_missed", 1, consumer=0, missed_offsets=12, offsets=["5-16"])
    watch = watching(consumer(0), missed, *(exited(at) for at in (0, 10, 20)))
    first, *others = notes(watch, NOW)
    assert first.startswith("Retention deleted 12 offsets before they were read: their tasks never ran.")
    assert others
