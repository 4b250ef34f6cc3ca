"""Sets of addresses as sorted, disjoint ranges of integers: a /8 takes no more memory than a /32. Pure."""

import socket
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, summarize_address_range
from typing import Protocol, TypeVar

from ..models import IPAddress, IPNetwork

Ranges = tuple[range, ...]


def of_network(network: IPNetwork) -> range:
    """Return every address of a network."""
    return range(int(network.network_address), int(network.broadcast_address) + 1)


def within(network: IPNetwork, outer: IPNetwork) -> bool:
    """Return whether a network is equal to another one or a part of it."""
    return network.version == outer.version and network.subnet_of(outer)  # type: ignore[arg-type]


def of_ips(ips: Iterable[IPAddress]) -> Iterator[range]:
    """Yield each address as a range."""
    for ip in ips:
        yield range(int(ip), int(ip) + 1)


def union(parts: Iterable[range]) -> Ranges:
    """Return the addresses of all parts, which may overlap."""
    joined: list[range] = []
    for part in sorted((part for part in parts if part), key=lambda part: part.start):
        if joined and part.start <= joined[-1].stop:
            joined[-1] = range(joined[-1].start, max(joined[-1].stop, part.stop))
        else:
            joined.append(part)
    return tuple(joined)


def without(ranges: Ranges, excluded: Iterable[range]) -> Ranges:
    """Return the addresses of `ranges` that no excluded range contains."""
    holes = union(excluded)
    kept: list[range] = []
    at = 0
    for part in ranges:
        start = part.start
        while at < len(holes) and holes[at].start < part.stop:
            hole = holes[at]
            kept.append(range(start, hole.start))
            start = max(start, hole.stop)
            if hole.stop > part.stop:
                break  # the hole extends into the next part
            at += 1
        kept.append(range(start, part.stop))
    return tuple(part for part in kept if part)


def size(ranges: Ranges) -> int:
    """Return the number of addresses; `len` stops at 2**63."""
    return sum(part.stop - part.start for part in ranges)


def contains(ranges: Ranges, number: int) -> bool:
    """Return whether the ranges contain an address."""
    at = bisect_right(ranges, number, key=lambda part: part.start) - 1
    return at >= 0 and number < ranges[at].stop


class HasAddress(Protocol):
    """A value with an IP address: a Host, or an Address in phpIPAM."""

    @property
    def ip(self) -> IPAddress:
        """The address."""


Item = TypeVar("Item", bound=HasAddress)


def sort(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return items sorted by address."""
    return tuple(sorted(items, key=_order))


def pick(items: Sequence[Item], ranges: Ranges, version: int) -> Iterator[Item]:
    """Given sorted items, yield the items with an address in the ranges, by binary search."""
    for part in ranges:
        at = bisect_left(items, (version, part.start), key=_order)
        while at < len(items) and _order(items[at]) < (version, part.stop):
            yield items[at]
            at += 1


def _order(item: HasAddress) -> tuple[int, int]:
    return item.ip.version, int(item.ip)


def cut(ranges: Ranges, size: int) -> Iterator[Ranges]:
    """Yield the addresses in order, at most `size` at a time."""
    taken: list[range] = []
    room = size
    for part in ranges:
        start = part.start
        while part.stop - start > room:
            yield union((*taken, range(start, start + room)))  # the range is empty without room
            start, taken, room = start + room, [], size
        if start < part.stop:
            taken.append(range(start, part.stop))
            room -= part.stop - start
    if taken:
        yield tuple(taken)


def address(number: int, version: int) -> IPAddress:
    """Return the address with this integer value."""
    return IPv4Address(number) if version == 4 else IPv6Address(number)


def parse(text: str) -> IPAddress:
    """Return the address that a text is; raise ValueError if it is none.

    The C library reads IPv4 as strictly as `ip_address` does, in a third of the time; a run reads each known host's
    address twice.
    """
    try:
        return IPv4Address(socket.inet_pton(socket.AF_INET, text))
    except (OSError, ValueError):
        return ip_address(text)


def lines(ranges: Ranges, version: int) -> Iterator[str]:
    """Yield the addresses as the fewest networks, such as `192.0.2.4/30`."""
    for part in ranges:
        first, last = address(part.start, version), address(part.stop - 1, version)
        yield from map(str, summarize_address_range(first, last))
