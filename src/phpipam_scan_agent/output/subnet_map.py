"""`--show map`: each subnet as in phpIPAM's map, one character for each address."""

from collections.abc import Iterator
from itertools import groupby

from rich.markup import escape

from ..models import Outcome
from .columns import heading, plain
from .findings import MAP_SIZE, SubnetFindings

LINE = 64
"""Number of addresses in a line."""

FREE = "."
CELLS = {
    "#": ("up, known", "green"),
    "+": ("up, new", "cyan"),
    "*": ("up", "yellow"),
    "-": ("silent", "red"),
    "x": ("excluded", "dim"),
    "?": ("not probed", "yellow"),
    FREE: ("free", "dim"),
}
"""An address's character, its meaning, and its colour, which carries no further information. All addresses except
`+` and `.` are in phpIPAM, which is unknown for `*`."""

LEGEND = "   ".join(f"[{style}]{cell}[/] {meaning}" for cell, (meaning, style) in CELLS.items())


def lines(outcome: Outcome, found: SubnetFindings | None) -> Iterator[str]:
    """Yield the map of a subnet, as rich's markup; only the reason for a subnet without a map."""
    if found is None:
        too_large = f"{outcome.up} up; too large to be drawn, see --show hosts"
        yield f"{escape(plain(outcome.subnet))}: {'[red]failed[/]' if outcome.error else too_large}"
        return
    yield heading(outcome, f"{outcome.up} up, {outcome.new} new")
    network, cells = found.network, _cells(found)
    for start in range(0, len(cells), LINE):
        first = network[start]
        # In IPv6 only the last group differs.
        label = str(first) if network.version == 4 else f"…:{int(first) & 0xFFFF:x}"
        same = ((cell, "".join(several)) for cell, several in groupby(cells[start : start + LINE]))
        yield f"{label:15} " + "".join(f"[{CELLS[cell][1]}]{several}[/]" for cell, several in same)


def _cells(found: SubnetFindings) -> list[str]:
    """Return the character of each address."""
    known = [address for address in found.addresses if address.ip in found.network]
    cells = [FREE] * min(found.network.num_addresses, MAP_SIZE)
    first = int(found.network.network_address)
    for ips, cell in (
        ([address.ip for address in known], "?"),
        ([address.ip for address in known if address.exclude_ping], "x"),
        ([address.ip for address in found.silent], "-"),
        ([each.ip for each in found.hosts if each.host.address], "#"),
        ([each.ip for each in found.hosts if each.status == "new"], "+"),
        ([each.ip for each in found.hosts if each.status == "unknown"], "*"),
    ):
        for ip in ips:
            cells[int(ip) - first] = cell
    return cells
