"""Neighbours on the link: where to look in an IPv6 subnet that is too large to be probed whole."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv6Address

from .. import command, hosts, probe
from ..errors import ScanError
from ..models import IPAddress, IPNetwork, Subnet
from . import machine
from .machine import Link, Nmap
from .process import Processes

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds for the multicast scripts, which take 2 to 3."""

INTERFACE_ID = (1 << 64) - 1
"""The bits of an address that many hosts keep in every network."""


def with_candidates(
    subnets: Iterable[Subnet], nmap: Nmap, links: Iterable[Link], processes: Processes
) -> list[Subnet]:
    """Return the subnets, those too large to be probed whole with the addresses that are worth a probe.

    Whoever answers a multicast on the link does so from its link-local address; nobody says which other
    addresses it has. Those that share its interface identifier are tried, and what the kernel's neighbour
    table has.
    """
    found: dict[str, set[IPAddress]] = {}
    whole = []
    for subnet in subnets:
        if subnet.discover and probe.too_large(subnet.network):
            link = next((link for link in links if subnet.network == link.address.network), None)
            if link is None or not nmap.raw:
                log.info(
                    "subnet %s: too large for all of it; its known addresses are checked", subnet.network
                )
            else:
                if link.name not in found:
                    found[link.name] = _neighbours(nmap, link.name, processes)
                candidates = _candidates(subnet.network, found[link.name] | {link.address.ip})
                subnet = replace(subnet, candidates=candidates)
        whole.append(subnet)
    return whole


def _neighbours(nmap: Nmap, interface: str, processes: Processes) -> set[IPAddress]:
    line = (nmap.path, *command.neighbours(interface))
    ended = processes.run(line, "", PATIENCE)
    try:
        answered = {host.ip for host in hosts.read(nmap.parser, ended.xml)}
    except ScanError as error:
        log.warning("no neighbours on %s: %s", interface, error)
        answered = set()
    return answered | machine.neighbours().keys()


def _candidates(network: IPNetwork, neighbours: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
    first = int(network.network_address)
    guessed = {IPv6Address(first | (int(ip) & INTERFACE_ID)) for ip in neighbours if ip.is_link_local}
    return tuple(sorted(ip for ip in guessed | set(neighbours) if ip in network))
