"""One nameserver: how fast it is asked, and for which reverse zones no more."""

import asyncio
import logging
import time
from collections import Counter

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode

log = logging.getLogger(__name__)

TIMEOUT = 2.0
"""Seconds for one answer."""

TRIES = 2
"""Tries of a question at a nameserver that has never answered; one packet in a hundred gets lost."""

TRIES_KNOWN = 60
"""Tries at a nameserver that has answered before; GIVE_UP ends them earlier if it stays silent."""

CONCURRENT = 100
"""Questions under way at a time."""

AT_FIRST = 10
"""Questions under way at a time before the first answers: a hundred at once take a loaded machine longer to send than
TIMEOUT. Each answer then lets one more be under way, until one fails."""

STRIKES = 3
"""Failures after which a nameserver that has never answered is left out; of a zone, if others' are answered."""

STRIKES_KNOWN = 20
"""SERVFAIL answers in a row after which a zone that was answered before is left out."""

LONGEST_PAUSE = 15.0
"""Seconds between questions, at most, while a nameserver refuses or drops them."""

GIVE_UP = 75.0
"""Seconds without an answer after which a nameserver is left out: Pi-hole refuses everything for up to 60 s after
1,000 questions in a minute."""

MOST_PAUSES = 300.0
"""Seconds of such pauses in a run after which a nameserver is left out; later runs ask for the other names."""

ANSWERS = frozenset((dns.rcode.NOERROR, dns.rcode.NXDOMAIN))
"""Response codes that settle a question; after another one the next nameserver may know better."""


class Nameserver:
    """A nameserver, asked by one event loop.

    After SERVFAIL or REFUSED it is not asked for that reverse zone again. One that has answered and then refuses or
    drops questions limits their rate: it is asked slower. `sockets` bounds the questions under way in the whole run.
    """

    def __init__(self, address: str, sockets: asyncio.Semaphore) -> None:
        self.address = address
        self._sockets = sockets
        self._turns = asyncio.Semaphore(CONCURRENT)
        self._left_out = False
        self._zones_left_out: set[str] = set()
        self._zones_answered: set[str] = set()
        self._zone_failures: Counter[str] = Counter()
        self._last_answer: float | None = None
        self._failures = 0
        self._window = float(AT_FIRST)
        self._limited = False
        self._pauses = 0
        self._under_way = 0
        self._resume = 0.0
        self._paused = 0.0

    async def ask(self, question: dns.message.Message, zone: str) -> dns.message.Message | None:
        """Return the answer to a question about a reverse zone, or None if there is none."""
        async with self._turns:
            return await self._ask(question, zone)

    async def _ask(self, question: dns.message.Message, zone: str) -> dns.message.Message | None:
        tries = 0
        while tries < (TRIES if self._last_answer is None else TRIES_KNOWN):
            tries += 1
            await self._turn()
            if self._left_out or zone in self._zones_left_out:
                self._under_way -= 1
                return None
            try:
                answer, why = await self._send(question), "REFUSED"
            except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
                answer, why = None, str(error) or type(error).__name__
            finally:
                self._under_way -= 1
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
        # Datagrams of other sources, ids or questions are ignored while the answer is awaited.
        async with self._sockets:
            answer, _ = await dns.asyncquery.udp_with_fallback(
                question, self.address, timeout=TIMEOUT, ignore_unexpected=True, ignore_errors=True
            )
            return answer

    async def _turn(self) -> None:
        """Wait until another question may be under way."""
        while not self._left_out and (
            self._under_way >= max(1, int(self._window)) or time.monotonic() < self._resume
        ):
            await asyncio.sleep(min(0.05, TIMEOUT / 10))
        self._under_way += 1

    def _limits(self, zone: str) -> bool:
        """Return whether a refusal means that the nameserver limits the rate, as it answers for this zone."""
        return zone in self._zones_answered or (self._failures > 0 and bool(self._zones_answered))

    def _answered(self, zone: str) -> None:
        self._last_answer = time.monotonic()
        self._failures = 0
        self._zones_answered.add(zone)
        self._zone_failures[zone] = 0
        self._pauses = 0
        self._window = min(self._window + (1 / self._window if self._limited else 1), CONCURRENT)

    def _unanswered(self, why: str) -> None:
        """Ask slower: half as many questions at a time, then one after a pause."""
        self._failures += 1
        if self._last_answer is None:
            if self._failures >= STRIKES:
                self._leave_out(why)
            return
        self._limited = True
        self._window = max(1.0, self._window / 2)
        now = time.monotonic()
        if self._window == 1 and now >= self._resume:
            pause = min(0.5 * 2.0**self._pauses, LONGEST_PAUSE)
            self._pauses += 1
            self._resume = now + pause
            self._paused += pause
        if now - self._last_answer > GIVE_UP or self._paused > MOST_PAUSES:
            self._leave_out(why)

    def _leave_out(self, why: str) -> None:
        if not self._left_out:
            self._left_out = True
            log.warning("nameserver %s gives no names (%s); it is left out of this run", self.address, why)

    def _failed(self, zone: str, why: str) -> None:
        self._last_answer = time.monotonic()
        self._zone_failures[zone] += 1
        most = STRIKES_KNOWN if zone in self._zones_answered else STRIKES
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
