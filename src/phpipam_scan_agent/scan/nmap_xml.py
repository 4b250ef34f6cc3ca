"""nmap's XML → Hosts. Pure."""

import re
from contextlib import suppress
from copy import copy
from ipaddress import ip_address
from typing import Any

from ..errors import ScanError
from ..models import Host

ENDING = (
    '<runstats><finished time="0" exit="success"/><hosts up="0" down="0" total="0"/></runstats></nmaprun>'
)

_TTL = re.compile(r'<status state="up" reason="[^"]*" reason_ttl="(\d{1,3})"/>\s*<address addr="([^"]*)"')
"""What python-nmap leaves out of its result."""


def read(parser: Any, xml: str) -> tuple[Host, ...]:
    """Given python-nmap's parser and a whole XML document, return the hosts that are up, in order.

    Raise ScanError for XML that is cut short or of a scan that did not end well: python-nmap makes a
    normal result of nmap's `exit="error"` and an AttributeError of a document without an end.
    """
    if "<finished " not in xml or 'exit="success"' not in xml:
        raise ScanError("nmap did not finish")
    try:
        # A parser keeps its last result in itself; a copy lets others read at the same time.
        found = copy(parser).analyse_nmap_xml_scan(xml)["scan"]
        ttls = {ip: ttl for ttl, ip in _TTL.findall(xml)}
        up = [_host(host, ttls) for host in found.values() if host["status"]["state"] == "up"]
    except Exception:  # python-nmap raises what its parsing happens to run into
        raise ScanError("nmap's answer is not the XML of a scan") from None
    return tuple(sorted(up, key=lambda host: int(host.ip)))


def total(xml: str) -> int:
    """Return how many addresses nmap says it has looked at, up or down."""
    found = re.search(r'<hosts up="\d+" down="\d+" total="(\d+)"/>', xml)
    return int(found[1]) if found else 0


def read_part(parser: Any, xml: str) -> tuple[Host, ...]:
    """Given what an nmap had written when it was ended, return the hosts it had found by then."""
    end = xml.rfind("</host>")
    if end < 0:
        return ()
    with suppress(ScanError):  # why something is missing is known already
        return read(parser, xml[: end + len("</host>")] + ENDING)
    return ()


def _host(found: dict[str, Any], ttls: dict[str, str]) -> Host:
    addresses = found["addresses"]
    ip = addresses.get("ipv4") or addresses["ipv6"]
    mac = addresses.get("mac")
    return Host(
        ip=ip_address(ip),
        reason=found["status"]["reason"],
        ttl=int(ttls.get(ip, 0)),
        mac=mac.upper() if mac else None,
    )
