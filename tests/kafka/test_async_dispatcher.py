"""`AsyncDispatcher`: tasks from coroutines, in order, without blocking the event loop."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from processor import AsyncDispatcher, Dispatcher, Step, group
from processor.errors import DeliveryError, EncodeError, SettingsError
from processor.handlers.links import read_plan
from processor.kafka import async_dispatcher as module
from processor.kafka.delivery_future import RecordMetadata
from processor.kafka.embedded import EmbeddedBroker
from processor.kafka.task_producer import TaskProducer
from tests.support import cluster
from tests.support.lifeline import die_with_parent
from tests.support.until import until

NOWHERE = "127.0.0.1:1"
SECONDS = 60

PAGE = (Path(__file__).parents[2] / "docs" / "SENDING.md").read_text()


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as embedded:
        embedded.create_topics(["tasks"], partitions=1)
        yield embedded


def run(main: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(SECONDS):
            return await main

    return asyncio.run(bounded())


def values(broker: EmbeddedBroker) -> list[bytes | None]:
    return [record.value() for record in cluster.read_all(broker.bootstrap_servers, "tasks")]


def test_a_task_is_sent_when_submit_returns_its_place(broker: EmbeddedBroker) -> None:
    async def main() -> RecordMetadata:
        async with AsyncDispatcher(broker.bootstrap_servers, "tasks", value_format="json") as dispatcher:
            first = await dispatcher.submit("s", 1)
            assert first == RecordMetadata("tasks", 0, 0)
            assert dispatcher.pending() == 0
            with pytest.raises(ValueError, match="priority must be an integer from 0 to 9, not True"):
                await dispatcher.submit("s", 1, priority=True)
            return await dispatcher.submit(
                "customer-17", {"a": 1}, "charge", id="c-1", headers={"source": "till"}, priority=9, expires=1500
            )

    assert run(main()).offset == 1
    record = cluster.read_all(broker.bootstrap_servers, "tasks")[1]
    headers = dict(record.headers() or ())
    assert (record.key(), headers["source"]) == (b"customer-17", b"till")
    assert (headers["task-priority"], headers["task-expires"]) == (b"9", b"1500")
    assert b'"c-1"' in (record.value() or b"")


@pytest.mark.parametrize("max_pending", [1, 7, 100_000])
def test_tasks_that_wait_for_room_keep_their_order(broker: EmbeddedBroker, max_pending: int) -> None:
    async def main() -> list[RecordMetadata]:
        async with AsyncDispatcher(
            broker.bootstrap_servers, "tasks", value_format="bytes", max_pending=max_pending
        ) as dispatcher:
            return await asyncio.gather(*(dispatcher.submit("s", b"%d" % n) for n in range(200)))

    assert [place.offset for place in run(main())] == list(range(200))
    assert values(broker) == [b"%d" % n for n in range(200)]


def test_while_there_is_no_room_the_event_loop_continues_and_a_cancelled_task_is_not_sent() -> None:
    async def main() -> None:
        dispatcher = AsyncDispatcher(NOWHERE, "tasks", value_format="bytes", max_pending=1)
        await dispatcher.open()
        first = asyncio.create_task(dispatcher.submit("s", b"1"))
        waiting = [asyncio.create_task(dispatcher.submit("s", b"x")) for _ in range(3)]
        for _ in range(100):
            await asyncio.sleep(0)
        assert dispatcher.pending() == 1
        assert not any(task.done() for task in (first, *waiting))
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        assert await dispatcher.close(0) == 1
        with pytest.raises(DeliveryError, match="not acknowledged before the dispatcher was closed"):
            await first
        for task in waiting[1:]:
            with pytest.raises(RuntimeError, match="the dispatcher is closed"):
                await task

    run(main())


def test_a_submit_that_is_cancelled_after_it_was_sent_harms_no_other(broker: EmbeddedBroker) -> None:
    async def main() -> None:
        async with AsyncDispatcher(broker.bootstrap_servers, "tasks", value_format="bytes") as dispatcher:
            sent = asyncio.create_task(dispatcher.submit("s", b"1"))
            await asyncio.sleep(0)
            sent.cancel()
            assert (await dispatcher.submit("s", b"2")).offset == 1

    run(main())
    assert values(broker) == [b"1", b"2"]


def test_flush_waits_for_unacknowledged_tasks(broker: EmbeddedBroker) -> None:
    async def main() -> None:
        async with AsyncDispatcher(broker.bootstrap_servers, "tasks", value_format="bytes") as dispatcher:
            sent = [asyncio.create_task(dispatcher.submit("s", b"x")) for _ in range(50)]
            await asyncio.sleep(0)
            assert await dispatcher.flush(30) == dispatcher.pending() == 0
            assert len(await asyncio.gather(*sent)) == 50
            assert await dispatcher.close() == await dispatcher.close() == 0

    run(main())


def test_a_value_that_cannot_be_encoded_is_an_error_of_the_caller_at_once() -> None:
    async def main() -> None:
        dispatcher = AsyncDispatcher(NOWHERE, "t", value_format="bytes")
        await dispatcher.open()
        with pytest.raises(EncodeError):
            await dispatcher.submit("s", {1})
        with pytest.raises(ValueError, match="session_id must not be empty"):
            await dispatcher.submit("", b"x")
        mistakes: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
            ("session_id must be a str, not int", (5, b"x"), {}),
            ("name must be a str, not int", ("s", b"x", 5), {}),
            ("the value of header 'a' must be a str, bytes or None, not int", ("s", b"x"), {"headers": {"a": 5}}),
        ]
        for message, arguments, options in mistakes:
            with pytest.raises(TypeError, match=message):
                await dispatcher.submit(*arguments, **options)
        assert await dispatcher.close(0) == 0

    run(main())


def test_use_before_it_is_open_and_after_it_is_closed_is_an_error_that_names_the_mistake() -> None:
    async def main() -> None:
        dispatcher = AsyncDispatcher(NOWHERE, "t", value_format="bytes")
        with pytest.raises(RuntimeError, match="the dispatcher is not open: use `async with`"):
            await dispatcher.submit("s", b"x")
        assert await dispatcher.close() == 0
        async with dispatcher:
            pass
        with pytest.raises(RuntimeError, match="the dispatcher is closed"):
            await dispatcher.submit("s", b"x")

    run(main())


@pytest.mark.parametrize("is_made", [False, True], ids=["while-it-is-made", "just-after"])
def test_an_open_that_is_cancelled_leaves_no_producer(monkeypatch: pytest.MonkeyPatch, is_made: bool) -> None:
    """The caller, which may have set a time limit, gets no producer that it could close."""
    may_make, has_made = threading.Event(), threading.Event()

    def make(*arguments: Any, **options: Any) -> TaskProducer:
        may_make.wait()
        made = TaskProducer(*arguments, **options)
        has_made.set()
        return made

    async def main() -> None:
        opening = asyncio.create_task(AsyncDispatcher(NOWHERE, "tasks", value_format="bytes").open())
        await asyncio.sleep(0.05)
        if is_made:
            may_make.set()
            has_made.wait()
            time.sleep(0.05)  # the thread has returned, and the loop has not noticed it
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        may_make.set()

    monkeypatch.setattr(module, "TaskProducer", make)
    run(main())
    assert has_made.is_set()
    until(lambda: "dispatcher" not in {thread.name for thread in threading.enumerate()}, seconds=10.0)


def test_a_dispatcher_belongs_to_one_event_loop_while_that_loop_is_open() -> None:
    dispatcher = AsyncDispatcher(NOWHERE, "t", value_format="bytes")

    async def in_another_loop() -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await dispatcher.submit("s", b"x")

    async def main() -> None:
        await dispatcher.open()
        await asyncio.to_thread(asyncio.run, in_another_loop())

    async def next_loop() -> None:
        await dispatcher.open()
        assert await dispatcher.close(0) == 0

    run(main())
    run(next_loop())


def test_arguments_that_cannot_work_are_refused_when_it_is_created_or_opened() -> None:
    for arguments in (
        {},
        {"topic": "a b"},
        {"topic": "t", "max_pending": 0},
        {"topic": "t", "kafka_config": {"acks": "1"}},
    ):
        with pytest.raises(SettingsError):
            AsyncDispatcher(NOWHERE, **arguments)

    async def main() -> None:
        with pytest.raises(SettingsError, match=r"no\.such"):
            await AsyncDispatcher(NOWHERE, "t", kafka_config={"no.such": "1"}).open()

    run(main())


FORK = """
import asyncio, os, sys
from processor import AsyncDispatcher, Dispatcher, Step

