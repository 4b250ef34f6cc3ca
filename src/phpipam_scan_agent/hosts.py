"""nmap's XML → Hosts. Pure."""

from ipaddress import ip_address
from typing import Any

from .errors import ScanError
from .models import Host


def read(parser: Any, xml: str) -> tuple[Host, ...]:
    """Given python-nmap's parser and a whole XML document, return the hosts that are up, in order.

    Raise ScanError for XML that is cut short or of a scan that did not end well: python-nmap makes a
    normal result of nmap's `exit="error"` and an AttributeError of a document without an end.
    """
    if "<finished " not in xml or 'exit="success"' not in xml:
        raise ScanError("nmap did not finish")
    try:
        found = parser.analyse_nmap_xml_scan(xml)["scan"]
    except Exception:  # python-nmap raises what its parsing happens to run into
        raise ScanError("nmap's answer is not XML") from None
    up = (host for host in found.values() if host["status"]["state"] == "up")
    return tuple(sorted(map(_host, up), key=lambda host: int(host.ip)))


def _host(found: dict[str, Any]) -> Host:
    addresses = found["addresses"]
    mac = addresses.get("mac")
    return Host(
        ip=ip_address(addresses.get("ipv4") or addresses["ipv6"]),
        mac=mac.upper() if mac else None,
    )
