"""A proxy in front of a schema registry: it can refuse connections, require credentials, use TLS, or answer itself."""

from __future__ import annotations

import http.client
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.support.addresses import free_ports

PASSED_ON = ("Accept", "Content-Type")


class RegistryGate:
    """Forwards requests to the registry at `target`, from its own fixed port.

    Args:
        target: the registry's URL.
        authorization: the required value of the header `Authorization`; without it, the gate answers 401.
        tls: the TLS context of the gate; with one, it serves https.
    """

    def __init__(self, target: str, authorization: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[str] = []
        """Method and path of each request, in order."""
        self.answer: tuple[int, bytes] | None = None
        """The status and body that the gate answers itself, instead of forwarding requests."""
        self.authorization = authorization
        self._target = urlsplit(target)
        self._tls = tls
        (self._port,) = free_ports(1)
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}{self._target.path}"

    def open(self) -> None:
        """Starts to listen."""
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gate._serve(self)

            def do_POST(self) -> None:
                gate._serve(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Ignores the error: a client that does not trust the certificate aborts the handshake."""

        self._server = Server(("127.0.0.1", self._port), Handler)
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def shut(self) -> None:
        """Refuses connections until the gate is opened again."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shut()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(f"{request.command} {request.path}")
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        status, answer = self._answered(request, body)
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer)

    def _answered(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        if self.answer is not None:
            return self.answer
        if self.authorization is not None and request.headers.get("Authorization") != self.authorization:
            return 401, b'{"error_code": 40101, "message": "Unauthorized"}'
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        assert self._target.hostname is not None
        connection = http.client.HTTPConnection(self._target.hostname, self._target.port, timeout=60)
        try:
            connection.request(request.command, request.path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
