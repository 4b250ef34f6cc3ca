"""Report ↔ the bytes of a spool file, whose content is validated on reading. Pure."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from ipaddress import ip_address, ip_network
from typing import Any

from ..models import IPNetwork, Report, Row
from ..plan import ranges
from .report import block

FORMAT = 2
"""Version of the file's format. A file of format 1 had one report in the Scan Server's JSON."""

HOSTNAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
MAC = re.compile("[0-9A-F]{2}(:[0-9A-F]{2}){5}")


@dataclass(frozen=True, slots=True)
class Entry:
    """The first line of a spool file, and facts about the file: enough to list the reports without reading them."""

    network: IPNetwork | None
    """None for a damaged file."""

    made: datetime
    """When the report was made, with its zone."""

    hosts: int = 0

    refusal: str | None = None
    """Why the Scan Server refused the report, if it did."""

    size: int = 0
    """Bytes of the file."""

    version: int = 0
    """How many times the file was written in this run."""

    durable: bool = True
    """Whether the file survives a power failure."""


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


def header(line: bytes) -> Entry:
    """Given the first line of a file, return its Entry without a size. Raise one of files.INVALID if not valid."""
    found = json.loads(line)
    if found["format"] != FORMAT:
        raise ValueError
    refusal = found["refusal"]
    return Entry(
        ip_network(_text(found["subnet"])),
        _moment(found["made"]),
        _number(found["hosts"]),
        refusal if refusal is None else _text(refusal),
    )


def decode(content: bytes) -> Report:
    """Given the content of a file, return its report. Raise one of files.INVALID if it is not valid."""
    first, _, second = content.partition(b"\n")
    about, made = json.loads(first), header(first)
    body = json.loads(second)
    network, number = ip_network(about["subnet"]), _number(about["block"])
    rows = tuple(_row(network, number, *values) for values in body["rows"])
    if len({row.ip for row in rows}) != len(rows):
        raise ValueError
    silent = tuple(_id(id_) for id_ in body["silent"])
    return Report(network, _id_or_none(about["id"]), made.made, rows, silent, number)


def decode_format_1(content: bytes) -> Iterator[Report]:
    """Given a file of format 1, yield its report by blocks. Raise one of files.INVALID if it is not valid."""
    document = json.loads(content)
    if document["format"] != 1:
        raise ValueError
    scan = json.loads(document["scan"])
    network = ip_network(_text(scan["subnet"]))
    zone = datetime.strptime(scan["tz"], "%z").tzinfo
    made = datetime.fromtimestamp(document["made"], timezone.utc).astimezone(zone)
    ids = {int(result["subnetId"]) for result in scan["results"]}
    if len(ids) > 1:
        raise ValueError
    id_ = _id_or_none(ids.pop() if ids else None)
    blocks: dict[int, dict[Any, Row]] = {} if scan["results"] else {0: {}}
    for result in scan["results"]:
        seen = datetime.fromisoformat(result["lastSeen"]).replace(tzinfo=zone).isoformat()
        number = block(network, ip_address(_text(result["ip"])))
        values = (result.get(key) for key in ("id", "hostname", "mac"))
        row = _row(network, number, result["ip"], seen, *values)
        blocks.setdefault(number, {})[row.ip] = row
    for number, rows in blocks.items():
        yield Report(network, id_, made, tuple(rows.values()), (), number)


def _row(network: IPNetwork, number: int, ip: Any, seen: Any, id_: Any, hostname: Any, mac: Any) -> Row:
    address = ranges.parse(_text(ip))
    if address not in network or block(network, address) != number:
        raise ValueError
    if hostname is not None and not HOSTNAME.fullmatch(hostname):
        raise ValueError
    if mac is not None and not MAC.fullmatch(mac):
        raise ValueError
    return Row(address, _moment(seen), _id_or_none(id_), hostname, mac)


def _moment(text: Any) -> datetime:
    moment = datetime.fromisoformat(_text(text))
    if moment.utcoffset() is None:
        raise ValueError
    moment.timestamp()  # OverflowError beyond the years that have one
    return moment


def _id_or_none(value: Any) -> int | None:
    return None if value is None else _id(value)


def _id(value: Any) -> int:
    if _number(value) == 0:
        raise ValueError
    return int(value)


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value
