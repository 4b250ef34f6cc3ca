"""The machine's network: links, routes and neighbour table."""

import errno
import json
import logging
import socket
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from typing import Any

from ..models import IPAddress

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Link:
    """An address of the machine on an Ethernet interface."""

    name: str
    """Name of the interface."""

    address: IPv4Interface | IPv6Interface
    """With the prefix length of the segment's network."""

    mac: str


def has_route(ip: IPAddress) -> bool:
    """Return whether the kernel has a route to an address; no packet is sent."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((str(ip), 9))
    except OSError as error:
        return error.errno not in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)
    return True


def own_links() -> list[Link]:
    """Return the machine's addresses on Ethernet interfaces."""
    return [
        Link(link["ifname"], ip_interface(f"{at['local']}/{at['prefixlen']}"), link["address"].upper())
        for link in _ip("address")
        if link.get("link_type") == "ether"
        for at in link["addr_info"]
        if "local" in at
    ]


def neighbours() -> dict[IPAddress, str]:
    """Return the kernel's neighbour table: MAC addresses by IP address."""
    return {ip_address(row["dst"]): row["lladdr"].upper() for row in _ip("neighbour") if "lladdr" in row}


def _ip(table: str) -> list[dict[str, Any]]:
    """Return a table of iproute2's, which has IPv6 too, unlike /proc; empty without iproute2."""
    try:
        done = subprocess.run(["ip", "-json", table, "show"], capture_output=True, check=True, timeout=10)
        return [row for row in json.loads(done.stdout or b"[]") if row]
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.info("no MAC addresses from the kernel: ip -json %s show: %s", table, error)
        return []
