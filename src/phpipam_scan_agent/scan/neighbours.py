"""Candidates for host discovery in an IPv6 subnet too large to probe whole: neighbours on the link."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv6Address

from ..errors import ScanError
from ..models import IPAddress, IPNetwork, Subnet
from ..plan import targets
from . import network, nmap_xml, probes
from .network import Link
from .nmap import Nmap
from .process import Processes

log = logging.getLogger(__name__)

TIMEOUT = 60.0
"""Time limit of the multicast scripts, in seconds; they take 2 to 3."""

INTERFACE_ID = (1 << 64) - 1
"""Mask of the interface identifier, which many hosts keep in every network."""


def with_candidates(
    subnets: Iterable[Subnet], nmap: Nmap, links: Iterable[Link], processes: Processes
) -> list[Subnet]:
    """Return the subnets; each that is too large to probe whole gets its candidates.

    A host answers a multicast from one of its addresses, and does not list the others. Candidates are the
    addresses with the interface identifier of a link-local one, and the kernel's neighbour table.
    """
    neighbours: set[IPAddress] | None = None
    whole = []
    for subnet in subnets:
        if subnet.discover and targets.too_large(subnet.network):
            link = next((link for link in links if subnet.network == link.address.network), None)
            if link is None or not nmap.raw:
                log.info(
                    "subnet %s: too large to probe whole; only known addresses are checked", subnet.network
                )
            else:
                neighbours = neighbours or _neighbours(nmap, processes)
                candidates = _candidates(subnet.network, neighbours | {link.address.ip})
                subnet = replace(subnet, candidates=candidates)
        whole.append(subnet)
    return whole


def _neighbours(nmap: Nmap, processes: Processes) -> set[IPAddress]:
    try:
        ended = processes.run((nmap.path, *probes.NEIGHBOURS), "", TIMEOUT)
        answered = {host.ip for host in nmap_xml.read(nmap.parser, ended.xml)}
    except ScanError as error:
        log.warning("no neighbours are known: %s", error)
        answered = set()
    return answered | network.neighbours().keys()


def _candidates(network: IPNetwork, neighbours: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
    first = int(network.network_address)
    guessed = {IPv6Address(first | (int(ip) & INTERFACE_ID)) for ip in neighbours if ip.is_link_local}
    return tuple(sorted(ip for ip in guessed | set(neighbours) if ip in network))
