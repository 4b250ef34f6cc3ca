"""ScanResult → Reports, exactly as the Scan Server takes them. Pure."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ..models import Host, IPAddress, Report, ScanResult

_HOSTNAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
"""All that may pass: the server pastes the name into SQL, and PTR names are written by strangers."""


def make(result: ScanResult, room: int) -> Iterator[Report]:
    """Given what a scan found, yield the reports of it, each complete in itself and at most `room` bytes long."""
    ids = {address.ip: address.id for address in result.subnet.addresses}
    seen = result.seen.strftime("%Y-%m-%d %H:%M:%S")
    rows = [_row(host, ids.get(host.ip), result.subnet.id, seen) for host in result.hosts]
    scan: dict[str, Any] = {"subnet": str(result.subnet.network), "tz": zone(result.seen), "results": []}
    overhead = len(json.dumps(scan))
    part: list[dict[str, object]] = []
    size = overhead
    for row in rows:
        length = len(json.dumps(row)) + len(", ")
        if part and size + length > room:
            yield _report(result, scan, part)
            part, size = [], overhead
        part.append(row)
        size += length
    yield _report(result, scan, part)


def halves(report: Report) -> tuple[Report, ...]:
    """Return a report as two, or nothing if it has but one host."""
    scan = json.loads(report.scan)
    rows = scan["results"]
    middle = len(rows) // 2
    if not middle:
        return ()
    return tuple(
        Report(report.network, json.dumps(scan | {"results": part}), len(part))
        for part in (rows[:middle], rows[middle:])
    )


def zone(moment: datetime) -> str:
    """Return the offset from UTC as the server reads it: `+HHMM`, never with seconds."""
    return moment.strftime("%z")[:5]


def hostname(name: str | None, ip: IPAddress) -> str | None:
    """Given a PTR name, return its first label, or None where it may not pass or only spells the address."""
    if not name:
        return None
    octets = str(ip).split(".")
    spelled = "|".join("-".join(order) for order in (octets, octets[::-1]))
    if re.search(rf"(?<!\d)({spelled})(?!\d)", name):
        return None
    label = name.partition(".")[0]
    return label if _HOSTNAME.fullmatch(label) else None


def _report(result: ScanResult, scan: dict[str, Any], rows: list[dict[str, object]]) -> Report:
    return Report(result.subnet.network, json.dumps(scan | {"results": rows}), len(rows))


def _row(host: Host, id_: int | None, subnet_id: int, seen: str) -> dict[str, object]:
    """Return one result. What is not known is left out: the server takes null as "wipe the field"."""
    row = {
        "id": id_,
        "subnetId": str(subnet_id),
        "ip": str(host.ip),
        "lastSeen": seen,
        "hostname": hostname(host.name, host.ip),
        "mac": host.mac,
    }
    return {key: value for key, value in row.items() if value is not None}
