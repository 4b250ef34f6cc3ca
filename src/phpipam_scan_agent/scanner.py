"""Run nmap over the subnets and yield what it found."""

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import nmap

from . import hosts, names, probe
from .errors import ScanError, UsageError
from .models import Host, Outcome, ScanResult, Subnet

log = logging.getLogger(__name__)


def scan(subnets: Sequence[Subnet], now: Callable[[], datetime]) -> Iterator[ScanResult | Outcome]:
    """Given subnets, yield each one's ScanResult, or an Outcome with the error if nmap could not scan it.

    `now` gives the agent's time with its zone. Raise UsageError if there is no nmap.
    """
    parser = _parser()
    for subnet in subnets:
        started = time.monotonic()
        try:
            found = _scan(parser, subnet)
        except ScanError as error:
            yield Outcome(str(subnet.network), subnet.id, error=str(error))
        else:
            seconds = time.monotonic() - started
            log.info("subnet %s: %d hosts up after %.1f s", subnet.network, len(found), seconds)
            yield ScanResult(subnet, found, now(), seconds)


def _scan(parser: Any, subnet: Subnet) -> tuple[Host, ...]:
    log.info("subnet %s: scanning", subnet.network)
    found = hosts.read(parser, _run(probe.NMAP, probe.targets(subnet), str(subnet.network)))
    if not subnet.resolve_names:
        return found
    named = names.look_up((host.ip for host in found), subnet.nameservers)
    return tuple(replace(host, name=named.get(host.ip)) for host in found)


def _parser() -> Any:
    """Return python-nmap's parser; making one runs `nmap -V`, so one serves the whole run."""
    path = shutil.which("nmap")
    try:
        if path is None:
            raise UsageError("nmap is not installed, or not on PATH; install it: apt-get install nmap")
        parser = nmap.PortScanner(nmap_search_path=(path,))
    except nmap.PortScannerError as error:
        raise UsageError(f"{path} is no nmap that works: {error}") from None
    log.info("nmap %d.%d", *parser.nmap_version())
    return parser


def _run(command: Sequence[str], targets: str, place: str) -> str:
    """Run nmap to its end and return its XML. It is never left behind, whatever ends the wait."""
    log.debug("subnet %s: %s", place, " ".join(command))
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",  # PTR names and nmap's messages are whatever bytes they are
        start_new_session=True,
    ) as process:
        try:
            xml, complaints = process.communicate(targets)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    said = [line for line in complaints.splitlines() if line.strip()]
    if process.returncode:
        why = " ".join(said)[:300] or "no reason given"
        raise ScanError(f"nmap failed (exit {process.returncode}): {why}")
    for line in said:
        log.info("subnet %s: nmap says: %s", place, line)
    return xml
