"""The server of the live page: its responses, its events, and viewers that read or do not."""

from __future__ import annotations

import http.client
import importlib
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import NamedTuple

import pytest

from processor.errors import LoadError
from processor.observe.live import server as module
from processor.observe.live.address import Address, Listener, listen
from processor.observe.live.server import LiveServer
from tests.support.until import until
from tests.support.viewer import Viewer

SECONDS = 60.0
LARGE = "x" * (1 << 20)
"""More than fits between a server and a viewer that does not read."""


@pytest.fixture
def listener() -> Listener:
    return listen(Address("127.0.0.1", 0))


@pytest.fixture
def port(listener: Listener) -> int:
    return int(listener.socket.getsockname()[1])


@pytest.fixture
def server(listener: Listener, port: int) -> Iterator[LiveServer]:
    with LiveServer(listener) as running:
        assert get(port, "/").status == 200
        yield running


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def get(port: int, path: str, method: str = "GET", host: str | None = None) -> Answer:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
        with connection.getresponse() as response:
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())


def shows(name: str, html: str) -> Callable[[dict[str, str]], bool]:
    return lambda sections: sections.get(name) == html


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/live.js", "text/javascript; charset=utf-8"),
        ("/live.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ],
)
def test_the_page_and_its_files_are_served(server: LiveServer, port: int, path: str, media_type: str) -> None:
    response = get(port, path)
    assert (response.status, response.headers["content-type"]) == (200, media_type)
    assert response.body
    assert (get(port, path, "HEAD").status, get(port, path, "HEAD").body) == (200, b"")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/", "GET", 200), ("/events", "HEAD", 200), ("/nowhere", "GET", 404), ("/../live.css", "GET", 404)]
    + [("/", method, 405) for method in ("POST", "PUT", "DELETE", "OPTIONS")],
)
def test_every_response_has_strict_headers_and_changes_nothing(
    server: LiveServer, port: int, path: str, method: str, status: int
) -> None:
    response = get(port, path, method)
    assert response.status == status
    assert response.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-store"
    for name in ("server", "set-cookie", "access-control-allow-origin"):
        assert name not in response.headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "10.0.0.1", "127.0.0.1.evil.example", "[::2]:80"])
def test_on_loopback_another_host_is_refused(server: LiveServer, port: int, host: str) -> None:
    """A page of another site could have its name resolved to 127.0.0.1, and read this one as its own."""
    response = get(port, "/events", host=host)
    assert response.status == 403
    assert response.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:80", "shop.localhost:1"])
def test_on_loopback_the_names_of_this_machine_are_served(server: LiveServer, port: int, host: str) -> None:
    assert get(port, "/", host=host).status == 200


def test_elsewhere_any_host_is_served() -> None:
    listener = listen(Address("0.0.0.0", 0))
    port = listener.socket.getsockname()[1]
    with LiveServer(listener):
        assert get(port, "/", host="monitor.example").status == 200


def test_a_viewer_gets_all_sections_first_and_then_those_that_change(server: LiveServer, port: int) -> None:
    with Viewer(port) as viewer:
        assert viewer.response.headers["content-type"].startswith("text/event-stream")
        until(lambda: server.is_stale)
        server.show({"a": "1", "b": "<b>\n\u2028ä</b>"})
        assert viewer.news() == ("message", {"a": "1", "b": "<b>\n\u2028ä</b>"})
        server.show({"a": "2", "b": "<b>\n\u2028ä</b>"})
        assert viewer.news() == ("message", {"a": "2"})


def test_without_a_change_a_viewer_gets_a_sign_of_life(
    server: LiveServer, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TICK_SECONDS", 0.01)
    with Viewer(port) as viewer:
        assert viewer.event() == ("tick", None)


def test_viewers_come_and_go_and_each_has_the_present_state(server: LiveServer, port: int) -> None:
    assert not server.is_watched
    with Viewer(port) as first, Viewer(port) as second:
        until(lambda: server.is_stale)
        server.show({"a": "1"})
        assert first.news() == second.news() == ("message", {"a": "1"})
        with Viewer(port) as late:
            assert late.news() == ("message", {"a": "1"})
    until(lambda: not server.is_watched, "the viewers are noticed to have gone")


def test_a_viewer_that_does_not_read_delays_no_other(server: LiveServer, port: int) -> None:
    with Viewer(port) as viewer:
        until(lambda: server.is_stale)
        with socket.create_connection(("127.0.0.1", port)) as idle:
            idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            idle.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            for number in range(20):
                server.show({"n": str(number), "large": LARGE + str(number)})
                viewer.until(shows("n", str(number)))


def test_a_viewer_that_does_not_read_is_dropped_after_a_while(
    server: LiveServer, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEND_SECONDS", 0.05)
    with socket.create_connection(("127.0.0.1", port)) as idle:
        idle.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: server.is_watched)

        def is_dropped() -> bool:
            server.show({"large": LARGE + str(time.monotonic_ns())})
            return not server.is_watched

        until(is_dropped, seconds=SECONDS, pause=0.02)


def test_a_stop_ends_every_stream_and_waits_for_no_viewer_that_does_not_read(listener: Listener, port: int) -> None:
    with LiveServer(listener) as server:
        viewer, idle = Viewer(port), socket.create_connection(("127.0.0.1", port))
        idle.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with viewer:
            until(lambda: server.is_stale)
            server.show({"large": LARGE})
            assert viewer.news()[0] == "message"
            server.__exit__()
            assert viewer.news() == ("end", None)
            assert viewer.news() == ("closed", None)
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize("missing", ["uvicorn", "starlette.applications"])
def test_a_missing_extra_is_one_sentence_with_the_command_to_install_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, "processor.observe.live.server")
    with pytest.raises(LoadError, match=r"--serve needs .*: pip install 'session-processor\[web\]'"):
        importlib.import_module("processor.observe.live.server")
