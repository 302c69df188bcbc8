"""`LiveServer`: the live page over HTTP, with server-sent events. The only importer of Starlette and uvicorn.

Everything is read only: there is no form, no cookie and no other method than GET and HEAD. The server runs in a thread
of its own. It never reads the `Watch`, but only the sections that were passed to `show`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from importlib import resources
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from processor.errors import LoadError, ProcessorError
from processor.observe.live.address import Listener, is_loopback
from processor.observe.live.frames import Frames, Sections
from processor.observe.live.shell import shell
from processor.version import install_command

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse, Response, StreamingResponse
    from starlette.routing import Route
except ImportError:
    raise LoadError(f"--serve needs Starlette and uvicorn: {install_command('web')}") from None

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""The headers of every response. The page loads nothing from elsewhere, runs no inline script, and is not framed."""

TICK_SECONDS: Final = 5.0
"""Time without a change after which a viewer gets an empty event. After 15 s without any event the page reconnects."""

SEND_SECONDS: Final = 30.0
"""Time limit for a viewer to read what it was sent. A viewer that exceeds it is dropped."""

MOST_CONNECTIONS: Final = 256
"""The most connections at the same time. Requests on further ones are answered with 503."""

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 1.0
"""How long a stop waits for viewers to read their last event."""


class Asset(NamedTuple):
    """A file of the page, made of files of this package, one after the other."""

    media_type: str
    files: Sequence[tuple[str, str]]
    """package and name of each"""

    def text(self) -> str:
        """Return its content."""
        return "\n".join(resources.files(package).joinpath(name).read_text("utf-8") for package, name in self.files)


_HERE: Final = "processor.observe.live"
ASSETS: Final = {
    "/live.css": Asset("text/css", [("processor.observe.report", "page.css"), (_HERE, "live.css")]),
    "/live.js": Asset("text/javascript", [(_HERE, "live.js")]),
    "/icon.svg": Asset("image/svg+xml", [(_HERE, "icon.svg")]),
}
"""Assets by their path in the URL."""


class LiveServer:
    """Serves the page while the context is entered.

    Args:
        listener: where; closed at the end.

    Raises:
        ProcessorError: the server does not start.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._frames = Frames()
        self._loop: asyncio.AbstractEventLoop | None = None
        config = uvicorn.Config(
            application(self._frames, listener),
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = Thread(target=self._run, name="live page", daemon=True)

    def __enter__(self) -> LiveServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End each viewer's stream, and wait at most `STOP_SECONDS` for viewers that do not read."""
        self._call(self._frames.close)
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)

    @property
    def is_watched(self) -> bool:
        """Whether there is a viewer; without one nothing needs to be shown."""
        return self._frames.is_watched

    @property
    def is_stale(self) -> bool:
        """Whether a viewer waits for the first frame."""
        return self._frames.is_watched and self._frames.is_stale

    def show(self, sections: Sections) -> None:
        """Send what has changed to all viewers.

        Raises:
            ProcessorError: the server has ended.
        """
        if not self._thread.is_alive():
            raise ProcessorError("the server of the live page has ended")
        self._call(self._frames.publish, sections)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve([self._listener.socket])

    def _call(self, function: Any, *arguments: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)


def application(frames: Frames, listener: Listener) -> ASGIApp:
    """Return the ASGI application: the page, its assets, and the events that keep it up to date."""

    async def page(_request: Request) -> Response:
        return Response(shell(), media_type="text/html")

    async def events(request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type=EventStream.media_type)
        return EventStream(stream(frames))

    async def asset(request: Request) -> Response:
        found = ASSETS[request.url.path]
        return Response(found.text(), media_type=found.media_type)

    routes = [Route("/", page), Route("/events", events), *(Route(path, asset) for path in ASSETS)]
    return Guard(Starlette(routes=routes), listener)


class Guard:
    """Gives every response the headers, and refuses requests for other hosts.

    Otherwise another site could have its own name resolved to 127.0.0.1, and its page could read what is served here.
    So a listener on loopback responds only to names of this machine, and to the host that it was given.
    """

    def __init__(self, app: ASGIApp, listener: Listener) -> None:
        self._app = app
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                strict = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *strict]}
            await send(message)

        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        app = self._app if self._is_ours(host) else PlainTextResponse("this page has another address\n", 403)
        await app(scope, receive, with_headers)

    def _is_ours(self, header: str) -> bool:
        host = header.rpartition(":")[0] if header.rpartition(":")[2].isdigit() else header
        host = host.removeprefix("[").removesuffix("]").lower()
        return not self._listener.is_loopback or is_loopback(host) or host == self._listener.host.lower()


class EventStream(StreamingResponse):
    """Server-sent events to one viewer, which is dropped once it has not read for `SEND_SECONDS`."""

    media_type = "text/event-stream"

    async def stream_response(self, send: Send) -> None:
        """Send all events."""

        async def bounded(message: Message) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        try:
            await super().stream_response(bounded)
        except TimeoutError:
            pass


async def stream(frames: Frames) -> AsyncIterator[str]:
    """Yield the events of one viewer: first all sections, then those that have changed."""
    number, shown = 0, dict[str, str]()
    with frames.viewer():
        while not frames.is_closed:
            frame = await frames.after(number, TICK_SECONDS)
            if frame is not None:
                changed = {name: html for name, html in frame.sections.items() if shown.get(name) != html}
                number, shown = frame.number, dict(frame.sections)
                yield f"data: {json.dumps(changed)}\n\n"
            elif not frames.is_closed:
                yield "event: tick\ndata:\n\n"
        yield "event: end\ndata:\n\n"
