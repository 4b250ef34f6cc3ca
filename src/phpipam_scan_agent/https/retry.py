"""How long a request may take, and how often it is tried."""

import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from urllib3 import Retry
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import InvalidHeader, MaxRetryError
from urllib3.response import BaseHTTPResponse

TRIES = 4
"""How often a request is tried again at most."""

CONNECT = 10.0
"""Seconds for a connection."""

READ = 60.0
"""Seconds between two pieces of an answer."""

WHOLE = 300.0
"""Seconds for a request with its tries and its whole answer: a server may also send a byte now and then."""

LONGEST_PAUSE = 30.0
"""Seconds between two tries, whatever a server's Retry-After asks for; the next run comes anyway."""


class TooSlow(Exception):  # noqa: N818 (urllib3 takes whatever it knows as an error for a reason to try again)
    """A request took longer than it may as a whole."""


class Retries(Retry):
    """Tries again what may pass: no connection, no answer, an overloaded server or proxy.

    An empty 500 (a database that restarts) and an answer cut off in its body are only known when all of it was
    read; `Client` counts them here as well.
    """

    RETRY_AFTER_STATUS_CODES = frozenset((429, 503))
    """urllib3 has 413 among them, which is a last word."""

    def __init__(self, **options: Any) -> None:
        usual: dict[str, Any] = {
            "total": TRIES,
            "read": min(TRIES, 2),
            "other": TRIES,
            "allowed_methods": None,  # a report may be sent twice: the server updates what is there
            "status_forcelist": (429, 502, 503, 504),
            "backoff_factor": 0.5,
            "backoff_jitter": 0.5,
            "raise_on_status": False,
        }
        super().__init__(**usual | options)

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> "Retries":
        """Count a try; give up where the answer is a last word, as phpIPAM's 503 for a disabled app is."""
        if error is not None and _pool is not None and _is_about_tls(error):
            raise MaxRetryError(_pool, url or "", error)
        if response is not None and _pool is not None:
            if response.status == 503 and "json" in response.headers.get("Content-Type", ""):
                raise MaxRetryError(_pool, url or "")
            counted = super().increment(method, url, response, error, _pool, _stacktrace)
            response.close()  # or urllib3 would read the rest of it first, however long
            return counted
        return super().increment(method, url, response, error, _pool, _stacktrace)

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """Return the seconds that the server wants us to wait, within bounds."""
        try:
            seconds = super().get_retry_after(response)
        except InvalidHeader:
            return None
        return None if seconds is None else min(seconds, LONGEST_PAUSE)


def _is_about_tls(error: Exception) -> bool:
    """Return whether TLS failed for a reason that stays, and not because the connection ended."""
    cause = error.args[0] if error.args else None
    return isinstance(cause, ssl.SSLError) and not isinstance(
        cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)
    )


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TooSlow when the block takes longer; in the main thread only, as all requests of a run are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_: int, __: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
