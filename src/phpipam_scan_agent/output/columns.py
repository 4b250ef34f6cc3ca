"""Untrusted text in columns on a terminal: one line, of known width, without effect on other text's direction."""

import unicodedata
from collections.abc import Iterable, Iterator

from rich.cells import cell_len, set_cell_size
from rich.markup import escape

from ..models import IPAddress, Outcome
from ..system.redact import safe

Cells = tuple[str, ...]

_LEFT_TO_RIGHT = "\u200e"
"""A mark without width; after right-to-left text it keeps the order of the following columns."""


def plain(text: str) -> str:
    """Return a name or a description in a form that is safe to show."""
    shown = safe(text)
    if shown.isascii():
        return shown
    right_to_left = any(unicodedata.bidirectional(each) in ("R", "AL", "AN") for each in shown)
    return shown + _LEFT_TO_RIGHT if right_to_left else shown


def heading(outcome: Outcome, counts: str) -> str:
    """Return the first line of a subnet, as rich's markup."""
    unknown = f", {outcome.unknown} unknown" if outcome.unknown else ""
    failed = ", [red]failed[/]" if outcome.error else ""
    return f"[bold]{escape(plain(outcome.subnet))}[/]: {counts}{unknown}{failed}"


def column(text: str, width: int) -> str:
    """Return a text padded to a width in cells; a longer text is not cut."""
    return text + " " * (width - cell_len(text))


def cut(text: str, width: int) -> str:
    """Return a text cut to a width in cells."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1) + "…" if width > 1 else ""


def width(texts: Iterable[str]) -> int:
    """Return the width in cells of the widest text."""
    return max(map(cell_len, texts), default=0)


def ranged(rows: Iterable[tuple[IPAddress, Cells]]) -> Iterator[tuple[str, Cells]]:
    """Given rows in the order of their addresses, join consecutive addresses whose other cells are equal.

    A range has nmap's form, `192.0.2.10-77`, and ends within the last number of an address.
    """
    first = last = None
    shared: Cells = ()
    for ip, cells in rows:
        if first is None or last is None or cells != shared or not _continues(last, ip):
            if first and last:
                yield _range(first, last), shared
            first, shared = ip, cells
        last = ip
    if first and last:
        yield _range(first, last), shared


def _continues(last: IPAddress, ip: IPAddress) -> bool:
    bits = 8 if ip.version == 4 else 16
    return int(ip) == int(last) + 1 and int(ip) >> bits == int(last) >> bits


def _range(first: IPAddress, last: IPAddress) -> str:
    if first == last:
        return str(first)
    return f"{first}-{int(last) & 0xFF}" if last.version == 4 else f"{first}-{int(last) & 0xFFFF:x}"
