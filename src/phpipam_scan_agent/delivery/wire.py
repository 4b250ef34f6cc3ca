"""Report → the Scan Server's JSON. Pure."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ..models import Report, ReportRow


def bodies(report: Report, code: str, limit: int) -> Iterator[bytes]:
    """Yield the bodies of a report's requests, with the scan agent code, of at most `limit` bytes each.

    A body has one offset from UTC, so a report with times of two zones or from both sides of a clock change becomes
    two. `made` and `silent` are in the body with the newest times; the collection's server ignores both.
    """
    newest = zone(report.made)
    groups: dict[str, list[ReportRow]] = {} if report.rows and not report.silent else {newest: []}
    for row in report.rows:
        offset = newest if row.seen is report.made else zone(row.seen)
        groups.setdefault(offset, []).append(row)
    for offset, rows in groups.items():
        made = report.made if offset == newest else max(row.seen for row in rows)
        scan: dict[str, Any] = {
            "subnet": str(report.network),
            "tz": offset,
            "made": made.isoformat(timespec="seconds"),
        }
        if report.silent and offset == newest:
            scan["silent"] = report.silent
        yield from _parts(code, scan, [_result(report.subnet_id, row) for row in rows], limit)


def zone(moment: datetime) -> str:
    """Return the offset from UTC in the server's form: `+HHMM`, never with seconds."""
    return moment.isoformat(timespec="seconds")[19:25].replace(":", "")  # a tenth of the time of strftime


def _parts(code: str, scan: dict[str, Any], results: list[dict[str, Any]], limit: int) -> Iterator[bytes]:
    body = json.dumps({"code": code, "scan": {**scan, "results": results}}).encode()
    if len(body) <= limit or len(results) < 2:
        yield body
        return
    size = -(-len(results) // -(-len(body) // limit))
    for at in range(0, len(results), size):
        yield from _parts(code, scan, results[at : at + size], limit)
        scan = {key: value for key, value in scan.items() if key != "silent"}


def _result(subnet_id: int | None, row: ReportRow) -> dict[str, Any]:
    """Return one result without its empty fields: the collection's server takes null as "wipe the field"."""
    fields = {
        "id": row.id,
        "subnetId": None if subnet_id is None else str(subnet_id),
        "ip": str(row.ip),
        "lastSeen": row.seen.isoformat(" ", "seconds")[:19],
        "hostname": row.hostname,
        "mac": row.mac,
    }
    return {key: value for key, value in fields.items() if value is not None}
