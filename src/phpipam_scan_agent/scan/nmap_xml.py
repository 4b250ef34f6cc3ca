"""nmap's XML → Hosts. Pure."""

import re
from typing import Any

import nmap

from ..errors import ScanError
from ..models import Host
from ..plan import ranges
from .network import host_mac

ENDING = (
    '<runstats><finished time="0" exit="success"/><hosts up="0" down="0" total="0"/></runstats></nmaprun>'
)

_TTL = re.compile(r'<status state="up" reason="[^"]*" reason_ttl="(\d{1,3})"/>\s*<address addr="([^"]*)"')
"""python-nmap's result lacks the TTL."""


def read(xml: str) -> tuple[Host, ...]:
    """Given a whole XML document, return the hosts that are up, in order of address.

    Raise ScanError for truncated XML and for a scan that failed: python-nmap returns a normal result for
    nmap's `exit="error"` and raises AttributeError for a truncated document.
    """
    if "<finished " not in xml or 'exit="success"' not in xml:
        raise ScanError("nmap did not finish")
    # Without its constructor, which runs `nmap -V` again and fails on output that is not UTF-8. It stores its last
    # result, so each call has its own.
    parser = nmap.PortScanner.__new__(nmap.PortScanner)
    try:
        found = parser.analyse_nmap_xml_scan(xml)["scan"]
        ttls = {ip: ttl for ttl, ip in _TTL.findall(xml)}
        return ranges.sort(_host(host, ttls) for host in found.values() if host["status"]["state"] == "up")
    except Exception:  # python-nmap does not catch errors of its parsing
        raise ScanError("nmap's answer is not the XML of a scan") from None


def total(xml: str) -> int:
    """Return the number of addresses that nmap has scanned, up or down."""
    found = re.search(r'<hosts up="\d+" down="\d+" total="(\d+)"/>', xml)
    return int(found[1]) if found else 0


def read_part(xml: str) -> tuple[Host, ...]:
    """Given the truncated XML of an nmap process that was ended, return the hosts found by then."""
    end = xml.rfind("</host>")
    if end < 0:
        return ()
    try:
        return read(xml[: end + len("</host>")] + ENDING)
    except ScanError:  # the caller reports its own error
        return ()


def _host(found: dict[str, Any], ttls: dict[str, str]) -> Host:
    addresses = found["addresses"]
    ip = addresses.get("ipv4") or addresses["ipv6"]
    mac = addresses.get("mac")
    return Host(
        ip=ranges.parse(ip),
        reason=found["status"]["reason"],
        ttl=int(ttls.get(ip, 0)),
        mac=host_mac(mac) if mac else None,
        vendor=found["vendor"].get(mac),
    )
