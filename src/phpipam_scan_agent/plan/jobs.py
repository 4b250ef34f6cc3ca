"""Subnets → jobs, each for one nmap process: large subnets are cut, small ones share a process. Pure."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from ..models import IPNetwork, Subnet
from . import ranges, targets
from .ranges import Ranges

MAX_JOB_SIZE = 4096
"""Maximum number of a subnet's addresses in one job, so the results of a /16 come in 16 parts. nmap probes no more at
a time (PING_GROUP_SZ in its nmap.h). nmap's rate is unused at the end of each pass, while it waits for late answers:
12,700 addresses at 2,000 packets a second took 14.7 s in jobs of at most 2,048, and 13.8 s with 4,096."""

MIN_JOB_SIZE = 256
"""Number of addresses below which a subnet is not cut, since a process costs more than it saves."""


class Route(NamedTuple):
    """The route of packets from this machine to an address."""

    device: str = ""
    """Name of the interface; empty if unknown."""

    on_link: bool = False
    """Whether the address is on the agent's own Ethernet segment, not behind a router."""

    error: str | None = None
    """Why there is no usable route, or None."""


FindRoutes = Callable[[int, Sequence[Ranges]], Sequence[Mapping[Route, Ranges]]]
"""Given the IP version and sets of addresses, return the routes to the addresses of each set."""


class Chunk(NamedTuple):
    """Addresses of one network that are probed together."""

    ranges: Ranges
    subnets: tuple[tuple[Subnet, Ranges], ...]
    """The subnets with this network, each with its targets; several where VRFs share the network."""

    parts: int
    """Number of chunks of this network."""

    @property
    def network(self) -> IPNetwork:
        """The network that all its subnets have."""
        return self.subnets[0][0].network

    @property
    def size(self) -> int:
        """Number of addresses."""
        return ranges.size(self.ranges)


class Job(NamedTuple):
    """The targets of one nmap process: addresses of one IP version behind one route.

    nmap probes all its targets by ARP or all by IP, and an error of an interface ends the whole process.
    """

    version: int
    chunks: tuple[Chunk, ...]
    route: Route

    @property
    def size(self) -> int:
        """Number of addresses to probe; 0 without a route."""
        return 0 if self.route.error else sum(chunk.size for chunk in self.chunks)

    @property
    def known(self) -> Iterator[range]:
        """The job's addresses that are in phpIPAM."""
        return ranges.of_ips(
            address.ip
            for chunk in self.chunks
            for subnet, _ in chunk.subnets
            for address in ranges.pick(subnet.addresses, chunk.ranges, self.version)
        )

    @property
    def label(self) -> str:
        """Its name in messages."""
        first = str(self.chunks[0].network)
        return first if len(self.chunks) == 1 else f"{first} and {len(self.chunks) - 1} more"


def expected(subnets: Iterable[Subnet]) -> int:
    """Given subnets without their addresses in phpIPAM, return about how many addresses will be probed."""
    sizes: dict[IPNetwork, int] = defaultdict(int)  # a network in several VRFs is scanned once
    for subnet in subnets:
        if subnet.discover:
            size = ranges.size(targets.of_subnet(subnet))
        else:
            size = min(MIN_JOB_SIZE, subnet.network.num_addresses)
        sizes[subnet.network] = max(sizes[subnet.network], size)
    return sum(sizes.values())


def chunk_size(total: int, parallel: int) -> int:
    """Return the number of addresses above which a subnet is cut, so that all `parallel` processes have work."""
    rounds = -(-total // (parallel * MAX_JOB_SIZE)) or 1
    return min(MAX_JOB_SIZE, max(MIN_JOB_SIZE, -(-total // (parallel * rounds))))


class Waiting:
    """The chunks that wait for a process, by IP version and route."""

    def __init__(self) -> None:
        self._chunks: dict[tuple[int, Route], deque[Chunk]] = {}
        self.size = 0
        """Number of addresses to probe."""

    def __bool__(self) -> bool:
        return bool(self._chunks)

    def add(self, subnets: Iterable[Subnet], size: int, find_routes: FindRoutes) -> None:
        """Add subnets, in chunks of at most `size` addresses."""
        by_network: dict[IPNetwork, list[tuple[Subnet, Ranges]]] = defaultdict(list)
        for subnet in subnets:
            by_network[subnet.network].append((subnet, targets.of_subnet(subnet)))
        for version in (4, 6):
            same = [tuple(of) for network, of in by_network.items() if network.version == version]
            wanted = [ranges.union(chain.from_iterable(own for _, own in of)) for of in same]
            for of, routes in zip(same, find_routes(version, wanted), strict=True):
                cuts = [
                    (route, part) for route, behind in routes.items() for part in ranges.cut(behind, size)
                ]
                for route, part in cuts or [(Route(), ())]:  # a subnet without targets has a result as well
                    chunk = Chunk(part, of, len(cuts) or 1)
                    self._chunks.setdefault((version, route), deque()).append(chunk)
                    self.size += 0 if route.error else chunk.size

    def take(self, size: float) -> Job:
        """Return a job of about `size` addresses: at least one chunk, with others of the same version and route."""
        (version, route), waiting = next(iter(self._chunks.items()))
        taken = [waiting.popleft()]
        total = taken[0].size
        while waiting and total + waiting[0].size / 2 <= size:
            taken.append(waiting.popleft())
            total += taken[-1].size
        if not waiting:
            del self._chunks[version, route]
        job = Job(version, tuple(taken), route)
        self.size -= job.size
        return job
