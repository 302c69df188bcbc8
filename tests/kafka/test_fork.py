"""A dispatcher that a child process inherits by a fork: as under Gunicorn with an application that is loaded once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from processor.kafka.embedded import EmbeddedBroker
from tests.support.lifeline import die_with_parent

SECONDS = 150
"""For up to ten children one after the other, each with a client of its own."""

PARENT = """
import os, sys, threading, traceback
from processor import Dispatcher, ProcessorError

def child(work):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    if "--exit" in sys.argv:
        os._exit(0)
    sys.exit()  # the interpreter's own end, which destroys what is left

dispatcher = Dispatcher(sys.argv[1], "tasks", value_format="bytes")
"""

SENDS = """
def work():
    sent = dispatcher.submit("session", b"child")
    assert sent.result(30).topic == "tasks"
    assert dispatcher.flush(30) == dispatcher.pending() == 0
    dispatcher.close()

dispatcher.submit("session", b"parent").result(30)
assert child(work) == 0
assert child(work) == 0
dispatcher.submit("session", b"parent").result(30)
dispatcher.close()
"""

BUSY = """
stop = threading.Event()
def submit():
    while not stop.is_set():
        dispatcher.submit("busy", b"busy")
thread = threading.Thread(target=submit)
thread.start()

def work():
    dispatcher.submit("session", b"child").result(30)

for _ in range(10):
    assert child(work) == 0
stop.set()
thread.join()
dispatcher.close()
"""

INHERITED = """
hanging = Dispatcher("127.0.0.1:1", "tasks", value_format="bytes")
future = hanging.submit("session", b"parent")

def work():
    for wait in (future.result, future.exception):
        try:
            wait()
        except ProcessorError as error:
            assert "parent process" in str(error), error
        else:
            raise AssertionError("it has a result")
    assert hanging.pending() == 0
    assert hanging.close() == 0

assert child(work) == 0
assert hanging.pending() == 1
assert hanging.close(0) == 1
"""

CLOSED = """
dispatcher.close()

def work():
    try:
        dispatcher.submit("session", b"child")
    except RuntimeError as error:
        assert str(error) == "the dispatcher is closed", error
    else:
        raise AssertionError("it took a task")

assert child(work) == 0
"""

TOKENS = """
import time
made = []
def token():
    made.append(os.getpid())
    return "token", time.time() + 3600
config = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "OAUTHBEARER", "oauth_cb": token}
tokens = Dispatcher("127.0.0.1:1", "tasks", value_format="bytes", kafka_config=config)
asked = len(made)

def work():
    tokens.submit("session", b"child")
    assert made[asked:] and set(made[asked:]) == {os.getpid()}, made
    tokens.close(0)

assert child(work) == 0
tokens.close(0)
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as embedded:
        embedded.create_topics(["tasks"], partitions=1)
        yield embedded


CASES = {"sends": SENDS, "busy": BUSY, "inherited": INHERITED, "closed": CLOSED, "tokens": TOKENS}


@pytest.mark.parametrize(
    ("case", "end"), [*((name, "--interpreter") for name in CASES), ("sends", "--exit")], ids=lambda value: value
)
def test_a_child_has_a_client_of_its_own(broker: EmbeddedBroker, case: str, end: str) -> None:
    program = PARENT + CASES[case]
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, broker.bootstrap_servers, end],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        preexec_fn=die_with_parent(),
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
