"""ScanResult → Reports, exactly as the Scan Server takes them. Pure."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ..models import Host, Report, ScanResult
from .hostname import reported


def make(result: ScanResult, room: int, name_form: str = "short") -> Iterator[Report]:
    """Given what a scan found, yield the reports of it, each complete in itself and at most `room` bytes long."""
    seen = result.seen.strftime("%Y-%m-%d %H:%M:%S")
    rows = [_row(host, result.subnet.id, seen, name_form) for host in result.hosts]
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


def _report(result: ScanResult, scan: dict[str, Any], rows: list[dict[str, object]]) -> Report:
    return Report(result.subnet.network, json.dumps(scan | {"results": rows}), len(rows))


def _row(host: Host, subnet_id: int, seen: str, name_form: str) -> dict[str, object]:
    """Return one result. What is not known is left out: the server takes null as "wipe the field"."""
    row = {
        "id": host.address and host.address.id,
        "subnetId": str(subnet_id),
        "ip": str(host.ip),
        "lastSeen": seen,
        "hostname": reported(host, name_form),
        "mac": host.mac,
    }
    return {key: value for key, value in row.items() if value is not None}
