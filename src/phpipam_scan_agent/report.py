"""ScanResult → Report, exactly as the Scan Server takes it. Pure."""

import json
import re
from datetime import datetime

from .models import Host, IPAddress, Report, ScanResult

_HOSTNAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
"""All that may pass: the server pastes the name into SQL, and PTR names are written by strangers."""


def make(result: ScanResult) -> Report:
    """Given what a scan found, return the Report of it."""
    ids = {address.ip: address.id for address in result.subnet.addresses}
    seen = result.seen.strftime("%Y-%m-%d %H:%M:%S")
    scan = {
        "subnet": str(result.subnet.network),
        "tz": zone(result.seen),
        "results": [_row(host, ids.get(host.ip), result.subnet.id, seen) for host in result.hosts],
    }
    return Report(result.subnet.network, json.dumps(scan))


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
