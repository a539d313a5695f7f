"""Count the round trips between a store and its server, at a proxy between the two."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    from collections.abc import Generator

_BYTES = 1 << 20
_GOODBYE = b"X"
"""The beginning of the message of a client that ends its connection, which has no reply."""


class RoundTrips(socketserver.ThreadingTCPServer):
    """A proxy in front of a server.

    Attributes:
        count: How many times a client sent something after the server's last reply.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.address = address
        self.count = 0
        self.lock = threading.Lock()

    @property
    def port(self) -> int:
        """The port of the proxy."""
        port: int = self.server_address[1]
        return port


class _Connection(socketserver.BaseRequestHandler):
    server: RoundTrips
    request: socket.socket

    def handle(self) -> None:
        with socket.create_connection(self.server.address) as upstream:
            is_asking = threading.Event()
            reader = threading.Thread(target=self._reply, args=[upstream, is_asking], daemon=True)
            reader.start()
            while data := self.request.recv(_BYTES):
                if not is_asking.is_set():
                    is_asking.set()
                    with self.server.lock:
                        self.server.count += not data.startswith(_GOODBYE)
                upstream.sendall(data)

    def _reply(self, upstream: socket.socket, is_asking: threading.Event) -> None:
        with suppress(OSError):  # The client has closed the connection.
            while data := upstream.recv(_BYTES):
                is_asking.clear()
                self.request.sendall(data)


@contextmanager
def counted_round_trips(url: str) -> Generator[tuple[str, RoundTrips]]:
    """Give the URL of a proxy in front of the server at ``url``, and the proxy."""
    parsed = make_url(url)
    with RoundTrips((str(parsed.host), parsed.port or 5432)) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            yield parsed.set(port=proxy.port).render_as_string(hide_password=False), proxy
        finally:
            proxy.shutdown()
