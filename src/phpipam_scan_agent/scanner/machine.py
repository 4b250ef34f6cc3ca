"""What the machine gives a scan: nmap, the right to open raw sockets, and the MAC addresses it knows."""

import json
import logging
import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from pathlib import Path
from typing import Any

import nmap

from ..errors import UsageError
from ..models import IPAddress

log = logging.getLogger(__name__)

OLDEST = (7, 80)
"""The nmap of Ubuntu 22.04; older ones were never tried."""

CAP_NET_RAW = 13
"""The bit of the capability that opens raw sockets, from linux/capability.h."""


@dataclass(frozen=True, slots=True)
class Nmap:
    """The nmap that was found."""

    path: str
    version: tuple[int, int]
    raw: bool
    """Whether it may open raw sockets: ARP and ICMP probes, MAC addresses; else it only connects."""

    parser: Any
    """python-nmap's; making one runs `nmap -V`, so one serves the whole run."""


def find_nmap() -> Nmap:
    """Return the machine's nmap. Raise UsageError if there is none that works or it is too old."""
    path = shutil.which("nmap")
    if path is None:
        raise UsageError("nmap is not installed, or not on PATH; install it: apt-get install nmap")
    try:
        parser = nmap.PortScanner(nmap_search_path=(path,))
    except nmap.PortScannerError as error:
        raise UsageError(f"{path} is no nmap that works: {error}") from None
    version = parser.nmap_version()
    if version < OLDEST:
        raise UsageError(
            f"{path} is nmap {version[0]}.{version[1]}; {OLDEST[0]}.{OLDEST[1]} or later is needed"
        )
    return Nmap(path, version, may_open_raw_sockets(path), parser)


def may_open_raw_sockets(path: str) -> bool:
    """Return whether a program at this path may, by who runs it or by its own file capability."""
    status = Path("/proc/self/status").read_text()
    # Root hands on what it has; somebody else only what is ambient, as a systemd unit gives it.
    handed_on = "CapEff" if os.geteuid() == 0 else "CapAmb"
    found = re.search(rf"^{handed_on}:\s*([0-9a-f]+)$", status, re.MULTILINE)
    if found and int(found[1], 16) >> CAP_NET_RAW & 1:
        return True
    if re.search(r"^NoNewPrivs:\s*1$", status, re.MULTILINE):
        return False
    with suppress(OSError):
        # linux/capability.h: revision and flags, then what is permitted, 4 bytes each, little endian
        attribute = os.getxattr(path, "security.capability")
        return bool(int.from_bytes(attribute[4:8], "little") >> CAP_NET_RAW & 1)
    return False


@dataclass(frozen=True, slots=True)
class Link:
    """An address of the machine on Ethernet."""

    name: str
    """The interface's."""

    address: IPv4Interface | IPv6Interface
    """With the prefix length of the segment's network."""

    mac: str


def own_links() -> list[Link]:
    """Return the machine's own addresses on Ethernet."""
    return [
        Link(link["ifname"], ip_interface(f"{at['local']}/{at['prefixlen']}"), link["address"].upper())
        for link in _ip("address")
        if link.get("link_type") == "ether"
        for at in link["addr_info"]
        if "local" in at
    ]


def neighbours() -> dict[IPAddress, str]:
    """Return the kernel's neighbour table: hosts of the same segment with their MAC addresses."""
    return {ip_address(row["dst"]): row["lladdr"].upper() for row in _ip("neighbour") if "lladdr" in row}


def _ip(table: str) -> list[dict[str, Any]]:
    """Return what iproute2 knows; it speaks netlink, which also has IPv6. Nothing, if it is not there."""
    try:
        done = subprocess.run(["ip", "-json", table, "show"], capture_output=True, check=True, timeout=10)
        return [row for row in json.loads(done.stdout or b"[]") if row]
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.info("no MAC addresses from the kernel: ip -json %s show: %s", table, error)
        return []
