"""Connections with a deadline for the whole request, in any thread."""

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

PIECE = 16 * 1024
"""Bytes sent between two checks of the deadline; TLS applies the socket's timeout to each record, of this size."""


class TooSlow(Exception):  # noqa: N818 (urllib3 retries or wraps the errors that it knows)
    """The request was not finished at its deadline, or it was cancelled."""


class Deadline:
    """The end of one request's time.

    A socket's timeout limits one read, so a server that sends a byte now and then never exceeds it. The deadline
    limits the sum: the timeout of each read and write is the time until the deadline.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._cancelled = threading.Event()
        self._socket: socket.socket | None = None

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Apply the deadline to each connection that this thread uses in the block."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def remaining(self) -> float:
        """Return the seconds left, more than 0. Raise TooSlow after the deadline."""
        seconds = self._end - time.monotonic()
        if seconds <= 0 or self._cancelled.is_set():
            raise TooSlow
        return seconds

    def bound(self, connection: socket.socket) -> None:
        """Limit the next read or write of a connection to the seconds left. Raise TooSlow after the deadline."""
        self._socket = connection
        timeout = connection.gettimeout()
        remaining = self.remaining()
        connection.settimeout(remaining if timeout is None else min(timeout, remaining))

    def sleep(self, seconds: float) -> None:
        """Wait. Raise TooSlow at the deadline, or after `cancel`."""
        self._cancelled.wait(min(seconds, self.remaining()))
        self.remaining()

    def cancel(self) -> None:
        """End the request at once; called in another thread than the request's."""
        self._cancelled.set()
        if self._socket:
            with suppress(OSError, TypeError):  # TypeError: TLS within a proxy's TLS is no socket
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


_current: ContextVar[Deadline] = ContextVar("deadline")


class _Reader(io.RawIOBase):
    """Reads from a connection, each within the deadline."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._raw = connection.makefile("rb", buffering=0)  # keeps the socket open while it is read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        deadline = _current.get()
        deadline.bound(self._connection)
        try:
            return self._raw.readinto(buffer)
        except TimeoutError:
            deadline.remaining()
            raise

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Bounded:
    """A connection for http.client.HTTPResponse, which only calls `makefile`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._connection))


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        bounded: Any = _Bounded(sock)
        super().__init__(bounded, *args, **kwargs)


class _Sends(HTTPConnection):
    """Sends within the deadline, and reads within it by `response_class`."""

    response_class = _Response

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        self.sock.settimeout(self.timeout)  # a reused connection has the timeout of the last request's end
        for start in range(0, len(data), PIECE):
            _current.get().bound(self.sock)
            super().send(data[start : start + PIECE])


class _Http(HTTPConnectionPool):
    ConnectionCls = _Sends


class _SendsOverTls(_Sends, HTTPSConnection):
    pass


class _Https(HTTPSConnectionPool):
    ConnectionCls = _SendsOverTls


class BoundedAdapter(HTTPAdapter):
    """Makes connections with the deadline of the thread that uses them. It never retries."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make the pools of connections through a proxy."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # SOCKS has other connection classes, with timeouts only
            manager.pool_classes_by_scheme = _POOLS
        return manager


_POOLS = {"http": _Http, "https": _Https}
