"""A machine that stands still is observed, and no more of its time is left out than that."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from tests.support.lifeline import die_with_parent
from tests.support.stalls import Stalls
from tests.support.until import until

PROGRAM = """
import sys, time
from tests.support.stalls import Stalls
with Stalls() as stalls:
    began = time.monotonic_ns()
    print("began", flush=True)
    sys.stdin.readline()
    print(stalls.seconds(), stalls.seconds(began, began), flush=True)
"""


def test_a_process_that_is_suspended_has_a_stall_of_that_length() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent(),
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "began\n"
    process = psutil.Process(child.pid)
    process.suspend()
    until(lambda: process.status() == psutil.STATUS_STOPPED, "it is suspended")
    began = time.monotonic()
    time.sleep(1.0)  # time is tested
    suspended = time.monotonic() - began
    process.resume()
    out, _ = child.communicate("\n", timeout=60)
    inside, before = map(float, out.split())
    assert inside >= suspended
    assert before == 0.0


@pytest.mark.parametrize(
    ("since", "until", "seconds"), [(0, 9, 3.0), (2, 4, 1.0), (4, 4, 0.0), (6, 9, 1.0), (8, 9, 0.0), (4, 7, 2.0)]
)
def test_only_the_part_of_a_stall_between_two_moments_counts(since: int, until: int, seconds: float) -> None:
    stalls = Stalls()
    second = 1_000_000_000
    stalls._stalls += [(3 * second, 4 * second), (5 * second, 7 * second)]
    assert stalls.seconds(since * second, until * second) == seconds
