"""`processor monitor --serve`, as it is run: the page over HTTP, and the same in a real browser."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from processor.cli.main import main
from tests.observe.building import BEGAN, consumer, head, line, partition
from tests.support import browser
from tests.support.addresses import free_ports
from tests.support.lifeline import die_with_parent
from tests.support.until import until
from tests.support.viewer import Viewer

SECONDS = 60.0
FILES = {"", "events", "live.css", "live.js", "icon.svg"}
HOSTILE = "<script>document.title='broken'</script><img src=http://elsewhere.invalid/x>"


class Page(NamedTuple):
    """A monitor that serves a page."""

    process: subprocess.Popen[bytes]
    url: str
    port: int
    notes: str
    """what it wrote to standard error at its start"""

    def stop(self) -> tuple[int, str, str]:
        """Press Ctrl-C; return the exit code and both outputs."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out.decode(), err.decode()


Serve = Callable[..., Page]


@pytest.fixture
def serve() -> Iterator[Serve]:
    running: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str, at: str = "0", stdin: int = subprocess.DEVNULL) -> Page:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PROCESSOR_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "processor", "monitor", "--serve", at, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            preexec_fn=die_with_parent(),
        )
        running.append(process)
        assert process.stderr is not None
        said = ""
        while (found := re.search(r"the live view is at (http://\S+:(\d+)/) until Ctrl-C\n", said)) is None:
            line = process.stderr.readline().decode()
            assert line, said
            said += line
        return Page(process, found[1], int(found[2]), said)

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log whose times are of now: a partition that a session holds, and one that is well."""
    path = tmp_path / "shop.log"
    path.write_bytes(b"")
    append(
        path,
        line(
            "fleet.started", -100, app="shop:app", topics=["orders"], group="shop", processes=1, workers=8, version="1"
        ),
    )
    for at in range(-100, 0, 10):
        append(path, partition(at, number=7, lag=50, gap=9, in_flight=3, head=head(session_id=HOSTILE)))
        append(
            path,
            partition(at, number=1, lag=0),
            consumer(at, tasks_per_second=100.0 + at, overdue_after_seconds=3600.0),
        )
    return path


def append(path: Path, *lines: bytes) -> None:
    """Add lines whose times are relative to now, in place of the start of every test's log."""
    with path.open("ab") as file:
        for text in lines:
            shifted = re.sub(rb'"timestamp": "([^"]+)"', lambda found: _now(found[1].decode()), text)
            file.write(shifted + b"\n")


def _now(timestamp: str) -> bytes:
    at = datetime.fromisoformat(timestamp).timestamp() - BEGAN + time.time()
    return f'"timestamp": "{datetime.fromtimestamp(at, UTC).isoformat()}"'.encode()


def test_the_page_follows_the_log_for_every_viewer_and_ctrl_c_ends_it_with_the_summary(serve: Serve, log: Path) -> None:
    page = serve(str(log), "--every", "0.1")
    assert page.notes == f"the live view is at http://127.0.0.1:{page.port}/ until Ctrl-C\n"
    with Viewer(page.port) as first, Viewer(page.port) as second:
        for viewer in (first, second):
            shown = viewer.until(lambda shown: "orders[7]" in shown.get("partitions", ""))
            assert "1 of 2 partitions at fault" in shown["state"]
            assert '<span class="pill live">Live</span>' in shown["state"]
        append(log, partition(0, number=5, lag=3))
        for viewer in (first, second):
            assert "orders[5]" in viewer.until(lambda shown: "orders[5]" in shown["partitions"])["partitions"]
        page.process.send_signal(signal.SIGINT)
        for viewer in (first, second):
            while (event := viewer.event()[0]) in ("message", "tick"):
                pass
            assert event == "end"
    out, err = page.process.communicate(timeout=SECONDS)
    assert (page.process.returncode, err) == (0, b"")
    assert b"Head of line" in out


def test_ctrl_c_ends_it_while_a_viewer_does_not_read(serve: Serve, log: Path) -> None:
    page = serve(str(log), "--every", "0.1")
    with socket.create_connection(("127.0.0.1", page.port)) as idle, Viewer(page.port) as viewer:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        viewer.until(lambda shown: "orders[7]" in shown.get("partitions", ""))
        code, out, err = page.stop()
    assert (code, err) == (0, "")
    assert "Head of line" in out


def test_a_log_that_ends_leaves_the_page_which_shows_it(serve: Serve, log: Path) -> None:
    page = serve("--every", "0.1", stdin=subprocess.PIPE)
    assert page.process.stdin is not None
    with Viewer(page.port) as viewer:
        viewer.until(lambda shown: "Waiting for the first event" in shown.get("state", ""))
        page.process.stdin.write(log.read_bytes())
        page.process.stdin.close()
        viewer.until(lambda shown: "The log has ended" in shown["state"])
    with Viewer(page.port) as late:
        assert "orders[7]" in late.until(lambda shown: "The log has ended" in shown.get("state", ""))["partitions"]
    page.process.stdin = None
    code, out, err = page.stop()
    assert (code, err) == (0, "the log has ended; the page stays until Ctrl-C\n")
    assert "session <script>" in out


