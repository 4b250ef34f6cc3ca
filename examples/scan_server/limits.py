"""Limits for clients: the time of a request's head, connections, and guesses of codes."""

import asyncio
import time
from collections import defaultdict
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from .answers import Refusal

HEAD_SECONDS = 10
"""Maximum seconds for a TLS handshake, for a request's head, and for the rest of an answered request."""

MAX_CONNECTIONS = 500

MAX_HEAD = 16 * 1024
"""Maximum bytes of a request's head."""

MAX_GUESSES = 10
"""Maximum number of different unknown codes of a client within a minute."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop that limits the time of TLS handshakes."""

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        """Add the time limit, which uvicorn does not set."""
        options["ssl_handshake_timeout"] = HEAD_SECONDS if options.get("ssl") else None
        return await super().create_server(*args, **options)


class Protocol(H11Protocol):
    """HTTP/1.1 that ends connections without a complete request head."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def _watch(self) -> None:
        """Limit the time without a request to answer; further bytes do not extend it."""
        if self.cycle is not None and not self.cycle.response_complete:
            if self._deadline:
                self._deadline.cancel()
            self._deadline = None
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.abort)


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
