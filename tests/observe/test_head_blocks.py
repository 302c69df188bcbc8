"""The task that a commit point waits for: since when, how long, and why."""

from __future__ import annotations

from typing import Any

import pytest

from processor.observe.consumer import ConsumerNow
from processor.observe.head_blocks import (
    KEPT,
    LONG_SECONDS,
    SHORTEST_SECONDS,
    STATES,
    HeadBlock,
    HeadBlocks,
    error_line,
    head_block,
)
from processor.telemetry.events import HeadState
from tests.observe.building import BEGAN, head, partition, watching
from tests.support.stats import head_of_line, partition_stats

CONSUMER = ConsumerNow("web", 0, 7, at=0.0)


def block_of(at: float = 100.0, **fields: Any) -> HeadBlock:
    found = head_block(partition_stats(topic="orders", head=head_of_line(**fields)), at, CONSUMER)
    assert found is not None
    return found


def test_a_partition_without_tasks_is_blocked_by_nothing() -> None:
    assert head_block(partition_stats(head=None, in_flight=0), 0.0, CONSUMER) is None


def test_a_log_without_heads_still_has_the_offset() -> None:
    block = head_block(partition_stats(topic="orders", head=None, in_flight=2, commit_point=70), 5.0, CONSUMER)
    assert block is not None
    assert (block.place, block.session_id, block.why) == ("orders[3]@70", "", "unfinished")


def test_a_head_block_has_its_place_its_session_and_the_tasks_behind_it() -> None:
    block = block_of(offset=7, session_id="anna", session_waiting=4)
    assert (block.place, block.session_id, block.behind, block.gap) == ("orders[3]@7", "anna", 4, 3)


def test_a_head_block_began_when_its_state_did() -> None:
    assert (block_of(100.0, state_seconds=4.0).since, block_of(100.0, state_seconds=4.0).seconds) == (96.0, 4.0)


@pytest.mark.parametrize("state", sorted(STATES))
def test_every_state_of_a_head_is_described(state: HeadState) -> None:
    block = block_of(state=state, retry_in_seconds=None, error_type=None, error=None)
    assert block.why == f"{STATES[state]}, attempt 2"


def test_a_state_that_is_unknown_here_is_shown_as_it_is() -> None:
    assert block_of(state="suspended", retry_in_seconds=None).why.startswith("suspended, attempt 2")


def test_the_reason_has_the_retry_the_attempt_and_the_error() -> None:
    block = block_of(state="parked", retry_in_seconds=5.4, attempt=3, error_type="builtins.OSError", error="no route")
    assert block.why == "waiting for its retry, due in 5.4 s, attempt 3, after OSError: no route"


@pytest.mark.parametrize(
    ("state", "error_type", "error", "why"),
    [
        ("paused", "processor.Paused", "paused by ann@web", "paused by ann@web, attempt 2"),
        ("paused", "processor.Paused", None, "paused by an operator, attempt 2"),
        ("paused", "builtins.OSError", "no route", "paused by an operator, attempt 2, after OSError: no route"),
        ("joining", "processor.Join", "the join 7/then waits for 7/2", "the join 7/then waits for 7/2, attempt 2"),
        (
            "held",
            "processor.HandlerSuspended",
            "the handler pay is suspended: OSError: no route",
            "the handler pay is suspended: OSError: no route, attempt 2",
        ),
    ],
)
def test_what_a_task_waits_for_is_not_shown_as_the_error_of_an_attempt(
    state: HeadState, error_type: str, error: str | None, why: str
) -> None:
    assert block_of(state=state, retry_in_seconds=None, error_type=error_type, error=error).why == why


def test_a_state_that_is_younger_than_the_block_has_its_own_duration() -> None:
    block = block_of(100.0, state="running", state_seconds=4.0, retry_in_seconds=None, error_type=None, error=None)
    block.continues(block_of(60.0, state_seconds=10.0))
    assert (block.since, block.seconds, block.seen) == (50.0, 50.0, 2)
    assert block.why == "its handler is running (4.0 s), attempt 2, after OSError: no route"


@pytest.mark.parametrize(
    ("seconds", "seen", "is_long"),
    [
        (LONG_SECONDS, 1, True),
        (LONG_SECONDS - 0.1, 1, False),
        (SHORTEST_SECONDS, 2, True),
        (SHORTEST_SECONDS - 0.1, 5, False),
    ],
)
def test_a_block_is_long_if_it_was_seen_twice_or_is_old(seconds: float, seen: int, is_long: bool) -> None:
    block = block_of(state_seconds=seconds)
    block.seen = seen
    assert block.is_long is is_long


@pytest.mark.parametrize(
    ("error_type", "error", "line"),
    [
        ("builtins.OSError", "no route", "OSError: no route"),
        ("OSError", None, "OSError"),
        (None, "no route", "no route"),
        (None, None, ""),
        ("a.b", "x\x1b[2J\ny", "b: x\\u001b[2J y"),
    ],
)
def test_an_error_is_one_line_without_its_module(error_type: str | None, error: str | None, line: str) -> None:
    assert error_line(error_type, error) == line


def test_a_session_and_an_error_from_the_log_cannot_control_a_terminal() -> None:
    block = block_of(session_id="a\x1b[2J", error="\u202eevil")
    assert "\x1b" not in block.session_id
    assert "\u202e" not in block.why


def test_past_blocks_are_in_bounded_memory_and_the_longest_first() -> None:
    blocks = HeadBlocks()
    for seconds in range(5 * KEPT):
        blocks.note(block_of(state_seconds=float(seconds)))
    kept = blocks.longest()
    assert [block.seconds for block in kept] == [float(5 * KEPT - 1 - n) for n in range(KEPT)]


def test_a_task_that_moves_its_partition_on_is_not_a_block() -> None:
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


def test_current_blocks_are_the_longest_first() -> None:
    stats = [partition(at, number, head=head(state_seconds=at + number)) for at in (0.0, 10.0) for number in (1, 30, 5)]
    assert [block.partition for block in watching(*stats).current_blocks()] == [30, 5, 1]
