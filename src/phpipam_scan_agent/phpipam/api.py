"""Requests to phpIPAM's REST API over several connections; detection of outages and of a clock difference."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote

from requests import PreparedRequest

from ..config import Config
from ..errors import PhpIpamAwayError, ScanAgentError, TransportError, UnreachableError
from ..https import Client, Identity
from . import decode, envelope
from .cache import MEMORY_PER_CHARACTER
from .decode import Row

log = logging.getLogger(__name__)

MAX_ANSWER = 24 * 1024 * 1024
"""Maximum size of an answer in bytes. 25,000 addresses, more than phpIPAM can send of one subnet, are about 12 MiB,
30,000 subnets 22 MiB. Decoded text takes two copies of up to four bytes of memory for each character."""

MAX_MEMORY = 340_000_000
"""Maximum bytes of memory for the rows of a run's answers and the answer that is being decoded: 229,000 addresses, or
one answer of 2,000,000 values. The whole process then stays below 512 MB."""

AGENTS = "tools/scanagents/"
"""All scan agents: 405 bytes for three. With a filter, the scan agent code would be in phpIPAM's access log."""

FAILURES_IN_A_ROW = 3
"""Consecutive failed requests after which the smallest request is sent, to detect that phpIPAM is away. Requests for
lists that are too large for PHP's memory fail as well, and may be consecutive."""

CLOCK_TOLERANCE = 60.0
"""Difference in seconds between the agent's clock and phpIPAM's above which a warning is logged."""


class Api:
    """phpIPAM's API as one app sees it; many threads may use it, each over a separate connection.

    A connection keeps its session cookie: a request without a cookie adds a row to phpIPAM's session table, and PHP
    answers the requests of one session one after another. `clock` gives the agent's time in seconds since the epoch,
    `cached` the bytes of memory of the answers of earlier runs.
    """

    def __init__(self, config: Config, clock: Callable[[], float], cached: Callable[[], int]) -> None:
        self._base = f"{config.api_url}/api/{quote(config.client_name, safe='')}"
        self._token = config.client_token
        self._identity = Identity(config.ca_file)
        self._clock = clock
        self._cached = cached
        self._received = 0
        self._lock = threading.Lock()
        self._decoding = threading.Lock()
        """One answer is decoded at a time, which takes ten times the memory of its text."""
        self._clients: list[Client] = []
        self._idle: list[Client] = []
        self._away: ScanAgentError | None = None
        self._failures = 0
        self._warned = False
        self.clock_ahead: float | None = None
        """Seconds that the agent's clock is ahead of phpIPAM's; None before an answer."""

    def close(self) -> None:
        """End all sessions."""
        for client in self._clients:
            client.close()

    def rows(self, path: str, fields: frozenset[str], query: Mapping[str, str] | None = None) -> list[Row]:
        """Return the rows of phpIPAM's answer, with only these fields.

        Raise TransportError or PhpIpamError without an answer. Once phpIPAM is away, which means no connection or no
        answer to the smallest request, raise the same error at once.
        """
        if self._away:
            raise self._away
        log.info("asking phpIPAM for %s", path)
        with self._connection() as client:
            try:
                rows = self._send(client, path, fields, query)
            except UnreachableError as error:
                self._away = error
                raise
            except (TransportError, PhpIpamAwayError) as error:
                self._count_failure(client, path, error)
                raise
        self._failures = 0
        return rows

    def _authorize(self, request: PreparedRequest) -> PreparedRequest:
        """Add the App code as phpIPAM expects it; only this method opens the secret."""
        request.headers["token"] = self._token.get_secret_value()
        return request

    @contextmanager
    def _connection(self) -> Iterator[Client]:
        with self._lock:
            if not self._idle:
                client = Client("phpIPAM", "api_url", self._authorize, MAX_ANSWER, self._identity)
                self._clients.append(client)
                self._idle.append(client)
            client = self._idle.pop()
        try:
            yield client
        finally:
            self._idle.append(client)

    def _send(
        self, client: Client, path: str, fields: frozenset[str], query: Mapping[str, str] | None = None
    ) -> list[Row]:
        url = f"{self._base}/{path}"
        answer = client.send("GET", url, params=query)
        self._compare_clocks(answer.date)
        with self._decoding:
            left = MAX_MEMORY - self._cached() - self._received
            rows = decode.rows(envelope.data(url, answer, left), fields)
            self._received += MEMORY_PER_CHARACTER * sum(len(repr(row)) for row in rows)
        return rows

    def _count_failure(self, client: Client, path: str, error: ScanAgentError) -> None:
        with self._lock:
            self._failures += 1
            many = self._failures == FAILURES_IN_A_ROW
        if path == AGENTS:
            self._away = error
        elif many:
            try:
                self._send(client, AGENTS, decode.AGENT_FIELDS)
                self._failures = 0
            except (TransportError, PhpIpamAwayError) as still:
                self._away = still

    def _compare_clocks(self, theirs: float | None) -> None:
        if theirs is None:
            return
        with self._lock:
            ahead = self.clock_ahead = self._clock() - theirs
            warn = abs(ahead) > CLOCK_TOLERANCE and not self._warned
            self._warned |= warn
        if warn:
            log.warning(
                "this machine's clock is %.0f s %s phpIPAM's, which shows hosts as offline by the age of their last"
                " report; set the clocks, or epoch_time_offset",
                abs(ahead),
                "ahead of" if ahead > 0 else "behind",
            )
