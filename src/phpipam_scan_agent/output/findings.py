"""Results of the scans, joined with phpIPAM's addresses and reduced to the data of the view."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ..models import Address, Host, IPAddress, IPNetwork, ScanResult

MAP_SIZE = 4096
"""Maximum number of addresses of a subnet in the map: an IPv4 /20."""


class HostFinding(NamedTuple):
    """A host that answered, and its status: `new`, `known`, `back` or `unknown`."""

    host: Host
    status: str

    @property
    def ip(self) -> IPAddress:
        """Its address."""
        return self.host.ip

    @property
    def name(self) -> str:
        """Its host name in phpIPAM, or else its PTR name; empty without either."""
        return (self.host.address and self.host.address.hostname) or self.host.name or ""

    @property
    def changed(self) -> bool:
        """Whether it differs from phpIPAM."""
        return self.status in ("new", "back") or self.host.mac_changed


@dataclass(slots=True)
class SubnetFindings:
    """The findings in one subnet."""

    id: int
    network: IPNetwork
    hosts: list[HostFinding] = field(default_factory=list)

    missing: list[Address] = field(default_factory=list)
    """Addresses that did not answer and that phpIPAM saw within a day."""

    silent: list[Address] = field(default_factory=list)
    """All addresses in phpIPAM that were probed and did not answer."""

    addresses: tuple[Address, ...] = ()
    """The addresses in phpIPAM."""

    failed: bool = False
    """Whether a part of the scan failed, or phpIPAM did not give the addresses."""

    def in_order(self) -> "SubnetFindings":
        """Return them in the order of the addresses; the parts of a subnet arrive in any order."""
        for several in (self.hosts, self.missing, self.silent):
            several.sort(key=lambda each: int(each.ip))
        return self


class Findings:
    """The findings of a run, with only the data of the view.

    `view` is `subnets`, `hosts`, `changes`, `map`, or `json`, which has the data of all views.
    """

    def __init__(self, view: str) -> None:
        self.view = view
        self._by_id: dict[int, SubnetFindings] = {}

    def add(self, result: ScanResult) -> None:
        """Keep the view's data of a result."""
        subnet = result.subnet
        if self.view == "subnets" or (self.view == "map" and subnet.network.num_addresses > MAP_SIZE):
            return
        kept = self._by_id.setdefault(subnet.id, SubnetFindings(subnet.id, subnet.network))
        found = (HostFinding(host, result.status(host)) for host in result.hosts)
        if self.view == "changes":
            found = (each for each in found if each.changed)
        kept.hosts += found
        kept.missing += result.missing
        kept.failed |= bool(result.error or subnet.addresses_error)
        if self.view in ("map", "json"):
            kept.silent += result.silent
            kept.addresses = subnet.addresses

    def of(self, subnet_id: int | None) -> SubnetFindings | None:
        """Given phpIPAM's id of a subnet, return its findings; None without any."""
        kept = self._by_id.get(subnet_id or 0)
        return kept and kept.in_order()

    def __iter__(self) -> Iterator[SubnetFindings]:
        kept = sorted(self._by_id.values(), key=lambda each: (each.network.version, each.network, each.id))
        return (each.in_order() for each in kept)
