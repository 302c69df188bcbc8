"""`processor monitor` and `processor report`, as they are run: files, pipes, terminals, wrong uses."""

from __future__ import annotations

import fcntl
import gzip
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processor.cli.main import main
from tests.observe.building import consumer, head, line, partition
from tests.support.lifeline import die_with_parent

RECORDED = Path(__file__).parents[1] / "observe" / "recorded" / "shop.jsonl.gz"
SECONDS = 60.0

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str, **more: object) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PROCESSOR_")}
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "processor", *arguments],
                **{  # type: ignore[call-overload]
                    "stdin": subprocess.DEVNULL,
                    "stdout": subprocess.PIPE,
                    "stderr": subprocess.PIPE,
                    "env": {**environment, "COLUMNS": "100"},
                    "preexec_fn": die_with_parent(),
                    **more,
                },
            )
        )
        return running[-1]

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
            process.communicate()


def ended(process: subprocess.Popen[bytes], sent: bytes | None = None) -> tuple[int, str, str]:
    out, err = process.communicate(sent, timeout=SECONDS)
    return process.returncode, out.decode(), (err or b"").decode()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "shop.log"
    with gzip.open(RECORDED) as recorded:
        path.write_bytes(recorded.read())
    return path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("command", ["monitor", "report"])
def test_a_log_that_cannot_be_read_is_one_line(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "the log 'nowhere.log' cannot be read: No such file" in refused(capsys, command, "nowhere.log")
    assert "Is a directory" in refused(capsys, command, str(tmp_path))
    assert "--window must be from 3 to 10000, not 1" in refused(capsys, command, "--window", "1", "a")


def test_a_page_that_cannot_be_written_is_one_line_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "there is no folder" in refused(capsys, "report", "nowhere.log", "--html", f"{tmp_path}/no/report.html")
    assert "it is a folder" in refused(capsys, "report", "nowhere.log", "--html", str(tmp_path))


def test_options_come_from_the_environment_and_a_file_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "p.toml").write_text(f'html = "{tmp_path}/report.html"\nwindow = 4\n')
    assert main(["report", "--config", f"{tmp_path}/p.toml", str(RECORDED)]) == 0
    assert (tmp_path / "report.html").exists()
    monkeypatch.setenv("PROCESSOR_WINDOW", "2")
    assert "--window (in PROCESSOR_WINDOW)" in refused(capsys, "report", str(RECORDED))
    monkeypatch.setenv("PROCESSOR_WINDOW", "5")
    monkeypatch.setenv("PROCESSOR_ONCE", "1")
    assert main(["monitor", str(RECORDED)]) == 0
    assert "session anna" in capsys.readouterr().out


@pytest.mark.parametrize("command", [("report",), ("monitor", "--once")])
def test_the_summary_has_the_session_that_blocked_partition_7_with_time_and_reason(
    command: tuple[str, ...], start: Start, log: Path
) -> None:
    code, out, err = ended(start(*command, str(log)))
    assert (code, err) == (0, "")
    assert re.search(r"orders\[7\] 30 s, \S+ to \S+: session anna, offset [\d,]+; its handler is running", out)
    assert "was stalled" in out
    assert "\x1b" not in out


def test_a_gzipped_log_and_standard_input_give_the_same_report(start: Start, log: Path) -> None:
    summaries = [
        ended(start("report", str(log))),
        ended(start("report", str(RECORDED))),
        ended(start("report", stdin=subprocess.PIPE), log.read_bytes()),
        ended(start("report", "-", stdin=subprocess.PIPE), log.read_bytes()),
    ]
    assert summaries[1:] == summaries[:1] * 3


