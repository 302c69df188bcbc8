"""A consumer's process as far as it gets without a broker, under the real parent and command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.processes import lives
from tests.support.until import until

RUN = (sys.executable, "-P", "-m", "processor", "run")
OPTIONS = ("-t", "orders", "-g", "shop", "-b", "127.0.0.1:1")
BOUND = 60.0


def run(app: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUN, app, *OPTIONS, *options], capture_output=True, text=True, timeout=BOUND, check=False)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_an_app_that_cannot_be_loaded_is_one_line_and_exit_code_5() -> None:
    Path("tasks.py").write_text("raise RuntimeError('the database\\nis down')\n")
    ended = run("tasks:handle", "-p", "3")
    assert ended.returncode == 5
    assert ended.stdout == ""
    place = Path("tasks.py").resolve()
    sentence = f"importing 'tasks' for APP failed: RuntimeError: the database is down ({place}:1)"
    assert ended.stderr == f"processor: {sentence}\n"


def test_the_traceback_of_an_app_that_cannot_be_loaded_is_printed_at_the_debug_level() -> None:
    Path("tasks.py").write_text("raise RuntimeError('down')\n")
    ended = run("tasks:handle", "--log-level", "debug")
    assert "Traceback (most recent call last):" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("processor: importing 'tasks' for APP failed")


def test_a_kafka_setting_that_the_client_refuses_is_exit_code_2_and_keeps_the_secret() -> None:
    Path("tasks.py").write_text("def handle(task): ...\n")
    ended = run("tasks:handle", "-X", "sasl.password=hunter2", "-X", "no.such.key=1")
    assert ended.returncode == 2
    assert "no.such.key" in ended.stderr
    assert "hunter2" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_missing_broker_is_exit_code_4_and_the_last_line() -> None:
    Path("tasks.py").write_text("def handle(task): ...\n")
    ended = run("tasks:handle", "-p", "2")
    assert ended.returncode == 4
    *logged, last = ended.stderr.splitlines()
    assert last.startswith("processor: no broker responds at 127.0.0.1:1")
    assert all(line.startswith("{") for line in logged)


def test_files_of_the_user_do_not_shadow_modules_of_python_or_of_this_package() -> None:
    for name in ("selectors.py", "processor.py", "msgspec.py", "queue.py"):
        Path(name).write_text("raise SystemExit('this is not the module that you want')\n")
    Path("tasks.py").write_text("raise RuntimeError('loaded')\n")
    assert "RuntimeError: loaded" in run("tasks:handle").stderr


def test_a_stop_during_the_import_of_the_app_is_clean() -> None:
    Path("tasks.py").write_text("import pathlib, signal\npathlib.Path('loading').touch()\nsignal.pause()\n")
    parent = subprocess.Popen([*RUN, "tasks:handle", *OPTIONS], stderr=subprocess.PIPE, text=True)
    until(Path("loading").exists, "the import has begun", BOUND)
    parent.terminate()
    _, errors = parent.communicate(timeout=BOUND)
    assert (parent.returncode, errors) == (0, "")


def test_a_consumer_that_imports_its_app_leaves_when_its_parent_is_killed() -> None:
    Path("tasks.py").write_text(
        "import os, pathlib, signal\npathlib.Path('pid').write_text(str(os.getpid()) + '.')\nsignal.pause()\n"
    )
    parent = subprocess.Popen([*RUN, "tasks:handle", *OPTIONS], stderr=subprocess.DEVNULL)
    until(lambda: Path("pid").exists() and Path("pid").read_text().endswith("."), "the import has begun", BOUND)
    consumer = psutil.Process(int(Path("pid").read_text().rstrip(".")))
    parent.kill()
    parent.wait()
    until(lambda: not lives(consumer), "the consumer has left", BOUND)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_process_that_a_handler_starts_holds_no_end_of_the_channel() -> None:
    """Else a process that outlives its consumer would keep the parent believing, and the consumer unaware."""
    Path("tasks.py").write_text(
        "import os, pathlib, signal, subprocess, sys\n"
        "def sockets():\n"
        "    links = [f'/proc/self/fd/{n}' for n in os.listdir('/proc/self/fd')]\n"
        "    return [l for l in links if os.path.exists(l) and os.readlink(l).startswith('socket:')]\n"
        "if __name__ == 'tasks':\n"
        "    mine = len(sockets())\n"
        "    code = 'import tasks2; print(len(tasks2.sockets()))'\n"
        "    pathlib.Path('tasks2.py').write_text(pathlib.Path('tasks.py').read_text())\n"
        "    started = subprocess.run([sys.executable, '-c', code], close_fds=False, capture_output=True, text=True)\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        by_default = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL\n"
        "        pathlib.Path('forked').write_text(f'{len(sockets())} {by_default}')\n"
        "        os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
        "    raise RuntimeError(f'{mine} {started.stdout.strip()} {pathlib.Path(\"forked\").read_text()}')\n"
    )
    assert "RuntimeError: 1 0 0 True" in run("tasks:handle").stderr


def test_a_process_that_a_handler_forks_is_ended_by_a_signal_that_comes_before_its_first_instruction() -> None:
    code = """
import os, signal, socket
signal.signal(signal.SIGTERM, lambda *_: None)
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))  # before the consumer's
from processor.fleet.process import _connection
ours, theirs = socket.socketpair()
connection = _connection(theirs.detach())
if not os.fork():
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=BOUND, check=True)
    assert int(ended.stdout) == -signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="becomes a parent by prctl")
def test_the_first_process_of_a_container_waits_for_orphans() -> None:
    code = """
import ctypes, os, time
from processor.fleet.orphans import reap_orphans
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
own = os.fork()
if own == 0:
    os._exit(7)
parent = os.fork()
if parent == 0:
    os.fork()
    os._exit(0)
def is_left(pid):
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
deadline = time.monotonic() + 50
while not is_left(own):
    assert time.monotonic() < deadline
reap_orphans({own})
assert os.waitpid(own, 0)[1] == 7 << 8  # its owner can still ask
while time.monotonic() < deadline:
    reap_orphans(set())
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        print("nobody is left")
        break
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=BOUND, check=False)
    assert (ended.stdout, ended.stderr) == ("nobody is left\n", "")


def test_the_parent_holds_no_kafka_client() -> None:
    """Its memory is not the consumers', and a fork of it is harmless."""
    Path("tasks.py").write_text("import pathlib, signal\npathlib.Path('loading').touch()\nsignal.pause()\n")
    parent = subprocess.Popen([*RUN, "tasks:handle", *OPTIONS], stderr=subprocess.DEVNULL)
    try:
        until(Path("loading").exists, "the import has begun", BOUND)
        mapped = {Path(region.path).name for region in psutil.Process(parent.pid).memory_maps()}
        assert not [name for name in mapped if "rdkafka" in name or name.startswith("cimpl")]
    finally:
        os.kill(parent.pid, signal.SIGTERM)
        parent.wait(BOUND)
