"""Reverse lookups, side by side, through a subnet's own nameservers or the system's; they hold up nobody.

nmap's own resolver took 169 s for a /24 whose two nameservers are silent: it asks each name of each of them.
Here a nameserver that does not answer is left out for the rest of the run.
"""

import asyncio
import logging
import threading
from collections.abc import Iterable
from concurrent.futures import CancelledError
from types import TracebackType

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.reversename

from ..models import IPAddress

log = logging.getLogger(__name__)

AT_ONCE = 100
"""Questions under way at a time, in the whole run."""

PATIENCE = 2.0
"""Seconds for one answer."""

TRIES = 2
"""How often a nameserver is asked a question that it leaves unanswered; one packet in a hundred gets lost."""

STRIKES_NEW = 3
"""Failures after which a nameserver that has never answered is left out."""

STRIKES_KNOWN = 20
"""Failures in a row after which one that has answered before is."""

ANSWERS = frozenset((dns.rcode.NOERROR, dns.rcode.NXDOMAIN))
"""What settles a question; after SERVFAIL or REFUSED the next nameserver may know better."""


class Names:
    """Looks names up until the end of the `with` block; may be used from many threads.

    One event loop asks all questions, so that nothing but its end needs a lock. After that there are no names:
    hosts without them are better than none.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="names", daemon=True)
        self._lock = threading.Lock()
        self._closed = False
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._nameservers: dict[str, _Nameserver] = {}
        self._system: tuple[str, ...] | None = None

    def __enter__(self) -> "Names":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        with self._lock:
            self._closed = True
        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def look_up(self, ips: Iterable[IPAddress], nameservers: tuple[IPAddress, ...]) -> dict[IPAddress, str]:
        """Given addresses, return the PTR names of those that have one. No failure of DNS is an error."""
        with self._lock:
            if self._closed:
                return {}
            servers = tuple(map(str, nameservers)) or self._system_nameservers()
            asked = self._all(tuple(ips), [self._nameserver(address) for address in servers])
            names = asyncio.run_coroutine_threadsafe(asked, self._loop)
        try:
            return names.result()
        except CancelledError:
            return {}

    def _system_nameservers(self) -> tuple[str, ...]:
        if self._system is None:
            try:
                self._system = tuple(map(str, dns.resolver.Resolver().nameservers))
            except dns.exception.DNSException:
                self._system = ()
                log.warning("no names: /etc/resolv.conf names no nameserver")
        return self._system

    def _nameserver(self, address: str) -> "_Nameserver":
        return self._nameservers.setdefault(address, _Nameserver(address))

    async def _all(
        self, ips: tuple[IPAddress, ...], nameservers: list["_Nameserver"]
    ) -> dict[IPAddress, str]:
        async def ask(ip: IPAddress) -> str | None:
            async with self._turns:
                return await _name(ip, nameservers)

        names = await asyncio.gather(*map(ask, ips))
        return {ip: name for ip, name in zip(ips, names, strict=True) if name}


class _Nameserver:
    """A nameserver and how it has done so far."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.left_out = False
        self._answered = False
        self._failures = 0

    async def ask(self, question: dns.message.Message) -> dns.message.Message | None:
        """Return what it answers, or None if it does not."""
        for _ in range(TRIES):
            if self.left_out:
                return None
            try:
                answer, _ = await dns.asyncquery.udp_with_fallback(question, self.address, timeout=PATIENCE)
            except (dns.exception.DNSException, OSError, EOFError) as error:
                self._failed(str(error) or type(error).__name__)
                continue
            if answer.rcode() in ANSWERS:
                self._answered, self._failures = True, 0
                return answer
            self._failed(dns.rcode.to_text(answer.rcode()))
            return None
        return None

    def _failed(self, why: str) -> None:
        self._failures += 1
        if self._failures >= (STRIKES_KNOWN if self._answered else STRIKES_NEW) and not self.left_out:
            self.left_out = True
            log.warning("nameserver %s gives no names (%s); it is left out of this run", self.address, why)


async def _name(ip: IPAddress, nameservers: list[_Nameserver]) -> str | None:
    question = dns.message.make_query(dns.reversename.from_address(str(ip)), dns.rdatatype.PTR)
    for nameserver in nameservers:
        if answer := await nameserver.ask(question):
            return _ptr(answer)
    return None


def _ptr(answer: dns.message.Message) -> str | None:
    """Return the name in an answer, also behind a CNAME, as zones of less than a /24 have (RFC 2317)."""
    names = (
        str(record.target).rstrip(".")
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.PTR
        for record in rrset
    )
    # The smallest of several, so that a host does not change its name from run to run.
    return min(names, default=None)
