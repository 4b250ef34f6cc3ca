"""`--show hosts`: each host that answered, by subnet."""

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape

from ..models import Outcome
from .columns import Cells, column, cut, heading, plain, ranged, width
from .findings import HostFinding, SubnetFindings

ANSWERS = {
    "arp-response": "ARP",
    "nd-response": "ND",
    "echo-reply": "ping",
    "timestamp-reply": "timestamp",
    "reset": "TCP RST",
    "conn-refused": "TCP RST",
    "syn-ack": "TCP SYN",
    "localhost-response": "itself",
}
"""nmap's reasons → short names; other reasons are shown unchanged."""

STYLES = {"new": "green", "back": "yellow", "known": "none", "unknown": "none"}

MIN_VENDOR = 6
"""Minimum width for a vendor's name, in cells."""


def lines(outcome: Outcome, found: SubnetFindings | None, console: Console) -> Iterator[str]:
    """Yield the lines of a subnet, as rich's markup: a heading and a row for each host.

    Consecutive addresses with equal rows are joined into one row.
    """
    yield heading(outcome, f"{outcome.up} up, {outcome.new} new, {outcome.back} back")
    rows = list(ranged((each.ip, _cells(each)) for each in (found.hosts if found else ())))
    widths = [width(ip for ip, _ in rows), *(width(cells[at] for _, cells in rows) for at in range(4))]
    for ip, cells in rows:
        yield _line(ip, cells, widths, console.width if console.is_terminal else None)


def _cells(found: HostFinding) -> Cells:
    host = found.host
    answer = ANSWERS.get(host.reason, plain(host.reason))
    return found.status, answer, host.mac or "", plain(found.name), plain(host.vendor or "")


def _line(ip: str, cells: Cells, widths: list[int], room: int | None) -> str:
    """Return a row, its vendor cut to the terminal's width `room`."""
    status, *others, vendor = cells
    after = "".join(f" {column(text, size)}" for text, size in zip(others, widths[2:], strict=True) if size)
    used = 2 + widths[0] + 1 + widths[1] + cell_len(after) + 1
    if room is not None:
        vendor = cut(vendor, room - used) if room - used >= MIN_VENDOR else ""
    end = escape(f"{after} {vendor}".rstrip())
    return f"  {column(ip, widths[0])} [{STYLES[status]}]{column(status, widths[1])}[/]{end}"
