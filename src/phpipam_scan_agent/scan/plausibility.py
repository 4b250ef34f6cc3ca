"""Machines that answer for unused addresses: routers with proxy ARP, firewalls, SYN proxies. Pure.

nmap calls an address up after a single answer, from any machine. An answerer is one MAC address for ARP replies, and
one kind of answer with one TTL for the others. It is a suspect if it answers for almost all addresses without another
answerer (its coverage). The addresses of a suspect are probed again by other means. The rule was found in
simulated networks (tests/network, tests/bench); these figures are those of their model in tests/scan, of 254 and 14
addresses. "Quiet" hosts drop ICMP; "share" is the part of the dead addresses that is answered for:

| network                               | answerer      | addresses | coverage | farther away | same distance |
|---------------------------------------|---------------|----------:|---------:|-------------:|--------------:|
| proxy ARP, 5 / 40 / 90 % live, 5 % loss| router's MAC |238/160/28 |97-100 %  |            - |             - |
| proxy ARP, share 79 %, the same       | router's MAC  |199/127/23 |  79-83 % |            - |             - |
| server with 60 addresses, 5-75 % live | its MAC       |        60 |  24-52 % |            - |             - |
| RST firewall, 5 % live, 5 % loss      | firewall      |       238 |    100 % |           15 |             0 |
| RST firewall, 90 % live, 20 % quiet   | firewall      |        28 |    100 % |          226 |             0 |
| the same                              | RST, hosts    |        48 |    100 % |            0 |           178 |
| SYN proxy, 40 % live, 5 % loss        | firewall      |       160 |     99 % |           93 |             0 |
| echoes, share 79 %, 5 % live          | firewall      |       199 |     83 % |           15 |             0 |
| none, 90 % live, 50 % quiet           | RST, hosts    |       107 |     79 % |            0 |           119 |
| none, all 14 live, 50 % quiet         | echo, hosts   |         9 |    100 % |            0 |             5 |
| none, 95 % live                       | echo, hosts   |       241 |     95 % |            0 |             0 |

The distance (routers on the way, from the TTL) separates a firewall from the hosts behind it. An answerer that is
nearer than the other answering hosts is a suspect from a coverage of 60 % on; without such a difference, only in a
subnet without silent addresses.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from ..models import Host
from ..plan import ranges
from ..plan.ranges import Ranges
from .probes import Probes

MIN_COVERAGE = 0.6
"""Minimum coverage of a suspect. Where 79 % of the dead addresses are answered for, chance leaves 64 % in a /28, or
68 % of the 25 dead ones in a /24 that is 90 % live. No legitimate answerer had between 60 and 70 %."""

FULL_COVERAGE = 0.99
"""Minimum coverage where no distance distinguishes the answerer from the hosts. Of 254 dead addresses with two probes
each, one stays without an answer at 5 % loss; a subnet with five silent addresses is only well filled."""

MIN_NEARER = 4
"""Minimum number of addresses of a suspect's MAC, and of a nearer suspect: two routers and their virtual address have
three. A /28 that is 90 % live has fewer dead addresses than that. In a subnet without silent addresses one is enough
for a nearer suspect that answers by TCP, since routers answer echo."""

MIN_ADDRESSES = 8
"""Minimum number of addresses of any other suspect."""

MIN_KNOWN = 13
"""Minimum number where only known addresses are checked, which may all be up and on one server."""

MIN_SAMPLE = 32
"""Minimum sample size for the share of RST to be significant where distances do not differ."""

RST_SHARE = 0.75
"""Share of RST among the answers that no network of hosts has."""

MIN_FARTHER = 3
"""Minimum number of hosts farther away in a subnet with silent addresses; an unusual initial TTL looks like
distance."""

AGREEING_SHARE = 0.25
"""Minimum share of a suspect's addresses that answer other probes from its own distance, for the conclusion that the
hosts themselves answer."""

MAX_RST_TTLS = 6
"""Maximum number of different TTLs of RST from the hosts of a subnet; a firewall may send random ones."""

INITIAL_TTLS = (64, 128, 255)


class Kind(Enum):
    """The kind of answer for which nmap calls a host up; the value is nmap's names for it."""

    ARP = ("arp-response", "nd-response")
    ECHO = ("echo-reply",)
    TIMESTAMP = ("timestamp-reply",)
    SYN_ACK = ("syn-ack",)
    RST = ("reset", "conn-refused")

    @property
    def is_tcp(self) -> bool:
        """Whether it answers a TCP probe, not ICMP or ARP."""
        return self in (Kind.SYN_ACK, Kind.RST)


KINDS = {reason: kind for kind in Kind for reason in kind.value}