def test_lines_of_two_pods_are_distinguished_by_their_prefixes(start: Start, log: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    sent = b"".join(b"[pod/shop-%c/main] " % b"ab"[n % 2] + line for n, line in enumerate(lines))
    code, out, _ = ended(start("report", stdin=subprocess.PIPE), sent + b"Killed\n")
    assert code == 0
    assert re.search("shop-[ab]/main fleet", out)
    assert "1 of them not events of a processor" in out


def test_logs_of_pods_in_sequence_give_the_same_report_as_interleaved_lines(start: Start, log: Path) -> None:
    """As `kubectl logs -l` does without `-f`."""
    lines = log.read_bytes().splitlines(keepends=True)
    in_turn = b"".join(b"[pod/%b] %b" % (pod, line) for line in lines for pod in (b"a", b"b"))
    one_by_one = b"".join(b"[pod/%b] %b" % (pod, line) for pod in (b"a", b"b") for line in lines)
    first, second = (ended(start("report", stdin=subprocess.PIPE), sent) for sent in (in_turn, one_by_one))
    assert first == second
    assert first[1].count("went back") == 0


def test_a_pipe_with_a_name_is_read_like_a_file(start: Start, log: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    process = start("report", str(tmp_path / "fifo"))
    (tmp_path / "fifo").write_bytes(log.read_bytes())
    assert ended(process) == ended(start("report", str(log)))


@pytest.mark.parametrize("sent", [b"", b"\n\n", b"hello\n", b'{"event":', b"\x00\xff\x1b[2J\n", b"[[[[\n" * 1000])
def test_a_file_that_is_not_a_log_gets_advice_and_no_traceback(sent: bytes, start: Start) -> None:
    code, out, err = ended(start("report", stdin=subprocess.PIPE), sent)
    assert (code, err) == (0, "")
    assert "--log-format json" in out
    assert "\x1b" not in out


def test_off_a_terminal_there_is_a_line_every_so_often_and_a_summary_at_the_end(start: Start, log: Path) -> None:
    process = start("monitor", str(log), "--every", "0.1")
    assert process.stdout is not None
    first = process.stdout.readline().decode()
    assert re.match(r"\d\d:\d\d:\d\d \S+/s · lag ", first)
    with log.open("ab") as file:
        for at in (10**6, 10**6 + 1):
            file.write(consumer(at, tasks_per_second=98765.0) + b"\n")
        file.write(line("fleet.stopping", 10**6 + 1, reason="the end of the test") + b"\n")
    for shown in process.stdout:
        if b"98,765/s" in shown:
            break
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert (code, err) == (0, "")
    assert "the end of the test" in out
    assert "Head of line" in out


def test_a_pipe_that_ends_ends_the_monitor(start: Start, log: Path) -> None:
    code, out, err = ended(start("monitor", stdin=subprocess.PIPE), log.read_bytes())
    assert (code, err) == (0, "")
    assert "session anna" in out


@pytest.mark.parametrize("arguments", [("report",), ("monitor", "--once"), ("monitor", "--every", "0.1")])
def test_a_reader_that_leaves_causes_no_traceback(arguments: tuple[str, ...], start: Start, log: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start(*arguments, str(log), stdout=writer)
    os.close(writer)
    _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (1, b"")


class Terminal:
    """A terminal of so many columns and lines, and what a program draws on it."""

    def __init__(self, columns: int, lines: int) -> None:
        self.controller, self.worker = pty.openpty()
        self.drawn = ""
        self.resize(columns, lines)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.worker, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait_for(self, pattern: str) -> None:
        """Until it is drawn from now on."""
        self.drawn, deadline = "", time.monotonic() + SECONDS
        while not re.search(pattern, self.drawn):
            assert time.monotonic() < deadline, self.drawn[-3000:]
            if select.select([self.controller], [], [], 0.2)[0]:
                self.drawn += os.read(self.controller, 65536).decode("utf-8", "replace")

    def close(self) -> None:
        os.close(self.controller)
        os.close(self.worker)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal(80, 24)
    yield made
    made.close()


def on(terminal: Terminal, start: Start, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PROCESSOR_", "COL", "NO_"))}
    return start(
        "monitor",
        *arguments,
        stdin=terminal.worker,
        stdout=terminal.worker,
        stderr=terminal.worker,
        env={**inherited, "TERM": "xterm-256color", **environment},
    )


def test_on_a_terminal_the_view_is_live_follows_its_size_and_leaves_it_in_order(
    start: Start, tmp_path: Path, terminal: Terminal
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\n".join([consumer(0), partition(0, head=head()), partition(9, head=head()), b""]))
    process = on(terminal, start, str(log), "--every", "0.1")
    terminal.wait_for(r"orders\[0\]")
    assert "\x1b[?1049h" in terminal.drawn  # the alternate screen: what was there before comes back
    terminal.wait_for("hot sessions|head of line")
    with log.open("ab") as file:
        file.write(partition(10, number=5) + b"\n")
    terminal.wait_for(r"orders\[5\]")
    terminal.resize(160, 40)
    terminal.wait_for("consumers")
    process.send_signal(signal.SIGINT)
    terminal.wait_for(r"(?s)\x1b\[\?1049l.*Read 4 lines")
    assert process.wait(SECONDS) == 0
    assert "\x1b[?25h" in terminal.drawn  # the cursor


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {}])
def test_no_colours_are_used_where_they_are_disabled(
    start: Start, log: Path, terminal: Terminal, environment: dict[str, str]
) -> None:
    process = on(terminal, start, str(log), "--every", "0.1", **environment)
    colour = r"\x1b\[[\d;]*3[0-7]"
    if environment:
        terminal.wait_for("orders")
        terminal.wait_for(r"orders\[0\]")
        assert not re.search(colour, terminal.drawn)
    else:
        terminal.wait_for(colour)
    process.send_signal(signal.SIGINT)
    terminal.wait_for("Read ")
    assert process.wait(SECONDS) == 0


def test_a_report_shows_its_progress_on_a_terminal_and_removes_it_at_the_end(start: Start, terminal: Terminal) -> None:
    process = start("report", stdin=subprocess.PIPE, stderr=terminal.worker)
    terminal.wait_for("reading")
    code, out, _ = ended(process, partition(0) + b"\n")
    assert code == 0
    assert "1 partition" in out
    assert "reading" not in out


def test_standard_input_at_a_terminal_gets_advice(start: Start, terminal: Terminal) -> None:
    process = on(terminal, start)
    terminal.wait_for("name log files, or pipe a log in")
    assert process.wait(SECONDS) == 2
