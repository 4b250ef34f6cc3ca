"""The nmap of the machine: its path, version and right to open raw sockets."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from ..system.redact import excerpt

OLDEST = (7, 80)
"""Oldest supported version, Ubuntu 22.04's; older ones are untested."""

VERSION_TIMEOUT = 20.0
"""Time limit of `nmap -V`, in seconds."""

CAP_NET_RAW = 13
"""CAP_NET_RAW's bit number in linux/capability.h."""


class Nmap(NamedTuple):
    """The machine's nmap."""

    path: str
    version: tuple[int, int]
    raw: bool
    """Whether it may open raw sockets, for ARP and ICMP probes; otherwise it can only make TCP connections."""

    @property
    def dotted(self) -> str:
        """The version as nmap writes it."""
        return _dotted(self.version)


def find_nmap() -> Nmap:
    """Return the machine's nmap. Raise UsageError if it is missing, broken or too old."""
    path = shutil.which("nmap")
    if path is None:
        raise UsageError("nmap is not installed, or not on PATH; install it: apt-get install nmap")
    version = _version(path)
    if version < OLDEST:
        raise UsageError(
            f"{path} is nmap {_dotted(version)}; {_dotted(OLDEST)} or later is needed: upgrade it"
        )
    return Nmap(path, version, may_open_raw_sockets(path) and not raw_socket_error())


def raw_socket_error() -> str | None:
    """Try to open raw sockets, and return why the kernel refuses one although this process has CAP_NET_RAW.

    A container, seccomp or AppArmor may forbid them. Without the capability in this process, as where only nmap has
    it, no socket can be tried.
    """
    if not _has_capability("CapEff"):
        return None
    for family, protocol in ((socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_PACKET, 0)):
        try:
            socket.socket(family, socket.SOCK_RAW, protocol).close()
        except OSError as error:
            return error.strerror
    return None


def _version(path: str) -> tuple[int, int]:
    try:
        done = subprocess.run([path, "-V"], capture_output=True, timeout=VERSION_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{path} is no working nmap: {error}") from None
    found = re.search(rb"Nmap version (\d+)\.(\d+)", done.stdout)
    if not found:
        printed = excerpt((done.stderr or done.stdout).decode("utf-8", "replace"), 200) or "nothing"
        raise UsageError(f"{path} is no working nmap; it prints: {printed}")
    return int(found[1]), int(found[2])


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]:02d}"


def may_open_raw_sockets(path: str) -> bool:
    """Return whether a program at this path may open raw sockets, by its user or its file capability."""
    # Root passes on its effective set; other users only the ambient set, as from a systemd unit.
    if _has_capability("CapEff" if os.geteuid() == 0 else "CapAmb"):
        return True
    if _status("NoNewPrivs") == "1":
        return False
    try:
        attribute = os.getxattr(path, "security.capability")
    except OSError:
        return False
    # linux/capability.h: revision with the flag "effective", then the permitted set, each little endian
    effective = attribute[0] & 1
    return bool(effective and int.from_bytes(attribute[4:8], "little") >> CAP_NET_RAW & 1)


def _has_capability(set_name: str) -> bool:
    """Return whether a set of the process's capabilities, such as `CapEff`, has CAP_NET_RAW."""
    return bool(int(_status(set_name), 16) >> CAP_NET_RAW & 1)


def _status(field: str) -> str:
    """Return a field of the process's status, `0` if the kernel does not give it. Raise UsageError without /proc."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError as error:
        raise UsageError(f"/proc/self/status cannot be read ({error.strerror}); mount /proc") from None
    found = re.search(rf"^{field}:\s*(\S+)$", text, re.MULTILINE)
    return found[1] if found else "0"
