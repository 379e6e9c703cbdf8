"""The least HTTP that an invocation needs: one POST at a time over a connection that stays open."""

from __future__ import annotations

import socket
from collections.abc import Callable


class Disconnected(ConnectionError):
    """The other side went away before its answer was complete."""


class Connection:
    """A client for one path of one server on this machine. Not thread safe; used by one invocation at a time."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n".encode()
        self._socket: socket.socket | None = None

    def connect(self) -> None:
        """Open the connection; ConnectionRefusedError while nobody listens."""
        opened = socket.create_connection(("127.0.0.1", self._port), timeout=5)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = opened

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def post(self, body: bytes, headers: bytes, wait: Callable[[], float]) -> tuple[int, bytes]:
        """Send `body` and return the answer's status and content.

        Args:
            headers: further header lines, each ended by CR LF.
            wait: asked before each wait for how many seconds it may last; not positive means that time is up.

        Raises:
            TimeoutError: `wait` said so. Disconnected: the server went away.
        """
        if self._socket is None:
            self.connect()
        assert self._socket is not None
        connection = self._socket
        received = bytearray()

        def more() -> None:
            while True:
                if (seconds := wait()) <= 0:
                    raise TimeoutError
                connection.settimeout(seconds)
                try:
                    data = connection.recv(65536)
                    break
                except TimeoutError:
                    continue
            if not data:
                raise Disconnected("the connection was closed before the answer was complete")
            received.extend(data)

        try:
            connection.settimeout(30)
            connection.sendall(b"%sContent-Length: %d\r\n%s\r\n%s" % (self._head, len(body), headers, body))
            while (end := received.find(b"\r\n\r\n")) < 0:
                more()
            head = bytes(received[:end]).lower()
            status = int(head[9:12])
            del received[: end + 4]
            if b"transfer-encoding: chunked" in head:
                content = self._chunks(received, more)
            else:
                at = head.find(b"content-length:")
                length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
                while len(received) < length:
                    more()
                content = bytes(received[:length])
            if b"connection: close" in head:
                self.close()
            return status, content
        except TimeoutError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise Disconnected(str(error)) from error

    @staticmethod
    def _chunks(received: bytearray, more: Callable[[], None]) -> bytes:
        content = bytearray()
        while True:
            while (end := received.find(b"\r\n")) < 0:
                more()
            size = int(received[:end].split(b";")[0], 16)
            while len(received) < end + 2 + size + 2:
                more()
            content += received[end + 2 : end + 2 + size]
            del received[: end + 2 + size + 2]
            if size == 0:
                return bytes(content)
