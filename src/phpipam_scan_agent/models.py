"""The frozen values of a run, each made by one stage and read by the next."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

RECENT = timedelta(days=1)
"""Age of an address's `last_seen` above which its answer is news, and its silence is none."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address that phpIPAM knows."""

    id: int
    ip: IPAddress

    exclude_ping: bool = False
    """phpIPAM wants it left alone."""

    hostname: str | None = None
    """Its host name as people or scans entered it, unchecked; None if it has none."""

    mac: str | None = None
    """Its MAC address in upper case with colons; None if it has none."""

    last_seen: datetime | None = None
    """When it was last seen up, in phpIPAM's local time, without a zone; None for never."""


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet that phpIPAM assigns to this agent."""

    id: int
    """phpIPAM's id. It is the key: subnets of different VRFs may have the same network."""

    network: IPNetwork

    vrf: int = 0
    """phpIPAM's id of its VRF; 0 for none."""

    discover: bool = False
    """Look for hosts in the whole subnet."""

    ping: bool = False
    """Check which of the addresses that phpIPAM knows are up."""

    is_pool: bool = False
    """The network and broadcast addresses are hosts' addresses as well."""

    resolve_names: bool = False
    """Look up the names of the hosts found."""

    nameservers: tuple[IPAddress, ...] = ()
    """Where to look names up, in this order; the system's nameservers if empty."""

    addresses: tuple[Address, ...] = ()
    """What phpIPAM knows of it, sorted (`ranges.sort`); some may lie outside the network."""

    addresses_error: str | None = None
    """Why its addresses are missing, if phpIPAM did not give them; some that are not to be pinged may be there."""

    candidates: tuple[IPAddress, ...] = ()
    """Addresses worth a probe, if it is too large for all of them to be probed."""

    nested: tuple[IPNetwork, ...] = ()
    """Parts of it that are subnets of their own, this agent's or another's."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host that answered."""

    ip: IPAddress

    reason: str = ""
    """What nmap takes as the proof: `echo-reply`, `arp-response`, `reset`."""

    ttl: int = 0
    """The TTL of that answer; 0 where nmap does not say."""

    mac: str | None = None
    """MAC address in upper case with colons; only for a host on the agent's own segment."""

    name: str | None = None
    """The PTR name as DNS gave it: whoever owns the reverse zone wrote it, so it is not to be trusted."""

    vendor: str | None = None
    """Manufacturer of the network interface by its MAC address, from nmap's list."""

    address: Address | None = None
    """The address as phpIPAM has it; None if it is new there."""

    @property
    def mac_changed(self) -> bool:
        """Whether phpIPAM has another MAC address for it."""
        return bool(self.mac and self.address and self.address.mac and self.address.mac != self.mac)


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What the scan of a subnet found, or of a part of a large one."""

    subnet: Subnet
    hosts: tuple[Host, ...]
    seen: datetime
    """When the scan ended, with its zone."""

    seconds: float
    """How long it took."""

    probed: int = 0
    """How many addresses were probed for it."""

    parts: int = 1
    """How many results there are of this subnet in the run."""

    silent: tuple[Address, ...] = ()
    """Addresses in phpIPAM that were probed and did not answer; none if anything failed or is in doubt."""

    error: str | None = None
    """Why something is missing, if it is; the hosts are those that had been found by then."""

    def status(self, host: Host) -> str:
        """Return `new`, `known`, or `back` for an address that phpIPAM last saw longer ago than a day, or never."""
        if host.address is None:
            return "new"
        return "known" if self.saw_recently(host.address) else "back"

    def saw_recently(self, address: Address) -> bool:
        """Return whether phpIPAM last saw an address within a day before this scan.

        phpIPAM's times have no zone. Agent and phpIPAM report and show local times of the same zone.
        """
        return bool(address.last_seen and address.last_seen > self.seen.replace(tzinfo=None) - RECENT)

    @property
    def missing(self) -> tuple[Address, ...]:
        """Silent addresses that phpIPAM saw within a day."""
        return tuple(filter(self.saw_recently, self.silent))


@dataclass(frozen=True, slots=True)
class Row:
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


@dataclass(frozen=True, slots=True)
class Report:
    """The newest known state of a subnet, or of a block of a large one, for the Scan Server."""

    network: IPNetwork

    subnet_id: int | None
    """phpIPAM's id of the subnet; None in a report of an older version's spool that has no host."""

    made: datetime
    """When the last scan in it ended, with its zone."""

    rows: tuple[Row, ...] = ()
    """Each address once."""

    silent: tuple[int, ...] = ()
    """phpIPAM's ids of the addresses that were probed in the last scan and did not answer."""

    block: int = 0
    """The number of the block in a large subnet."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went with one subnet: done, skipped with the reason, or failed with the error."""

    subnet: str
    """The network as phpIPAM has it, `192.0.2.0/24`."""

    id: int | None = None
    """phpIPAM's id of the subnet."""

    up: int = 0
    """Hosts that answered."""

    known: int = 0
    """Those of them that phpIPAM already has."""

    back: int = 0
    """Known ones that phpIPAM last saw longer ago than a day, or never."""

    mac_changed: int = 0
    """Known ones with another MAC address than in phpIPAM."""

    missing: int = 0
    """Addresses that did not answer and that phpIPAM saw within a day."""

    seconds: float = 0.0
    """How long the scan took."""

    uploaded: bool = False
    """Whether the Scan Server has taken every report of it."""

    waiting: bool = False
    """Whether a report of it waits for the next run."""

    skipped: str | None = None
    """Why the subnet was left alone."""

    error: str | None = None
    """What failed, and what to do."""

    @property
    def new(self) -> int:
        """Hosts that answered and that phpIPAM does not have."""
        return self.up - self.known


@dataclass(frozen=True, slots=True)
class Summary:
    """How the run went."""

    outcomes: tuple[Outcome, ...] = ()

    problems: tuple[str, ...] = ()
    """What failed beside the subnets of this run: reports of earlier ones, or what waits for the next."""

    cache_age: float = 0.0
    """Seconds since phpIPAM gave the oldest of the answers used."""

    @property
    def failed(self) -> bool:
        """Whether anything did."""
        return bool(self.problems) or any(outcome.error for outcome in self.outcomes)


@dataclass(frozen=True, slots=True)
class Check:
    """What `--check` found out about one thing."""

    name: str

    passed: bool
    detail: str

    advice: str | None = None
    """What to do about it; with `passed`, a warning."""
