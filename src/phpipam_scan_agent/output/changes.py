"""`--show changes`: the differences from phpIPAM, and no output without any."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from rich.markup import escape

from ..models import Address, IPAddress, IPNetwork
from .columns import column, plain, ranged, width
from .findings import Findings, HostFinding

MAC, NEW, BACK, SILENT = "another MAC address", "new", "back", "silent"
KINDS = (MAC, NEW, BACK, SILENT)
"""In the order of printing. Another MAC address comes first: a person may have typed the one in phpIPAM, and the
report replaces it."""


class Change(NamedTuple):
    """An address that differs from phpIPAM, or is silent though phpIPAM saw it within a day."""

    kind: str
    subnet_id: int
    ip: IPAddress
    network: IPNetwork
    name: str
    detail: str

    @property
    def key(self) -> str:
        """The key by which a change counts as shown before."""
        return f"{self.kind} {self.subnet_id} {self.ip} {self.detail if self.kind == MAC else ''}"


def of(findings: Findings) -> list[Change]:
    """Return the changes by kind, then by subnet and address."""
    found: list[Change] = []
    for kept in findings:
        for each in kept.hosts:
            found += _of_host(kept.id, kept.network, each)
        found += [
            Change(SILENT, kept.id, silent.ip, kept.network, plain(silent.hostname or ""), _seen(silent))
            for silent in kept.missing
        ]
    return sorted(found, key=lambda change: KINDS.index(change.kind))


def lines(changes: Iterable[Change]) -> Iterator[str]:
    """Yield the lines of changes, as rich's markup: a heading for each kind and a row for each address."""
    for kind, several in groupby(changes, key=lambda change: change.kind):
        same = list(several)
        yield f"[bold]{kind}[/]: {len(same)}"
        rows = [
            (ip, *cells)
            for ip, cells in ranged((each.ip, (str(each.network), each.name, each.detail)) for each in same)
        ]
        widths = [width(row[at] for row in rows) for at in range(3)]
        for *cells, detail in rows:
            line = " ".join(column(cell, size) for cell, size in zip(cells, widths, strict=True) if size)
            yield escape(f"  {line} {detail}".rstrip())


def _of_host(subnet_id: int, network: IPNetwork, found: HostFinding) -> Iterator[Change]:
    host, address, name = found.host, found.host.address, plain(found.name)
    vendor = f" ({plain(host.vendor)})" if host.vendor else ""
    mac = f"{host.mac or ''}{vendor}"
    if host.mac_changed and address:
        yield Change(MAC, subnet_id, host.ip, network, name, f"{address.mac} in phpIPAM, now {mac}")
    if found.status == "new":
        yield Change(NEW, subnet_id, host.ip, network, name, mac)
    if found.status == "back" and address:
        yield Change(BACK, subnet_id, host.ip, network, name, _seen(address))


def _seen(address: Address) -> str:
    return f"last seen {address.last_seen}" if address.last_seen else "never seen before"
