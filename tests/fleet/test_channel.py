"""The messages between parent and consumer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from processor.engine.deaths import MOST_SUSPECTS, Suspect, TaskPlace
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
    Settled,
    Started,
    StopNow,
    Watch,
)
from processor.options.option_set import entries_of
from processor.options.values import REGISTRY_FIELDS
from processor.settings import Settings
from tests.support.run_options import TRIED

ODD = {
    "timeout": 0.1 + 0.2,
    "topics": ("a", "b"),
    "oauth_callback": "tokens:token",
    "kafka_config": {"sasl.mechanism": "OAUTHBEARER", "sasl.password": 'a="b"\nc\u00e4', "client.id": ""},
}
"""What could be lost on the way."""

LEFT_OUT = {"schemas", *REGISTRY_FIELDS}
GIVEN: Any = {**{name: option.value for name, option in TRIED.items() if name not in LEFT_OUT}, **ODD}
SETTINGS = Settings(**GIVEN)


@pytest.fixture
def ends() -> Iterator[tuple[Channel[Report], Channel[Order]]]:
    parent, member = socket.socketpair()
    with parent, member:
        yield Channel(parent, Report), Channel(member, Order)


def test_every_setting_arrives_as_it_was(ends: tuple[Channel[Report], Channel[Order]]) -> None:
    parent, member = ends
    defaults = {entry.field: entry.default for entry in entries_of(Settings)}
    differs = {name for name, default in defaults.items() if getattr(SETTINGS, name) != default}
    assert differs == defaults.keys() - LEFT_OUT
    parent.send(Begin(SETTINGS, "tasks:handle", 1, "fleet"))
    assert member.receive(wait=True) == [Begin(SETTINGS, "tasks:handle", 1, "fleet")]


def test_a_registrys_password_arrives(ends: tuple[Channel[Report], Channel[Order]]) -> None:
    parent, member = ends
    secret = Settings(
        topics=("t",), group="g", schema_registry="https://user:password@h", schema_registry_ca="c", auto_register=False
    )
    parent.send(Begin(secret, "tasks:handle", 1, "fleet"))
    assert member.receive(wait=True) == [Begin(secret, "tasks:handle", 1, "fleet")]


def test_orders_and_reports_arrive_in_order(ends: tuple[Channel[Report], Channel[Order]]) -> None:
    parent, member = ends
    place = TaskPlace("t", 3, 17)
    orders: list[Order] = [
        Drain("SIGTERM"),
        Drain("one fewer", for_good=True),
        StopNow("SIGTERM"),
        Watch([Suspect(place, 2)]),
    ]
    reports: list[Report] = [
        Started(),
        Joined(),
        Failed("no\nbroker", 4),
        Finished(),
        Recycling(),
        Settled([place]),
        Left(),
    ]
    for order in orders:
        parent.send(order)
    for report in reports:
        member.send(report)
    assert member.receive(wait=True) == orders
    assert parent.receive(wait=False) == reports


def test_an_empty_list_means_no_message_yet_and_none_means_the_end(
    ends: tuple[Channel[Report], Channel[Order]],
) -> None:
    parent, member = ends
    assert parent.receive(wait=False) == []
    member.close()
    assert parent.receive(wait=False) is None


def test_a_message_longer_than_one_read_does_not_hide_those_behind_it(
    ends: tuple[Channel[Report], Channel[Order]],
) -> None:
    """A parent reads once after a process has ended: a report that it misses then is lost."""
    parent, member = ends
    reports: list[Report] = [Failed("x" * 100_000, 1), Finished(), Left()]
    for report in reports:
        member.send(report)
    received: list[Report] = []
    while some := parent.receive(wait=False):
        received += some
    assert received == reports


def test_a_wait_ends_with_a_whole_message(ends: tuple[Channel[Report], Channel[Order]]) -> None:
    parent, member = ends
    parent.send(Drain("x" * 100_000))
    assert member.receive(wait=True) == [Drain("x" * 100_000)]


def test_messages_from_before_the_end_are_received(ends: tuple[Channel[Report], Channel[Order]]) -> None:
    parent, member = ends
    member.send(Finished())
    member.close()
    assert parent.receive(wait=False) == [Finished()]
    assert parent.receive(wait=False) is None


def test_a_send_to_a_process_that_does_not_read_does_not_block_and_loses_no_report(
    ends: tuple[Channel[Report], Channel[Order]],
) -> None:
    parent, member = ends
    count = 4_000
    for number in range(count):
        member.send(Failed("x" * 100, number))
    received: list[Report] = []
    while len(received) < count:
        member.flush(0.0)
        received += parent.receive(wait=False) or []
    assert [report.exit_code for report in received if isinstance(report, Failed)] == list(range(count))


def test_a_flush_sends_what_the_socket_takes_in_several_parts(
    ends: tuple[Channel[Report], Channel[Order]],
) -> None:
    """The last report of a consumer is behind its statistics, which name all of its partitions."""
    parent, member = ends
    reports: list[Report] = [Failed("x" * 2_000_000, 1), Left()]
    for report in reports:
        member.send(report)
    received: list[Report] = []

    def receive() -> None:
        while len(received) < len(reports) and (some := parent.receive(wait=True)) is not None:
            received.extend(some)

    reading = threading.Thread(target=receive)
    reading.start()
    member.flush(60.0)
    member.close()
    reading.join()
    assert received == reports


def test_statistics_are_dropped_while_the_other_process_does_not_read(
    ends: tuple[Channel[Report], Channel[Order]],
) -> None:
    """A poller that waited for its parent would lose its partitions; one that queued would grow without bound."""
    parent, member = ends
    for number in range(4_000):
        member.send_unless_busy(Failed("x" * 100, number))
    received: list[Report] = []
    while reports := parent.receive(wait=False):
        member.flush(0.0)
        received += reports
    codes = [report.exit_code for report in received if isinstance(report, Failed)]
    assert codes == list(range(len(codes)))
    assert 0 < len(codes) < 4_000


def test_a_message_to_a_closed_end_is_dropped(ends: tuple[Channel[Report], Channel[Order]]) -> None:
    parent, member = ends
    parent.close()
    member.send(Finished())
    member.send_unless_busy(Started())
    member.flush(0.1)


def test_the_longest_order_to_watch_is_sent_at_once(ends: tuple[Channel[Report], Channel[Order]]) -> None:
    parent, member = ends
    watch = Watch([Suspect(TaskPlace("t" * 249, 9999, 10**12 + n), 2) for n in range(MOST_SUSPECTS)])
    parent.send(watch)
    received: list[Order] = []
    while not received:
        received += member.receive(wait=True) or []
    assert received == [watch]
