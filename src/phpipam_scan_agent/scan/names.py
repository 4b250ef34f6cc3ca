"""Concurrent reverse lookups through a subnet's own nameservers or the system's.

nmap's own resolver took 169 s for a /24 whose two nameservers are silent: it asks both for each name. Here a
nameserver that does not answer is left out for the rest of the run.
"""

import asyncio
import logging
import threading
from collections.abc import Iterable
from concurrent.futures import CancelledError
from ipaddress import ip_address
from pathlib import Path

import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dns.reversename

from ..models import IPAddress
from ..system import threads
from .name_memory import NameMemory
from .nameserver import Nameserver

log = logging.getLogger(__name__)

CONCURRENT = 100
"""Maximum number of concurrent queries in the whole run."""

RESOLV_CONF = Path("/etc/resolv.conf")

MAX_SYSTEM_NAMESERVERS = 3
"""MAXNS of resolv.h: the C library reads no more."""


class Names:
    """Looks up names until the end of the `with` block; may be used from many threads, which wait for its begin.

    One event loop sends all queries, so only its end needs a lock. After the block, no name is found.
    `memory` has the answers of earlier runs.
    """

    def __init__(self, memory: NameMemory) -> None:
        self._memory = memory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="names", daemon=True)
        self._lock = threading.Lock()
        self._closed = False
        self._sockets = asyncio.Semaphore(CONCURRENT)
        self._nameservers: dict[str, Nameserver] = {}
        self._system: tuple[str, ...] | None = None

    def __enter__(self) -> "Names":
        self._memory.load()
        threads.start(self._thread)
        return self

    def __exit__(self, *_: object) -> None:
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
        self._memory.save()

    def look_up(self, ips: Iterable[IPAddress], nameservers: tuple[IPAddress, ...]) -> dict[IPAddress, str]:
        """Return the PTR names of the addresses that have one. No failure of DNS is an error."""
        with self._lock:
            if self._closed:
                return {}
            servers = tuple(map(str, nameservers)) or self._system_nameservers()
            asked = self._all(tuple(ips), servers)
            names = asyncio.run_coroutine_threadsafe(asked, self._loop)
        try:
            return names.result()
        except CancelledError:
            return {}

    def _system_nameservers(self) -> tuple[str, ...]:
        if self._system is None:
            self._system = system_nameservers(RESOLV_CONF)
            if not self._system:
                log.warning("no host names: %s has no nameserver", RESOLV_CONF)
        return self._system

    async def _all(self, ips: tuple[IPAddress, ...], servers: tuple[str, ...]) -> dict[IPAddress, str]:
        for address in servers:
            self._nameservers.setdefault(address, Nameserver(address, self._sockets))
        names = await asyncio.gather(*(self._name(ip, servers) for ip in ips), return_exceptions=True)
        for error in names:
            if isinstance(error, Exception):  # a defect costs a name, not the hosts
                log.debug("no name", exc_info=error)
        return {ip: name for ip, name in zip(ips, names, strict=True) if name and isinstance(name, str)}

    async def _name(self, ip: IPAddress, servers: tuple[str, ...]) -> str | None:
        """Return the remembered name, or ask one nameserver after another and remember the answer."""
        known, name = self._memory.get(servers, ip)
        if known:
            return name
        question = dns.message.make_query(dns.reversename.from_address(str(ip)), dns.rdatatype.PTR)
        zone = reverse_zone(ip)
        for address in servers:
            if answer := await self._nameservers[address].ask(question, zone):
                name, ttl = ptr(answer)
                self._memory.set(servers, ip, name, ttl)
                return name
        return None


def reverse_zone(ip: IPAddress) -> str:
    """Return the most likely reverse zone of an address: that of its IPv4 /24, or its IPv6 /64."""
    labels = ip.reverse_pointer.split(".")
    return ".".join(labels[1:] if ip.version == 4 else labels[16:])


def ptr(answer: dns.message.Message) -> tuple[str | None, int]:
    """Return the PTR name in an answer, or None, and its TTL in seconds.

    The record is of class IN and belongs to the name in the question or to the end of its CNAME chain, as in zones of
    less than a /24 (RFC 2317). Other records are ignored.
    """
    try:
        chain = answer.resolve_chaining() if isinstance(answer, dns.message.QueryMessage) else None
    except dns.exception.DNSException:
        return None, 0
    if chain is None or chain.answer is None:
        return None, chain.minimum_ttl if chain else 0
    # The first of several in alphabetical order, so that a host keeps its name from run to run.
    return min(str(record.target).rstrip(".") for record in chain.answer) or None, chain.minimum_ttl


def system_nameservers(path: Path) -> tuple[str, ...]:
    """Return the nameservers of a resolv.conf, the first three as for the C library.

    A line that is not valid is ignored with a warning.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return ()
    found: list[str] = []
    for number, line in enumerate(lines, start=1):
        words = line.decode("ascii", "backslashreplace").split()
        if not words or words[0] != "nameserver":
            continue
        try:
            found.append(str(ip_address(words[1])))
        except (ValueError, IndexError):
            log.warning("%s: line %d has no nameserver's address; it is ignored", path, number)
    return tuple(dict.fromkeys(found))[:MAX_SYSTEM_NAMESERVERS]
