"""What the operating commands answer while a fleet is under load, is killed, and fails."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from processor.cli.main import main
from tests.support import cluster
from tests.support.operating_schema import checked
from tests.support.scenario import MakeScenario
from tests.support.steady_load import steady_load
from tests.support.until import until

Capture = pytest.CaptureFixture[str]


def printed(capsys: Capture, *arguments: str) -> dict[str, Any]:
    """The document that a command prints."""
    capsys.readouterr()
    assert main([*arguments, "-o", "json"]) == 0
    schema = " ".join(arguments[:2]).replace("discard", "replay") if arguments[0] == "dlq" else arguments[0]
    document: dict[str, Any] = checked(schema, capsys.readouterr().out)
    return document


def test_lag_is_consistent_while_consumers_are_killed_and_zero_afterwards(
    scenario: MakeScenario, capsys: Capture
) -> None:
    work = scenario(partitions=4)
    fleet = work.run("vary", "-p", "2")
    fleet.wait_for("consumer.assigned", count=2)
    lag = ("lag", "-b", work.servers, "-g", work.group, "--samples", "1")
    with steady_load(work, 150):
        until(lambda: cluster.committed(work.servers, work.group, work.topic), "the group has committed", 60, pause=0.1)
        for turn in range(6):
            if turn in (1, 3):
                os.kill(fleet.consumers()[0], signal.SIGKILL)
            found = printed(capsys, *lag)
            for one in found["partitions"]:
                assert one["lag"] == one["end"] - (one["committed"] or 0)
                assert 0 <= one["left"] <= one["lag"] - one["done_ahead"]
                assert one["verdict"] in ("ok", "early", "no-member")
            assert found["totals"]["lag"] == sum(one["lag"] for one in found["partitions"])
    found = until(
        lambda: (now := printed(capsys, *lag))["totals"]["lag"] == 0 and now, "everything is settled", 60, pause=0.2
    )
    assert {one["verdict"] for one in found["partitions"]} == {"ok"}
    assert found["totals"]["oldest_age_seconds"] is None
    assert fleet.stop() == 0


def test_dead_letters_that_fail_again_are_replayed_three_times_at_most(scenario: MakeScenario, capsys: Capture) -> None:
    """Beside a fleet that dead-letters them at once, again and again."""
    work = scenario(partitions=2)
    work.produce([(b"s%d" % (n % 3), b"rejected") for n in range(12)])
    fleet = work.run("fail", "--max-attempts", "1")
    notes = ("--progress-group", f"{work.group}-notes")
    dead = ("-b", work.servers, "-t", f"{work.topic}.dlq", "--value-format", "bytes", *notes)
    for replays in range(4):
        until(lambda: len(work.ledger.entries()) >= 24 * (replays + 1), "they have failed", 60, pause=0.1)  # noqa: B023
        until(lambda: printed(capsys, "dlq", "list", *dead)["letters"] == 12, "they are dead letters", 60, pause=0.2)
        found = printed(capsys, "dlq", "replay", *dead, "--execute")
        assert (found["letters"], found["guarded"]) == ((12, 0) if replays < 3 else (0, 12))
    assert fleet.stop() == 0
    assert printed(capsys, "dlq", "discard", *dead, "--execute")["letters"] == 12
    assert printed(capsys, "dlq", "list", *dead)["letters"] == 0
