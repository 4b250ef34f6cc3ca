"""What travels through the stages: a subnet, its hosts, a report of them."""

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

    exclude_ping: bool = False
    """phpIPAM wants it left alone."""


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

    nameserver_set: int = 0
    """phpIPAM's id of its nameservers, which come with the subnet or are to be asked for; 0 for none."""

    addresses: tuple[Address, ...] = ()
    """What phpIPAM knows of it; some may lie outside the network."""

    unknown: str | None = None
    """Why its addresses are not there, if phpIPAM did not hand them out."""

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

    error: str | None = None
    """Why something is missing, if it is; the hosts are those that had been found by then."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the Scan Server is told of a subnet."""

    network: IPNetwork

    scan: str
    """The JSON of `scan`, without the scan agent code, which the server stage adds."""

    hosts: int = 0
    """How many there are in it."""