class Answers(NamedTuple):
    """The answers of the addresses of a subnet, or of a chunk of it."""

    network: str
    probed: int
    """Number of addresses probed."""

    hosts: tuple[Host, ...]
    whole: bool
    """Whether every address was probed, not only known addresses, which may all be up."""

    reserved: Ranges = ()
    """Addresses of the subnet that no host can have."""


class Suspect(NamedTuple):
    """An answerer with more addresses than is plausible."""

    kind: Kind
    hosts: tuple[Host, ...]
    nearer: bool = False
    """Whether the hosts with other answers are farther away."""

    @property
    def distance(self) -> int | None:
        """Number of routers on the path to it, or None if its answers have several TTLs."""
        distances = {distance(host.ttl) for host in self.hosts}
        return distances.pop() if len(distances) == 1 else None

    def __str__(self) -> str:
        """Return its name and activity, for a message."""
        if self.kind is Kind.ARP:
            return f"{self.hosts[0].mac} seems to answer ARP requests (proxy ARP)"
        where = "" if self.distance is None else f" at distance {self.distance}"
        return f"a firewall{where} seems to answer ({self.kind.name.replace('_', '/')})"


class Undecided(NamedTuple):
    """An answerer that is a suspect if it also answers for the control addresses."""

    network: str
    suspect: Suspect
    kinds: Probes
    controls: Ranges
    """The addresses to probe: no host has them, or none serves the port."""

    def is_proven(self, found: Iterable[Host]) -> bool:
        """Return whether the suspect answers for the control addresses.

        One answer for an address without a host is enough; at an unserved port more than half of the addresses have
        to answer, since a honeypot serves every port.
        """
        kind, ttl = self.suspect.kind, self.suspect.hosts[0].ttl
        same = sum(KINDS.get(host.reason) is kind and host.ttl == ttl for host in found)
        return 2 * same > ranges.size(self.controls) if self.kinds is Probes.UNSERVED else same > 0


def suspects(answers: Answers) -> tuple[Suspect, ...]:
    """Return the suspicious answerers of a subnet. Loopback is never suspicious."""
    groups = _by_answerer(answers.hosts)
    resets = [group for (kind, _), group in groups.items() if kind is Kind.RST]
    found = [
        suspect
        for (kind, _), group in groups.items()
        if (kind is not Kind.RST or len(resets) <= MAX_RST_TTLS)
        and (suspect := _suspect(kind, group, answers))
    ]
    if any(suspect.nearer for suspect in found):  # it explains that no address is silent
        return tuple(suspect for suspect in found if suspect.nearer or suspect.kind is Kind.ARP)
    if not any(suspect.kind is Kind.RST for suspect in found):
        found += _by_rst_alone([host for group in resets for host in group], answers)
    return tuple(found)


def undecided(answers: Answers) -> tuple[Undecided, ...]:
    """Return the answerers of a whole subnet that only further evidence makes suspects.

    A firewall also answers for the subnet's network or broadcast address, which no host has. Silence there proves
    nothing: Linux 6 with REJECT in its FORWARD chain answers for both, but as the last router only for the network
    address, and other last routers drop packets to both. So a full subnet of MIN_ADDRESSES or more hosts that only
    send RST from one distance is a suspect nevertheless. If addresses are silent, an answer proves nothing either:
    the subnet can be a part of a larger network in which a host has its first address. So RST or echoes for some
    addresses, with almost no host behind, look like hosts that drop all other probes. A SYN proxy answers at every
    port.
    """
    found = {suspect.hosts[0].ip for suspect in suspects(answers)}
    return tuple(
        Undecided(answers.network, Suspect(kind, tuple(group)), kinds, controls)
        for (kind, _), group in _by_answerer(answers.hosts).items()
        if group[0].ip not in found
        for kinds, controls in _controls(kind, group, answers)
        if controls  # a pool, or a /31, has no address without a host
    )


def accepted(suspect: Suspect, confirmed: Sequence[Host]) -> tuple[Host, ...]:
    """Given the answers of a suspect's addresses to probes by other means, return the hosts to report.

    By IP these are the hosts that answer independently of the suspect, or all its addresses if enough of them do so
    from its own distance. Behind a suspected MAC these are all that answer; they keep the MAC if no address is
    missing and none is farther away.
    """
    if suspect.kind is Kind.ARP:
        owns_all = len(confirmed) == len(suspect.hosts) and not any(distance(host.ttl) for host in confirmed)
        return tuple(host._replace(mac=suspect.hosts[0].mac if owns_all else None) for host in confirmed)
    independent = [host for host in confirmed if _is_independent(host, suspect)]
    agreeing = sum(distance(host.ttl) == suspect.distance for host in independent)
    return suspect.hosts if agreeing >= AGREEING_SHARE * len(suspect.hosts) else tuple(independent)


