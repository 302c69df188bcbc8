"""A topic with tasks, a group, a ledger and fleets that process the tasks: the basis of most tests with a broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import psutil
from confluent_kafka import KafkaException

from processor.engine import skipmap
from processor.engine.progress_record import keys_of, reference_in, settled_in
from processor.kafka.progress_topic import read_places
from processor.runtime.ports import MapRecord, Partition
from processor.runtime.ports import Place as RecordPlace
from tests.support import cluster, ledger
from tests.support.broker import Broker
from tests.support.ledger import Entry, Finding, Follower, Ledger, Place
from tests.support.run import Fleet
from tests.support.until import until

HANDLERS = """
import ctypes, os, random, signal, sys, threading, time
from processor import BatchError, Processor, Reject, Retry
from tests.support.ledger import Ledger

if "TEST_CLOCK" in os.environ:
    # A clock that steps back and forth by hours, for everything in this process that asks for the time of day.
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + random.choice((-7200, 0, 7200))
    time.time_ns = lambda: real_ns() + random.choice((-7200, 0, 7200)) * 10**9

if "TEST_TRAP" in os.environ:
    from tests.chaos import traps
    traps.lay(os.environ["TEST_TRAP"], os.environ["TEST_TRAP_FILE"])

if "TEST_END_SECONDS" in os.environ:
    from processor.kafka import member_offsets
    member_offsets.END_SECONDS = float(os.environ["TEST_END_SECONDS"])

ledger = Ledger(os.environ["TEST_LEDGER"])
seconds = float(os.environ.get("TEST_SECONDS", "0"))

def nothing(task):
    pass

def note(task):
    with ledger.attempt(task):
        time.sleep(seconds)

def vary(task):
    with ledger.attempt(task):
        time.sleep(random.uniform(0.005, 0.04))

async def note_async(task):
    import asyncio
    with ledger.attempt(task):
        await asyncio.sleep(seconds)

def stick(task):
    with ledger.attempt(task):
        time.sleep(600 if task.session_id == "stuck" else seconds)

def fail(task):
    with ledger.attempt(task):
        time.sleep(seconds)
        if task.payload == b"fails always":
            raise ValueError("no use")
        if task.payload == b"fails twice" and task.attempt < 3:
            raise ConnectionError("not yet")
        if task.payload == b"rejected":
            raise Reject("never")
        if task.payload == b"exits":
            sys.exit(3)

def fail_or_reply(task):
    fail(task)
    return task.payload

def stick_once(task):
    with ledger.attempt(task):
        time.sleep(600 if task.payload == b"first" else seconds)

needy = Processor()

@needy.default(outage_on=ConnectionError)
def need(task):
    with ledger.attempt(task):
        if os.path.exists("away"):
            raise ConnectionError("connection refused")
        time.sleep(seconds)

batches = Processor()

@batches.batch("", size=40, wait=0.05)
def note_all(tasks):
    # What is behind a task that failed, in its session, is named as well: it must not precede it.
    errors = {}
    failed = set()
    for n, task in enumerate(tasks):
        if task.session_id in failed:
            errors[n] = RuntimeError("behind a task that failed")
            continue
        try:
            with ledger.attempt(task):
                time.sleep(seconds)
                if task.payload == b"fails twice" and task.attempt < 3:
                    raise ConnectionError("not yet")
        except ConnectionError as error:
            errors[n] = error
            failed.add(task.session_id)
    if errors:
        raise BatchError(errors)

def wait_for_go(task):
    with ledger.attempt(task):
        while not os.path.exists("go"):
            time.sleep(0.01)

def wait_if_slow(task):
    is_slow = task.session_id.startswith("slow")
    with ledger.attempt(task):
        while is_slow and not os.path.exists("go"):
            time.sleep(0.01)

async def wait_if_slow_async(task):
    import asyncio
    is_slow = task.session_id.startswith("slow")
    with ledger.attempt(task):
        while is_slow and not os.path.exists("go"):
            await asyncio.sleep(0.01)

