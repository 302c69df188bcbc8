"""The fleet's parent as the first process of a container, here of a PID namespace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import MakeTopic, Produce
from tests.support.broker import Broker
from tests.support.lifeline import die_with_parent

BOUND = 40.0
NAMESPACE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]

LEAVES_AN_ORPHAN = """
import subprocess

ORPHAN = 'sh -c "sleep 0.3; grep PPid /proc/\\\\$\\\\$/status > orphan.new; mv orphan.new orphan" &'

def handle(task):
    subprocess.run(ORPHAN, shell=True, check=True)
"""


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture
def namespace() -> list[str]:
    """The command that makes a PID namespace, where one may be made."""
    if (
        shutil.which("unshare") is None
        or subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("no PID namespace may be made here: unshare is missing, or is not allowed")
    return NAMESPACE


@contextmanager
def first_process(command: list[str], folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process]]:
    """The command's process, and the one that is the first in its namespace."""
    with (folder / "log").open("wb") as log:
        outer = subprocess.Popen(command, cwd=folder, stderr=log, preexec_fn=die_with_parent())
    try:
        until(lambda: psutil.Process(outer.pid).children(), "unshare has forked")
        yield outer, psutil.Process(outer.pid).children()[0]
    finally:
        outer.kill()
        outer.wait()


def test_it_reaps_what_handlers_leave_behind_and_stops_in_order(
    namespace: list[str], broker: Broker, topic: MakeTopic, group: str, produce: Produce, tmp_path: Path
) -> None:
    name = topic(1)
    produce(name, [(b"s", b"1")])
    (tmp_path / "app.py").write_text(LEAVES_AN_ORPHAN)
    command = [*namespace, sys.executable, "-m", "processor", "run", "app:handle", "--value-format", "bytes"]
    command += ["-b", broker.bootstrap_servers, "-t", name, "-g", group]
    with first_process(command, tmp_path) as (outer, first):
        until((tmp_path / "orphan").exists, "the orphan has said whose it is")
        assert (tmp_path / "orphan").read_text().split() == ["PPid:", "1"]
        until(lambda: len(first.children()) == 1, "nothing but the consumer is left below the first process")
        os.kill(first.pid, signal.SIGTERM)
        assert outer.wait(BOUND) == 0
    assert '"fleet.stopped"' in (tmp_path / "log").read_text()
