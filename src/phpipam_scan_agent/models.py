"""The frozen values that travel through a run, each made by one stage and read by the next."""

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Address:
    """An address that phpIPAM knows."""

    id: int
    ip: IPAddress


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet that phpIPAM assigns to this agent."""

    id: int
    """phpIPAM's id. It is the key: subnets of different VRFs may have the same network."""

    network: IPNetwork

    discover: bool
    """Look for hosts in the whole subnet."""

    resolve_names: bool
    """Look up the names of the hosts found."""

    nameservers: tuple[IPAddress, ...] = ()
    """Where to look names up, in this order; the system's nameservers if empty."""

    nameserver_set: int = 0
    """phpIPAM's id of its nameservers, which come with the subnet or are to be asked for; 0 for none."""

    addresses: tuple[Address, ...] = ()
    """What phpIPAM knows of it; some may lie outside the network."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host that answered."""

    ip: IPAddress

    mac: str | None = None
    """MAC address in upper case with colons; only for a host on the agent's own segment."""

    name: str | None = None
    """The PTR name as DNS gave it: whoever owns the reverse zone wrote it, so it is not to be trusted."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What the scan of a subnet found."""

    subnet: Subnet
    hosts: tuple[Host, ...]
    seen: datetime
    """When the scan ended, with its zone."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """What the Scan Server is told of a subnet."""

    network: IPNetwork

    scan: str
    """The JSON of `scan`, without the scan agent code, which the server stage adds."""


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

    seconds: float = 0.0
    """How long the scan took."""

    uploaded: bool = False
    """Whether the Scan Server has taken every report of it."""

    skipped: str | None = None
    """Why the subnet was left alone."""

    error: str | None = None
    """What failed, and what to do."""

    @property
    def new(self) -> int:
        """Hosts that answered and that phpIPAM does not have."""
        return self.up - self.known