def reply_if_slow(task):
    wait_if_slow(task)
    return b""

def defer_if_slow(task):
    if task.session_id.startswith("slow") and not os.path.exists("go"):
        raise Retry(after=1.0, counts=False)
    with ledger.attempt(task):
        pass

def hostile(task):
    with ledger.attempt(task):
        do_harm(task.payload)
    return object() if task.payload == b"returns what has no encoding" else None

def do_harm(harm):
    if harm == b"BaseException":
        raise BaseException("it is not an Exception")
    if harm == b"KeyboardInterrupt":
        raise KeyboardInterrupt
    if harm == b"GeneratorExit":
        raise GeneratorExit
    if harm == b"sys.exit":
        sys.exit("enough")
    if harm == b"memory":
        bytearray(1 << 60)
    if harm == b"recursion":
        do_harm(harm)
    if harm == b"an error that has no text":
        raise type("Mute", (Exception,), {"__str__": lambda self: 1 / 0})()
    if harm == b"an error that has much text":
        raise ValueError(chr(0xD800) + "x" * 1_000_000)
    if harm == b"starts threads":
        for _ in range(50):
            threading.Thread(target=time.sleep, args=(0.2,)).start()
    if harm == b"leaks":
        leaked.append(bytearray(1 << 20))
    if harm == b"changes the folder":
        os.chdir("/")
    if harm == b"ends its worker":
        # It comes at the worker's next step, which may be in the handler or behind it.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(SystemExit))
    if harm == b"changes signals":
        try:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        except ValueError:  # only the main thread may
            pass

leaked = []

def die_as_asked(payload):
    if payload == b"os._exit":
        os._exit(0)
    if payload == b"segmentation fault":
        ctypes.string_at(0)
    if payload == b"SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)

def deadly(task):
    with ledger.attempt(task):
        time.sleep(seconds)
        die_as_asked(task.payload)

async def deadly_async(task):
    import asyncio
    with ledger.attempt(task):
        await asyncio.sleep(seconds)
        die_as_asked(task.payload)

deadly_batches = Processor()

@deadly_batches.batch("", size=20, wait=0.05)
def deadly_batch(tasks):
    time.sleep(seconds)
    for task in tasks:
        with ledger.attempt(task):
            die_as_asked(task.payload)

def loop(task):
    with ledger.attempt(task):
        while task.session_id == "loop":
            pass

async def loop_async(task):
    import asyncio
    with ledger.attempt(task):
        while task.session_id == "loop":
            await asyncio.sleep(0.01)

named = Processor()

@named.task("charge")
def charge(task):
    with ledger.attempt(task):
        pass

def upper(task):
    with ledger.attempt(task):
        return task.payload.upper()

def reply(task):
    with ledger.attempt(task):
        time.sleep(seconds)
        if task.payload == b"rejected":
            raise Reject("never")
    return task.payload

async def reply_async(task):
    import asyncio
    with ledger.attempt(task):
        await asyncio.sleep(seconds)
        if task.payload == b"rejected":
            raise Reject("never")
    return task.payload

def refuse(task):
    with ledger.attempt(task):
        raise ValueError("x" * 1_000_000)

def answer(task):
    with ledger.attempt(task):
        if task.payload == b"fails":
            raise ValueError("no use")
        return b"an answer" * 20 if task.payload == b"asks" else None

def branch(task):
    if task.name == "late" and not os.path.exists("go"):
        raise Retry(after=0.05, counts=False)
    if task.name == "bad":
        raise Reject("never")
    with ledger.attempt(task):
        time.sleep(seconds)
    return task.id
