"""What the machine gives a scan: nmap, the right to open raw sockets, and the MAC addresses it knows."""

import errno
import json
import logging
import os
import re
import shutil
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from pathlib import Path
from typing import Any

import nmap

from ..errors import UsageError
from ..masking import quoted
from ..models import IPAddress

log = logging.getLogger(__name__)

OLDEST = (7, 80)
"""The nmap of Ubuntu 22.04; older ones were never tried."""

PATIENCE = 20.0
"""Seconds for `nmap -V`."""

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
    """python-nmap's, of which every reader takes a copy."""

    @property
    def dotted(self) -> str:
        """The version as nmap writes it."""
        return _dotted(self.version)


def find_nmap() -> Nmap:
    """Return the machine's nmap. Raise UsageError if there is none that works or it is too old."""
    path = shutil.which("nmap")
    if path is None:
        raise UsageError("nmap is not installed, or not on PATH; install it: apt-get install nmap")
    version = _version(path)
    if version < OLDEST:
        raise UsageError(f"{path} is nmap {_dotted(version)}; {_dotted(OLDEST)} or later is needed")
    # Without its constructor, which runs `nmap -V` once more, and breaks on what is not UTF-8.
    parser = nmap.PortScanner.__new__(nmap.PortScanner)
    return Nmap(path, version, may_open_raw_sockets(path), parser)


def _version(path: str) -> tuple[int, int]:
    try:
        done = subprocess.run([path, "-V"], capture_output=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{path} is no nmap that works: {error}") from None
    found = re.search(rb"Nmap version (\d+)\.(\d+)", done.stdout)
    if not found:
        said = quoted((done.stderr or done.stdout).decode("utf-8", "replace"), 200) or "nothing"
        raise UsageError(f"{path} is no nmap that works; it says: {said}")
    return int(found[1]), int(found[2])


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]:02d}"


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
        # linux/capability.h: revision with the flag "effective", then what is permitted, each little endian
        attribute = os.getxattr(path, "security.capability")
        effective = attribute[0] & 1
        return bool(effective and int.from_bytes(attribute[4:8], "little") >> CAP_NET_RAW & 1)
    return False


@dataclass(frozen=True, slots=True)
class Link:
    """An address of the machine on Ethernet."""

    name: str
    """The interface's."""

    address: IPv4Interface | IPv6Interface
    """With the prefix length of the segment's network."""

    mac: str


def has_route(ip: IPAddress) -> bool:
    """Return whether the kernel knows a way to an address; nothing is sent."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((str(ip), 9))
    except OSError as error:
        return error.errno not in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)
    return True


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