def distance(ttl: int) -> int | None:
    """Return the number of routers that an answer with this TTL has passed; None if the TTL is unknown."""
    if not ttl:
        return None
    return next(initial for initial in INITIAL_TTLS if ttl <= initial) - ttl


def _by_answerer(hosts: Iterable[Host]) -> dict[tuple[Kind, str | int | None], list[Host]]:
    groups: defaultdict[tuple[Kind, str | int | None], list[Host]] = defaultdict(list)
    for host in hosts:
        kind = KINDS.get(host.reason)
        if kind and not host.ip.is_loopback:
            groups[kind, host.mac if kind is Kind.ARP else host.ttl].append(host)
    return groups


def _suspect(kind: Kind, group: Sequence[Host], answers: Answers) -> Suspect | None:
    coverage = _coverage(group, answers)
    if coverage < MIN_COVERAGE:
        return None
    nearer = kind is not Kind.ARP and _is_nearer(group, answers.hosts, coverage)
    if not answers.whole:
        few = MIN_KNOWN
    elif nearer and kind.is_tcp and coverage >= FULL_COVERAGE:
        few = 1
    elif nearer or kind is Kind.ARP:
        few = MIN_NEARER
    else:
        few = MIN_ADDRESSES
    full = answers.whole and coverage >= FULL_COVERAGE and _is_no_host(kind, group, answers.hosts)
    suspicious = bool(group[0].mac) if kind is Kind.ARP else nearer or full
    return Suspect(kind, tuple(group), nearer) if suspicious and len(group) >= few else None


def _controls(kind: Kind, group: Sequence[Host], answers: Answers) -> Iterator[tuple[Probes, Ranges]]:
    """Yield probes, and the addresses to probe, to which no host answers."""
    coverage = _coverage(group, answers) if answers.whole else 0
    if kind is Kind.SYN_ACK and coverage >= MIN_COVERAGE and len(group) >= MIN_NEARER:
        yield Probes.UNSERVED, ranges.union(ranges.of_ips(host.ip for host in group[:MIN_ADDRESSES]))
    if coverage < FULL_COVERAGE or not _is_no_host(kind, group, answers.hosts):
        return
    if kind.is_tcp:
        yield Probes.TCP, answers.reserved
    elif kind is Kind.ECHO and len(group) == len(answers.hosts) >= MIN_NEARER:  # their router would be nearer
        yield Probes.ICMP, answers.reserved


def _coverage(group: Sequence[Host], answers: Answers) -> float:
    """Return the share of the addresses without another answerer that this one answers for."""
    silent = answers.probed - len(answers.hosts)
    return len(group) / (len(group) + silent)


def _is_nearer(group: Sequence[Host], hosts: Iterable[Host], coverage: float) -> bool:
    """Return whether most hosts with another TTL are farther away than this answerer."""
    ttl = group[0].ttl
    here = distance(ttl)
    others = [distance(host.ttl) for host in hosts if host.ttl not in (0, ttl)]
    farther = sum(there > here for there in others if there is not None and here is not None)
    return farther > others.count(here) and farther >= (1 if coverage >= FULL_COVERAGE else MIN_FARTHER)


def _is_no_host(kind: Kind, group: Sequence[Host], hosts: Iterable[Host]) -> bool:
    """Return whether the answerer of a full subnet can be a suspect: not for RST if other answers have its distance.

    RST is the only answer of hosts that drop ICMP.
    """
    here = distance(group[0].ttl)
    return kind is not Kind.RST or not any(
        distance(host.ttl) == here and KINDS.get(host.reason) is not kind for host in hosts
    )


def _by_rst_alone(resets: Sequence[Host], answers: Answers) -> list[Suspect]:
    """Return the RST answers of all distances as one suspect: a firewall can send the hosts' TTL, or random ones."""
    significant = answers.whole and len(resets) >= max(MIN_SAMPLE, RST_SHARE * len(answers.hosts))
    covers = significant and _coverage(resets, answers) >= FULL_COVERAGE
    return [Suspect(Kind.RST, tuple(resets))] if covers else []


def _is_independent(host: Host, suspect: Suspect) -> bool:
    """Return whether an answer comes from another machine than the suspect.

    A SYN proxy may answer ACK as well, and a router both kinds of ICMP. In a small subnet without hosts farther away
    another kind of answer is enough.
    """
    kind = KINDS.get(host.reason)
    if kind is None or kind.is_tcp is not suspect.kind.is_tcp:
        return True
    small = len(suspect.hosts) < MIN_SAMPLE and not suspect.nearer
    return kind is not suspect.kind and (small or distance(host.ttl) != suspect.distance)
