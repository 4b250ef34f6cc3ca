"""Report ↔ the bytes of a spool file, whose content is validated on reading. Pure."""

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
)

from ..models import IPNetwork, Report, ReportRow
from ..plan import ranges
from .report import block

FORMAT = 2
"""Version of the file's format. A file of format 1 had one report in the Scan Server's JSON."""

_HOSTNAME = r"^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*$"
_MAC = "^[0-9A-F]{2}(:[0-9A-F]{2}){5}$"

_Row = tuple[
    str,
    AwareDatetime,
    PositiveInt | None,
    Annotated[str, StringConstraints(pattern=_HOSTNAME)] | None,
    Annotated[str, StringConstraints(pattern=_MAC)] | None,
]
"""The values of a ReportRow, whose address is not parsed yet."""


class Header(BaseModel, strict=True, defer_build=True):
    """The first line of a file: enough to list the reports without reading their rows."""

    format: Literal[2]
    subnet: IPv4Network | IPv6Network
    id: PositiveInt | None
    block: NonNegativeInt
    made: AwareDatetime
    hosts: NonNegativeInt
    refusal: str | None


class _Body(BaseModel, strict=True, defer_build=True):
    """The second line of a file."""

    silent: tuple[PositiveInt, ...]
    rows: tuple[_Row, ...]


def encode(report: Report, refusal: str | None = None) -> bytes:
    """Return the content of a report's file. It contains neither the token nor the scan agent code."""
    header = {
        "format": FORMAT,
        "subnet": str(report.network),
        "id": report.subnet_id,
        "block": report.block,
        "made": report.made.isoformat(),
        "hosts": len(report.rows),
        "refusal": refusal,
    }
    rows = [[str(row.ip), row.seen.isoformat(), row.id, row.hostname, row.mac] for row in report.rows]
    body = {"silent": report.silent, "rows": rows}
    return f"{json.dumps(header)}\n{json.dumps(body)}\n".encode()


def decode(content: bytes) -> Report:
    """Given the content of a file, return its report. Raise ValueError if it is not valid."""
    first, _, second = content.partition(b"\n")
    about, body = Header.model_validate_json(first), _Body.model_validate_json(second)
    rows = tuple(_row(about.subnet, about.block, values) for values in body.rows)
    if len({row.ip for row in rows}) != len(rows):
        raise ValueError
    return Report(about.subnet, about.id, about.made, rows, body.silent, about.block)


def decode_format_1(content: bytes) -> Iterator[Report]:
    """Given a file of format 1, yield its report by blocks. Raise one of files.INVALID if it is not valid."""
    document = json.loads(content)
    if document["format"] != 1:
        raise ValueError
    scan = json.loads(document["scan"])
    network = ip_network(str(scan["subnet"]))
    zone = datetime.strptime(scan["tz"], "%z").tzinfo
    made = datetime.fromtimestamp(document["made"], timezone.utc).astimezone(zone)
    ids = {int(result["subnetId"]) for result in scan["results"]}
    if len(ids) > 1 or min(ids, default=1) < 1:
        raise ValueError
    blocks: dict[int, dict[Any, ReportRow]] = {} if scan["results"] else {0: {}}
    lines = []
    for result in scan["results"]:
        seen = datetime.fromisoformat(result["lastSeen"]).replace(tzinfo=zone).isoformat()
        lines.append([result["ip"], seen, *(result.get(key) for key in ("id", "hostname", "mac"))])
    for values in _Body.model_validate_json(json.dumps({"silent": [], "rows": lines})).rows:
        row = _row(network, None, values)
        blocks.setdefault(block(network, row.ip), {})[row.ip] = row
    for number, rows in blocks.items():
        yield Report(network, min(ids, default=None), made, tuple(rows.values()), (), number)


def _row(network: IPNetwork, number: int | None, values: _Row) -> ReportRow:
    row = ReportRow(ranges.parse(values[0]), *values[1:])
    if row.ip not in network or number not in (None, block(network, row.ip)):
        raise ValueError
    return row
