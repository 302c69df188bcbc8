"""Consumers have labels as short as possible, and no two of them have the same."""

from __future__ import annotations

import pytest

from processor.observe.labels import listed, shown_source
from processor.observe.watch import Watch
from tests.observe.building import consumer, line, sourced, watching


def labels(watch: Watch) -> list[str]:
    return [watch.label(one) for one in watch.living()]


def test_consumers_of_one_fleet_are_numbered() -> None:
    assert labels(watching(consumer(0), consumer(0, consumer=1, pid=8))) == ["#0", "#1"]


def test_a_consumer_without_a_number_is_the_consumer() -> None:
    assert labels(watching(consumer(0, consumer=None))) == ["consumer"]


def test_two_pods_whose_consumers_have_the_same_number_have_different_labels() -> None:
    watch = Watch()
    for name in ("pod/shop-a/x", "pod/shop-b/x"):
        for event in sourced(consumer(0), name=name):
            watch.handle(event)
    assert labels(watch) == ["shop-a/x #0", "shop-b/x #0"]


def test_two_fleets_on_one_host_have_different_labels_while_both_run() -> None:
    started = [line("consumer.started", 0, host="web", pid=pid, fleet=pid - 1, consumer=0) for pid in (11, 21)]
    watch = watching(*started)
    assert labels(watch) == ["10 #0", "20 #0"]
    for event in sourced(line("consumer.stopped", 1, host="web", pid=11, fleet=10, consumer=0)):
        watch.handle(event)
    assert labels(watch) == ["#0"]


def test_two_fleets_on_one_of_two_hosts_have_the_host_and_the_fleet() -> None:
    started = [
        line("consumer.started", 0, host=host, pid=pid, fleet=pid - 1, consumer=0)
        for host, pid in (("a", 11), ("a", 21), ("b", 31))
    ]
    assert labels(watching(*started)) == ["a/10 #0", "a/20 #0", "b #0"]


def test_events_of_the_parent_are_those_of_the_fleet() -> None:
    watch = watching(line("fleet.stopping", reason="SIGTERM"), consumer(0))
    assert [entry.subject for entry in watch.timeline.recent] == ["fleet"]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("pod/shop-5d8f/processor", "shop-5d8f/processor"),
        ("/var/log/shop/web-1.log", "web-1.log"),
        ("web-1", "web-1"),
        ("logs/web-1.log", "logs/web-1.log"),
        ("\x1b[2J", "\\u001b[2J"),
        ("x" * 100, "x" * 59 + "…"),
    ],
)
def test_a_source_is_shown_in_short(source: str, shown: str) -> None:
    assert shown_source(source) == shown


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "nothing"),
        (["t[0]@5"], "t[0]"),
        ([f"t[{n}]@start" for n in range(4)], "t[0], t[1], t[2], t[3]"),
        ([f"t[{n}]" for n in range(1004)], "t[0], t[1], t[2], t[3] and 1,000 more"),
    ],
)
def test_many_partitions_are_the_first_and_a_count(names: list[str], text: str) -> None:
    assert listed(names) == text
