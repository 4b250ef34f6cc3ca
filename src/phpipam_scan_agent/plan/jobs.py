"""Subnets → jobs, each for one nmap process: large subnets cut into pieces, small ones put together. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..models import IPAddress, IPNetwork, Subnet
from . import ranges, targets
from .ranges import Ranges

LARGEST = 2048
"""Addresses of a network that one nmap process gets at most; so the hosts of a /16 come in 32 portions."""

SMALLEST = 256
"""Addresses below which a process is not worth its start and a network is not cut."""


@dataclass(frozen=True, slots=True)
class Way:
    """How packets get from this machine to an address."""

    device: str = ""
    """Name of the interface, or empty if it is not known."""

    direct: bool = False
    """Whether the address is on the agent's own Ethernet segment, not behind a router."""

    error: str | None = None
    """Why there is no way, if so."""


Ways = Callable[[int, Sequence[Ranges]], Sequence[Mapping[Way, Ranges]]]
"""Given the IP version and sets of addresses, return the ways to the addresses of each set."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Addresses of one network."""

    ranges: Ranges
    wishes: tuple[tuple[Subnet, Ranges], ...]
    """Who wants to know, and of which addresses: several if the same network is there in several VRFs."""

    parts: int
    """How many slices there are of this network."""

    @property
    def network(self) -> IPNetwork:
        """The network that it is of."""
        return self.wishes[0][0].network

    @property
    def first(self) -> IPAddress:
        """The first of its addresses."""
        return ranges.address(self.ranges[0].start, self.network.version)


@dataclass(frozen=True, slots=True)
class Job:
    """What one nmap process scans: addresses of one IP version that packets reach in one way.

    nmap handles its targets alike, by ARP or not, and a failure of an interface is one of all its targets.
    """

    version: int
    slices: tuple[Slice, ...]
    way: Way = Way()

    @property
    def size(self) -> int:
        """How many addresses there are."""
        return sum(ranges.size(part.ranges) for part in self.slices)

    @property
    def known(self) -> Iterator[range]:
        """The addresses of its subnets in phpIPAM that are in this job."""
        return (
            range(int(address.ip), int(address.ip) + 1)
            for part in self.slices
            for subnet, _ in part.wishes
            for address in ranges.pick(subnet.addresses, part.ranges, self.version)
        )

    @property
    def label(self) -> str:
        """What to call it in a message."""
        first = str(self.slices[0].network)
        return first if len(self.slices) == 1 else f"{first} and {len(self.slices) - 1} more"


def one_way(_version: int, wanted: Sequence[Ranges]) -> Sequence[Mapping[Way, Ranges]]:
    """Return the same way to all addresses."""
    return [{Way(): whole} for whole in wanted]


def expected(subnets: Iterable[Subnet]) -> int:
    """Given subnets whose addresses in phpIPAM are not known yet, return about how many will be probed."""
    return sum(
        ranges.size(targets.wanted(subnet))
        if subnet.discover
        else min(SMALLEST, ranges.size((ranges.of_network(subnet.network),)))
        for subnet in subnets
    )


def portion(total: int, parallel: int) -> int:
    """Return how many addresses a process should get, so that every round has work for all `parallel` places."""
    rounds = -(-total // (parallel * LARGEST)) or 1
    return min(LARGEST, max(SMALLEST, -(-total // (parallel * rounds))))


def make(subnets: Iterable[Subnet], portion: int, ways: Ways = one_way) -> list[Job]:
    """Given subnets to scan, return the jobs, each for about so many addresses."""
    wishes: dict[IPNetwork, list[tuple[Subnet, Ranges]]] = {}
    for subnet in subnets:
        wishes.setdefault(subnet.network, []).append((subnet, targets.wanted(subnet)))
    jobs: list[Job] = []
    for version in (4, 6):
        networks = [
            (tuple(ours), ranges.union(part for _, wish in ours for part in wish))
            for network, ours in wishes.items()
            if network.version == version
        ]
        slices: dict[Way, list[Slice]] = {}
        for (ours, _), by_way in zip(networks, ways(version, [whole for _, whole in networks]), strict=True):
            for way, part in _cut(ours, by_way, portion):
                slices.setdefault(way, []).append(part)
        jobs += [
            Job(version, packed, way) for way, those in slices.items() for packed in _pack(those, portion)
        ]
    return jobs


def _cut(
    wishes: tuple[tuple[Subnet, Ranges], ...], by_way: Mapping[Way, Ranges], piece: int
) -> Iterator[tuple[Way, Slice]]:
    pieces = [(way, part) for way, whole in by_way.items() for part in ranges.cut(whole, piece)]
    pieces = pieces or [(Way(), ())]
    return ((way, Slice(part, wishes, len(pieces))) for way, part in pieces)


def _pack(slices: Iterable[Slice], piece: int) -> Iterator[tuple[Slice, ...]]:
    """Put slices together, in their order, into portions of about so many addresses."""
    # By where its middle falls: filling each portion to the brim instead would make 50 portions of 50
    # networks where 32 are wanted, and the 18 left over a second round.
    packed: dict[int, list[Slice]] = {}
    offset = 0
    for part in slices:
        size = ranges.size(part.ranges)
        packed.setdefault((2 * offset + size) // (2 * piece), []).append(part)
        offset += size
    return (tuple(portion) for portion in packed.values())
