"""Brokers that take little commit metadata: offsets are never held up by a skip map."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from tests.conftest import MakeBroker
from tests.support import cluster
from tests.support.run import Fleet
from tests.support.scenario import Scenario

LIMIT = 256
DONE, STUCK = 2000, 700


def test_offsets_are_committed_although_the_brokers_refuse_the_skip_map(
    own_broker: MakeBroker, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> None:
    """One session is stuck at its first task, and has tasks at random among 2,000 of others."""
    broker = own_broker({"offset.metadata.max.bytes": str(LIMIT)})
    topic = cluster.create_topic(broker.bootstrap_servers, group, 1)
    work = Scenario(broker, topic, group, tmp_path, start_fleet)
    behind = set(random.Random(1).sample(range(1, DONE + STUCK), STUCK - 1))
    keys = [b"stuck" if n in behind else b"s%d" % (n % 50) for n in range(1, DONE + STUCK)]
    work.produce([(b"stuck", b"first"), *((key, b"") for key in keys)])
    fleet = work.run("stick_once", "-w", "8", "--drain-timeout", "1", "--timeout", "300")
    work.wait_done(DONE)
    refused = fleet.wait_for("consumer.skip_map_refused")
    assert refused["refused_characters"] > LIMIT
    assert fleet.stop() == 3  # one task still ran
    commit = cluster.committed(broker.bootstrap_servers, group, topic)[0]
    assert commit.offset == 0
    assert 0 < len(commit.metadata or "") <= LIMIT
    known = work.known_done()
    assert known
    second = work.run("nothing", "--stop-at-end")
    assert second.wait() == 0
    assert second.heard("consumer.stats")[-1]["skipped"] == len(known)
    work.wait_lag(0)
    assert not fleet.heard("consumer.commit_failed")
