"""A program in a consumer's place: it uses the channel as a consumer does, and behaves as the test orders.

APP is JSON: `log`, a file in which each life notes what happens to it, and `lives`, the behaviours of the first,
second, … life of each consumer; after the last one a life behaves well.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import msgspec

from processor.boot.first_signals import unblock_stop_signals
from processor.engine.process_scaling import Load
from processor.fleet.channel import (
    Begin,
    Channel,
    Drain,
    Failed,
    Finished,
    Joined,
    Left,
    Order,
    Recycling,
    Report,
    Started,
    Stats,
    StopNow,
    Watch,
)
from processor.runtime.flight_recorder import FlightRecorder
from processor.telemetry.events import ConsumerStats
from tests.engine.record import FakeRecord


def note(log: str, index: int, what: str) -> None:
    line = json.dumps({"index": index, "pid": os.getpid(), "what": what}) + "\n"
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def stats() -> ConsumerStats:
    return ConsumerStats(
        uptime_seconds=1.0, overdue_after_seconds=30.0,
        in_flight=3, in_flight_bytes=10, waiting=2, running=1, workers=8, used_cores=0.1, ready_sessions=0,
        active_sessions=1, succeeded=5,
        failed_attempts=0, retried=0, timed_out=0, stuck=0, dead_lettered=0, cancelled=0, skipped=0, results=0,
        abandoned=0,
        handler_seconds=0.5, handler_seconds_buckets={}, handler_p50_seconds=None, handler_p90_seconds=None,
        handler_p99_seconds=None, handler_max_seconds=None, tasks_per_second=5.0, commits=1, missed_offsets=0,
        commit_failures=0, rebalances=1, assigned_partitions=1, busiest_session_waiting=2, lag=4,
        oldest_unsettled_seconds=0.25, oldest_running_seconds=0.1, suppressed_warnings=0, busiest_sessions=[],
        urgent_sessions=0, delayed_sessions=0, next_delayed_seconds=None, expired=0,
        open_joins=0, set_aside=0, delayed_set_aside=0, records_read_again=0, tasks_read_again=0,
        suspensions=0, suspended_handlers=0, held=0, held_handlers=[],
        paused=0, pauses=0, longest_pause_seconds=0.0, paused_by=[],
    )  # fmt: skip


ENDS: dict[str, tuple[list[Report], int]] = {
    "crash": ([Started(), Joined()], 1),
    "crash-at-start": ([], -signal.SIGSEGV),
    "no-app": ([Failed("APP 'a:b': there is no module 'a'", 5)], 5),
    "no-broker": ([Failed("no broker responds at nowhere:1", 4)], 4),
    "not-let-in": ([Started(), Failed("access denied by the broker", 4)], 4),
    "no-broker-any-more": ([Started(), Joined(), Failed("no broker responds at nowhere:1", 4)], 4),
    "recycle": ([Started(), Joined(), Recycling()], 0),
    "finish": ([Started(), Joined(), Finished()], 0),
}
# "slow" drains until the test has made the file that ends in `.released`; every other behaviour never does.
DRAINS = {"well": 0, "loaded": 0, "drain-timeout": 3, "drain-failure": 4}


def load_in(file: Path) -> Load | None:
    """What the test says of each consumer's load."""
    return msgspec.json.decode(file.read_bytes(), type=Load) if file.exists() else None


def main() -> None:
    channel: Channel[Order] = Channel(socket.socket(fileno=int(sys.argv[1])), Order)
    begin, *rest = channel.receive(wait=True) or (None,)
    assert isinstance(begin, Begin)
    plan = json.loads(begin.app)
    log = plan["log"]
    earlier = Path(log).read_text().splitlines() if Path(log).exists() else []
    lives = sum(json.loads(line)["index"] == begin.index and '"begin' in line for line in earlier)
    behaviours = plan["lives"].get(str(begin.index), [])
    behaviour = behaviours[lives] if lives < len(behaviours) else "well"
    note(log, begin.index, "begin")
    index = begin.index

    def leave(number: int, frame: object) -> None:
        note(log, index, "SIGTERM")
        channel.send(Left())
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, lambda number, frame: note(log, index, "SIGINT"))
    unblock_stop_signals()
    if behaviour.startswith("dies"):
        die(channel, begin, [int(offset) for offset in behaviour.split()[1:]])
    if behaviour in ENDS:
        reports, code = ENDS[behaviour]
        for report in reports:
            channel.send(report)
        if code < 0:
            signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        os._exit(code)
    channel.send(Started())
    channel.send(Joined())
    channel.send(Stats(stats()))
    note(log, begin.index, "started")
    listener = threading.Thread(target=listen, args=(channel, log, begin.index, behaviour, rest), daemon=True)
    listener.start()
    loads = 0
    while True:
        if behaviour in ("reporting", "loaded"):
            load = load_in(Path(f"{log}.load"))
            channel.send(Stats(stats(), load=load))
            loads += load is not None
            if loads == 20:
                note(log, index, "reported twenty times")
            time.sleep(0.02)  # a reporter's pause
        else:
            signal.pause()


def die(channel: Channel[Order], begin: Begin, offsets: list[int]) -> None:
    channel.send(Started())
    channel.send(Joined())
    assert begin.memory is not None
    FlightRecorder(begin.memory, ["t"]).begin([FakeRecord(offset) for offset in offsets])
    os._exit(7)


def named(order: Order) -> str:
    if isinstance(order, Watch):
        return " ".join(["Watch", *(f"{suspect.place}:{suspect.deaths}" for suspect in order.suspects)])
    return type(order).__name__


def listen(channel: Channel[Order], log: str, index: int, behaviour: str, orders: list[Order]) -> None:
    while True:
        for order in orders:
            note(log, index, named(order))
            if isinstance(order, Drain) and order.for_good:
                note(log, index, "for good")
            if isinstance(order, StopNow) and behaviour != "deaf":
                os._exit(0)
            if isinstance(order, Drain) and behaviour == "slow":
                while not Path(f"{log}.released").exists():
                    time.sleep(0.01)
                os._exit(0)
            if isinstance(order, Drain) and behaviour in DRAINS:
                os._exit(DRAINS[behaviour])
        received = channel.receive(wait=True)
        if received is None:
            note(log, index, "orphaned")
            os._exit(0)
        orders = list(received)


if __name__ == "__main__":
    main()
