"""The fleet's parent as the first process of a PID namespace with a read-only root, as in a container."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from processor.health.verdict import Check, judge_fleet
from tests.conftest import MakeTopic, Produce
from tests.support.broker import Broker
from tests.support.first_process import container, writable_folder
from tests.support.lifeline import die_with_parent
from tests.support.processes import children
from tests.support.until import until

BOUND = 100.0
LEAVES_AN_ORPHAN = """
import os, subprocess

ORPHAN = 'cd $SCRATCH; sh -c "sleep 3; grep PPid /proc/\\\\$\\\\$/status > orphan.new; mv orphan.new orphan" &'

def handle(task):
    subprocess.run(ORPHAN, shell=True, check=True)
"""


@pytest.fixture
def scratch() -> Iterator[Path]:
    with writable_folder() as folder:
        yield folder


@contextmanager
def first_process(
    command: list[str], folder: Path, scratch: Path
) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process]]:
    """The command's process, and the first process in its namespace."""
    environment = {**os.environ, "SCRATCH": str(scratch), "PROCESSOR_HEARTBEAT_FILE": str(scratch / "heartbeat")}
    with (folder / "log").open("wb") as log:
        outer = subprocess.Popen(command, cwd=folder, env=environment, stderr=log, preexec_fn=die_with_parent())
    try:
        yield outer, until(lambda: children(outer.pid), "unshare has forked", BOUND)[0]
    finally:
        outer.kill()
        outer.wait()


def test_the_first_process_runs_read_only_reaps_orphans_and_stops_cleanly(
    broker: Broker,
    topic: MakeTopic,
    group: str,
    produce: Produce,
    tmp_path: Path,
    scratch: Path,
) -> None:
    name = topic(1)
    produce(name, [(b"s", b"1")])
    (tmp_path / "app.py").write_text(LEAVES_AN_ORPHAN)
    command = [*container(), sys.executable, "-m", "processor", "run", "app:handle", "--value-format", "bytes"]
    command += ["-b", broker.bootstrap_servers, "-t", name, "-g", group]
    with first_process(command, tmp_path, scratch) as (outer, first):
        until((scratch / "orphan").exists, "the orphan has reported its parent", BOUND)
        assert (scratch / "orphan").read_text().split() == ["PPid:", "1"]
        until(lambda: len(children(first.pid)) == 1, "only the consumer is left as a child of the first process", BOUND)
        until(
            lambda: judge_fleet(scratch / "heartbeat", 60).holds(list(Check)),
            "the heartbeat is that of a healthy fleet",
            BOUND,
        )
        os.kill(first.pid, signal.SIGTERM)
        assert outer.wait(BOUND) == 0
    assert '"fleet.stopped"' in (tmp_path / "log").read_text()
    assert [file.name for file in scratch.iterdir()] == ["orphan"]
