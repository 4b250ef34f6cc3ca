"""`--show changes`: what differs from phpIPAM, and nothing where nothing does."""

from collections.abc import Callable, Iterable, Iterator

from rich.markup import escape

from ..models import Address, IPAddress, IPNetwork
from .findings import Findings, Found
from .text import Cells, column, plain, ranged, width

Row = tuple[IPAddress, Cells]
"""An address with its subnet, its name, and what has changed."""


def lines(findings: Findings) -> Iterator[str]:
    """Yield the changes by kind, as rich's markup.

    Another MAC address comes first: people may have typed the one in phpIPAM, and the report replaces it.
    """
    hosts = [(kept.network, found) for kept in findings for found in kept.hosts]
    kinds: dict[str, list[Row]] = {
        "another MAC address": _rows(hosts, lambda found: found.host.mac_changed, _macs),
        "new": _rows(hosts, lambda found: found.status == "new", lambda found: _mac(found)),
        "back": _rows(hosts, lambda found: found.status == "back", lambda found: _seen(found.host.address)),
        "silent": [
            (each.ip, (str(kept.network), plain(each.hostname or ""), _seen(each)))
            for kept in findings
            for each in kept.missing
        ],
    }
    for kind, rows in kinds.items():
        if rows:
            yield f"[bold]{kind}[/]: {len(rows)}"
            yield from _lines(rows)


def _rows(
    hosts: Iterable[tuple[IPNetwork, Found]], chosen: Callable[[Found], bool], change: Callable[[Found], str]
) -> list[Row]:
    return [
        (found.ip, (str(network), plain(found.name), change(found)))
        for network, found in hosts
        if chosen(found)
    ]


def _macs(found: Found) -> str:
    return f"{found.host.address and found.host.address.mac} in phpIPAM, now {_mac(found)}"


def _mac(found: Found) -> str:
    vendor = f" ({plain(found.host.vendor)})" if found.host.vendor else ""
    return f"{found.host.mac or ''}{vendor}"


def _seen(address: Address | None) -> str:
    return f"last seen {address.last_seen}" if address and address.last_seen else "never seen before"


def _lines(rows: list[Row]) -> Iterator[str]:
    shown = [(ip, *cells) for ip, cells in ranged(rows)]
    widths = [width(row[at] for row in shown) for at in range(3)]
    for *cells, change in shown:
        line = " ".join(column(cell, size) for cell, size in zip(cells, widths, strict=True) if size)
        yield escape(f"  {line} {change}".rstrip())
