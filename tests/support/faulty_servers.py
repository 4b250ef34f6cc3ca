"""Servers on loopback with faults, and a proxy."""

import re
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType


class _Loopback:
    """Listens on 127.0.0.1 and gives each connection to `serve` in a separate thread."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._ended = threading.Event()

    def __enter__(self) -> "_Loopback":
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._quietly, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _quietly(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.serve(connection)

    def serve(self, connection: socket.socket) -> None:
        raise NotImplementedError


def read_head(connection: socket.socket) -> bytes:
    """The request up to its empty line."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(4096)
        if not piece:
            break
        head += piece
    return head


def read_request(connection: socket.socket) -> bytes:
    """The request with its body: to close before all of it has been read would reset the connection."""
    request = read_head(connection)
    head, _, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    while length and len(body) < int(length[1]):
        piece = connection.recv(65536)
        if not piece:
            break
        body += piece
    return head + b"\r\n\r\n" + body


class Raw(_Loopback):
    """Reads a request and sends these bytes, then closes or resets the connection, or stays silent."""

    def __init__(
        self, pieces: Iterable[bytes], end: str = "close", tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__()
        self._pieces = pieces
        self._end = end
        self._tls = tls

    def __enter__(self) -> "Raw":
        super().__enter__()
        return self

    def serve(self, connection: socket.socket) -> None:
        if self._tls:
            with self._tls.wrap_socket(connection, server_side=True) as wrapped:
                self._answer(wrapped)
        else:
            self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        read_head(connection)
        self._say(connection, self._pieces, self._end)

    def _say(self, connection: socket.socket, pieces: Iterable[bytes], end: str) -> None:
        for piece in pieces:
            connection.sendall(piece)
        if end == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif end == "silence":
            self._ended.wait()


@dataclass(frozen=True, slots=True)
class Turn:
    """A server's answer to one request, and the end of the connection."""

    pieces: Callable[[], Iterable[bytes]]
    end: str = "close"


def says(*pieces: bytes, end: str = "close") -> Turn:
    return Turn(lambda: pieces, end)


class Turns(Raw):
    """Answers each request with the next turn; the last turn repeats."""

    def __init__(self, *turns: Turn, tls: ssl.SSLContext | None = None) -> None:
        super().__init__((), tls=tls)
        self._turns = turns
        self.asked: list[bytes] = []
        """The requests, as far as they arrived."""

    def __enter__(self) -> "Turns":
        super().__enter__()
        return self

    def _answer(self, connection: socket.socket) -> None:
        turn = self._turns[min(len(self.asked), len(self._turns) - 1)]
        self.asked.append(read_request(connection))
        self._say(connection, turn.pieces(), turn.end)


class ClosedInTls(_Loopback):
    """Answers the TLS handshake with other bytes or none, and closes."""

    def __init__(self, says: bytes = b"") -> None:
        super().__init__()
        self.connections = 0
        self._says = says

    def __enter__(self) -> "ClosedInTls":
        super().__enter__()
        return self

    def serve(self, connection: socket.socket) -> None:
        self.connections += 1
        connection.recv(4096)
        connection.sendall(self._says)


class Proxy(_Loopback):
    """An http proxy: tunnels CONNECT to loopback, answers other requests itself, or refuses all."""

    def __init__(self, refusal: bytes | None = None) -> None:
        super().__init__()
        self.asked: list[str] = []
        """The first lines of the requests."""
        self.heads: list[bytes] = []
        self._refusal = refusal

    def __enter__(self) -> "Proxy":
        super().__enter__()
        return self

    def serve(self, connection: socket.socket) -> None:
        head = read_head(connection)
        self.heads.append(head)
        line = head.decode("ascii").partition("\r\n")[0]
        self.asked.append(line)
        if self._refusal:
            connection.sendall(self._refusal)
        elif line.startswith("CONNECT "):
            port = line.split()[1].rpartition(":")[2]
            with socket.create_connection(("127.0.0.1", int(port))) as peer:
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                _relay(connection, peer)
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nby proxy!")


def _relay(one: socket.socket, other: socket.socket) -> None:
    ways = {one: other, other: one}
    while True:
        for source in select.select(list(ways), [], [])[0]:
            piece = source.recv(65536)
            if not piece:
                return
            ways[source].sendall(piece)
