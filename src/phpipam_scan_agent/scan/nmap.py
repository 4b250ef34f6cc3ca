"""The nmap of the machine: its path, version and right to open raw sockets."""

import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nmap

from ..errors import UsageError
from ..system.redact import excerpt

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
        said = excerpt((done.stderr or done.stdout).decode("utf-8", "replace"), 200) or "nothing"
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
