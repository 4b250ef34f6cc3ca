"""Reverse lookups, side by side, through a subnet's own nameservers or the system's."""

import asyncio
import logging
from collections.abc import Iterable

import dns.asyncresolver
import dns.exception
import dns.resolver
import dns.reversename

from .models import IPAddress

log = logging.getLogger(__name__)

AT_ONCE = 100
"""Questions under way at a time."""

PATIENCE = 2.0
"""Seconds for one nameserver's answer to one question."""


def look_up(ips: Iterable[IPAddress], nameservers: tuple[IPAddress, ...]) -> dict[IPAddress, str]:
    """Given addresses, return the PTR names of those that have one. No failure of DNS is an error."""
    try:
        resolver = dns.asyncresolver.Resolver(configure=not nameservers)
    except dns.exception.DNSException:
        log.warning("no names: /etc/resolv.conf names no nameserver")
        return {}
    if nameservers:
        resolver.nameservers = [str(nameserver) for nameserver in nameservers]
    resolver.timeout = PATIENCE
    resolver.lifetime = PATIENCE * 2
    return asyncio.run(_all(resolver, tuple(ips)))


async def _all(resolver: dns.asyncresolver.Resolver, ips: tuple[IPAddress, ...]) -> dict[IPAddress, str]:
    turns = asyncio.Semaphore(AT_ONCE)

    async def ask(ip: IPAddress) -> str | None:
        async with turns:
            return await _name(resolver, ip)

    names = await asyncio.gather(*map(ask, ips))
    return {ip: name for ip, name in zip(ips, names, strict=True) if name}


async def _name(resolver: dns.asyncresolver.Resolver, ip: IPAddress) -> str | None:
    try:
        answer = await resolver.resolve(dns.reversename.from_address(str(ip)), "PTR")
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return None
    except (dns.exception.DNSException, OSError) as error:
        log.info("no name for %s: %s", ip, error)
        return None
    # The smallest of several names, so that a host does not change its name from run to run.
    return min(str(record.target).rstrip(".") for record in answer)
