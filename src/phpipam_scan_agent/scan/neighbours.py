"""Candidates for host discovery in an IPv6 subnet too large to probe whole: neighbours on the link."""

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property
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


class Neighbours:
    """The hosts on the agent's links, found by one multicast for the first subnet that needs candidates."""

    def __init__(self, nmap: Nmap, links: Sequence[Link], processes: Processes) -> None:
        self._nmap = nmap
        self._links = links
        self._processes = processes

    def with_candidates(self, subnet: Subnet) -> Subnet:
        """Return the subnet, with candidates if it is too large to probe whole.

        A host answers a multicast from one of its addresses, and does not list the others. Candidates are the
        addresses with the interface identifier of a link-local one, and the kernel's neighbour table.
        """
        if not subnet.discover or not targets.too_large(subnet.network):
            return subnet
        link = next((link for link in self._links if subnet.network == link.address.network), None)
        if link is None or not self._nmap.raw:
            log.info("subnet %s: too large to probe whole; only known addresses are checked", subnet.network)
            return subnet
        return subnet._replace(candidates=_candidates(subnet.network, self._all | {link.address.ip}))

    @cached_property
    def _all(self) -> set[IPAddress]:
        try:
            done = self._processes.run((self._nmap.path, *probes.NEIGHBOURS), "", TIMEOUT)
            answered = {host.ip for host in nmap_xml.read(done.stdout)}
        except ScanError as error:
            log.warning("IPv6 neighbour discovery failed: %s", error)
            answered = set()
        return answered | network.neighbours().keys()


def _candidates(network: IPNetwork, neighbours: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
    first = int(network.network_address)
    guessed = {IPv6Address(first | (int(ip) & INTERFACE_ID)) for ip in neighbours if ip.is_link_local}
    return tuple(sorted(ip for ip in guessed | set(neighbours) if ip in network))
