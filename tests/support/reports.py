"""Results and reports, for tests that care for what becomes of them and not for what is in them."""

import json
from datetime import datetime, timezone
from ipaddress import IPv4Address, ip_network
from typing import Any

from phpipam_scan_agent.models import Host, Report, ScanResult, Subnet

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=timezone.utc)


def result(id_: int = 10, hosts: int = 1, cidr: str | None = None) -> ScanResult:
    """What the scan of a subnet found, by default of 192.0.`id_`.0/24."""
    network = ip_network(cidr or f"192.0.{id_}.0/24")
    first = int(network.network_address) + 1
    found = tuple(Host(IPv4Address(first + n)) for n in range(hosts))
    return ScanResult(Subnet(id_, network, discover=True), found, NOON, seconds=1.0)


def report(id_: int = 10, hosts: int = 1) -> Report:
    """The report of such a result."""
    rows = [
        {"subnetId": str(id_), "ip": str(host.ip), "lastSeen": "2026-11-24 12:00:00"}
        for host in result(id_, hosts).hosts
    ]
    scan = {"subnet": f"192.0.{id_}.0/24", "tz": "+0000", "results": rows}
    return Report(ip_network(f"192.0.{id_}.0/24"), json.dumps(scan), hosts)


def ips(scan: dict[str, Any]) -> list[str]:
    """The addresses in what the server was told."""
    return [row["ip"] for row in scan["results"]]
