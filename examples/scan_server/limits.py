"""Limits for clients: the time of a request's head, connections, and guesses of codes."""

import asyncio
import time
from collections import defaultdict
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .answers import Refusal

HEAD_SECONDS = 10
"""Maximum seconds for a TLS handshake, for a request's head, for the rest of an answered request, and for the client
to read its answers."""

MAX_CLIENT_CONNECTIONS = 250
"""Maximum connections from one address, such as a proxy's, with and without a complete TLS handshake."""

MAX_FILES = 800
"""Maximum open files, nearly all of them connections. The unit's LimitNOFILE has room for the 2,048 connections that
asyncio may accept before it is checked."""

MAX_HEAD = 16 * 1024
"""Maximum bytes of a request's head."""

MAX_GUESSES = 10
"""Maximum number of different unknown codes of a client within a minute."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop that limits the number of connections, and the time of TLS handshakes."""

    _clients: ClassVar[WeakKeyDictionary[Any, str]] = WeakKeyDictionary()

    # No public method of asyncio is called before the TLS handshake.
    async def _accept_connection2(self, protocol: Any, connection: Any, extra: Any, *args: Any) -> None:
        self._clients[connection] = client = extra["peername"][0]
        own = [one for one, its in self._clients.items() if its == client and one.fileno() >= 0]
        if len(own) > MAX_CLIENT_CONNECTIONS or connection.fileno() > MAX_FILES:
            connection.close()
        else:
            args = (*args[:2], HEAD_SECONDS)
            await super()._accept_connection2(protocol, connection, extra, *args)  # type: ignore[misc]


class Requests(h11.Connection):
    """Parses requests. It refuses chunked bodies: a million chunks of one byte take ten seconds of CPU time."""

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request) and b"transfer-encoding" in dict(event.headers):
            raise h11.RemoteProtocolError("a body needs a Content-Length")
        return event


class Protocol(H11Protocol):
    """HTTP/1.1 that ends connections without a complete request head."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.conn = Requests(h11.SERVER, MAX_HEAD)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch()

    def _watch(self) -> None:
        """Limit the time without a request to answer, and with answers that the client does not read.

        Further bytes do not extend it.
        """
        if self.cycle is None or self.cycle.response_complete or self.flow.write_paused:
            self._deadline = self._deadline or self.loop.call_later(HEAD_SECONDS, self.transport.abort)
        elif self._deadline:
            self._deadline.cancel()
            self._deadline = None


class Guesses:
    """Different unknown codes by client, in the current minute."""

    def __init__(self) -> None:
        self._minute = 0.0
        self._codes: dict[str, set[str]] = defaultdict(set)

    def check(self, client: str) -> None:
        """Raise Refusal 429 if the client has sent too many unknown codes."""
        minute, second = divmod(time.monotonic(), 60)
        if minute != self._minute:
            self._minute = minute
            self._codes.clear()
        if len(self._codes[client]) >= MAX_GUESSES:
            wait = {"Retry-After": str(60 - int(second))}
            raise Refusal(429, "guesses", "code: too many unknown codes from this address; wait", wait)

    def add(self, client: str, code: str) -> None:
        """Count an unknown code."""
        self._codes[client].add(code)