def test_many_logs_are_one_page(serve: Serve, log: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.log"
    other.write_bytes(log.read_bytes().replace(b'"orders"', b'"refunds"'))
    page = serve(str(log), str(other), "--every", "0.1")
    with Viewer(page.port) as viewer:
        shown = viewer.until(lambda shown: "refunds[7]" in shown.get("partitions", ""))
        assert "orders[7]" in shown["partitions"]
        assert "other.log #0" in shown["consumers"]


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    assert main(["monitor", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_wrong_uses_are_one_line(capsys: pytest.CaptureFixture[str], log: Path) -> None:
    assert "--serve must be HOST:PORT or PORT, such as 8080" in refused(capsys, 2, str(log), "--serve", "here")
    assert "give one of them" in refused(capsys, 2, str(log), "--serve", "0", "--once")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        err = refused(capsys, 2, str(log), "--serve", str(port))
    assert err == f"processor: the live view cannot be served at --serve 127.0.0.1:{port}: Address already in use\n"


def test_a_missing_extra_is_one_line(
    capsys: pytest.CaptureFixture[str], log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "processor.observe.live.server", raising=False)
    err = refused(capsys, 5, str(log), "--serve", "0")
    assert err == "processor: --serve needs Starlette and uvicorn: pip install 'session-processor[web]'\n"


def test_an_address_that_others_can_reach_is_warned_of(serve: Serve, log: Path) -> None:
    page = serve(str(log), at="0.0.0.0:0")
    assert page.notes.startswith(
        f"warning: everyone who reaches {page.url} can read the page; it has no login and no TLS\n"
    )
    assert page.url == f"http://0.0.0.0:{page.port}/"
    assert page.stop()[0] == 0


# In a browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    program = browser.program()
    if program is None:
        pytest.skip("no Chromium: install one (Debian: apt-get install chromium) to look at the page in a browser")
    with browser.Browser(program, tmp_path_factory.mktemp("profile")) as running:
        yield running


def visit(chromium: browser.Browser, page: Page, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
    """Open the page, with nothing left of the page before, which would try to reconnect."""
    chromium.open("about:blank", width, height, scheme)
    chromium.requests.clear()
    chromium.complaints.clear()
    chromium.open(page.url, width, height, scheme)


def text(chromium: browser.Browser, place: str) -> str:
    return str(chromium.evaluate(f"document.getElementById('{place}').innerText"))


def shows(chromium: browser.Browser, place: str, words: str) -> None:
    until(lambda: words in text(chromium, place), lambda: text(chromium, place), SECONDS, pause=0.05)


@pytest.mark.parametrize(
    ("width", "height", "scheme"),
    [(320, 640, "light"), (390, 844, "dark"), (820, 1180, "light"), (1440, 900, "dark")],
)
def test_in_a_browser_the_page_fits_the_screen_and_loads_no_external_resource(
    chromium: browser.Browser, serve: Serve, log: Path, width: int, height: int, scheme: str
) -> None:
    page = serve(str(log), "--every", "0.1")
    visit(chromium, page, width, height, scheme)
    shows(chromium, "partitions", "orders[7]")
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    ground = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(18, 22, 27)" if scheme == "dark" else "rgb(255, 255, 255)")
    assert chromium.evaluate("document.title") == "1 at fault · shop on orders"
    assert chromium.evaluate("document.scripts.length + document.images.length") == 1
    assert HOSTILE in text(chromium, "problems")
    assert {request.removeprefix(page.url) for request in chromium.requests} <= FILES
    assert chromium.complaints == []


def test_in_a_browser_the_page_updates_without_a_reload_and_keeps_open_sections(
    chromium: browser.Browser, serve: Serve, log: Path
) -> None:
    append(log, *(partition(-5, number=n, lag=0) for n in range(20, 40)))
    page = serve(str(log), "--every", "0.1")
    visit(chromium, page, 390, 844)
    shows(chromium, "partitions", "orders[7]")
    chromium.evaluate("window.mark = document.querySelector('#partitions details'); window.mark.open = true")
    append(log, partition(0, number=39, lag=0, commit_point=4321, committed=4321))
    shows(chromium, "partitions", "4,321")
    assert chromium.evaluate("window.mark === document.querySelector('#partitions details') && window.mark.open")


def test_in_a_browser_the_page_shows_the_end_of_the_monitor_and_continues_with_the_next_one(
    chromium: browser.Browser, serve: Serve, log: Path
) -> None:
    (port,) = free_ports(1)
    page = serve(str(log), "--every", "0.1", at=str(port))
    visit(chromium, page)
    shows(chromium, "state", "Live")
    assert text(chromium, "connection") == ""
    assert page.stop()[0] == 0
    shows(chromium, "connection", "The monitor was stopped at ")
    serve(str(log), "--every", "0.1", at=str(port))
    until(lambda: text(chromium, "connection") == "", "the page reconnects", SECONDS, pause=0.05)


def test_in_a_browser_a_connection_that_is_lost_is_shown_as_lost(
    chromium: browser.Browser, serve: Serve, log: Path
) -> None:
    page = serve(str(log), "--every", "0.1")
    visit(chromium, page)
    shows(chromium, "state", "Live")
    page.process.kill()
    shows(chromium, "connection", "Connection lost at ")


CONTRAST = """
(() => {
  const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
  };
  const found = {};
  for (const element of document.querySelectorAll("main *:not(svg *)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.getClientRects().length) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found[element.textContent] = ratio;
  }
  return found;
})()
"""
"""Texts whose contrast is below what WCAG 2 asks for (level AA), with their ratios."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_every_text_has_enough_contrast(
    chromium: browser.Browser, serve: Serve, log: Path, scheme: str
) -> None:
    append(
        log,
        line(
            "task.dead_lettered",
            -1,
            consumer=0,
            error_type="OSError",
            error="away",
            topic="orders",
            partition=1,
            offset=3,
        ),
    )
    page = serve(str(log), "--every", "0.1")
    visit(chromium, page, scheme=scheme)
    shows(chromium, "failures", "OSError")
    found: Any = chromium.evaluate(CONTRAST)
    assert found == {}