"""

OUTLASTING = ("-X", "session.timeout.ms=120000")
"""A session timeout longer than a broker's restart, even on a slow machine: the group removes no member, so that no
task runs again."""


class MakeScenario(Protocol):
    """Creates a scenario on the shared broker, with its own topic."""

    def __call__(self, partitions: int = 4, **config: object) -> Scenario: ...


class Scenario:
    """One topic and one group on one broker."""

    def __init__(
        self,
        broker: Broker,
        topic: str,
        group: str,
        folder: Path,
        start: Callable[..., Fleet],
        servers_of_fleets: str | None = None,
    ) -> None:
        self.servers = broker.bootstrap_servers
        self._servers_of_fleets = servers_of_fleets or self.servers
        self.topic = topic
        self.group = group
        self.ledger = Ledger(folder / "ledger.jsonl")
        self.places: list[Place] = []
        self.woken: list[tuple[int, int]] = []
        """The PIDs of paused processes, and when they were resumed, in nanoseconds of CLOCK_MONOTONIC."""
        self.deaths: dict[int, int] = {}
        """When each process died, by PID. The time is taken before the kill, so that no repeated run seems earlier."""
        self._start = start

    def produce(
        self, records: Iterable[cluster.Row], *, partition: int | None = None, seconds: float = 60.0, **config: object
    ) -> None:
        """Adds tasks; see `cluster.produce`."""
        sent = cluster.produce(self.servers, self.topic, records, partition=partition, seconds=seconds, **config)
        self.places += [Place(self.topic, number, offset) for number, offset in sent]

    def produce_sessions(self, tasks: int, sessions: int) -> None:
        """Adds `tasks` tasks, the sessions in turn."""
        self.produce((f"s{n % sessions}".encode(), b"%d" % n) for n in range(tasks))

    def run(self, handler: str, *options: str, seconds: float = 0.0, env: Mapping[str, str] | None = None) -> Fleet:
        """Starts a fleet with one of `HANDLERS`."""
        return self._start(
            f"handlers:{handler}",
            *("-b", self._servers_of_fleets, "-t", self.topic, "-g", self.group, "--value-format", "bytes"),
            *("--stats-interval", "1"),
            *options,
            modules={"handlers": HANDLERS},
            env={"TEST_LEDGER": str(self.ledger.path), "TEST_SECONDS": str(seconds), **(env or {})},
        )

    def go(self) -> None:
        """Lets the handlers `wait_for_go`, `wait_if_slow`, `reply_if_slow` and `defer_if_slow` complete."""
        (self.ledger.path.parent / "go").touch()

    @property
    def outage(self) -> Path:
        """While this file exists, the dependency of the handler `needy` is unavailable."""
        return self.ledger.path.parent / "away"

    def kill(self, fleet: Fleet) -> None:
        """Kills all processes of the fleet with SIGKILL, and records their times of death."""
        self.deaths.update(fleet.kill())

    def wait_begun(self, runs: int = 1, seconds: float = 120.0) -> None:
        """Waits until handlers have been entered `runs` times.

        Raises:
            AssertionError: they have not been within `seconds`.
        """

        follower, begun = Follower(self.ledger.path), list[Entry]()

        def have_begun() -> bool:
            begun.extend(entry for entry in follower.read() if entry.kind == "start")
            return len(begun) >= runs

        until(have_begun, lambda: f"{len(begun)} of {runs} handlers were entered", seconds, 0.02)

    def wait_done(self, tasks: int, seconds: float = 120.0) -> list[Entry]:
        """Waits until `tasks` tasks have succeeded at least once, and returns the ledger.

        Raises:
            AssertionError: fewer have within `seconds`.
        """

        follower, done = Follower(self.ledger.path), set[Place]()

        def are_done() -> bool:
            done.update(entry.place for entry in follower.read() if entry.succeeded)
            return len(done) >= tasks

        until(are_done, lambda: f"{len(done)} of {tasks} tasks are done", seconds, 0.05)
        return self.ledger.entries()

    @property
    def lag(self) -> int:
        """The group's lag, as other tools report it. Shortly after a transaction it may still be the earlier value."""
        return cluster.lag(self.servers, self.group, self.topic)

    def known_lag(self) -> int | None:
        """Return the lag, or None while the broker or the group's coordinator is unavailable."""
        try:
            return self.lag
        except (KafkaException, TimeoutError):
            return None

    def wait_lag(self, lag: int, seconds: float = 120.0) -> None:
        """Waits until the group's lag is `lag`.

        A coordinator confirms a transaction shortly before it shows the offsets, and a consumer may commit in a
        transaction while another one joins or leaves. So use this also for fleets that have ended.

        Raises:
            AssertionError: the lag is not reached within `seconds`.
        """
        until(lambda: self.known_lag() == lag, lambda: f"the lag is {self.known_lag()}, not {lag}", seconds, 0.05)

    def lag_left(self, seconds: float = 10.0) -> int:
        """Return 0 as soon as the group's lag is 0, or otherwise the lag after `seconds`."""
        deadline = time.monotonic() + seconds
        while (lag := self.lag) and time.monotonic() < deadline:
            time.sleep(0.05)
        return lag

    def known_done(self) -> set[Place]:
        """Return the places that the group has committed as settled: below the committed offsets and in skip maps."""
        done = set()
        for number, commit in cluster.committed(self.servers, self.group, self.topic).items():
            partition = Partition(self.topic, number)
            ranges = [(0, commit.offset), *self._ranges(partition, commit.metadata or "", commit.offset)]
            done |= {Place(self.topic, number, offset) for low, high in ranges for offset in range(low, high)}
        return done

    def foreign_maps(self) -> list[Finding]:
        """Return the commits whose skip map is damaged or belongs to another offset."""
        found = []
        for number, commit in cluster.committed(self.servers, self.group, self.topic).items():
            try:
                if reference_in(commit.metadata or "", commit.offset) is None:
                    skipmap.decode(commit.metadata or "", commit.offset)
            except skipmap.SkipMapError as error:
                found.append(Finding(str(error), Place(self.topic, number, commit.offset)))
        return found

    def given_up(self) -> set[Place]:
        """Return the places of the tasks that are in the dead letter topic."""
        told = [cluster.headers_of(letter) for letter in cluster.read_all(self.servers, f"{self.topic}.dlq")]
        return {Place(self.topic, int(h["dlq-partition"]), int(h["dlq-offset"])) for h in told}

    def wake(self, process: psutil.Process) -> None:
        """Resumes a paused process."""
        self.woken.append((process.pid, time.monotonic_ns()))
        process.resume()

    def own_entries(self) -> list[Entry]:
        """Return the ledger without the runs that a paused process was in: another process owns these tasks by then."""
        entries = self.ledger.entries()
        caught = {(pid, place) for pid, at in self.woken for place in ledger.caught(entries, pid, at)}
        return [entry for entry in entries if (entry.pid, entry.place) not in caught]

    def faults(self, given_up: Iterable[Place] = (), *, replays_in_process: bool = False) -> dict[str, list[Finding]]:
        """Return tasks that were lost, out of order or overlapping, or nothing. See `tests.support.ledger`."""
        entries, dead = self.own_entries(), set(given_up)
        found = {
            "lost": ledger.lost(self.ledger.entries(), self.places, dead),
            "out of order": ledger.out_of_order(entries, dead, replays_in_process=replays_in_process),
            "overlapping": ledger.overlapping(entries, self.deaths),
        }
        return {what: findings[:10] for what, findings in found.items() if findings}

    def repeated(self) -> list[Finding]:
        """Return the runs of tasks that had already succeeded."""
        return ledger.repeated(self.ledger.entries())

    def _ranges(self, partition: Partition, metadata: str, offset: int) -> list[tuple[int, int]]:
        try:
            reference = reference_in(metadata, offset)
            if reference is None:
                return skipmap.decode(metadata, offset)
            place = RecordPlace(Partition(reference.topic, reference.number), reference.offset)
            record = read_places(self.servers, {}, [place], 20.0)[place]
            assert isinstance(record, MapRecord), record
            return settled_in(reference, keys_of(self.group, *partition), *record)
        except skipmap.SkipMapError:
            return []