dispatcher = AsyncDispatcher(sys.argv[1], "tasks", value_format="bytes")

async def send(value):
    await dispatcher.open()
    place = await asyncio.wait_for(dispatcher.submit("s", value), 30)
    assert await dispatcher.flush(30) == dispatcher.pending() == 0
    return place.offset

loop = asyncio.new_event_loop()
assert loop.run_until_complete(send(b"parent")) == 0
if (pid := os.fork()) == 0:
    assert asyncio.run(send(b"child")) == 1
    os._exit(0)  # as multiprocessing does: the copy of the parent's loop would take its file descriptors with it
assert os.waitpid(pid, 0)[1] == 0
assert loop.run_until_complete(send(b"parent")) == 2
loop.run_until_complete(dispatcher.close())
"""


def python(script: Path | str, *arguments: str, **environment: str) -> str:
    ended = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            *(("-c",) if isinstance(script, str) else ()),
            script,
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, **environment},
        preexec_fn=die_with_parent(),
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_child_process_has_a_client_and_a_loop_of_its_own(broker: EmbeddedBroker) -> None:
    python(FORK, broker.bootstrap_servers)
    assert values(broker) == [b"parent", b"child", b"parent"]


def test_the_examples_of_the_page_run_as_they_stand(broker: EmbeddedBroker, tmp_path: Path) -> None:
    shown = []
    for source in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        (tmp_path / "send.py").write_text(source)
        shown.append(python(tmp_path / "send.py", PROCESSOR_BOOTSTRAP_SERVERS=broker.bootstrap_servers))
    assert shown == ["[0, 1]\n", "[2, 3, 4]\n"]


CHAIN_BRANCH = Step("a", 1).then(Step("z", 2))
CHAIN = Step("a", {"n": 1}, "charge", id="c-1", priority=3).then(Step("b", {"n": 2}, "pack", topic="other"))


def test_a_step_is_sent_with_what_follows_by_both_dispatchers_alike(broker: EmbeddedBroker) -> None:
    async def main() -> None:
        async with AsyncDispatcher(broker.bootstrap_servers, "tasks", value_format="json") as dispatcher:
            await dispatcher.submit(CHAIN)

    run(main())
    with Dispatcher(broker.bootstrap_servers, "tasks", value_format="json") as dispatcher:
        assert dispatcher.submit(CHAIN).result(SECONDS).offset == 1
    first, second = cluster.read_all(broker.bootstrap_servers, "tasks")
    assert (first.key(), first.value(), first.headers()) == (second.key(), second.value(), second.headers())
    headers: dict[str, Any] = dict(first.headers() or ())
    assert (first.key(), headers["task-priority"]) == (b"a", b"3")
    (planned,) = read_plan(headers["task-then"])
    assert (planned.key, planned.topic, planned.value) == (
        "b", "other", b'{"session_id":"b","name":"pack","payload":{"n":2}}',
    )  # fmt: skip


def test_a_group_is_one_record_from_both_dispatchers(broker: EmbeddedBroker) -> None:
    given = group([CHAIN_BRANCH, Step("b", None)], id="g-1", expires=5000).then(Step("c", {"n": 3}))

    async def main() -> None:
        async with AsyncDispatcher(broker.bootstrap_servers, "tasks", value_format="json") as dispatcher:
            await dispatcher.submit(given)

    run(main())
    with Dispatcher(broker.bootstrap_servers, "tasks", value_format="json") as dispatcher:
        assert dispatcher.submit(given).result(SECONDS).offset == 1
        assert dispatcher.submit(group([Step("b", None)])).result(SECONDS).offset == 2
    first, second, nameless = cluster.read_all(broker.bootstrap_servers, "tasks")
    assert (first.key(), first.value(), first.headers()) == (second.key(), second.value(), second.headers())
    headers: dict[str, Any] = dict(first.headers() or ())
    assert (first.key(), first.value(), headers["task-id"], headers["task-arrival"]) == (b"g-1", None, b"g-1", b"{}")
    branches, last = read_plan(headers["task-then"])
    assert (branches.expires, last.key) == (5000, "c")
    assert [[planned.key for planned in branch] for branch in branches.group or ()] == [["a", "z"], ["b"]]
    assert nameless.key() is None
    assert "task-id" not in dict(nameless.headers() or ())


def test_a_step_that_cannot_be_sent_is_refused_by_both(broker: EmbeddedBroker) -> None:
    async def refused(error: type[Exception], *arguments: Any, **more: Any) -> str:
        async with AsyncDispatcher(broker.bootstrap_servers, "tasks", value_format="json") as dispatcher:
            with pytest.raises(error) as caught:
                await dispatcher.submit(*arguments, **more)
        return str(caught.value)

    refusals: list[tuple[type[Exception], tuple[Any, ...], dict[str, Any], str]] = [
        (TypeError, (CHAIN, 1), {}, "submit takes a Step or a group alone"),
        (TypeError, (CHAIN,), {"priority": 5}, "submit takes a Step or a group alone"),
        (TypeError, (group([CHAIN]), 1), {}, "submit takes a Step or a group alone"),
        (TypeError, ("a",), {}, "submit needs a payload"),
        (ValueError, (Step("a", 1, topic="other"),), {}, "goes to the dispatcher's topic, tasks, not to other"),
        (ValueError, (CHAIN.then(Step("c", 1, id="x")),), {}, "takes no id"),
        (EncodeError, (CHAIN.then(Step("c", "x" * 300_000)),), {}, "what follows from the task is too large"),
        (EncodeError, (group([Step("c", "x" * 300_000)]),), {}, "what follows from the task is too large"),
        (EncodeError, (group([Step("c", 1)], id="\ud800"),), {}, "a text is not valid UTF-8"),
        (ValueError, (group([group([Step("c", 1)], id="x")]),), {}, "takes no id"),
        (ValueError, (group([Step("c", 1)], expires="soon"),), {}, "expires must be"),
    ]
    with Dispatcher(broker.bootstrap_servers, "tasks", value_format="json") as dispatcher:
        for error, arguments, more, reason in refusals:
            with pytest.raises(error, match=reason):
                dispatcher.submit(*arguments, **more)
            assert reason in run(refused(error, *arguments, **more))
    assert values(broker) == []
