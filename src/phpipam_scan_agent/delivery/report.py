"""ScanResult → Reports, and two reports of one subnet → one. Pure."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from ..models import IPAddress, IPNetwork, Report, Row, ScanResult
from .hostname import reported

BLOCK = 2048
"""IPv4 addresses of a large subnet that go into one report: about 250 kB in the Scan Server's JSON. Reports that wait
are merged by block, so that a new part of a /16 does not rewrite all of it."""


def make(result: ScanResult, name_form: str = "short") -> Iterator[Report]:
    """Given what a scan found, yield its reports: one, or one for each block of addresses in a large subnet."""
    network = result.subnet.network
    rows: dict[int, list[Row]] = {}
    silent: dict[int, list[int]] = {}
    for host in result.hosts:
        id_ = host.address.id if host.address else None
        row = Row(host.ip, result.seen, id_, reported(host, name_form), host.mac)
        rows.setdefault(block(network, host.ip), []).append(row)
    for address in result.silent:
        silent.setdefault(block(network, address.ip), []).append(address.id)
    for number in sorted(rows.keys() | silent.keys()) or [0]:
        yield Report(
            network,
            result.subnet.id,
            result.seen,
            tuple(rows.get(number, ())),
            tuple(silent.get(number, ())),
            number,
        )


def block(network: IPNetwork, ip: IPAddress) -> int:
    """Return the number of the block that an address is in; IPv6 has one, since its hosts are few and far between."""
    return (int(ip) - int(network.network_address)) // BLOCK if network.version == 4 else 0


def merge(waiting: Report, new: Report) -> Report:
    """Return the newest state of two reports of the same block: of each address the row with the newer time.

    It has the MAC address of the newer row that has one, and the newer row's host name: where that has none, the
    address may have got one from a person. An address of one report only stays with its time. An address that was
    silent is no longer if the newer report has it.
    """
    older, newer = sorted((waiting, new), key=lambda report: report.made)
    rows = {row.ip: row for row in older.rows}
    for row in newer.rows:
        rows[row.ip] = _newest(rows[row.ip], row) if row.ip in rows else row
    silent = {*older.silent, *newer.silent} - {row.id for row in newer.rows}
    return replace(newer, rows=tuple(rows.values()), silent=tuple(sorted(silent)))


def without_old_rows(report: Report, earliest: datetime) -> Report:
    """Return a report without the addresses that were last seen before a time."""
    return replace(report, rows=tuple(row for row in report.rows if row.seen >= earliest))


def halves(report: Report) -> tuple[Report, ...]:
    """Return a report as two, or nothing if it has but one address."""
    middle = len(report.rows) // 2
    if not middle:
        return ()
    first, second = report.rows[:middle], report.rows[middle:]
    return replace(report, rows=first), replace(report, rows=second, silent=())


def _newest(one: Row, other: Row) -> Row:
    older, newer = (one, other) if one.seen <= other.seen else (other, one)
    return replace(
        newer,
        id=newer.id or older.id,
        mac=newer.mac or older.mac,
    )
