"""Ports that tests take for servers of their own."""

from __future__ import annotations

import subprocess
import sys

from tests.support.addresses import _reserve, free_ports
from tests.support.kafka_jars import PROJECT


def test_a_port_is_given_once() -> None:
    assert len({*free_ports(200), *free_ports(200)}) == 400


def test_a_port_that_one_test_run_has_is_given_to_no_other_while_that_one_runs() -> None:
    """Nothing listens there yet, as while a server starts, or not any more, as after a kill."""
    run = "import sys; from tests.support.addresses import free_ports; print(*free_ports(20), flush=True); input()"
    command = [sys.executable, "-c", run]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        held = list(map(int, other.stdout.readline().split()))
        assert len(held) == 20
        assert not any(map(_reserve, held))
        other.communicate("\n")
    assert any(map(_reserve, held))
