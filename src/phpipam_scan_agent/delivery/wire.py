"""Report → the Scan Server's JSON. Pure."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ..models import Report, Row


def bodies(report: Report, code: str, limit: int) -> Iterator[bytes]:
    """Yield the bodies of a report's requests, with the scan agent code, of at most `limit` bytes each.

    A body has one offset from UTC, so a report with times of two zones or from both sides of a clock change becomes
    two. `made` and `silent` are in the body with the newest times; the collection's server ignores both.
    """
    newest = zone(report.made)
    groups: dict[str, list[Row]] = {} if report.rows and not report.silent else {newest: []}
    for row in report.rows:
        groups.setdefault(zone(row.seen), []).append(row)
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
    return moment.strftime("%z")[:5]


def _parts(code: str, scan: dict[str, Any], results: list[str], limit: int) -> Iterator[bytes]:
    part: list[str] = []
    size = len(_body(code, scan, ""))
    for result in results:
        if part and size + len(result) > limit:
            yield _body(code, scan, ", ".join(part))
            scan = {key: value for key, value in scan.items() if key != "silent"}
            part, size = [], len(_body(code, scan, ""))
        part.append(result)
        size += len(result) + len(", ")
    yield _body(code, scan, ", ".join(part))


def _body(code: str, scan: dict[str, Any], results: str) -> bytes:
    head = json.dumps({"code": code, "scan": scan})
    return f'{head[:-2]}, "results": [{results}]}}}}'.encode()


def _result(subnet_id: int | None, row: Row) -> str:
    """Return one result without its empty fields: the collection's server takes null as "wipe the field"."""
    fields = {
        "id": row.id,
        "subnetId": None if subnet_id is None else str(subnet_id),
        "ip": str(row.ip),
        "lastSeen": row.seen.strftime("%Y-%m-%d %H:%M:%S"),
        "hostname": row.hostname,
        "mac": row.mac,
    }
    return json.dumps({key: value for key, value in fields.items() if value is not None})
