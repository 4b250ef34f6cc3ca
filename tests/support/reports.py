"""Results and reports for tests that do not depend on their content."""

from datetime import datetime, timezone
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any

from phpipam_scan_agent.delivery.spool import Spool
from phpipam_scan_agent.delivery.spool_file import decode
from phpipam_scan_agent.models import Host, Report, ReportRow, ScanResult, Subnet

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=timezone.utc)


def result(id_: int = 10, hosts: int = 1, cidr: str | None = None, seen: datetime = NOON) -> ScanResult:
    """The scan result of a subnet, by default 192.0.`id_`.0/24."""
    network = ip_network(cidr or f"192.0.{id_}.0/24")
    first = int(network.network_address) + 1
    found = tuple(Host(IPv4Address(first + n)) for n in range(hosts))
    return ScanResult(Subnet(id_, network, discover=True), found, seen, seconds=1.0)


def report(id_: int = 10, hosts: int = 1, seen: datetime = NOON) -> Report:
    """The report of this result."""
    scanned = result(id_, hosts)
    return Report(
        scanned.subnet.network, id_, seen, tuple(ReportRow(host.ip, seen) for host in scanned.hosts)
    )


def ips(scan: dict[str, Any]) -> list[str]:
    """The addresses in a report's JSON."""
    return [row["ip"] for row in scan["results"]]


def waiting(state: Path) -> list[Report]:
    """The reports in the spool of a state folder, oldest first; reports of the same time by network."""
    files = [path for path in (state / "spool").glob("*.json") if not path.name.startswith(".")]
    return sorted(
        (decode(path.read_bytes()) for path in files), key=lambda report: (report.made, report.network)
    )


def open_spool(folder: Path) -> None:
    """Open the spool as a later run does, without limits of age and size."""
    Spool(folder, 1e9, 10**9, float).open()


def files_below(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The content and the time of change of each file below a folder, by its relative path."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }
