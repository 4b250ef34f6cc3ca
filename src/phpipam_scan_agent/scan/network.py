"""The machine's network: links, routes and neighbour table."""

import errno
import json
import logging
import re
import socket
import subprocess
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Any, NamedTuple

from ..models import IPAddress
from ..plan import ranges
from ..plan.jobs import Route
from ..plan.ranges import Ranges
from .plausibility import MIN_NEARER

log = logging.getLogger(__name__)

NO_ROUTE = "this machine has no route to it; check its address in phpIPAM and the machine's routes"

NO_CARRIER = (
    "interface {ifname}, which leads to it, has no carrier (state {operstate}): check the cable, or the route if it"
    " should use another interface"
)


class Link(NamedTuple):
    """An address of the machine on an Ethernet interface."""

    name: str
    """Name of the interface."""

    address: IPv4Interface | IPv6Interface
    """With the prefix length of the segment's network."""

    mac: str


class LocalNetwork:
    """The machine's interfaces and routes, each read at its first use; no packet is sent.

    The prefixes of the interfaces are not enough: a more specific route can lead 10.5.0.0/16 through a router
    although the interface has 10.0.0.1/8. nmap asks the kernel, and misses a third of such hosts with ARP's options.
    """

    def __init__(self) -> None:
        self._devices = {link["ifname"]: link for link in _ip("address", "show")}
        self._edges: dict[int, list[int]] = {}

    @property
    def links(self) -> list[Link]:
        """The machine's addresses on Ethernet interfaces."""
        return [
            Link(link["ifname"], ip_interface(f"{at['local']}/{at['prefixlen']}"), link["address"].upper())
            for link in self._devices.values()
            if link.get("link_type") == "ether"
            for at in link["addr_info"]
            if "local" in at
        ]

    def routes(self, version: int, wanted: Sequence[Ranges]) -> list[dict[Route, Ranges]]:
        """Return the routes to each set of addresses; 4,000 subnets take 0.2 s.

        Between the edges of all routes and rules every address has the same route. The kernel is asked for the first
        and the last address, since either can be the machine's own or a broadcast address.
        """
        if not wanted:
            return []
        if version not in self._edges:
            self._edges[version] = _edges(version)
        areas = [self._areas(version, whole) for whole in wanted]
        ends = {at for parts in areas for area in parts for at in (area[0].start, area[-1].stop - 1)}
        kernel = _kernel_routes(version, ends)
        found = []
        for parts in areas:
            by_route: dict[Route, Ranges] = {}
            for area in parts:
                route = self._route(version, area, kernel)
                by_route[route] = ranges.union((*by_route.get(route, ()), *area))
            found.append(by_route)
        return found

    def _areas(self, version: int, wanted: Ranges) -> list[Ranges]:
        """Cut addresses where a route or rule begins or ends."""
        edges = self._edges[version]
        areas: dict[int, list[range]] = {}
        for part in wanted:
            start = part.start
            while start < part.stop:
                at = bisect_right(edges, start)
                stop = min(part.stop, edges[at]) if at < len(edges) else part.stop
                areas.setdefault(at, []).append(range(start, stop))
                start = stop
        return [tuple(area) for area in areas.values()]

    def _route(self, version: int, area: Ranges, kernel: Mapping[int, Any]) -> Route:
        ends = (area[0].start, area[-1].stop - 1)
        if not (self._devices and kernel):  # no iproute2, or it fails or is too slow
            return Route() if has_route(ranges.address(ends[0], version)) else Route(error=NO_ROUTE)
        known = [kernel[at] for at in ends if at in kernel]
        route = next((route for route in known if "type" not in route), known[0] if known else None)
        if route is None or "dev" not in route:
            return Route(error=NO_ROUTE)
        device = self._devices.get(route["dev"], {})
        if "NO-CARRIER" in device.get("flags", ()) or device.get("operstate") == "LOWERLAYERDOWN":
            return Route(route["dev"], error=NO_CARRIER.format(**device))
        on_ethernet = device.get("link_type") == "ether" and "NOARP" not in device["flags"]
        return Route(route["dev"], on_ethernet and "gateway" not in route and "via" not in route)


def _edges(version: int) -> list[int]:
    """Return the first address of each network of the kernel's routes and rules, and the first one after it."""
    family = f"-{version}"
    shown: list[str] = [
        route["dst"]
        for route in _ip(family, "route", "show", "table", "all")
        if route.get("type", "unicast") not in ("local", "broadcast", "anycast", "multicast")
    ]
    shown += [
        rule["dst"] + (f"/{rule['dstlen']}" if "dstlen" in rule else "")
        for rule in _ip(family, "rule", "show")
        if "dst" in rule
    ]
    edges: set[int] = set()
    for dst in shown:
        if dst != "default":
            whole = ranges.of_network(ip_network(dst, strict=False))
            edges |= {whole.start, whole.stop}
    return sorted(edges)


def _kernel_routes(version: int, ips: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Return iproute2's row for each address that the kernel has a route to."""
    lines = "".join(f"route get {ranges.address(ip, version)}\n" for ip in ips)
    rows = _ip(f"-{version}", "-force", "-batch", "-", stdin=lines)
    return {int(ip_address(row["dst"])): row for row in rows}


def has_route(ip: IPAddress) -> bool:
    """Return whether the kernel has a route to an address; no packet is sent."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(ip), 9))
    except OSError as error:
        return error.errno not in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)
    return True


def neighbours() -> dict[IPAddress, str]:
    """Return the kernel's neighbour table: MAC addresses by IP address.

    A MAC address of many addresses is left out: a router with proxy ARP answers for all of them.
    """
    rows = _ip("neighbour", "show")
    macs = {ip_address(row["dst"]): mac for row in rows if (mac := host_mac(row.get("lladdr", "")))}
    number = Counter((ip.version, mac) for ip, mac in macs.items())
    return {ip: mac for ip, mac in macs.items() if number[ip.version, mac] < MIN_NEARER}


def host_mac(text: str) -> str | None:
    """Return a MAC address in upper case; None unless it is a unicast Ethernet address.

    The kernel's neighbour table also has IPv4 addresses of tunnels, InfiniBand addresses of 20 bytes, and zero.
    """
    mac = text.upper()
    six = re.fullmatch("[0-9A-F]{2}(:[0-9A-F]{2}){5}", mac)
    return mac if six and not int(mac[1], 16) & 1 and mac != "00:00:00:00:00:00" else None


def _ip(*arguments: str, stdin: str = "") -> list[dict[str, Any]]:
    """Return the rows of iproute2's JSON, which has IPv6 too, unlike /proc; none without iproute2.

    A batch prints a line of JSON for each command that succeeds.
    """
    command = ["ip", "-json", *arguments]
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, check=not stdin, timeout=10, text=True
        )
        return [row for line in done.stdout.splitlines() for row in json.loads(line or "[]") if row]
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.info("no answer from the kernel: %s: %s", " ".join(command), error)
        return []
