"""The frozen values of a run, each made by one stage and read by the next.

A run with 100,000 addresses makes half a million of them; a frozen dataclass takes twice the time of a NamedTuple.
"""

from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

RECENT = timedelta(days=1)
"""Age of an address's `last_seen` above which an answer makes it `back`, and silence does not make it missing."""


class Address(NamedTuple):
    """An address in phpIPAM."""

    id: int
    ip: IPAddress

    exclude_ping: bool = False
    """phpIPAM's "Ping exclude": it is not probed."""

    hostname: str | None = None
    """Its host name as people or scans entered it, not validated; None if it has none."""

    mac: str | None = None
    """Its MAC address in upper case with colons; None if it has none."""

    last_seen: datetime | None = None
    """Time when it was last seen up, in phpIPAM's local time, without a zone; None for never."""


class Subnet(NamedTuple):
    """A subnet that phpIPAM assigns to this agent."""

    id: int
    """phpIPAM's id, which is the key: subnets of different VRFs may have the same network."""

    network: IPNetwork

    vrf: int = 0
    """phpIPAM's id of its VRF; 0 for none."""

    discover: bool = False
    """phpIPAM's "Discover new hosts": probe the whole subnet."""

    ping: bool = False
    """phpIPAM's "Check hosts status": probe the addresses in phpIPAM."""

    is_pool: bool = False
    """Whether hosts may have the network and broadcast addresses."""

    resolve_names: bool = False
    """phpIPAM's "Resolve DNS names": look up the PTR names of the hosts."""

    nameservers: tuple[IPAddress, ...] = ()
    """Nameservers for PTR names, in the order of asking; the system's nameservers if empty."""

    addresses: tuple[Address, ...] = ()
    """Its addresses in phpIPAM, sorted (`ranges.sort`); some may lie outside the network."""

    addresses_error: str | None = None
    """Error of the request for its addresses; `addresses` then has at most the excluded ones of a cached answer."""

    candidates: tuple[IPAddress, ...] = ()
    """Addresses to probe in an IPv6 subnet that is too large to be probed as a whole."""

    nested: tuple[IPNetwork, ...] = ()
    """Networks of the subnets nested in it, whichever agent scans them."""


class Host(NamedTuple):
    """A host that answered."""

    ip: IPAddress

    reason: str = ""
    """nmap's reason for `up`: `echo-reply`, `arp-response`, `reset`."""

    ttl: int = 0
    """The TTL of that answer; 0 if nmap does not give it."""

    mac: str | None = None
    """MAC address in upper case with colons; only for a host on the agent's own segment."""

    name: str | None = None
    """The PTR name from DNS, not validated: the owner of the reverse zone chooses the text."""

    vendor: str | None = None
    """Manufacturer of the network interface by its MAC address, from nmap's list."""

    address: Address | None = None
    """The same address in phpIPAM; None if it is new there."""

    @property
    def mac_changed(self) -> bool:
        """Whether the MAC address in phpIPAM is another."""
        return bool(self.mac and self.address and self.address.mac and self.address.mac != self.mac)


class ScanResult(NamedTuple):
    """Result of the scan of a subnet, or of a part of a large subnet."""

    subnet: Subnet
    hosts: tuple[Host, ...]
    seen: datetime
    """When the scan ended, with its zone."""

    seconds: float
    """Duration of the scan."""

    probed: int = 0
    """Number of addresses probed."""

    parts: int = 1
    """Number of results of this subnet in the run."""

    silent: tuple[Address, ...] = ()
    """Addresses in phpIPAM that were probed and did not answer; none if anything failed or is in doubt."""

    error: str | None = None
    """Error of an incomplete scan; `hosts` are the hosts found before it."""

    def status(self, host: Host) -> str:
        """Return `new`, `known`, or `back` for an address that phpIPAM last saw longer ago than a day, or never.

        In a subnet whose addresses phpIPAM did not give, it is `unknown`.
        """
        if host.address is None:
            return "unknown" if self.subnet.addresses_error else "new"
        return "known" if self.saw_recently(host.address) else "back"

    def saw_recently(self, address: Address) -> bool:
        """Return whether phpIPAM last saw an address within a day before this scan.

        phpIPAM's times have no zone. Agent and phpIPAM report and show local times of the same zone. A time more
        than a day after this scan is from a clock that was ahead.
        """
        return bool(address.last_seen and abs(self.seen.replace(tzinfo=None) - address.last_seen) < RECENT)

    @property
    def missing(self) -> tuple[Address, ...]:
        """Silent addresses that phpIPAM saw within a day."""
        return tuple(filter(self.saw_recently, self.silent))


class ReportRow(NamedTuple):
    """One address in a report."""

    ip: IPAddress

    seen: datetime
    """When it was last seen up, with its zone."""

    id: int | None = None
    """phpIPAM's id of the address; None if it is new there."""

    hostname: str | None = None
    """The host name to store, of letters, digits, `-`, `_` and `.` only; None changes nothing."""

    mac: str | None = None
    """MAC address in upper case with colons; None changes nothing."""


class Report(NamedTuple):
    """The newest known state of a subnet, or of a block of a large subnet, for the Scan Server."""

    network: IPNetwork

    subnet_id: int | None
    """phpIPAM's id of the subnet; None in a report of an older version's spool that has no host."""

    made: datetime
    """When the last scan in it ended, with its zone."""

    rows: tuple[ReportRow, ...] = ()
    """Each address once."""

    silent: tuple[int, ...] = ()
    """phpIPAM's ids of the addresses that were probed in the last scan and did not answer."""

    block: int = 0
    """The number of the block in a large subnet."""


class Outcome(NamedTuple):
    """The result of one subnet in a run: scanned, skipped with the reason, or failed with the error."""

    subnet: str
    """The network as phpIPAM has it, `192.0.2.0/24`."""

    id: int | None = None
    """phpIPAM's id of the subnet."""

    up: int = 0
    """Hosts that answered."""

    known: int = 0
    """Hosts that answered and that phpIPAM has."""

    unknown: int = 0
    """Hosts that answered in a subnet whose addresses phpIPAM did not give."""

    back: int = 0
    """Known hosts that phpIPAM last saw longer ago than a day, or never."""

    mac_changed: int = 0
    """Known hosts with another MAC address than in phpIPAM."""

    missing: int = 0
    """Addresses that did not answer and that phpIPAM saw within a day."""

    seconds: float = 0.0
    """Duration of the scan."""

    uploaded: bool = False
    """Whether the Scan Server has taken each of its reports."""

    waiting: bool = False
    """Whether one of its reports waits in the spool for the next run."""

    skipped: str | None = None
    """Reason why the subnet was not scanned."""

    error: str | None = None
    """What failed, and what to do."""

    @property
    def new(self) -> int:
        """Hosts that answered and that phpIPAM does not have."""
        return self.up - self.known - self.unknown


class Summary(NamedTuple):
    """Outcomes and problems of a run."""

    outcomes: tuple[Outcome, ...] = ()

    problems: tuple[str, ...] = ()
    """Failures that belong to no subnet of this run: reports of earlier runs, reports that wait for the next run."""

    cache_age: float = 0.0
    """Age in seconds of the oldest of phpIPAM's answers in use."""

    @property
    def failed(self) -> bool:
        """Whether anything failed."""
        return bool(self.problems) or any(outcome.error for outcome in self.outcomes)


class Check(NamedTuple):
    """Result of one check of `--check`."""

    name: str

    passed: bool
    detail: str

    advice: str | None = None
    """What to do about a failure; with `passed`, a warning."""
