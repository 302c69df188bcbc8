"""`processor offsets`: what is shown, what a reset changes, and that what it frees runs again."""

from __future__ import annotations

import os
from typing import Any

import pytest

from processor.cli.main import main
from tests.cli.refusal import refused
from tests.cli.test_lag import STUCK, commit, with_a_stuck_session
from tests.conftest import MakeTopic, Produce
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.operating_schema import checked
from tests.support.scenario import MakeScenario
from tests.support.until import until

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PROCESSOR_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def resets(broker: Broker, topic: MakeTopic, produce: Produce, group: str, capsys: Capture) -> Any:
    """Resets a group that has committed 7 of 10 and 4 of 4 in a topic of three partitions."""
    name = topic(partitions=3)
    produce(name, [(b"a", b"1")] * 10, partition=0)
    produce(name, [(b"a", b"1")] * 4, partition=1)
    commit(broker.bootstrap_servers, group, name, 7, 4)

    def reset(to: str, *options: str) -> list[tuple[int, int | None, int]]:
        arguments = ["-b", broker.bootstrap_servers, "-g", group, "--to", to, "-o", "json", *options]
        assert main(["offsets", "reset", *(each.replace("TOPIC", name) for each in arguments)]) == 0
        document = checked("offsets reset", capsys.readouterr().out)
        assert document["executed"] == ("--execute" in options)
        return [(one["partition"], one["before"], one["after"]) for one in document["partitions"]]

    def committed() -> dict[int, int]:
        return {n: place.offset for n, place in cluster.committed(broker.bootstrap_servers, group, name).items()}

    reset.committed = committed  # type: ignore[attr-defined]
    return reset


def test_without_execute_nothing_changes(resets: Any) -> None:
    assert resets("earliest") == [(0, 7, 0), (1, 4, 0), (2, None, 0)]
    assert resets.committed() == {0: 7, 1: 4}


@pytest.mark.parametrize(
    ("to", "options", "after"),
    [
        ("earliest", (), {0: 0, 1: 0, 2: 0}),
        ("latest", (), {0: 10, 1: 4, 2: 0}),
        ("-5", (), {0: 2, 1: 0}),
        ("+2", ("-t", "TOPIC:0"), {0: 9, 1: 4}),
        ("3", ("-t", "TOPIC"), {0: 3, 1: 3, 2: 0}),
        ("earliest", ("-t", "TOPIC:1", "-t", "TOPIC:2"), {0: 7, 1: 0, 2: 0}),
        ("2000-01-01", (), {0: 0, 1: 0, 2: 0}),
        ("2100-01-01T00:00:00+01:00", (), {0: 10, 1: 4, 2: 0}),
    ],
)
def test_with_execute_the_offsets_of_the_group_are_set(
    resets: Any, to: str, options: tuple[str, ...], after: dict[int, int]
) -> None:
    resets(to, "--execute", *options)
    assert resets.committed() == after


def test_a_time_is_the_first_record_from_it_on(broker: Broker, topic: MakeTopic, group: str, capsys: Capture) -> None:
    name = topic(partitions=1)
    produced = [cluster.produce(broker.bootstrap_servers, name, [(b"a", b"%d" % n)])[0] for n in range(3)]
    assert [offset for _, offset in produced] == [0, 1, 2]
    second = cluster.read_all(broker.bootstrap_servers, name)[1].timestamp()[1]
    commit(broker.bootstrap_servers, group, name, 3)
    arguments = ("offsets", "reset", "-b", broker.bootstrap_servers, "-g", group)
    assert main([*arguments, "--to", str(second), "--execute"]) == 0
    out, err = capsys.readouterr()
    assert cluster.committed(broker.bootstrap_servers, group, name)[0].offset == 1
    assert out.splitlines()[1].split() == [f"{name}[0]", "3", "1", "2", "0"]
    assert "processor: reset 1 partition: 2 settled offsets to run again, 0 offsets skipped" in err
    assert main([*arguments, "--to", "2100-01-01T00:00"]) == 0
    assert "to 2100-01-01T00:00:00.000Z, since a time without a zone is UTC" in capsys.readouterr().err


def test_an_active_group_is_not_reset_and_a_reset_repeats_the_tasks_done_ahead(
    scenario: MakeScenario, capsys: Capture
) -> None:
    """299 of 300 tasks are done behind a stuck one. To the same offset means: those again that the skip map had."""
    work = scenario(partitions=1)
    with_a_stuck_session(work)
    reset = ("offsets", "reset", "-b", work.servers, "-g", work.group, "--to", "+0")
    fleet = work.run("stick", *STUCK)
    until(lambda: len(work.known_done()) == 299, "everything but the stuck task is noted", 60, pause=0.1)
    told = refused(capsys, *reset, "--execute", code=1)
    assert told.startswith(f"group {work.group} has 1 member (processor-0 at 127.0.0.1): stop them first")
    fleet.stop()
    cluster.wait_without_members(work.servers, work.group)
    assert main(["offsets", "show", "-b", work.servers, "-g", work.group, "-o", "json"]) == 0
    (shown,) = checked("offsets show", capsys.readouterr().out)["partitions"]
    assert (shown["committed"], shown["done_ahead"], shown["ranges"]) == (9, 290, 1)
    assert main([*reset, "--execute"]) == 0
    assert "290 settled offsets to run again" in capsys.readouterr().err
    fleet = work.run("note", "--stop-at-end")
    assert fleet.wait() == 0
    ran = [entry.place.offset for entry in work.ledger.entries() if entry.succeeded]
    assert sorted(ran) == sorted([*range(9), *range(9, 300), *range(10, 300)])


def test_an_impossible_reset_is_one_line(broker: Broker, topic: MakeTopic, group: str, capsys: Capture) -> None:
    name = topic(partitions=2)
    reset = ("offsets", "reset", "-b", broker.bootstrap_servers, "-g", group, "--to")
    assert refused(capsys, *reset, "soon").startswith("--to must be earliest, latest, an offset, +N, -N, or a time")
    assert refused(capsys, *reset, "latest", code=5).startswith(f"group {group} has committed nothing")
    assert refused(capsys, *reset, "latest", "-t", f"{name}:2", code=5) == f"{name} has no partition 2: they are 0 to 1"
    assert refused(capsys, *reset, "latest", "-t", "a:b").startswith("--topic must be TOPIC or TOPIC:PARTITION")
    assert refused(capsys, *reset, "+3", "-t", name, code=1).endswith("give another --to")
    assert "topic missing-one does not exist" in refused(capsys, *reset, "latest", "-t", "missing-one", code=5)
