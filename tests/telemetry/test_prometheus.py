"""A fleet's metrics over HTTP."""

from __future__ import annotations

import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from processor.errors import LoadError, SettingsError
from processor.settings import Settings
from processor.telemetry.metrics import FAMILIES, HISTOGRAM
from processor.telemetry.prometheus import MetricsSnapshot, serving
from processor.telemetry.totals import Totals
from tests.support.addresses import free_ports
from tests.support.stats import consumer_stats, partition_stats


def served(port: int | None, latest: Callable[[], MetricsSnapshot]) -> AbstractContextManager[None]:
    return serving(port, "127.0.0.1", "g", latest)


def moment() -> MetricsSnapshot:
    stats = consumer_stats()
    return MetricsSnapshot(
        Totals().stats([stats, None]),
        {1: stats},
        [partition_stats(committed=6), partition_stats(partition=4, head=None)],
    )


@pytest.fixture
def port() -> Iterator[int]:
    (free,) = free_ports(1)
    with served(free, moment):
        yield free


def scraped(port: int) -> dict[str, list[tuple[dict[str, str], float]]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_names_and_labels_are_those_that_the_collector_produces_from_the_log(port: int) -> None:
    found = scraped(port)
    assert set(found) == {metric.name for family in FAMILIES for metric in family.metrics} | {
        f"{HISTOGRAM}_{part}" for part in ("bucket", "count", "sum")
    }
    for family in FAMILIES:
        for metric in family.metrics:
            assert {frozenset(labels) for labels, _ in found[metric.name]} == {frozenset(family.labels)}


def test_values_are_those_of_the_last_reports(port: int) -> None:
    found = scraped(port)
    ((labels, done),) = found["processor_succeeded_tasks_total"]
    assert (labels["group"], labels["consumer"], done) == ("g", "1", 5)
    assert [value for _, value in found["processor_fleet_consumers"]] == [2]
    assert {labels["partition"]: value for labels, value in found["processor_partition_head_attempt"]} == {
        "3": 2, "4": 0,
    }  # fmt: skip
    assert {labels["le"]: value for labels, value in found[f"{HISTOGRAM}_bucket"]} == {"0.001": 5, "+Inf": 5}
    assert [value for _, value in found[f"{HISTOGRAM}_count"]] == [5]


def test_an_unknown_lag_has_no_sample() -> None:
    (free,) = free_ports(1)
    unknown = MetricsSnapshot(Totals().stats([]), {0: consumer_stats(lag=None)}, [])
    with served(free, lambda: unknown):
        assert "processor_lag_records" not in scraped(free)


def test_the_port_is_free_again_afterwards() -> None:
    (free,) = free_ports(1)
    for _ in range(2):
        with served(free, moment):
            assert scraped(free)


def test_without_a_port_nothing_is_served() -> None:
    with served(None, lambda: pytest.fail("nobody serves")):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid", "999.1.1.1"])
def test_an_address_that_cannot_be_listened_on_is_one_sentence(host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            SettingsError, match=rf"metrics cannot be served at --metrics-host {host}, --metrics-port \d+: "
        ):
            with serving(port, host, "g", moment):
                pass


def test_a_missing_client_is_an_error_with_the_command_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(LoadError, match=r"pip install 'session-processor\[metrics\]'"), served(1, moment):
        pass


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_invalid_port_is_refused(port: int) -> None:
    with pytest.raises(SettingsError, match="--metrics-port must be from 1 to 65535"):
        Settings(topics=("t",), group="g", metrics_port=port)
