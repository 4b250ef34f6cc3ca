"""One nameserver: the rate of queries, and the reverse zones that it does not answer for."""

import asyncio
import logging
import socket
import time
from collections import Counter
from typing import Any

import dns.asyncquery
import dns.exception
import dns.inet
import dns.message
import dns.rcode

log = logging.getLogger(__name__)

TIMEOUT = 2.0
"""Seconds to wait for one answer."""

TRIES = 2
"""Number of times that a query is sent to a nameserver that has never answered; one packet in a hundred gets lost."""

TRIES_KNOWN = 60
"""The same for a nameserver that has answered before; MAX_SILENCE ends them earlier."""

CONCURRENT = 100
"""Maximum number of concurrent queries."""

FIRST_WINDOW = 10
"""Concurrent queries before the first answer: a loaded machine takes longer than TIMEOUT to send a hundred at once.
Each answer then allows one more, until a query fails."""

MAX_FAILURES = 3
"""Failures after which a nameserver that has never answered is left out, or a zone if it answers for other zones."""

MAX_FAILURES_KNOWN = 20
"""Consecutive SERVFAIL answers after which a zone that was answered before is left out."""

MAX_PAUSE = 15.0
"""Maximum seconds between queries while a nameserver refuses or drops them."""

MAX_SILENCE = 75.0
"""Seconds without an answer after which a nameserver is left out: Pi-hole refuses all queries for up to 60 s after
1,000 queries in a minute."""

MAX_PAUSED = 300.0
"""Total seconds of such pauses after which a nameserver is left out of the run; later runs look up the other
names."""

ANSWERS = frozenset((dns.rcode.NOERROR, dns.rcode.NXDOMAIN))
"""Response codes that end a lookup; after any other one the next nameserver is asked."""


class _Datagrams:
    """A UDP socket for one query, with the methods of dnspython's DatagramSocket.

    It is connected, so that the kernel drops datagrams from other sources and reports a closed port. Datagrams wait
    in the kernel's buffer: the socket of dnspython before 2.9 loses a datagram that comes while none is awaited, such
    as the answer right after a spoofed one.
    """

    def __init__(self, address: str) -> None:
        self.family = dns.inet.af_for_address(address)
        self._socket = socket.socket(self.family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._peer: Any = None

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def sendto(self, what: bytes, destination: Any, timeout: float | None) -> int:  # noqa: ARG002 (never waits)
        self._peer = destination
        self._socket.connect(destination)
        return self._socket.send(what)

    async def recvfrom(self, size: int, timeout: float | None) -> tuple[bytes, Any]:
        datagram = asyncio.get_running_loop().sock_recv(self._socket, size)
        try:
            return await asyncio.wait_for(datagram, timeout), self._peer
        except asyncio.TimeoutError:
            raise dns.exception.Timeout from None


class Nameserver:
    """A nameserver, used by one event loop.

    After SERVFAIL or REFUSED it is not asked for that reverse zone again. A nameserver that has answered and then
    refuses or drops queries limits their rate, so it gets fewer. `sockets` limits the concurrent queries of the whole
    run.
    """

    def __init__(self, address: str, sockets: asyncio.Semaphore) -> None:
        self.address = address
        self._sockets = sockets
        self._queue = asyncio.Semaphore(CONCURRENT)
        self._left_out = False
        self._zones_left_out: set[str] = set()
        self._zones_answered: set[str] = set()
        self._zone_failures: Counter[str] = Counter()
        self._last_answer: float | None = None
        self._failures = 0
        self._window = float(FIRST_WINDOW)
        self._limited = False
        self._pauses = 0
        self._concurrent = 0
        self._resume = 0.0
        self._paused = 0.0

    async def ask(self, question: dns.message.Message, zone: str) -> dns.message.Message | None:
        """Return the answer to a query in a reverse zone, or None if there is none."""
        async with self._queue:
            return await self._ask(question, zone)

    async def _ask(self, question: dns.message.Message, zone: str) -> dns.message.Message | None:
        tries = 0
        while tries < (TRIES if self._last_answer is None else TRIES_KNOWN):
            tries += 1
            await self._may_send()
            if self._left_out or zone in self._zones_left_out:
                self._concurrent -= 1
                return None
            try:
                answer, why = await self._send(question), "REFUSED"
            except dns.exception.Timeout:  # its own message has the seconds that were left, which are none
                answer, why = None, f"no answer within {TIMEOUT:g} s"
            except OSError as error:  # as from a machine without a nameserver
                answer, why = None, error.strerror or str(error)
            except (dns.exception.DNSException, EOFError, ValueError) as error:
                answer, why = None, str(error) or type(error).__name__
            finally:
                self._concurrent -= 1
            if answer is None:
                self._unanswered(why)
            elif answer.rcode() in ANSWERS:
                self._answered(zone)
                return answer
            elif answer.rcode() == dns.rcode.REFUSED and self._limits(zone):
                self._unanswered(why)
            else:
                self._failed(zone, dns.rcode.to_text(answer.rcode()))
                return None
        return None

    async def _send(self, question: dns.message.Message) -> dns.message.Message:
        # Datagrams with another source, id or question are ignored.
        async with self._sockets, _Datagrams(self.address) as datagrams:
            answer, _ = await dns.asyncquery.udp_with_fallback(
                question, self.address, timeout=TIMEOUT, udp_sock=datagrams, ignore_errors=True
            )
            return answer

    async def _may_send(self) -> None:
        """Wait until a further query may be sent."""
        while not self._left_out and (
            self._concurrent >= max(1, int(self._window)) or time.monotonic() < self._resume
        ):
            await asyncio.sleep(0.05)
        self._concurrent += 1

    def _limits(self, zone: str) -> bool:
        """Return whether a refusal is a rate limit, since the nameserver answers for this zone."""
        return zone in self._zones_answered or (self._failures > 0 and bool(self._zones_answered))

    def _answered(self, zone: str) -> None:
        self._last_answer = time.monotonic()
        self._failures = 0
        self._zones_answered.add(zone)
        self._zone_failures[zone] = 0
        self._pauses = 0
        self._window = min(self._window + (1 / self._window if self._limited else 1), CONCURRENT)

    def _unanswered(self, why: str) -> None:
        """Halve the number of concurrent queries; from one on, pause between queries."""
        self._failures += 1
        if self._last_answer is None:
            if self._failures >= MAX_FAILURES:
                self._leave_out(why)
            return
        self._limited = True
        self._window = max(1.0, self._window / 2)
        now = time.monotonic()
        if self._window == 1 and now >= self._resume:
            pause = min(0.5 * 2.0**self._pauses, MAX_PAUSE)
            self._pauses += 1
            self._resume = now + pause
            self._paused += pause
        if now - self._last_answer > MAX_SILENCE or self._paused > MAX_PAUSED:
            self._leave_out(why)

    def _leave_out(self, why: str) -> None:
        if not self._left_out:
            self._left_out = True
            log.warning("nameserver %s gives no names (%s); it is left out of this run", self.address, why)

    def _failed(self, zone: str, why: str) -> None:
        self._last_answer = time.monotonic()
        self._zone_failures[zone] += 1
        most = MAX_FAILURES_KNOWN if zone in self._zones_answered else MAX_FAILURES
        if self._zone_failures[zone] >= most and zone not in self._zones_left_out:
            level = logging.INFO if self._zones_left_out else logging.WARNING
            self._zones_left_out.add(zone)
            log.log(
                level,
                "nameserver %s gives no names of %s (%s); it is not asked for that zone again in this run",
                self.address,
                zone,
                why,
            )
