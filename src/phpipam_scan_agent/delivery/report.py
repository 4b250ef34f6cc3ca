"""ScanResult → Reports, and two reports of one subnet → one. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from ..models import IPAddress, IPNetwork, Report, ReportRow, ScanResult
from .hostname import reported

BLOCK = 2048
"""IPv4 addresses of a large subnet in one report: about 250 kB in the Scan Server's JSON. Waiting reports are merged
by block, so that a new part of a /16 does not rewrite the whole /16."""

EARLIEST = datetime(2026, 1, 1, tzinfo=timezone.utc)
"""A clock with an earlier time is not set."""

CLOCK_TOLERANCE = timedelta(minutes=1)
"""Maximum time by which a report may be in the future; with more, the clock was wrong when the report was made."""


def make(result: ScanResult, name_form: str = "short") -> Iterator[Report]:
    """Given a result, yield its reports: one, or one for each block of addresses in a large subnet."""
    network = result.subnet.network
    rows: dict[int, list[ReportRow]] = {}
    silent: dict[int, list[int]] = {}
    for host in result.hosts:
        id_ = host.address.id if host.address else None
        row = ReportRow(host.ip, result.seen, id_, reported(host, name_form), host.mac)
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
    """Return the number of an address's block. An IPv6 subnet has one block, since it has few hosts."""
    return (int(ip) - int(network.network_address)) // BLOCK if network.version == 4 else 0


def merge(waiting: Report, new: Report) -> Report:
    """Merge two reports of the same block: each address has the row with the newer time.

    It has the newest MAC address, and the host name of the newer row, also without one: a person may have named
    the address in phpIPAM meanwhile. An address of only one report keeps its time. An address that was silent in the
    older report is not silent if the newer report has it.
    """
    older, newer = sorted((waiting, new), key=lambda report: report.made)
    rows = {row.ip: row for row in older.rows}
    for row in newer.rows:
        rows[row.ip] = _newest(rows[row.ip], row) if row.ip in rows else row
    silent = {*older.silent, *newer.silent} - {row.id for row in newer.rows}
    return newer._replace(rows=tuple(rows.values()), silent=tuple(sorted(silent)))


def without_old_rows(report: Report, earliest: datetime) -> Report:
    """Return a report without the addresses that were last seen before a time."""
    return report._replace(rows=tuple(row for row in report.rows if row.seen >= earliest))


def is_from_the_future(made: datetime, now: datetime) -> bool:
    """Return whether a report is in the future, since the clock was ahead; False if the present clock is not set."""
    return made - CLOCK_TOLERANCE > now > EARLIEST


def limited(report: Report, latest: datetime) -> Report:
    """Return a report in which no time is later than `latest`; each time keeps its zone."""
    made, *seen = (
        min(time, latest.astimezone(time.tzinfo))
        for time in (report.made, *(row.seen for row in report.rows))
    )
    rows = (row._replace(seen=time) for row, time in zip(report.rows, seen, strict=True))
    return report._replace(made=made, rows=tuple(rows))


def halves(report: Report) -> tuple[Report, ...]:
    """Return two reports with half of the rows each; nothing for a report of at most one row."""
    middle = len(report.rows) // 2
    if not middle:
        return ()
    first, second = report.rows[:middle], report.rows[middle:]
    return report._replace(rows=first), report._replace(rows=second, silent=())


def _newest(one: ReportRow, other: ReportRow) -> ReportRow:
    older, newer = (one, other) if one.seen <= other.seen else (other, one)
    return newer._replace(
        id=newer.id or older.id,
        mac=newer.mac or older.mac,
    )
